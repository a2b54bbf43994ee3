/* What has happened in a run's folder, where its newest checkpoint doesn't tell. */
#include "files/history.h"
#include "files_impl.h"
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
    size_t used = strlen(h->names), max = sizeof h->names;
    if (used + strlen(name) + sizeof ", ..." < max) {
        snprintf(h->names + used, max - used, "%s%s", used > 0 ? ", " : "", name);
    } else if (used > 0 && h->names[used - 1] != '.') {
        snprintf(h->names + used, max - used, ", ...");
    }
    h->damaged++;
}

static void look_at_checkpoints(const char *folder, dp_history *h) {
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (dp_damaged_stem(name) > 0) {
            add_damaged(h, name);
        }
        h->checkpoints = h->checkpoints || dp_is_link(name);
        free(entry[i]);
    }
    free(entry);
}

static dp_status look_at_metrics(dp_h5 *f, dp_history *h) {
    const dp_h5_column step = {"step", true, 0};
    void *rows = NULL;
    DP_TRY(dp_h5_get_attr_one(f, "/", "status", DP_H5_TEXT, sizeof h->status, h->status));
    DP_TRY(dp_h5_get_table(f, "/steps", 1, &step, 8, &h->steps, &rows));
    if (h->steps > 0) {
        h->last = ((int64_t *)rows)[h->steps - 1];
    }
    free(rows);
    int64_t checkpoint = h->steps;
    dp_status known = dp_h5_get_attr_one(f, "/", "checkpoint", DP_H5_I64,
                                         sizeof checkpoint, &checkpoint);
    h->checkpoints = h->checkpoints || checkpoint > 0;
    return known == DP_EINTERNAL ? known : DP_OK;
}

static dp_status open_metrics(const char *metrics, dp_history *h) {
    dp_h5 *f = NULL;
    DP_TRY(dp_h5_open(metrics, &f));
    dp_status status = look_at_metrics(f, h);
    dp_h5_close(&f);
    return status;
}

dp_status dp_history_read(const char *metrics, const char *checkpoints, dp_history *out) {
    char aside[PATH_MAX];
    *out = (dp_history){.metrics = is_there(metrics)};
    snprintf(aside, sizeof aside, "%s%s", metrics, DP_DAMAGED);
    look_at_checkpoints(checkpoints, out);
    if (is_there(aside)) {
        add_damaged(out, "metrics.h5" DP_DAMAGED);
    }
    dp_status status = out->metrics ? open_metrics(metrics, out) : DP_OK;
    out->readable = out->metrics && status == DP_OK;
    /* no fault of the file: nothing follows from it */
    return status == DP_EINTERNAL ? status : DP_OK;
}
