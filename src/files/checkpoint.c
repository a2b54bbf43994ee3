/* A run's checkpoint files: step-*.h5, last.h5 and best.h5, how many are kept, and which
 * is the newest valid one. */
#include "files/checkpoint.h"
#include "base/log.h"
#include "base/memory.h"
#include "files_impl.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void join(const char *folder, const char *name, char out[PATH_MAX]) {
    snprintf(out, PATH_MAX, "%s/%s", folder, name);
}

static void step_path(const char *folder, int64_t step, char out[PATH_MAX]) {
    char name[DP_STEP_NAME];
    dp_step_name(step, name);
    join(folder, name, out);
}

/* ---- what is in the folder ---- */

static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* The steps of all regular files with a checkpoint's name, newest first. A folder that is
 * missing has none. The caller frees *out. */
static dp_status list_steps(const char *folder, int64_t **out, int *n) {
    *out = NULL;
    *n = 0;
    DIR *d = opendir(folder);
    if (d == NULL) {
        return errno == ENOENT ? DP_OK
                               : dp_fail(DP_EFILE, "cannot read the folder %s: %s",
                                         folder, strerror(errno));
    }
    int room = 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[PATH_MAX];
        struct stat info;
        int64_t step = dp_step_of_name(e->d_name);
        join(folder, e->d_name, path);
        if (step < 0 || lstat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
            continue;
        }
        if (*n == room) {
            room = room * 2 + 16;
            *out = dp_realloc(*out, (size_t)room, sizeof **out);
        }
        (*out)[(*n)++] = step;
    }
    closedir(d);
    if (*n > 0) {
        qsort(*out, (size_t)*n, sizeof **out, newest_first);
    }
    return DP_OK;
}

/* The step that a link of ours names, -1 if there is none. */
static int64_t link_step(const char *folder, const char *link) {
    char path[PATH_MAX], target[DP_STEP_NAME] = "";
    join(folder, link, path);
    ssize_t n = readlink(path, target, sizeof target - 1);
    return n > 0 ? dp_step_of_name(target) : -1;
}

static dp_status set_link(const char *folder, const char *link, int64_t step) {
    char path[PATH_MAX], target[DP_STEP_NAME];
    if (link_step(folder, link) == step) {
        return DP_OK;
    }
    join(folder, link, path);
    dp_step_name(step, target);
    return dp_file_symlink(path, target);
}

/* ---- writing ---- */

/* A file that can't be removed does no harm: a warning, no failure. */
static void remove_superfluous(const char *folder, int64_t current, int keep) {
    int64_t *step = NULL;
    int n = 0;
    if (list_steps(folder, &step, &n) != DP_OK) {
        dp_warn("%s", dp_status_message());
    }
    errno = 0;
    int64_t best = link_step(folder, DP_BEST);
    if (best < 0 && errno != 0 && errno != ENOENT && errno != EINVAL) {
        n = 0; /* its target is unknown: nothing is removed */
    }
    for (int i = keep; i < n; i++) {
        char path[PATH_MAX];
        step_path(folder, step[i], path);
        if (step[i] == current || step[i] == best || !dp_h5_is_ours(path)) {
            continue;
        }
        if (dp_file_remove(path) != DP_OK) {
            dp_warn("%s", dp_status_message());
        }
    }
    free(step);
}

struct dp_checkpoint {
    dp_h5 *file;  /* owner: this */
    char *folder; /* owner: this */
    int64_t step;
    bool best;
    int keep;
};

dp_status dp_checkpoint_build(const char *folder, const dp_snapshot *s, bool best,
                              int keep, dp_checkpoint **out) {
    assert(keep >= 1 && s->step >= 0);
    char path[PATH_MAX];
    dp_h5 *file = NULL;
    step_path(folder, s->step, path);
    DP_TRY(dp_snapshot_build(path, s, &file));
    dp_checkpoint *c = dp_alloc(1, sizeof *c);
    *c = (dp_checkpoint){.file = file,
                         .folder = dp_strdup(folder),
                         .step = s->step,
                         .best = best,
                         .keep = keep};
    *out = c;
    return DP_OK;
}

int64_t dp_checkpoint_bytes(const dp_checkpoint *c) {
    return dp_h5_bytes(c->file);
}

