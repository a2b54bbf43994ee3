/* How a run begins: anew, from a checkpoint, or not at all. */
#include "start.h"
#include "base/log.h"
#include "facts.h"
#include "files/history.h"
#include <stdio.h>
#include <string.h>

enum { WAIT = 10 }; /* seconds for the ranks of a killed run to release its folder */

/* The config of the run in the folder: its checkpoint's, else its config.ini. */
static bool existing_config(const dp_start *start, dp_config *old) {
    const char *path = dp_rundir_config(start->dir);
    return start->from ? dp_config_parse(path, start->from->config, 0, NULL, old) == DP_OK
                       : dp_config_read(path, 0, NULL, old) == DP_OK;
}

/* What was found in the folder, and what the config wants. */
enum {
    ANYTHING = 1 << 0,
    CHECKPOINT = 1 << 1, /* one to go on from */
    KNOWN = 1 << 2,      /* the config of the run that is there */
    SAME = 1 << 3,       /* and it may go on as ours */
    NEVER = 1 << 4,      /* run.resume */
    OVERWRITE = 1 << 5,
    DIVERGED = 1 << 6,
    PAST = 1 << 7, /* the checkpoint is beyond train.epochs */
    DONE = 1 << 8, /* complete, and the checkpoint is that of the end */
    DAMAGED = 1 << 9,
    HISTORY = 1 << 10, /* steps that a checkpoint was written of */
};

typedef struct folder {
    const dp_config *config; /* of this start */
    dp_start *start;
    dp_config old; /* of the run that is there */
    dp_history history;
    char unknown[512]; /* why its config isn't known */
    unsigned is;
} folder;

static dp_status say_again(const folder *f) {
    if (f->history.steps > 0) {
        dp_log("%s holds a run that ended after step %lld or later, before its first "
               "checkpoint: it starts anew",
               f->config->run.output, (long long)f->history.last);
    }
    return DP_OK;
}

static dp_status clear(const folder *f) {
    dp_snapshot_destroy(&f->start->from);
    return dp_rundir_clear(f->start->dir);
}

static dp_status warn_of_score(const folder *f) {
    const dp_snapshot *s = f->start->from;
    if (s->epoch == f->old.train.epochs && s->position == 0 &&
        f->config->train.epochs > s->epoch &&
        s->epoch % f->config->train.eval_every != 0) {
        dp_warn("epoch %lld was scored because it was the last one: a run that was not "
                "continued would have no score there, and may have another best epoch",
                (long long)s->epoch);
    }
    return DP_OK;
}

static dp_status say_done(const folder *f) {
    dp_log("%s is complete: %lld epochs, %lld steps. Results: %s, %s/last.h5",
           f->config->run.output, (long long)f->start->from->epoch,
           (long long)f->start->from->step, dp_rundir_metrics(f->start->dir),
           dp_rundir_checkpoints(f->start->dir));
    return DP_OK;
}

static dp_status say_diverged(const folder *f) {
    return dp_fail(DP_EDIVERGED,
                   "the run in %s has diverged: lower optimizer.lr or set "
                   "optimizer.clip_norm, with another run.output or run.overwrite=true",
                   f->config->run.output);
}

static dp_status refuse_never(const folder *f) {
    return dp_fail(DP_EUSAGE,
                   "%s holds a run already and run.resume is never: choose another "
                   "run.output, or set run.overwrite=true to start anew in its place",
                   f->config->run.output);
}

static dp_status refuse_version(const folder *f) {
    return dp_fail(DP_EFILE,
                   "%s: the checkpoint of step %lld has a config that this version does "
                   "not know (%s): use the version that wrote it, or another run.output",
                   f->config->run.output, (long long)f->start->from->step, f->unknown);
}

static dp_status refuse_config(const folder *f) {
    return dp_config_may_resume(&f->old, f->config);
}

/* A run of so few epochs never had these parameters. */
static dp_status refuse_past(const folder *f) {
    int64_t least = f->start->from->epoch + (f->start->from->position > 0);
    return dp_fail(
        DP_EUSAGE,
        "train.epochs = %lld, but the run in %s is at step %lld, in epoch %lld: set "
        "train.epochs to %lld or more to go on, choose another run.output, or set "
        "run.resume=never and run.overwrite=true to start anew in its place",
        (long long)f->config->train.epochs, f->config->run.output,
        (long long)f->start->from->step, (long long)least, (long long)least);
}

static const char INSTEAD[] =
    "choose another run.output, or set run.overwrite=true to start anew in its place";

/* "1500 steps of history, up to step 1500" */
static void history_text(const dp_history *h, char *out, size_t size) {
    if (h->metrics && !h->readable) {
        snprintf(out, size, "a history that can't be read (%.300s)", dp_status_message());
    } else if (h->steps > 0) {
        snprintf(out, size, "%lld steps of history, up to step %lld", (long long)h->steps,
                 (long long)h->last);
    } else {
        snprintf(out, size, "no history");
    }
}

