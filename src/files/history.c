#include "files/history.h"
#include "parts.h"
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_there(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

static void add_damaged(dp_history *h, const char *name) {
    size_t used = strlen(h->names), most = sizeof h->names;
    if (used + strlen(name) + sizeof ", ..." < most) {
        snprintf(h->names + used, most - used, "%s%s", used > 0 ? ", " : "", name);
    } else if (used > 0 && h->names[used - 1] != '.') {
        snprintf(h->names + used, most - used, ", ...");
    }
    h->damaged++;
}

static bool is_damaged(const char *name) {
    size_t n = strlen(name), suffix = strlen(DP_DAMAGED);
    return n > suffix && strcmp(name + n - suffix, DP_DAMAGED) == 0;
}

static void look_at_checkpoints(const char *folder, dp_history *h) {
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (is_damaged(name)) {
            add_damaged(h, name);
        }
        h->checkpoints = h->checkpoints || strcmp(name, "last.h5") == 0 ||
                         strcmp(name, "best.h5") == 0;
        free(entry[i]);
    }
    free(entry);
}

static dp_status look_at_metrics(dp_h5 *f, dp_history *h) {
    const dp_h5_column step = {"step", true, 0};
    void *rows = NULL;
    dp_status s = dp_h5_get_attr_text(f, "/", "status", h->status, sizeof h->status);
    s = s ? s : dp_h5_get_table(f, "/steps", 1, &step, 8, &h->steps, &rows);
    if (s == DP_OK && h->steps > 0) {
        h->last = ((int64_t *)rows)[h->steps - 1];
    }
    free(rows);
    int64_t checkpoint = h->steps;
    dp_status known = s ? s : dp_h5_get_attr_i64(f, "/", "checkpoint", &checkpoint);
    h->checkpoints = checkpoint > 0;
    return known == DP_EINTERNAL ? known : s;
}

dp_status dp_history_read(const char *metrics, const char *checkpoints, dp_history *out) {
    dp_h5 *f = NULL;
    dp_status s = DP_OK;
    char aside[PATH_MAX];
    *out = (dp_history){.metrics = is_there(metrics)};
    snprintf(aside, sizeof aside, "%s%s", metrics, DP_DAMAGED);
    look_at_checkpoints(checkpoints, out);
    if (is_there(aside)) {
        add_damaged(out, "metrics.h5" DP_DAMAGED);
    }
    bool links = out->checkpoints;
    if (out->metrics) {
        s = dp_h5_open(metrics, &f);
        s = s ? s : look_at_metrics(f, out);
    }
    out->readable = out->metrics && s == DP_OK;
    out->checkpoints = out->checkpoints || links;
    dp_h5_close(&f);
    return s == DP_EINTERNAL ? s
                             : DP_OK; /* no fault of the file: nothing follows from it */
}
