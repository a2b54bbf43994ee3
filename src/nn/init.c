/* Initial parameters. */
#include "base/log.h"
#include "base/rng.h"
#include "h5/h5file.h"
#include "nn/model.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "0.1 0.2" or "0.1, 0.2" into v[max]; returns how many numbers there are. */
static size_t numbers(const char *text, float *v, size_t max) {
    size_t n = 0;
    for (const char *p = text; *p;) {
        char *end = NULL;
        float x = strtof(p, &end);
        if (end == p) {
            p++;
            continue;
        }
        if (n < max) {
            v[n] = x;
        }
        n++;
        p = end;
    }
    return n;
}

static dp_status constant(const dp_model *model, const dp_tensor *tensor, const char *key,
                          const char *text) {
    float *p = model->params + tensor->offset;
    size_t n = numbers(text, p, tensor->count);
    if (n != 1 && n != tensor->count) {
        return dp_fail(DP_EUSAGE,
                       "model.%s has %zu numbers; %s needs one, or all its %zu", key, n,
                       tensor->name, tensor->count);
    }
    for (size_t i = 1; n == 1 && i < tensor->count; i++) {
        p[i] = p[0];
    }
    return DP_OK;
}

/* torch: both uniform within 1/sqrt(fan-in), as nn.Linear does (LeCun). he: normal,
 * variance 2/fan-in (He et al., ICCV 2015). xavier: uniform, variance 2/(fan-in +
 * fan-out) (Glorot, Bengio, AISTATS 2010). */
static void draw(const dp_model *model, const dp_config *config, int t,
                 const dp_initial *start) {
    const dp_tensor *tensor = &model->tensors[t];
    float *p = model->params + tensor->offset;
    const char *init = config->model.init;
    bool he = strcmp(init, "he") == 0, torch = !he && strcmp(init, "xavier") != 0;
    if (tensor->ndim == 1 && !torch) {
        return; /* biases stay 0 */
    }
    uint64_t seed = config->run.seed;
    double in = start->fan_in, both = in + start->fan_out;
    float bound = (float)sqrt(torch ? 1.0 / in : he ? 2.0 / in : 6.0 / both);
    for (size_t i = 0; i < tensor->count; i++) {
        p[i] = he ? bound * dp_rng_normal(seed, DP_FOR_INIT, (uint32_t)t, i)
                  : bound * (2 * dp_rng_uniform(seed, DP_FOR_INIT, (uint32_t)t, i) - 1);
    }
}

static dp_status start_tensor(dp_model *model, const dp_config *config, int t,
                              const dp_initial *start) {
    const dp_tensor *tensor = &model->tensors[t];
    bool weight = tensor->ndim > 1;
    if (start->fan_in == 0) {
        for (size_t i = 0; i < tensor->count; i++) {
            model->params[tensor->offset + i] = start->value;
        }
        return DP_OK;
    }
    if (strcmp(config->model.init, "constant") == 0) {
        return constant(model, tensor, weight ? "init_weight" : "init_bias",
                        weight ? config->model.init_weight : config->model.init_bias);
    }
    draw(model, config, t, start);
    return DP_OK;
}

/* Its shape, as text, where the file has no tensor `name` that fits; what fits is read.
 * "": there is none of that name. */
static dp_status tensor_from_file(dp_model *model, dp_h5 *file, const char *path,
                                  const dp_tensor *tensor, bool *fits,
                                  char is[DP_SHAPE_TEXT]) {
    char name[64] = "/model/";
    strcat(name, tensor->name);
    dp_h5_type type;
    dp_tensor has = {0};
    int64_t dims[8] = {0};
    *fits = false;
    *is = '\0';
    if (!dp_h5_has(file, name)) {
        return DP_OK;
    }
    DP_TRY(dp_h5_shape(file, name, &type, &has.ndim, dims));
    for (int d = 0; d < DP_DIMS; d++) {
        has.dim[d] = dims[d] <= INT_MAX ? (int)dims[d] : INT_MAX;
    }
    dp_tensor_shape(&has, is);
    *fits = dp_tensor_same_shape(&has, tensor);
    if (!*fits) {
        return DP_OK;
    }
    float *p = model->params + tensor->offset;
    DP_TRY(dp_h5_get(file, name, DP_H5_F32, (int64_t)tensor->count, p));
    for (size_t i = 0; i < tensor->count; i++) {
        if (!isfinite(p[i])) {
            return dp_fail(DP_EDIVERGED,
                           "%s: %s: value %zu is %g: training can't begin from it", path,
                           name, i, (double)p[i]);
        }
    }
    return DP_OK;
}

