/* What training changes, and how it gets into a checkpoint and out of one. */
#include "state.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- out of a checkpoint ---- */

dp_status dp_state_init(dp_session *session, dp_stepper *stepper,
                        dp_progress_state *progress) {
    const dp_model *model = session->model;
    bool root = dp_comm_rank(session->comm) == 0;
    size_t bytes = model->floats * sizeof(float);
    *progress = (dp_progress_state){.best = NAN};
    DP_TRY(dp_comm_agree(session->comm,
                         root ? dp_model_init(session->model, &session->config) : DP_OK));
    dp_comm_bcast(session->comm, model->params, bytes);
    const char *name = NULL;
    for (int k = 0; dp_stepper_slot(stepper, k, &name); k++) {
        if (strcmp(name, "raw") == 0) {
            memcpy(dp_stepper_slot(stepper, k, &name), model->params, bytes);
        }
    }
    return DP_OK;
}

static dp_status check_data(const dp_snapshot *from, const dp_session *session) {
    const char *now = session->data->fingerprint;
    if (strcmp(from->fingerprint, now) != 0) {
        return dp_fail(
            DP_EDATA,
            "the data has changed since the run in %s began (fingerprint %.12s, was "
            "%.12s): give it the same data, or start anew with run.overwrite=true "
            "run.resume=never",
            session->config.run.output, now, from->fingerprint);
    }
    return DP_OK;
}

/* The optimizer's state, tensor by tensor, into the stepper of rank 0. */
static dp_status restore_optimizer(const dp_snapshot *f, const dp_model *model,
                                   const dp_stepper *stepper) {
    const char *name = NULL;
    for (int k = 0; dp_stepper_slot(stepper, k, &name); k++) {
        float *slot = dp_stepper_slot(stepper, k, &name);
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

dp_status dp_state_restore(const dp_snapshot *from, dp_session *session,
                           dp_stepper *stepper, dp_progress_state *progress) {
    dp_comm *comm = session->comm;
    const dp_model *model = session->model;
    DP_TRY(dp_comm_agree(comm, from ? check_data(from, session) : DP_OK));
    DP_TRY(dp_session_load(session, from, session->config.run.output));
    DP_TRY(dp_comm_agree(comm, from ? restore_optimizer(from, model, stepper) : DP_OK));
    if (from) {
        *progress = (dp_progress_state){.epoch = from->epoch,
                                        .step = from->step,
                                        .position = from->position,
                                        .samples = from->samples,
                                        .loss_sum = from->loss_sum,
                                        .correct = from->position > 0 ? from->correct : 0,
                                        .lr = from->lr,
                                        .best = from->best,
                                        .best_step = from->best_step,
                                        .patience = from->patience};
    }
    dp_comm_bcast(comm, progress, sizeof *progress);
    const char *name = NULL;
    float *slot = NULL;
    for (int k = 0; (slot = dp_stepper_slot(stepper, k, &name)) != NULL; k++) {
        dp_comm_bcast(comm, slot, model->floats * sizeof(float));
    }
    dp_log("resume  from step %lld (epoch %lld, %lld steps into the next)",
           (long long)progress->step, (long long)progress->epoch,
           (long long)progress->position);
    return DP_OK;
}

/* ---- into a checkpoint ---- */

void dp_state_snapshot(const dp_session *session, const dp_stepper *stepper, char *config,
                       char **classes, dp_snapshot *s) {
    const dp_dataset *data = session->data;
    const dp_model *model = session->model;
    snprintf(s->program, sizeof s->program, "%s", dp_version_program());
    snprintf(s->commit, sizeof s->commit, "%s", dp_version_commit());
    s->ranks = dp_comm_size(session->comm);
    s->threads = dp_session_step_threads(session);
    s->config = config;
    s->seed = session->config.run.seed;
    s->regression = !session->loss->accuracy;
    s->ntensors = model->ntensors;
    s->tensors = model->tensors;
    s->params = model->params;
    snprintf(s->layers, sizeof s->layers, "%s", model->text);
    snprintf(s->loss, sizeof s->loss, "%s", session->config.loss.name);
    s->nshape = data->train.nshape;
    memcpy(s->shape, data->train.shape, sizeof s->shape);
    s->nclasses = data->classes > 0 ? data->classes : dp_dataset_class_names(data);
    s->classes = data->class_name ? data->class_name : classes;
    if (data->train.column) {
        s->ntargets = data->train.ntargets > 0 ? data->train.ntargets : 1;
        s->ncolumns = data->train.features + s->ntargets;
        s->columns = data->train.column;
    }
    snprintf(s->optimizer, sizeof s->optimizer, "%s", session->config.optimizer.name);
    const char *name = NULL;
    while (s->nslots < DP_SLOTS &&
           (s->slot[s->nslots] = dp_stepper_slot(stepper, s->nslots, &name)) != NULL) {
        snprintf(s->slot_name[s->nslots++], sizeof s->slot_name[0], "%s", name);
    }
    snprintf(s->normalize, sizeof s->normalize, "%s", session->config.data.normalize);
    s->bytes = data->train.bytes;
    s->nmean = data->nmean;
    s->mean = data->mean;
    s->std = data->std;
    snprintf(s->fingerprint, sizeof s->fingerprint, "%s", data->fingerprint);
    s->train_samples = data->train_n;
    s->val_samples = data->val_n;
    s->test_samples = data->test.n;
}

void dp_state_set_progress(const dp_progress_state *progress, dp_snapshot *s) {
    s->epoch = progress->epoch;
    s->step = progress->step;
    s->position = progress->position;
    s->samples = progress->samples;
    s->loss_sum = progress->loss_sum;
    s->correct = progress->correct;
    s->lr = progress->lr;
    s->best = progress->best;
    s->best_step = progress->best_step;
    s->patience = progress->patience;
}

/* ---- copies ---- */

static dp_status copy_slab(const float *from, size_t floats, float **to) {
    if (*to == NULL) {
        DP_TRY(dp_memory_alloc(floats, sizeof(float), (void **)to));
    }
    memcpy(*to, from, floats * sizeof(float));
    return DP_OK;
}

dp_status dp_state_copy_from(dp_state_copy *copy, const dp_snapshot *from, size_t floats,
                             const dp_progress_state *progress) {
    copy->there = false;
    DP_TRY(copy_slab(from->params, floats, &copy->params));
    for (int k = 0; k < from->nslots; k++) {
        DP_TRY(copy_slab(from->slot[k], floats, &copy->slot[k]));
    }
    copy->progress = *progress;
    copy->there = true;
    return DP_OK;
}

void dp_state_copy_free(dp_state_copy *copy) {
    dp_memory_free(&copy->params);
    for (int k = 0; k < DP_SLOTS; k++) {
        dp_memory_free(&copy->slot[k]);
    }
}
