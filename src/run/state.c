/* The state of a run as a checkpoint holds it: as it is now, or as it was in the best
 * epoch, of which a copy is kept until it is on the disk. */
#include "base/memory.h"
#include "base/version.h"
#include "train_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fills the snapshot of the run; arrays are borrowed, only the class names are made
 * here. */
static void fill_snapshot(const dp_run *run, dp_snapshot *s, char **names) {
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

/* A checkpoint may only replace the last good one if training can continue from it. */
dp_status dp_run_check_finite(dp_run *run) {
    const dp_model *model = run->session->model;
    const char *what = "parameters", *bad = bad_name(model, model->params), *name = NULL;
    const float *slot = NULL;
    for (int k = 0; bad == NULL && (slot = dp_stepper_slot(run->stepper, k, &name));
         k++) {
        what = name;
        bad = bad_name(model, slot);
    }
    if (bad == NULL) {
        return DP_OK;
    }
    char text[100];
    snprintf(text, sizeof text, "first layer with bad %s: %s", what, bad);
    return dp_run_diverged(run, text);
}

dp_status dp_run_remember(dp_run *run) {
    const dp_model *model = run->session->model;
    dp_kept *last_good = &run->last_good;
    const char *name = NULL;
    const float *slot = NULL;
    dp_status s = dp_run_check_finite(run);
    for (int k = -1; s == DP_OK; k++) {
        const float *from =
            k < 0 ? model->params : (slot = dp_stepper_slot(run->stepper, k, &name));
        if (from == NULL) {
            break;
        }
        float **to = k < 0 ? &last_good->params : &last_good->slot[k];
        void *slab = *to;
        if (slab == NULL) {
            s = dp_memory_alloc(model->floats, sizeof(float), &slab);
            *to = slab;
        }
        if (s == DP_OK) {
            memcpy(*to, from, model->floats * sizeof(float));
        }
    }
    last_good->progress = run->progress;
    last_good->there = s == DP_OK;
    return s;
}

void dp_run_forget(dp_run *run) {
    dp_memory_free(&run->last_good.params);
    for (int k = 0; k < DP_SLOTS; k++) {
        dp_memory_free(&run->last_good.slot[k]);
    }
    run->last_good.there = false;
}

int64_t dp_run_state_bytes(const dp_run *run) {
    enum { HEAD = 16384 }; /* what is not numbers */
    int64_t slabs = 1;
    const char *name = NULL;
    while (dp_stepper_slot(run->stepper, (int)slabs - 1, &name) != NULL) {
        slabs++;
    }
    return HEAD + slabs * (int64_t)(run->session->model->floats * sizeof(float));
}

dp_status dp_run_build(dp_run *run, bool last_good, bool best, dp_checkpoint **out) {
    char **names = number_names(run->session->data->classes);
    const dp_progress_state *progress =
        last_good ? &run->last_good.progress : &run->progress;
    dp_snapshot s = {
        .epoch = progress->epoch,
        .step = progress->step,
        .position = progress->position,
        .loss_sum = progress->loss_sum,
        .samples = progress->samples,
        .lr = progress->lr,
        .seed = run->config.run.seed,
        .best = progress->best,
        .best_step = progress->best_step,
        .patience = progress->patience,
        .regression = !run->session->loss->accuracy,
        .rows = dp_metrics_unsaved(run->metrics, progress->step, progress->epoch)};
    fill_snapshot(run, &s, names);
    if (last_good) {
        s.params = run->last_good.params;
        memcpy(s.slot, run->last_good.slot, sizeof s.slot);
    }
    dp_status status = dp_checkpoint_build(dp_rundir_checkpoints(run->dir), &s, best,
                                           (int)run->config.checkpoint.keep, out);
    free(names);
    return status;
}
