/* How a run begins: anew, from a checkpoint, or not at all. */
#include "base/log.h"
#include "facts.h"
#include "files/history.h"
#include "train_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT = 10 }; /* seconds for the ranks of a killed run to let go of its folder */

/* The config of the run that is in the folder: its checkpoint's, else its config.ini. */
static bool earlier_config(const dp_run *run, dp_config *old) {
    const char *path = dp_rundir_config(run->dir);
    return run->found ? dp_config_parse(path, run->found->config, 0, NULL, old) == DP_OK
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
    dp_config old;
    dp_history history;
    char unknown[512]; /* why its config isn't known */
    unsigned is;
} folder;

static dp_status start_new(dp_run *run, const folder *f) {
    run->start = DP_START_NEW;
    return DP_OK;
}

static dp_status start_again(dp_run *run, const folder *f) {
    if (f->history.steps > 0) {
        dp_log("%s holds a run that ended after step %lld or later, before its first "
               "checkpoint: "
               "it starts anew",
               run->config.run.output, (long long)f->history.last);
    }
    return start_new(run, f);
}

static dp_status clear(dp_run *run, const folder *f) {
    dp_checkpoint_free(&run->found);
    run->start = DP_START_NEW;
    return dp_rundir_clear(run->dir);
}

static dp_status resume(dp_run *run, const folder *f) {
    const dp_snapshot *s = run->found;
    if (s->epoch == f->old.train.epochs && s->position == 0 &&
        run->config.train.epochs > s->epoch &&
        s->epoch % run->config.train.eval_every != 0) {
        dp_warn("epoch %lld was scored because it was the last one: a run that was not "
                "continued would have no score there, and may have another best epoch",
                (long long)s->epoch);
    }
    run->start = DP_START_RESUME;
    return DP_OK;
}

static dp_status say_done(dp_run *run, const folder *f) {
    run->start = DP_START_COMPLETE;
    dp_log("%s is complete: %lld epochs, %lld steps. Results: %s, %s/last.h5",
           run->config.run.output, (long long)run->found->epoch,
           (long long)run->found->step, dp_rundir_metrics(run->dir),
           dp_rundir_checkpoints(run->dir));
    return DP_OK;
}

static dp_status say_diverged(dp_run *run, const folder *f) {
    return dp_fail(
        DP_EDIVERGED,
        "the run in %s has diverged: lower optimizer.lr or set optimizer.clip_norm, "
        "with another run.output or run.overwrite=true",
        run->config.run.output);
}

static dp_status refuse_never(dp_run *run, const folder *f) {
    return dp_fail(
        DP_EUSAGE,
        "%s holds a run already and run.resume is never: choose another run.output, "
        "or set run.overwrite=true to start anew in its place",
        run->config.run.output);
}

static dp_status refuse_version(dp_run *run, const folder *f) {
    return dp_fail(DP_EFILE,
                   "%s: the checkpoint of step %lld has a config that this version does "
                   "not know (%s): use the version that wrote it, or another run.output",
                   run->config.run.output, (long long)run->found->step, f->unknown);
}

static dp_status refuse_config(dp_run *run, const folder *f) {
    return dp_config_may_resume(&f->old, &run->config);
}

/* Its parameters are those of no run of so few epochs. */
static dp_status refuse_past(dp_run *run, const folder *f) {
    int64_t least = run->found->epoch + (run->found->position > 0);
    return dp_fail(
        DP_EUSAGE,
        "train.epochs = %lld, but the run in %s is at step %lld, in epoch %lld: "
        "set train.epochs to %lld or more to go on, choose another run.output, "
        "or set run.resume=never and run.overwrite=true to start anew in its "
        "place",
        (long long)run->config.train.epochs, run->config.run.output,
        (long long)run->found->step, (long long)least, (long long)least);
}

static const char INSTEAD[] = "choose another run.output, or set run.overwrite=true to "
                              "start anew in its place";

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