static dp_status refuse_tensor(const dp_model *model, const char *path,
                               const dp_tensor *tensor, const char *is) {
    char needs[DP_SHAPE_TEXT];
    if (!*is) {
        return dp_fail(DP_EFILE, "%s: there is no /model/%s; the model is %s", path,
                       tensor->name, model->text);
    }
    return dp_fail(DP_EFILE, "%s: /model/%s has the shape %s, the model needs %s", path,
                   tensor->name, is, dp_tensor_shape(tensor, needs));
}

/* All tensors; with init_partial those that fit. */
static dp_status read_tensors(dp_model *model, const dp_config *config, dp_h5 *file) {
    const char *path = config->model.init_file;
    int taken = 0;
    for (int l = 0; l < model->nlayers; l++) {
        dp_layer *layer = &model->layers[l];
        for (int k = 0; k < layer->ntensors; k++) {
            const dp_tensor *tensor = &layer->tensor[k];
            char is[DP_SHAPE_TEXT];
            bool fits = false;
            DP_TRY(tensor_from_file(model, file, path, tensor, &fits, is));
            if (!fits && !config->model.init_partial) {
                return refuse_tensor(model, path, tensor, is);
            }
            layer->source[k] = fits  ? DP_SOURCE_FILE
                               : *is ? DP_SOURCE_MISFIT
                                     : DP_SOURCE_FRESH;
            taken += fits;
        }
    }
    return taken > 0 ? DP_OK
                     : dp_fail(DP_EFILE,
                               "%s: no tensor under /model fits the model %s by name and "
                               "shape: without model.init_file all of it starts fresh",
                               path, model->text);
}

static dp_status from_file(dp_model *model, const dp_config *config) {
    dp_h5 *file = NULL;
    DP_TRY(dp_h5_open_any(config->model.init_file, DP_EFILE, &file));
    dp_status s = read_tensors(model, config, file);
    if (s == DP_OK) {
        dp_h5_note(file);
    }
    dp_h5_close(&file);
    return s;
}

dp_status dp_model_init(dp_model *model, const dp_config *config) {
    if (dp_model_reads_file(config)) {
        DP_TRY(from_file(model, config));
    }
    for (int l = 0, t = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        for (int k = 0; k < layer->ntensors; k++, t++) {
            if (layer->source[k] != DP_SOURCE_FILE) {
                DP_TRY(start_tensor(model, config, t, &layer->start[k]));
            }
        }
    }
    return DP_OK;
}

bool dp_model_reads_file(const dp_config *config) {
    return config->model.init_partial || strcmp(config->model.init, "file") == 0;
}

/* "0.weight 0.bias": the tensors that came `from` there. */
static const char *list_tensors(const dp_model *model, dp_source from, char *text,
                                size_t size) {
    size_t used = 0;
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        for (int k = 0; k < layer->ntensors; k++) {
            if (layer->source[k] == from && used < size) {
                used += (size_t)snprintf(text + used, size - used, " %s",
                                         layer->tensor[k].name);
            }
        }
    }
    return text;
}

void dp_model_log_start(const dp_model *model, const char *path) {
    enum { LIST = 2500 };
    char file[LIST] = "", fresh[LIST] = "", misfit[LIST] = "";
    list_tensors(model, DP_SOURCE_FILE, file, LIST);
    list_tensors(model, DP_SOURCE_FRESH, fresh, LIST);
    list_tensors(model, DP_SOURCE_MISFIT, misfit, LIST);
    if (*file) {
        dp_log("start   from %.900s:%s%s%s%s%s", path, file, *fresh ? "; new:" : "",
               fresh, *misfit ? "; new, as the file's have other shapes:" : "", misfit);
    }
}
