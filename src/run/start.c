/* How a run begins: anew, from a checkpoint, or not at all. */
#include "base/log.h"
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

static dp_status take_over(dp_run *run) {
    const dp_config *config = &run->config;
    const char *metrics = dp_rundir_metrics(run->dir);
    dp_status s = dp_checkpoint_newest(dp_rundir_checkpoints(run->dir), &run->found);
    if (s != DP_OK) {
        return s;
    }
    dp_config old;
    bool known = earlier_config(run, &old);
    if (!known && !run->found && access(metrics, F_OK) != 0) {
        return DP_OK;
    }
    char status[16];
    dp_metrics_read_status(metrics, status, sizeof status);
    bool never = strcmp(config->run.resume, "never") == 0;
    bool same = known && dp_config_same_run(&old, config);
    if (config->run.overwrite && (never || !same)) {
        dp_checkpoint_free(&run->found);
        return dp_rundir_clear(run->dir);
    }
    if (never) {
        return dp_fail(
            DP_EUSAGE,
            "%s holds a run already and run.resume is never: choose another run.output, "
            "or set run.overwrite=true to start anew in its place",
            config->run.output);
    }
    if (run->found && !known) {
        return dp_fail(
            DP_EFILE,
            "%s: the checkpoint of step %lld has a config that this version does not "
            "know (%s): use the version that wrote it, or another run.output",
            config->run.output, (long long)run->found->step, dp_status_message());
    }
    if (!run->found &&
        (strcmp(status, "complete") == 0 || strcmp(status, "stopped") == 0)) {
        return dp_fail(
            DP_EUSAGE,
            "%s holds the metrics of a run that is %s, but no checkpoint: choose another "
            "run.output, or set run.overwrite=true to start anew in its place",
            config->run.output, status);
    }
    if (known) {
        s = dp_config_may_resume(&old, config);
        if (s != DP_OK) {
            return s;
        }
    }
    if (strcmp(status, "diverged") == 0) {
        return dp_fail(
            DP_EDIVERGED,
            "the run in %s has diverged: lower optimizer.lr or set optimizer.clip_norm, "
            "with another run.output or run.overwrite=true",
            config->run.output);
    }
    run->start = run->found ? DP_START_RESUME : DP_START_NEW;
    if (strcmp(status, "complete") == 0 && run->found &&
        config->train.epochs <= old.train.epochs) {
        run->start = DP_START_COMPLETE;
        dp_log("%s is complete: %lld epochs, %lld steps. Results: %s, %s/last.h5",
               config->run.output, (long long)run->found->epoch,
               (long long)run->found->step, metrics, dp_rundir_checkpoints(run->dir));
    }
    return DP_OK;
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