static dp_status refuse_damaged(const folder *f) {
    char what[512];
    history_text(&f->history, what, sizeof what);
    return dp_fail(DP_EFILE,
                   "%s holds %s, but no checkpoint that can be read; %d damaged: %s; put "
                   "good copies back, %s",
                   f->config->run.output, what, f->history.damaged,
                   f->history.damaged > 0 ? f->history.names : "none", INSTEAD);
}

static dp_status refuse_lost(const folder *f) {
    char what[512];
    history_text(&f->history, what, sizeof what);
    return dp_fail(DP_EUSAGE,
                   "%s holds %s, of a run that is %s, but its checkpoints are gone: put "
                   "one back, %s",
                   f->config->run.output, what,
                   f->history.status[0] ? f->history.status : "unknown", INSTEAD);
}

/* The first row that fits says how the run starts, and what is done before; where that
 * refuses, it does not start at all. */
static const struct {
    unsigned with, without;
    int how;
    dp_status (*act)(const folder *f); /* or NULL */
} cases[] = {
    {0, ANYTHING, DP_START_NEW, NULL},
    {OVERWRITE | NEVER, 0, DP_START_NEW, clear},
    {OVERWRITE, SAME, DP_START_NEW, clear},
    /* else a job that starts again must not wipe its progress */
    {OVERWRITE, CHECKPOINT, DP_START_NEW, clear},
    {NEVER, 0, DP_START_NEW, refuse_never},
    {CHECKPOINT, KNOWN, DP_START_RESUME, refuse_version},
    {KNOWN, SAME, DP_START_RESUME, refuse_config},
    {DIVERGED, 0, DP_START_RESUME, say_diverged},
    {CHECKPOINT | PAST, 0, DP_START_RESUME, refuse_past},
    {CHECKPOINT | DONE, 0, DP_START_COMPLETE, say_done},
    {CHECKPOINT, 0, DP_START_RESUME, warn_of_score},
    {DAMAGED, 0, DP_START_RESUME, refuse_damaged},
    {HISTORY, 0, DP_START_RESUME, refuse_lost},
    {0, 0, DP_START_NEW, say_again},
};

static unsigned when(bool is, unsigned flag) {
    return is ? flag : 0;
}

/* What the checkpoint says: the metrics alone may be newer, if a later one was
 * damaged. */
static unsigned look_at_checkpoint(const dp_snapshot *s, const dp_config *config) {
    int64_t epochs = config->train.epochs, patience = config->train.patience;
    if (!s) {
        return 0;
    }
    bool open = s->position > 0;
    bool done = s->epoch == epochs || (patience > 0 && s->patience >= patience);
    return CHECKPOINT | when(s->epoch + open > epochs, PAST) | when(done && !open, DONE);
}

static dp_status look(folder *f) {
    const dp_config *config = f->config;
    const dp_rundir *dir = f->start->dir;
    dp_history *h = &f->history;
    bool known = existing_config(f->start, &f->old);
    snprintf(f->unknown, sizeof f->unknown, "%s", known ? "" : dp_status_message());
    DP_TRY(dp_history_read(dp_rundir_metrics(dir), dp_rundir_checkpoints(dir), h));
    bool same = known && dp_config_same_run(&f->old, config);
    bool complete = strcmp(h->status, "complete") == 0;
    bool ended = complete || strcmp(h->status, "stopped") == 0;
    bool damaged = h->damaged > 0 || (h->metrics && !h->readable);
    unsigned checkpoint = look_at_checkpoint(f->start->from, config);
    f->is = (complete ? checkpoint : checkpoint & ~(unsigned)DONE) | when(known, KNOWN) |
            when(same, SAME) | when(strcmp(config->run.resume, "never") == 0, NEVER) |
            when(config->run.overwrite, OVERWRITE) |
            when(strcmp(h->status, "diverged") == 0, DIVERGED) | when(damaged, DAMAGED) |
            when(h->checkpoints || ended, HISTORY);
    f->is |=
        when(checkpoint || known || h->metrics || damaged || h->checkpoints, ANYTHING);
    return DP_OK;
}

/* On rank 0. */
static dp_status resume_or_refuse(const dp_config *config, dp_start *start) {
    folder f = {.config = config, .start = start};
    DP_TRY(dp_rundir_open(config->run.output, WAIT, &start->dir));
    DP_TRY(dp_checkpoint_newest(dp_rundir_checkpoints(start->dir), dp_facts_check,
                                &start->from));
    DP_TRY(look(&f));
    int k = 0;
    while ((f.is & cases[k].with) != cases[k].with || (f.is & cases[k].without) != 0) {
        k++;
    }
    start->how = cases[k].how;
    return cases[k].act ? cases[k].act(&f) : DP_OK;
}

dp_status dp_start_claim(dp_comm *comm, const dp_config *config, dp_start *out) {
    bool root = dp_comm_rank(comm) == 0;
    DP_TRY(dp_comm_agree(comm, root ? resume_or_refuse(config, out) : DP_OK));
    dp_comm_bcast(comm, &out->how, sizeof out->how);
    return DP_OK;
}

void dp_start_close(dp_start *start) {
    dp_snapshot_destroy(&start->from);
    dp_rundir_close(&start->dir);
}
