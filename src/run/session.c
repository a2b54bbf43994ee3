/* A session from a config: data, kernels, threads, model. */
#include "run/session.h"
#include "base/log.h"
#include "base/memory.h"
#include "node_data.h"
#include "session_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_auto(const dp_config *config) {
    return strcmp(config->parallel.threads, "auto") == 0;
}

dp_status dp_session_set_up(dp_session *s) {
    const dp_config *config = &s->config;
    s->set = dp_kernels_find(config->parallel.kernels);
    if (!s->set) {
        return dp_fail(DP_EUSAGE, "parallel.kernels = %s: this CPU runs: %s",
                       config->parallel.kernels, dp_kernels_available());
    }
    s->threads =
        is_auto(config) ? dp_comm_auto_threads(s->comm) : atoi(config->parallel.threads);
    s->loss = dp_loss_find(config->loss.name);
    return DP_OK;
}

dp_status dp_session_model(dp_session *s) {
    const dp_dataset *data = s->data;
    s->scale = (dp_scale){.bytes = data->train.bytes,
                          .unit = strcmp(s->config.data.normalize, "none") != 0,
                          .columns = data->nmean,
                          .mean = data->mean_f,
                          .inv_std = data->inv_std_f};
    dp_shape input =
        dp_model_input(data->train.nshape, data->train.shape, data->train.features);
    DP_TRY(
        dp_model_create(s->set, s->config.model.layers, input, data->outputs, &s->model));
    return dp_model_freeze(s->model, s->config.model.freeze);
}

/* The global batch and the model, from the data. */
static dp_status init_model(dp_session *s) {
    int64_t batch = s->config.train.batch_size;
    int n = s->data->train_n;
    if (batch > n) {
        return dp_fail(DP_EUSAGE,
                       "train.batch_size = %lld is larger than the training split of %d "
                       "samples; 0 takes the whole split",
                       (long long)batch, n);
    }
    s->batch = batch > 0 ? (int)batch : n;
    return dp_session_model(s);
}

static dp_status create(dp_session *s) {
    DP_TRY(dp_comm_agree(s->comm, dp_session_set_up(s)));
    dp_comm_configure(s->comm, s->threads, s->config.parallel.timeout);
    DP_TRY(dp_node_data_open(s->comm, &s->config, &s->data, &s->memory));
    return dp_comm_agree(s->comm, init_model(s));
}

dp_status dp_session_create(dp_comm *comm, const dp_config *config, dp_session **out) {
    dp_session *s = dp_alloc(1, sizeof *s);
    s->comm = comm;
    s->config = *config;
    dp_status status = create(s);
    if (status != DP_OK) {
        dp_session_destroy(&s);
        return status;
    }
    *out = s;
    return DP_OK;
}

void dp_session_destroy(dp_session **session) {
    if (*session) {
        dp_model_destroy(&(*session)->model);
        dp_node_data_close(&(*session)->data, &(*session)->memory);
        free(*session);
    }
    *session = NULL;
}

/* On rank 0. */
static dp_status load(dp_session *s, const dp_snapshot *from, const char *path) {
    dp_dataset *data = s->data;
    DP_TRY(dp_model_load(s->model, path, from->ntensors, from->tensors, from->params));
    if (from->nmean != data->nmean) {
        return dp_fail(DP_EDATA,
                       "%s: normalised by %d means, but the data has %d: it is not the "
                       "data that the model was trained on",
                       path, from->nmean, data->nmean);
    }
    for (int k = 0; k < data->nmean; k++) {
        data->mean[k] = from->mean[k];
        data->std[k] = from->std[k];
        data->mean_f[k] = (float)from->mean[k];
        data->inv_std_f[k] = (float)(1 / from->std[k]);
    }
    return DP_OK;
}

dp_status dp_session_load(dp_session *s, const dp_snapshot *snapshot, const char *path) {
    size_t means = (size_t)s->data->nmean * sizeof(float);
    DP_TRY(dp_comm_agree(s->comm, snapshot ? load(s, snapshot, path) : DP_OK));
    dp_comm_bcast(s->comm, s->model->params, s->model->floats * sizeof(float));
    dp_comm_bcast(s->comm, s->data->mean_f, means);
    dp_comm_bcast(s->comm, s->data->inv_std_f, means);
    return DP_OK;
}

int dp_session_step_threads(const dp_session *s) {
    const double worth = 1e7; /* floating-point operations for each thread, measured */
    double flops = 6.0 * s->batch * (double)s->model->parameters;
    double max = 1 + flops / dp_comm_size(s->comm) / worth;
    return is_auto(&s->config) && max < s->threads ? (int)max : s->threads;
}

/* "augment shift 2  rotate 15", if there is any. */
static void log_augmentation(const dp_config *config) {
    const struct {
        const char *name;
        double amount;
    } all[] = {{"shift", config->augment.shift}, {"rotate", config->augment.rotate},
               {"scale", config->augment.scale}, {"shear", config->augment.shear},
               {"flip", config->augment.flip},   {"elastic", config->augment.elastic},
               {"erase", config->augment.erase}};
    char text[256] = "";
    size_t used = 0;
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
        if (all[k].amount > 0) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %g",
                                     used > 0 ? "  " : "", all[k].name, all[k].amount);
        }
    }
    if (used > 0) {
        dp_log("augment %s", text);
    }
}

static void put_names(FILE *out, int n, char *const *name) {
    enum { SHOWN = 8 };
    for (int k = 0; k < n && k < SHOWN; k++) {
        fprintf(out, "%s%s", k > 0 ? ", " : "", name[k]);
    }
    if (n > SHOWN) {
        fprintf(out, " ... (%d)", n);
    }
}

/* "target  species (setosa, versicolor, virginica) from width, length", of a table. */
static void log_target(const dp_dataset *data) {
    const dp_table *t = &data->train;
    if (!t->column) {
        return;
    }
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    fputs("target  ", out);
    put_names(out, t->ncolumns - t->features, t->column + t->features);
    if (data->class_name) {
        fputs(" (", out);
        put_names(out, dp_dataset_class_names(data), data->class_name);
        fputc(')', out);
    }
    fputs(" from ", out);
    put_names(out, t->features, t->column);
    dp_strbuf_close(&line);
    dp_log("%s", line.text);
    free(line.text);
}

void dp_session_header(const dp_session *s) {
    const dp_dataset *data = s->data;
    const dp_config *config = &s->config;
    char shape[DP_SHAPE_TEXT], splits[128] = "";
    dp_shape_text(data->train.nshape, data->train.shape, shape);
    if (data->val_n > 0) {
        snprintf(splits, sizeof splits, ", %d validation", data->val_n);
    }
    if (data->test.n > 0) {
        size_t used = strlen(splits);
        snprintf(splits + used, sizeof splits - used, ", %d test", data->test.n);
    }
    const char *inputs = data->train.nshape > 1 ? "" : " inputs";
    const char *outputs = data->classes > 0 ? "classes" : "targets";
    dp_log("data    %s: %d training%s samples of %s%.*s, %d %.*s",
           config->data.dir[0] ? config->data.dir : config->data.train, data->train_n,
           splits, shape, data->train.features > 1 ? 7 : 6, inputs, data->outputs,
           data->outputs > 1 ? 7 : 6, outputs);
    log_target(data);
    log_augmentation(config);
    char trained[64] = "";
    if (s->model->trained < s->model->parameters) {
        snprintf(trained, sizeof trained, " (%zu trained)", s->model->trained);
    }
    dp_log("model   %d -> %s: %zu parameters%s, %s", data->train.features, s->model->text,
           s->model->parameters, trained, config->loss.name);
}