void dp_checkpoint_destroy(dp_checkpoint **checkpoint) {
    dp_checkpoint *c = *checkpoint;
    if (c != NULL) {
        dp_h5_close(&c->file);
        free(c->folder);
        free(c);
    }
    *checkpoint = NULL;
}

/* last.h5 moves before anything is removed, so it names a whole file at every instant. */
static dp_status place_once(dp_checkpoint *c) {
    DP_TRY(dp_h5_place(c->file));
    DP_TRY(set_link(c->folder, DP_LAST, c->step));
    return c->best ? set_link(c->folder, DP_BEST, c->step) : DP_OK;
}

dp_status dp_checkpoint_place(dp_checkpoint *c, int retries) {
    assert(retries >= 0);
    dp_status status = place_once(c);
    struct timespec pause = {.tv_nsec = 100000000};
    for (int i = 0; i < retries && status != DP_OK; i++) {
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 400000000) {
            pause.tv_nsec *= 2;
        }
        status = place_once(c);
    }
    if (status == DP_OK) {
        remove_superfluous(c->folder, c->step, c->keep);
    }
    return status;
}

/* ---- finding the newest ---- */

/* Reads the checkpoint of a step; a damaged one is set aside, *out is NULL then. */
static dp_status read_step(const char *folder, int64_t step, dp_checkpoint_check *check,
                           dp_snapshot **out) {
    char path[PATH_MAX];
    step_path(folder, step, path);
    dp_status status = dp_checkpoint_read(path, check, out);
    if (status == DP_OK && (*out)->step != step) {
        status = dp_fail(DP_EFILE, "%s: /state: step = %lld, but its name says %lld",
                         path, (long long)(*out)->step, (long long)step);
        dp_snapshot_destroy(out);
    }
    return dp_damaged(status, path) ? dp_set_aside(path) : status;
}

/* Makes the links name what `s`, the newest valid checkpoint, records: a killed writer
 * may not have set them, and what they named may have been damaged. */
static dp_status repair_links(const char *folder, dp_checkpoint_check *check,
                              dp_snapshot *s) {
    char path[PATH_MAX];
    struct stat info;
    DP_TRY(set_link(folder, DP_LAST, s->step));
    if (s->best_step == 0) {
        join(folder, DP_BEST, path);
        return stat(path, &info) == 0 ? DP_OK : dp_file_remove(path);
    }
    step_path(folder, s->best_step, path);
    if (s->best_step != s->step && dp_h5_altered(path)) {
        dp_snapshot *best = NULL;
        DP_TRY(read_step(folder, s->best_step, check, &best));
        dp_snapshot_destroy(&best);
    }
    if (stat(path, &info) != 0 && errno == ENOENT) {
        dp_warn("%s, the best checkpoint, is gone; %s/%s names the newest one now", path,
                folder, DP_BEST);
        s->best_step = s->step;
    }
    return set_link(folder, DP_BEST, s->best_step);
}

dp_status dp_checkpoint_newest(const char *folder, dp_checkpoint_check *check,
                               dp_snapshot **out) {
    int64_t *step = NULL;
    int n = 0;
    *out = NULL;
    dp_status status = list_steps(folder, &step, &n);
    for (int i = 0; i < n && status == DP_OK && *out == NULL; i++) {
        status = read_step(folder, step[i], check, out);
    }
    free(step);
    if (status == DP_OK && *out != NULL) {
        status = repair_links(folder, check, *out);
    }
    if (status != DP_OK) {
        dp_snapshot_destroy(out);
    }
    return status;
}

dp_status dp_checkpoint_find(const char *path, char **file) {
    static const char *const links[] = {DP_BEST, DP_LAST};
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        *file = dp_printed("%s", path);
        return DP_OK;
    }
    for (size_t k = 0; k < sizeof links / sizeof *links; k++) {
        *file = dp_printed("%s/checkpoints/%s", path, links[k]);
        if (stat(*file, &st) == 0) {
            return DP_OK;
        }
        free(*file);
    }
    *file = NULL;
    return dp_fail(DP_EFILE,
                   "%s: a folder, but not of a run that has saved something: there is no "
                   "checkpoints/" DP_BEST " or " DP_LAST " in it",
                   path);
}