static dp_status refuse_damaged(dp_run *run, const folder *f) {
    char what[512];
    history_text(&f->history, what, sizeof what);
    return dp_fail(DP_EFILE,
                   "%s holds %s, but no checkpoint that can be read; %d damaged: %s; put "
                   "good copies back, %s",
                   run->config.run.output, what, f->history.damaged,
                   f->history.damaged > 0 ? f->history.names : "none", INSTEAD);
}

static dp_status refuse_lost(dp_run *run, const folder *f) {
    char what[512];
    history_text(&f->history, what, sizeof what);
    return dp_fail(DP_EUSAGE,
                   "%s holds %s, of a run that is %s, but its checkpoints are gone: put "
                   "one back, %s",
                   run->config.run.output, what,
                   f->history.status[0] ? f->history.status : "unknown", INSTEAD);
}

/* The first row that fits says what is done. */
static const struct {
    unsigned with, without;
    dp_status (*act)(dp_run *run, const folder *f);
} takes[] = {
    {0, ANYTHING, start_new},
    {OVERWRITE | NEVER, 0, clear},
    {OVERWRITE, SAME, clear},
    {OVERWRITE, CHECKPOINT,
     clear}, /* else a job that starts again must not wipe its progress */
    {NEVER, 0, refuse_never},
    {CHECKPOINT, KNOWN, refuse_version},
    {KNOWN, SAME, refuse_config},
    {DIVERGED, 0, say_diverged},
    {CHECKPOINT | PAST, 0, refuse_past},
    {CHECKPOINT | DONE, 0, say_done},
    {CHECKPOINT, 0, resume},
    {DAMAGED, 0, refuse_damaged},
    {HISTORY, 0, refuse_lost},
    {0, 0, start_again},
};

static unsigned when(bool is, unsigned flag) {
    return is ? flag : 0;
}

/* What the checkpoint says: the metrics alone may be newer, if a later one was damaged. */
static unsigned look_at_found(const dp_run *run) {
    const dp_snapshot *s = run->found;
    int64_t epochs = run->config.train.epochs, patience = run->config.train.patience;
    if (!s) {
        return 0;
    }
    bool open = s->position > 0;
    bool done = s->epoch == epochs || (patience > 0 && s->patience >= patience);
    return CHECKPOINT | when(s->epoch + open > epochs, PAST) | when(done && !open, DONE);
}

static dp_status look(dp_run *run, folder *f) {
    const dp_config *config = &run->config;
    dp_history *h = &f->history;
    bool known = earlier_config(run, &f->old);
    snprintf(f->unknown, sizeof f->unknown, "%s", known ? "" : dp_status_message());
    dp_status s =
        dp_history_read(dp_rundir_metrics(run->dir), dp_rundir_checkpoints(run->dir), h);
    bool same = known && dp_config_same_run(&f->old, config);
    bool complete = strcmp(h->status, "complete") == 0;
    bool ended = complete || strcmp(h->status, "stopped") == 0;
    bool damaged = h->damaged > 0 || (h->metrics && !h->readable);
    unsigned found = look_at_found(run);
    f->is = (complete ? found : found & ~(unsigned)DONE) | when(known, KNOWN) |
            when(same, SAME) | when(strcmp(config->run.resume, "never") == 0, NEVER) |
            when(config->run.overwrite, OVERWRITE) |
            when(strcmp(h->status, "diverged") == 0, DIVERGED) | when(damaged, DAMAGED) |
            when(h->checkpoints || ended, HISTORY);
    f->is |=
        when(run->found || known || h->metrics || damaged || h->checkpoints, ANYTHING);
    return s;
}

static dp_status take_over(dp_run *run) {
    dp_status s = dp_checkpoint_newest(dp_rundir_checkpoints(run->dir), dp_facts_check,
                                       &run->found);
    folder f;
    s = s != DP_OK ? s : look(run, &f);
    if (s != DP_OK) {
        return s;
    }
    int k = 0;
    while ((f.is & takes[k].with) != takes[k].with || (f.is & takes[k].without) != 0) {
        k++;
    }
    return takes[k].act(run, &f);
}

