/* Whether what a checkpoint says fits together: files are edited, averaged, repacked and
 * damaged, and each fact is used somewhere as an index, a count or a divisor. Here they
 * are compared once, before anything uses one of them. */
#include "facts.h"
#include "nn/loss.h"
#include "nn/model.h"
#include "step/step.h"
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A file under examination, and what its config makes of it. */
typedef struct exam {
    const char *path;
    const dp_snapshot *s;
    dp_config config;
    const dp_loss *loss;
    int features, outputs;
    int64_t batch, steps; /* samples of a batch, batches of an epoch */
} exam;

static dp_status wrong(const exam *e, const char *fact, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static dp_status wrong(const exam *e, const char *fact, const char *format, ...) {
    char text[2600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dp_fail(DP_EFILE, "%s: %s %s: its facts contradict each other", e->path, fact,
                   text);
}

static dp_status same_text(const exam *e, const char *fact, const char *is,
                           const char *config) {
    return strcmp(is, config) == 0
               ? DP_OK
               : wrong(e, fact, "is '%.900s', but /config says '%.900s'", is, config);
}

static dp_status check_config(exam *e) {
    const dp_snapshot *s = e->s;
    dp_status status = same_text(e, "/model: loss", s->loss, e->config.loss.name);
    status =
        status ? status
               : same_text(e, "/optimizer: name", s->optimizer, e->config.optimizer.name);
    status =
        status ? status
               : same_text(e, "/data: normalize", s->normalize, e->config.data.normalize);
    if (status == DP_OK && s->seed != e->config.run.seed) {
        status =
            wrong(e, "/state: seed", "is %llu, but /config says %llu",
                  (unsigned long long)s->seed, (unsigned long long)e->config.run.seed);
    }
    e->loss = dp_loss_find(e->config.loss.name);
    if (status == DP_OK && s->regression != !e->loss->accuracy) {
        status = wrong(e, "/metrics: regression", "is %d, but the loss is %s",
                       s->regression, s->loss);
    }
    if (status == DP_OK && (s->ranks < 1 || s->threads < 1)) {
        status = wrong(e, s->ranks < 1 ? "/: ranks" : "/: threads", "is 0");
    }
    return status;
}

/* The inputs' number, without an overflow; the outputs'. */
static dp_status check_shape(exam *e) {
    const dp_snapshot *s = e->s;
    e->features = 1;
    for (int d = 0; d < s->nshape; d++) {
        if (__builtin_mul_overflow(e->features, s->shape[d], &e->features)) {
            return wrong(e, "/model: input_shape",
                         "has more values than a model can take");
        }
    }
    if (s->ntensors < 2) {
        return wrong(e, "/model: parameters", "names %d tensors, too few for a layer",
                     s->ntensors);
    }
    e->outputs = s->tensors[s->ntensors - 1].dim[0];
    return DP_OK;
}

/* Names and shapes of all tensors, by the model that the config makes. */
static dp_status check_model(const exam *e) {
    const dp_snapshot *s = e->s;
    dp_model *model = NULL;
    const dp_tensor *first = &s->tensors[0];
    if (first->ndim == 2 && first->dim[1] != e->features) {
        return wrong(e, "/model: input_shape", "has %d values, but /model/%s takes %d",
                     e->features, first->name, first->dim[1]);
    }
    dp_status status = dp_model_create(dp_kernels_find("auto"), e->config.model.layers,
                                       dp_model_input(s->nshape, s->shape, e->features),
                                       e->outputs, &model);
    if (status != DP_OK) {
        return status == DP_EUSAGE ? wrong(e, "/config: model.layers",
                                           "makes no model (%s)", dp_status_message())
                                   : status;
    }
    if (strcmp(s->layers, model->text) != 0) {
        status = wrong(e, "/model: layers",
                       "is '%.900s', but config and tensors make '%.900s'", s->layers,
                       model->text);
    } else if (s->ntensors != model->ntensors) {
        status = wrong(e, "/model: parameters", "names %d tensors, but %s has %d",
                       s->ntensors, model->text, model->ntensors);
    }
    for (int t = 0; status == DP_OK && t < s->ntensors; t++) {
        const dp_tensor *is = &s->tensors[t], *be = &model->tensors[t];
        if (strcmp(is->name, be->name) != 0) {
            status = wrong(e, "/model: parameters", "has %s where %s has %s", is->name,
                           model->text, be->name);
        } else if (!dp_tensor_same_shape(is, be)) {
            char name[64], has[DP_SHAPE_TEXT], needs[DP_SHAPE_TEXT];
            snprintf(name, sizeof name, "/model/%s", is->name);
            status =
                wrong(e, name, "has the shape %s, but %s needs %s",
                      dp_tensor_shape(is, has), model->text, dp_tensor_shape(be, needs));
        }
    }
    dp_model_destroy(&model);
    return status;
}

static dp_status check_names(const exam *e) {
    const dp_snapshot *s = e->s;
    bool named = s->nclasses == 2 && e->loss->accuracy;
    if (e->loss->labels ? s->nclasses != e->outputs : s->nclasses != 0 && !named) {
        return wrong(e, "/model: classes", "names %d, but the model has %d outputs (%s)",
                     s->nclasses, e->outputs, s->loss);
    }
    int targets = s->ncolumns == 0 ? 0 : e->loss->labels ? 1 : e->outputs;
    if (s->ntargets != targets) {
        return wrong(e, "/model: targets", "names %d of %d columns, but the model has %d",
                     s->ntargets, s->ncolumns, targets);
    }
    if (s->ncolumns > 0 && s->ncolumns - targets != e->features) {
        return wrong(e, "/model: columns", "names %d inputs, but the model takes %d",
                     s->ncolumns - targets, e->features);
    }
    if (s->ncolumns > 0 && s->bytes) {
        return wrong(e, "/data: bytes", "is 1, but a table of columns holds no bytes");
    }
    if (e->config.data.dir[0] && !e->config.data.train[0] && !s->bytes) {
        return wrong(e, "/data: bytes", "is 0, but the images of data.dir are bytes");
    }
    return DP_OK;
}

static dp_status check_data(const exam *e) {
    const dp_snapshot *s = e->s;
    bool standardized = strcmp(s->normalize, "standardize") == 0;
    int means = !standardized ? 0 : s->nshape > 1 ? 1 : e->features;
    if (s->nmean != means) {
        return wrong(e, "/data: mean", "has %d values, but %s makes %d of these inputs",
                     s->nmean, s->normalize, means);
    }
    for (int k = 0; k < s->nmean; k++) {
        if (!isfinite(s->mean[k])) {
            return wrong(e, "/data: mean", "has the value %g", s->mean[k]);
        }
        /* The kernels multiply by its reciprocal, in single precision. */
        if (!(s->std[k] > 0) || !isfinite(s->std[k]) ||
            !isfinite((float)(1 / s->std[k]))) {
            return wrong(e, "/data: std", "has the value %g", s->std[k]);
        }
    }
    return DP_OK;
}

/* How many samples there are, and how many steps an epoch has. */
static dp_status check_splits(exam *e) {
    const dp_snapshot *s = e->s;
    double validation = e->config.data.validation;
    if (s->train_samples < 1 || s->train_samples > INT_MAX) {
        return wrong(e, "/data: train_samples", "is %lld", (long long)s->train_samples);
    }
    if (s->test_samples > INT_MAX) {
        return wrong(e, "/data: test_samples", "is %lld", (long long)s->test_samples);
    }
    double all = (double)s->train_samples + (double)s->val_samples;
    double held = validation < 1 ? floor(validation * all) : validation;
    if ((double)s->val_samples != held) {
        return wrong(
            e, "/data: val_samples",
            "is %lld, but in /config data.validation = %g of %g samples makes %g",
            (long long)s->val_samples, validation, all, held);
    }
    if (e->config.data.limit > 0 && all > (double)e->config.data.limit) {
        return wrong(e, "/data: train_samples",
                     "and val_samples are %g together, but data.limit is %lld", all,
                     (long long)e->config.data.limit);
    }
    e->batch =
        e->config.train.batch_size > 0 ? e->config.train.batch_size : s->train_samples;
    if (e->batch > s->train_samples) {
        return wrong(e, "/data: train_samples",
                     "is %lld, less than one batch of %lld in /config",
                     (long long)s->train_samples, (long long)e->batch);
    }
    bool rest = s->train_samples % e->batch != 0 && !e->config.train.drop_last;
    e->steps = s->train_samples / e->batch + rest;
    return DP_OK;
}

/* Where the run stood. */
static dp_status check_progress(const exam *e) {
    const dp_snapshot *s = e->s;
    int64_t begun = 0;
    if (s->epoch > e->config.train.epochs) {
        return wrong(e, "/state: epoch", "is %lld, but /config says %lld",
                     (long long)s->epoch, (long long)e->config.train.epochs);
    }
    if (s->position >= e->steps) {
        return wrong(
            e, "/state: position",
            "is %lld, but an epoch of %lld train_samples has %lld steps by /config",
            (long long)s->position, (long long)s->train_samples, (long long)e->steps);
    }
    if (__builtin_mul_overflow(s->epoch, e->steps, &begun) ||
        s->step - s->position != begun) {
        return wrong(e, "/state: step",
                     "is %lld, but epoch is %lld, position is %lld, and an epoch of %lld "
                     "train_samples has %lld steps by /config",
                     (long long)s->step, (long long)s->epoch, (long long)s->position,
                     (long long)s->train_samples, (long long)e->steps);
    }
    if (s->samples != s->position * e->batch) {
        return wrong(e, "/state: samples",
                     "is %lld, but %lld steps of %lld samples are done",
                     (long long)s->samples, (long long)s->position, (long long)e->batch);
    }
    if (!isfinite(s->loss_sum) || s->loss_sum < 0 ||
        (s->position == 0 && s->loss_sum != 0)) {
        return wrong(e, "/state: loss_sum", "is %g after %lld steps of the epoch",
                     s->loss_sum, (long long)s->position);
    }
    if (!isfinite(s->lr) || s->lr < 0) {
        return wrong(e, "/optimizer: lr", "is %g", s->lr);
    }
    if (isinf(s->best)) {
        return wrong(e, "/state: best", "is %g", s->best);
    }
    if (s->best_step > s->step || s->best_step % e->steps != 0 ||
        (s->best_step > 0 && isnan(s->best))) {
        return wrong(e, "/state: best_step",
                     "is %lld, but step is %lld, an epoch has %lld steps, and best is %g",
                     (long long)s->best_step, (long long)s->step, (long long)e->steps,
                     s->best);
    }
    if (s->patience > s->epoch) {
        return wrong(e, "/state: patience", "is %lld after %lld epochs",
                     (long long)s->patience, (long long)s->epoch);
    }
    return DP_OK;
}

/* Rows are in order and of this run. */
static dp_status check_rows(const exam *e) {
    const dp_snapshot *s = e->s;
    const dp_epoch_row *epochs = s->rows.of[DP_EPOCHS];
    const dp_step_row *steps = s->rows.of[DP_STEPS];
    int64_t last = 0;
    for (int64_t i = 0; i < s->rows.n[DP_EPOCHS]; i++) {
        const dp_epoch_row *r = &epochs[i];
        if (r->epoch <= last || r->epoch > s->epoch || r->step != r->epoch * e->steps) {
            return wrong(e, "/metrics/epochs",
                         "row %lld (from 0) has epoch %lld, step %lld", (long long)i,
                         (long long)r->epoch, (long long)r->step);
        }
        last = r->epoch;
    }
    last = 0;
    for (int64_t i = 0; i < s->rows.n[DP_STEPS]; i++) {
        const dp_step_row *r = &steps[i];
        if (r->step <= last || r->step > s->step ||
            r->epoch != (r->step - 1) / e->steps + 1) {
            return wrong(e, "/metrics/steps",
                         "row %lld (from 0) has step %lld, epoch %lld", (long long)i,
                         (long long)r->step, (long long)r->epoch);
        }
        last = r->step;
    }
    return DP_OK;
}

static dp_status check_slots(const exam *e) {
    const dp_snapshot *s = e->s;
    const char *names[3] = {NULL};
    int n = dp_stepper_slots(&e->config, names);
    if (s->nslots != n) {
        return wrong(e, "/optimizer: slots", "names %d, but %s has %d", s->nslots,
                     s->optimizer, n);
    }
    for (int k = 0; k < n; k++) {
        if (strcmp(s->slot_name[k], names[k]) != 0) {
            return wrong(e, "/optimizer: slots", "has '%s', but %s has '%s'",
                         s->slot_name[k], s->optimizer, names[k]);
        }
    }
    return DP_OK;
}

static dp_status check_finite(const exam *e, const char *group, const float *slab) {
    for (int t = 0; t < e->s->ntensors; t++) {
        const dp_tensor *tensor = &e->s->tensors[t];
        for (size_t i = 0; i < tensor->count; i++) {
            double v = (double)slab[tensor->offset + i];
            if (!isfinite(v)) {
                return dp_fail(DP_EDIVERGED,
                               "%s: %s/%s: value %zu is %g: the run diverged, or the "
                               "file was changed; take an earlier checkpoint",
                               e->path, group, tensor->name, i, v);
            }
        }
    }
    return DP_OK;
}

dp_status dp_facts_config(const char *path, const dp_snapshot *s, dp_config *out) {
    return dp_config_parse(path, s->config, 0, NULL, out) == DP_OK
               ? DP_OK
               : dp_fail(DP_EFILE, "%s: /config: this version does not know it: %s", path,
                         dp_status_message());
}

dp_status dp_facts_check(const char *path, const dp_snapshot *s) {
    exam e = {.path = path, .s = s};
    if (dp_config_parse(path, s->config, 0, NULL, &e.config) != DP_OK) {
        return DP_OK;
    }
    dp_status status = check_config(&e);
    status = status ? status : check_shape(&e);
    status = status ? status : check_model(&e);
    status = status ? status : check_names(&e);
    status = status ? status : check_data(&e);
    status = status ? status : check_splits(&e);
    status = status ? status : check_progress(&e);
    status = status ? status : check_rows(&e);
    status = status ? status : check_slots(&e);
    status = status ? status : check_finite(&e, "/model", s->params);
    for (int k = 0; status == DP_OK && k < s->nslots; k++) {
        char group[64];
        snprintf(group, sizeof group, "/optimizer/%s", s->slot_name[k]);
        status = check_finite(&e, group, s->slot[k]);
    }
    return status;
}
