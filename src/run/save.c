/* What a run leaves on the disk: rows of steps, checkpoints, its status. */
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "train_impl.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Remembers why the run must end; all ranks hear of it by the next step's stop. */
static void must_end(dp_run *run, dp_status s) {
    if (run->failure == DP_OK) {
        run->failure = s;
        snprintf(run->why, sizeof run->why, "%s", dp_status_message());
    }
}

/* metrics.h5 could not be written. That alone ends no run. */
static void flush_failed(dp_run *run, dp_status s, const char *text) {
    if (dp_rundir_lost(run->dir)) {
        must_end(run, s);
    } else if (!run->flush_failed) {
        dp_warn("%s; training goes on, the rows are kept in memory and written later",
                text);
    }
    run->flush_failed = true;
}

/* Waits for the writer and takes what it found. */
static void take_result(dp_run *run) {
    if (!dp_writer_busy(run->writer)) {
        return;
    }
    dp_status metrics = DP_OK;
    const char *text = NULL;
    dp_status s = dp_writer_wait(run->writer, &metrics, &text);
    dp_metrics_placed(run->metrics, metrics == DP_OK);
    if (s == DP_OK) {
        run->kept_step = run->handed_step;
    } else {
        must_end(run, s);
    }
    if (metrics != DP_OK) {
        flush_failed(run, metrics, text);
    } else {
        run->flush_failed = false;
    }
}

bool dp_run_poll(dp_run *run) {
    if (run->dir && dp_writer_idle(run->writer)) {
        take_result(run);
    }
    return run->failure != DP_OK;
}

/* How the files are, on rank 0. */
static dp_status settle(dp_run *run) {
    take_result(run);
    return run->failure == DP_OK ? DP_OK : dp_fail(run->failure, "%s", run->why);
}

dp_status dp_run_settle(dp_run *run) {
    return dp_comm_agree(run->comm, run->dir ? settle(run) : DP_OK);
}

void dp_run_record_step(dp_run *run, const dp_step_result *r, int n, double lr) {
    if (!run->metrics || (run->at.step - 1) % run->config.metrics.every != 0) {
        return;
    }
    dp_step_row row = {.step = run->at.step,
                       .epoch = run->at.epoch + 1,
                       .samples = n,
                       .loss = r->loss,
                       .lr = lr,
                       .grad_norm = r->grad_norm,
                       .seconds = r->seconds,
                       .comm_seconds = r->comm_seconds};
    dp_status s = dp_metrics_step(run->metrics, &row);
    if (s != DP_OK) {
        must_end(run, s);
    }
    if (dp_writer_busy(run->writer)) {
        return;
    }
    s = dp_metrics_tick(run->metrics);
    if (s != DP_OK) {
        flush_failed(run, s, dp_status_message());
    }
}

dp_status dp_run_finish(dp_run *run, const char *status) {
    dp_status s = run->dir ? settle(run) : DP_OK;
    if (run->dir && s == DP_OK) {
        struct timespec pause = {.tv_nsec = 100000000};
        dp_metrics_status(run->metrics, status);
        s = dp_metrics_flush(run->metrics);
        for (int64_t i = 0; i < run->config.checkpoint.retries && s != DP_OK; i++) {
            nanosleep(&pause, NULL);
            s = dp_metrics_flush(run->metrics);
        }
    }
    return dp_comm_agree(run->comm, s);
}

/* The checkpoint's view of the run; arrays are borrowed, only the class names are made
 * here. */
static void describe(const dp_run *run, dp_snapshot *s, char **names) {
    const dp_session *session = run->session;
    const dp_dataset *data = session->data;
    const dp_model *model = session->model;
    snprintf(s->program, sizeof s->program, "%s", dp_version_program());
    snprintf(s->commit, sizeof s->commit, "%s", dp_version_commit());
    s->ranks = dp_comm_size(run->comm);
    s->threads = dp_session_step_threads(session);
    s->config = run->text;
    s->ntensors = model->ntensors;
    s->tensors = model->tensors;
    s->params = model->params;
    snprintf(s->layers, sizeof s->layers, "%s", model->text);
    snprintf(s->loss, sizeof s->loss, "%s", run->config.loss.name);
    s->nshape = data->train.nshape;
    memcpy(s->shape, data->train.shape, sizeof s->shape);
    s->nclasses = data->classes > 0 ? data->classes : data->class_name ? 2 : 0;
    s->classes = data->class_name ? data->class_name : names;
    if (data->train.column) {
        s->ncolumns =
            data->train.features + (data->train.ntargets > 0 ? data->train.ntargets : 1);
        s->ntargets = s->ncolumns - data->train.features;
        s->columns = data->train.column;
    }
    snprintf(s->optimizer, sizeof s->optimizer, "%s", run->config.optimizer.name);
    const char *name = NULL;
    while (s->nslots < DP_SLOTS && (s->slot[s->nslots] = dp_stepper_slot(
                                        run->stepper, s->nslots, &name)) != NULL) {
        snprintf(s->slot_name[s->nslots++], sizeof s->slot_name[0], "%s", name);
    }
    snprintf(s->normalize, sizeof s->normalize, "%s", run->config.data.normalize);
    s->bytes = data->train.bytes;
    s->nmean = data->nmean;
    s->mean = data->mean;
    s->std = data->std;
    snprintf(s->fingerprint, sizeof s->fingerprint, "%s", data->fingerprint);
    s->train_samples = data->train_n;
    s->val_samples = data->val_n;
    s->test_samples = data->test.n;
}