dp_status dp_run_claim(dp_run *run) {
    dp_status s = DP_OK;
    if (dp_comm_rank(run->comm) == 0) {
        s = dp_rundir_open(run->config.run.output, WAIT, &run->dir);
        if (s == DP_OK) {
            s = take_over(run);
        }
    }
    s = dp_comm_agree(run->comm, s);
    dp_comm_bcast(run->comm, &run->start, sizeof run->start);
    run->claimed = true;
    return s;
}

static dp_status check_data(const dp_run *run) {
    const char *old = run->found->fingerprint, *now = run->session->data->fingerprint;
    if (strcmp(old, now) != 0) {
        return dp_fail(
            DP_EDATA,
            "the data has changed since the run in %s began (fingerprint %.12s, was "
            "%.12s): give it the same data, or start anew with run.overwrite=true",
            run->config.run.output, now, old);
    }
    return DP_OK;
}

static void take_progress(dp_run *run) {
    const dp_snapshot *f = run->found;
    run->at = (dp_progress_state){.epoch = f->epoch,
                                  .step = f->step,
                                  .position = f->position,
                                  .samples = f->samples,
                                  .loss_sum = f->loss_sum,
                                  .lr = f->lr,
                                  .best = f->best,
                                  .best_step = f->best_step,
                                  .patience = f->patience};
}

/* The optimizer's state, tensor by tensor, into the stepper of rank 0. */
static dp_status take_slots(dp_run *run) {
    const dp_snapshot *f = run->found;
    const dp_model *model = run->session->model;
    const char *name = NULL;
    for (int k = 0; dp_stepper_slot(run->stepper, k, &name); k++) {
        float *slot = dp_stepper_slot(run->stepper, k, &name);
        int from = 0;
        while (from < f->nslots && strcmp(f->slot_name[from], name) != 0) {
            from++;
        }
        if (from == f->nslots) {
            return dp_fail(DP_EFILE, "the checkpoint of step %lld has no /optimizer/%s",
                           (long long)f->step, name);
        }
        for (int t = 0; t < model->ntensors; t++) {
            memcpy(slot + model->tensors[t].offset, f->slot[from] + f->tensors[t].offset,
                   model->tensors[t].count * sizeof(float));
        }
    }
    return DP_OK;
}

dp_status dp_run_restore(dp_run *run) {
    dp_session *session = run->session;
    dp_comm *comm = run->comm;
    bool root = dp_comm_rank(comm) == 0;
    run->at = (dp_progress_state){.best = NAN};
    run->saved_step = run->kept_step = -1;
    dp_status s = DP_OK;
    if (run->start == DP_START_NEW) {
        s = root ? dp_model_init(session->model, &run->config) : DP_OK;
        s = dp_comm_agree(comm, s);
        dp_comm_bcast(comm, session->model->params,
                      session->model->floats * sizeof(float));
        return s;
    }
    s = dp_comm_agree(comm, root ? check_data(run) : DP_OK);
    if (s == DP_OK) {
        s = dp_session_load(session, run->found, run->config.run.output);
    }
    if (s == DP_OK && root) {
        take_progress(run);
        s = take_slots(run);
    }
    s = dp_comm_agree(comm, s);
    if (s != DP_OK) {
        return s;
    }
    dp_comm_bcast(comm, &run->at, sizeof run->at);
    run->saved_step = run->kept_step = run->at.step;
    const char *name = NULL;
    for (int k = 0; dp_stepper_slot(run->stepper, k, &name); k++) {
        dp_comm_bcast(comm, dp_stepper_slot(run->stepper, k, &name),
                      session->model->floats * sizeof(float));
    }
    dp_log("resume  from step %lld (epoch %lld, %lld steps into the next)",
           (long long)run->at.step, (long long)run->at.epoch,
           (long long)run->at.position);
    return DP_OK;
}
