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

/* DP_EFILE where a fact is wrong; the message follows the fact's name. */
static dp_status check(const exam *e, bool is_wrong, const char *fact, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
static dp_status check(const exam *e, bool is_wrong, const char *fact, const char *format,
                       ...) {
    if (!is_wrong) {
        return DP_OK;
    }
    char text[2600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dp_fail(DP_EFILE, "%s: %s %s: its facts contradict each other", e->path, fact,
                   text);
}

static dp_status check_text(const exam *e, const char *fact, const char *is,
                            const char *config) {
    return check(e, strcmp(is, config) != 0, fact,
                 "is '%.900s', but /config says '%.900s'", is, config);
}

static dp_status check_config(exam *e) {
    const dp_snapshot *s = e->s;
    const dp_config *config = &e->config;
    e->loss = dp_loss_find(config->loss.name);
    DP_TRY(check_text(e, "/model: loss", s->loss, config->loss.name));
    DP_TRY(check_text(e, "/optimizer: name", s->optimizer, config->optimizer.name));
    DP_TRY(check_text(e, "/data: normalize", s->normalize, config->data.normalize));
    DP_TRY(check(e, s->seed != config->run.seed, "/state: seed",
                 "is %llu, but /config says %llu", (unsigned long long)s->seed,
                 (unsigned long long)config->run.seed));
    DP_TRY(check(e, s->regression != !e->loss->accuracy, "/metrics: regression",
                 "is %d, but the loss is %s", s->regression, s->loss));
    DP_TRY(check(e, s->ranks < 1, "/: ranks", "is 0"));
    return check(e, s->threads < 1, "/: threads", "is 0");
}

/* The inputs' number, without an overflow; the outputs'. */
static dp_status check_shape(exam *e) {
    const dp_snapshot *s = e->s;
    e->features = 1;
    for (int d = 0; d < s->nshape; d++) {
        bool overflow = __builtin_mul_overflow(e->features, s->shape[d], &e->features);
        DP_TRY(check(e, overflow, "/model: input_shape",
                     "has more values than a model can take"));
    }
    DP_TRY(check(e, s->ntensors < 2, "/model: parameters",
                 "names %d tensors, too few for a layer", s->ntensors));
    e->outputs = s->tensors[s->ntensors - 1].dim[0];
    const dp_tensor *first = &s->tensors[0]; /* of layer 0 or, behind pooling, another */
    bool takes_input = strcmp(first->name, "0.weight") == 0 && first->ndim == 2;
    return check(e, takes_input && first->dim[1] != e->features, "/model: input_shape",
                 "has %d values, but /model/%s takes %d", e->features, first->name,
                 first->dim[1]);
}

static dp_status check_tensors(const exam *e, const dp_model *model) {
    const dp_snapshot *s = e->s;
    DP_TRY(check(e, strcmp(s->layers, model->text) != 0, "/model: layers",
                 "is '%.900s', but config and tensors make '%.900s'", s->layers,
                 model->text));
    DP_TRY(check(e, s->ntensors != model->ntensors, "/model: parameters",
                 "names %d tensors, but %s has %d", s->ntensors, model->text,
                 model->ntensors));
    for (int t = 0; t < s->ntensors; t++) {
        const dp_tensor *is = &s->tensors[t], *be = &model->tensors[t];
        char name[64], has[DP_SHAPE_TEXT], needs[DP_SHAPE_TEXT];
        snprintf(name, sizeof name, "/model/%s", is->name);
        DP_TRY(check(e, strcmp(is->name, be->name) != 0, "/model: parameters",
                     "has %s where %s has %s", is->name, model->text, be->name));
        DP_TRY(check(e, !dp_tensor_same_shape(is, be), name,
                     "has the shape %s, but %s needs %s", dp_tensor_shape(is, has),
                     model->text, dp_tensor_shape(be, needs)));
    }
    return DP_OK;
}

/* Names and shapes of all tensors, by the model that the config makes. */
static dp_status check_model(const exam *e) {
    const dp_snapshot *s = e->s;
    dp_model *model = NULL;
    dp_status status = dp_model_create(dp_kernels_find("auto"), e->config.model.layers,
                                       dp_model_input(s->nshape, s->shape, e->features),
                                       e->outputs, &model);
    DP_TRY(check(e, status == DP_EUSAGE, "/config: model.layers", "makes no model (%s)",
                 dp_status_message()));
    DP_TRY(status);
    status = check_tensors(e, model);
    dp_model_destroy(&model);
    return status;
}

static dp_status check_names(const exam *e) {
    const dp_snapshot *s = e->s;
    bool two = s->nclasses == 2 && e->loss->accuracy;
    bool table = s->ncolumns > 0, labels = e->loss->labels;
    bool images = e->config.data.dir[0] && !e->config.data.train[0];
    int targets = !table ? 0 : labels ? 1 : e->outputs;
    DP_TRY(check(e, labels ? s->nclasses != e->outputs : s->nclasses != 0 && !two,
                 "/model: classes", "names %d, but the model has %d outputs (%s)",
                 s->nclasses, e->outputs, s->loss));
    DP_TRY(check(e, s->ntargets != targets, "/model: targets",
                 "names %d of %d columns, but the model has %d", s->ntargets, s->ncolumns,
                 targets));
    DP_TRY(check(e, table && s->ncolumns - targets != e->features, "/model: columns",
                 "names %d inputs, but the model takes %d", s->ncolumns - targets,
                 e->features));
    DP_TRY(check(e, table && s->bytes, "/data: bytes",
                 "is 1, but a table of columns holds no bytes"));
    return check(e, images && !s->bytes, "/data: bytes",
                 "is 0, but the images of data.dir are bytes");
}

static dp_status check_data(const exam *e) {
    const dp_snapshot *s = e->s;
    bool standardized = strcmp(s->normalize, "standardize") == 0;
    int means = !standardized ? 0 : s->nshape > 1 ? 1 : e->features;
    DP_TRY(check(e, s->nmean != means, "/data: mean",
                 "has %d values, but %s makes %d of these inputs", s->nmean, s->normalize,
                 means));
    for (int k = 0; k < s->nmean; k++) {
        /* The kernels multiply by its reciprocal, in single precision. */
        float inverse = (float)(1 / s->std[k]);
        DP_TRY(check(e, !isfinite(s->mean[k]), "/data: mean", "has the value %g",
                     s->mean[k]));
        DP_TRY(check(e, !(s->std[k] > 0) || !isfinite(s->std[k]) || !isfinite(inverse),
                     "/data: std", "has the value %g", s->std[k]));
    }
    return DP_OK;
}

/* How many samples there are, and how many steps an epoch has. */
static dp_status check_splits(exam *e) {
    const dp_snapshot *s = e->s;
    const dp_config *config = &e->config;
    int64_t train = s->train_samples, limit = config->data.limit;
    DP_TRY(check(e, train < 1 || train > INT_MAX, "/data: train_samples", "is %lld",
                 (long long)train));
    DP_TRY(check(e, s->test_samples > INT_MAX, "/data: test_samples", "is %lld",
                 (long long)s->test_samples));
    double all = (double)train + (double)s->val_samples, part = config->data.validation;
    double held = part < 1 ? floor(part * all) : part;
    DP_TRY(check(e, (double)s->val_samples != held, "/data: val_samples",
                 "is %lld, but in /config data.validation = %g of %g samples makes %g",
                 (long long)s->val_samples, part, all, held));
    DP_TRY(check(e, limit > 0 && all > (double)limit, "/data: train_samples",
                 "and val_samples are %g together, but data.limit is %lld", all,
                 (long long)limit));
    e->batch = config->train.batch_size > 0 ? config->train.batch_size : train;
    DP_TRY(check(e, e->batch > train, "/data: train_samples",
                 "is %lld, less than one batch of %lld in /config", (long long)train,
                 (long long)e->batch));
    e->steps = train / e->batch + (train % e->batch != 0 && !config->train.drop_last);
    return DP_OK;
}

/* Where the run stood. */
static dp_status check_progress(const exam *e) {
    const dp_snapshot *s = e->s;
    long long epoch = s->epoch, step = s->step, position = s->position, steps = e->steps;
    long long epochs = e->config.train.epochs, begun = 0;
    DP_TRY(check(e, epoch > epochs, "/state: epoch", "is %lld, but /config says %lld",
                 epoch, epochs));
    DP_TRY(check(e, position >= steps, "/state: position",
                 "is %lld, but an epoch of %lld train_samples has %lld steps by /config",
                 position, (long long)s->train_samples, steps));
    bool overflow = __builtin_mul_overflow(epoch, steps, &begun);
    DP_TRY(check(e, overflow || step - position != begun, "/state: step",
                 "is %lld, but epoch is %lld, position is %lld, and an epoch of %lld "
                 "train_samples has %lld steps by /config",
                 step, epoch, position, (long long)s->train_samples, steps));
    DP_TRY(check(e, s->samples != position * e->batch, "/state: samples",
                 "is %lld, but %lld steps of %lld samples are done",
                 (long long)s->samples, position, (long long)e->batch));
    DP_TRY(check(e,
                 !isfinite(s->loss_sum) || s->loss_sum < 0 ||
                     (position == 0 && s->loss_sum != 0),
                 "/state: loss_sum", "is %g after %lld steps of the epoch", s->loss_sum,
                 position));
    DP_TRY(check(e, s->correct > s->samples, "/state: correct", "is %lld of %lld samples",
                 (long long)s->correct, (long long)s->samples));
    DP_TRY(check(e, !isfinite(s->lr) || s->lr < 0, "/optimizer: lr", "is %g", s->lr));
    DP_TRY(check(e, isinf(s->best), "/state: best", "is %g", s->best));
    DP_TRY(check(e,
                 s->best_step > step || s->best_step % steps != 0 ||
                     (s->best_step > 0 && isnan(s->best)),
                 "/state: best_step",
                 "is %lld, but step is %lld, an epoch has %lld steps, and best is %g",
                 (long long)s->best_step, step, steps, s->best));
    return check(e, s->patience > epoch, "/state: patience", "is %lld after %lld epochs",
                 (long long)s->patience, epoch);
}

/* Rows are in order and of this run. */
static dp_status check_rows(const exam *e) {
    const dp_snapshot *s = e->s;
    const dp_epoch_row *epochs = s->rows.of[DP_EPOCHS];
    const dp_step_row *steps = s->rows.of[DP_STEPS];
    int64_t last = 0;
    for (int64_t i = 0; i < s->rows.n[DP_EPOCHS]; i++) {
        const dp_epoch_row *r = &epochs[i];
        DP_TRY(check(
            e, r->epoch <= last || r->epoch > s->epoch || r->step != r->epoch * e->steps,
            "/metrics/epochs", "row %lld (from 0) has epoch %lld, step %lld",
            (long long)i, (long long)r->epoch, (long long)r->step));
        last = r->epoch;
    }
    last = 0;
    for (int64_t i = 0; i < s->rows.n[DP_STEPS]; i++) {
        const dp_step_row *r = &steps[i];
        DP_TRY(check(e,
                     r->step <= last || r->step > s->step ||
                         r->epoch != (r->step - 1) / e->steps + 1,
                     "/metrics/steps", "row %lld (from 0) has step %lld, epoch %lld",
                     (long long)i, (long long)r->step, (long long)r->epoch));
        last = r->step;
    }
    return DP_OK;
}

static dp_status check_slots(const exam *e) {
    const dp_snapshot *s = e->s;
    const char *names[DP_SLOTS] = {NULL};
    int n = dp_stepper_slots(&e->config, names);
    DP_TRY(check(e, s->nslots != n, "/optimizer: slots", "names %d, but %s has %d",
                 s->nslots, s->optimizer, n));
    for (int k = 0; k < n; k++) {
        DP_TRY(check(e, strcmp(s->slot_name[k], names[k]) != 0, "/optimizer: slots",
                     "has '%s', but %s has '%s'", s->slot_name[k], s->optimizer,
                     names[k]));
    }
    return DP_OK;
}

bool dp_facts_bad_value(const dp_snapshot *s, dp_bad_value *out) {
    for (int k = -1; k < s->nslots; k++) {
        const float *slab = k < 0 ? s->params : s->slot[k];
        for (int t = 0; t < s->ntensors; t++) {
            const dp_tensor *tensor = &s->tensors[t];
            for (size_t i = 0; i < tensor->count; i++) {
                double v = (double)slab[tensor->offset + i];
                if (!isfinite(v)) {
                    *out = (dp_bad_value){k, tensor->name, i, v};
                    return true;
                }
            }
        }
    }
    return false;
}

static dp_status check_finite(const exam *e) {
    dp_bad_value bad;
    if (!dp_facts_bad_value(e->s, &bad)) {
        return DP_OK;
    }
    bool slot = bad.slot >= 0;
    return dp_fail(DP_EDIVERGED,
                   "%s: %s%s/%s: value %zu is %g: the run diverged, or the file was "
                   "changed; take an earlier checkpoint",
                   e->path, slot ? "/optimizer/" : "/model",
                   slot ? e->s->slot_name[bad.slot] : "", bad.tensor, bad.index,
                   bad.value);
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
    DP_TRY(check_config(&e));
    DP_TRY(check_shape(&e));
    DP_TRY(check_model(&e));
    DP_TRY(check_names(&e));
    DP_TRY(check_data(&e));
    DP_TRY(check_splits(&e));
    DP_TRY(check_progress(&e));
    DP_TRY(check_rows(&e));
    DP_TRY(check_slots(&e));
    return check_finite(&e);
}