/* "0", "1", ... for data sets whose classes have no names. Owner: the caller. */
static char **number_names(int n) {
    char **names = dp_alloc((size_t)n + 1, sizeof *names + 12);
    for (int c = 0; c < n; c++) {
        names[c] = (char *)(names + n + 1) + 12 * c;
        snprintf(names[c], 12, "%d", c);
    }
    return names;
}

/* The first tensor of the slab with a value that is not finite, or NULL. */
static const char *bad_name(const dp_model *model, const float *slab) {
    for (int t = 0; t < model->ntensors; t++) {
        const dp_tensor *tensor = &model->tensors[t];
        for (size_t i = 0; i < tensor->count; i++) {
            if (!isfinite(slab[tensor->offset + i])) {
                return tensor->name;
            }
        }
    }
    return NULL;
}

/* A checkpoint is only worth the good one before it if one can go on from it. */
static dp_status check_finite(dp_run *run, const dp_snapshot *s) {
    const dp_model *model = run->session->model;
    const char *what = "parameters", *bad = bad_name(model, s->params);
    for (int k = 0; k < s->nslots && bad == NULL; k++) {
        what = s->slot_name[k];
        bad = bad_name(model, s->slot[k]);
    }
    if (bad == NULL) {
        return DP_OK;
    }
    char text[100];
    snprintf(text, sizeof text, "first layer with bad %s: %s", what, bad);
    return dp_run_diverged(run, text);
}

static dp_status write_checkpoint(dp_run *run, bool best) {
    char **names = number_names(run->session->data->classes);
    dp_snapshot s = {.epoch = run->at.epoch,
                     .step = run->at.step,
                     .position = run->at.position,
                     .loss_sum = run->at.loss_sum,
                     .samples = run->at.samples,
                     .lr = run->at.lr,
                     .seed = run->config.run.seed,
                     .best = run->at.best,
                     .best_step = run->at.best_step,
                     .patience = run->at.patience,
                     .regression = !run->session->loss->accuracy};
    describe(run, &s, names);
    s.epochs = (dp_epoch_row *)dp_metrics_epochs(run->metrics, &s.nepochs);
    s.steps = (dp_step_row *)dp_metrics_unsaved(run->metrics, &s.nsteps);
    dp_h5 *metrics = NULL;
    dp_checkpoint *checkpoint = NULL;
    dp_status status = check_finite(run, &s);
    status = status ? status
                    : dp_checkpoint_build(dp_rundir_checkpoints(run->dir), &s, best,
                                          (int)run->config.checkpoint.keep, &checkpoint);
    status = status ? status : dp_metrics_build(run->metrics, &metrics);
    if (status == DP_OK) {
        run->handed_step = s.step;
        dp_writer_start(run->writer, metrics, checkpoint,
                        (int)run->config.checkpoint.retries);
    } else {
        dp_checkpoint_drop(&checkpoint);
    }
    free(names);
    return status;
}

dp_status dp_run_checkpoint(dp_run *run, bool best) {
    dp_run_land(run);
    dp_stepper_gather(run->stepper);
    if (best) {
        run->at.best_step = run->at.step;
    }
    dp_status s = run->dir ? settle(run) : DP_OK;
    if (run->dir && s == DP_OK) {
        s = write_checkpoint(run, best);
    }
    s = dp_comm_agree(run->comm, s);
    if (s == DP_OK) {
        run->saved_step = run->at.step;
    }
    return s;
}

dp_status dp_run_diverged(dp_run *run, const char *where) {
    char kept[64] = "no checkpoint was written before";
    if (run->dir) {
        take_result(run);
        dp_metrics_status(run->metrics, "diverged");
        dp_status s = dp_metrics_flush(run->metrics);
        if (s != DP_OK) {
            dp_warn("%s", dp_status_message());
        }
    }
    if (run->kept_step >= 0) {
        snprintf(kept, sizeof kept, "the checkpoint of step %lld is kept",
                 (long long)run->kept_step);
    }
    return dp_fail(
        DP_EDIVERGED,
        "diverged at step %lld (epoch %lld): loss %g, gradient norm %g, learning "
        "rate %g, %s; %s. Lower optimizer.lr or set optimizer.clip_norm",
        (long long)run->at.step, (long long)run->step_epoch, fabs(run->loss),
        run->grad_norm, run->at.lr, where, kept);
}
