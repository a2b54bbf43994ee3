/* A model from its text: layers, tensors, chunks, the parameter slab. */
#include "nn/model.h"
#include "base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 256 };

/* Whether the images that come out of the last layer were made by a layer that knows
 * them as such: the input's are taken as plain values. */
static bool has_images(const dp_model *model) {
    for (int l = model->nlayers - 1; l >= 0 && model->layers[l].out.image; l--) {
        const dp_layer *layer = &model->layers[l];
        if (!layer->act && !layer->kind->training_only) {
            return true;
        }
    }
    return false;
}

static dp_status add_layer(dp_model *model, const char *word) {
    int l = model->nlayers;
    if (l >= MAX_LAYERS) {
        return dp_fail(DP_EUSAGE, "model.layers: more than %d layers", MAX_LAYERS - 1);
    }
    dp_shape in = l > 0 ? model->layers[l - 1].out : model->input;
    dp_layer *layer = &model->layers[l];
    DP_TRY(dp_layer_parse(model->set, word, l, in, layer));
    if (layer->kind->flat && in.image && has_images(model)) {
        DP_TRY(add_layer(model, "flatten"));
        return add_layer(model, word);
    }
    size_t used = strlen(model->text);
    snprintf(model->text + used, sizeof model->text - used, "%s%s", l > 0 ? " " : "",
             word);
    model->nlayers++;
    return DP_OK;
}

static dp_status parse(dp_model *model, const char *layers) {
    model->layers = dp_alloc(MAX_LAYERS, sizeof *model->layers);
    char words[2 * DP_TEXT];
    snprintf(words, sizeof words, "%s dense:%d", layers, model->outputs);
    char *save = NULL;
    for (char *w = strtok_r(words, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
        DP_TRY(add_layer(model, w));
    }
    return DP_OK;
}

/* The tensors of the layers that are frozen, or of those that are not, one behind the
 * other in the slab. */
static void place_tensors(dp_model *model, bool frozen) {
    for (int l = 0, t = 0; l < model->nlayers; l++) {
        dp_layer *layer = &model->layers[l];
        for (int k = 0; k < layer->ntensors; k++, t++) {
            if (layer->frozen == frozen) {
                layer->tensor[k].offset = model->floats;
                model->floats += (layer->tensor[k].count + 15) / 16 * 16;
                model->tensors[t] = layer->tensor[k];
            }
        }
    }
}

/* Trained tensors first, cut into chunks; then the frozen ones. */
static void place(dp_model *model) {
    model->floats = 0;
    model->trained = 0;
    model->nchunks = 0;
    place_tensors(model, false);
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        for (int k = 0; k < layer->ntensors && !layer->frozen; k++) {
            model->trained += layer->tensor[k].count;
            for (size_t at = 0; at < layer->tensor[k].count; at += DP_CHUNK) {
                model->chunk[model->nchunks++] = layer->tensor[k].offset + at;
            }
        }
    }
    model->chunk[model->nchunks] = model->floats;
    place_tensors(model, true);
}

static dp_status lay_out(dp_model *model) {
    size_t chunks = 0;
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        model->ntensors += layer->ntensors;
        for (int k = 0; k < layer->ntensors; k++) {
            model->parameters += layer->tensor[k].count;
            chunks += (layer->tensor[k].count + DP_CHUNK - 1) / DP_CHUNK;
        }
    }
    model->tensors = dp_alloc((size_t)model->ntensors, sizeof *model->tensors);
    model->chunk = dp_alloc(chunks + 1, sizeof *model->chunk);
    place(model);
    if (model->floats >= 1UL << 31) {
        return dp_fail(DP_EUSAGE,
                       "model.layers: %zu parameters; at most 2^31 are possible",
                       model->parameters);
    }
    return dp_memory_alloc(model->floats, sizeof(float), (void **)&model->params);
}

/* "0 dense, 3 conv": the layers that have parameters. */
static const char *list_layers(const dp_model *model, char *text, size_t size) {
    size_t used = 0;
    for (int l = 0; l < model->nlayers && used < size; l++) {
        if (model->layers[l].ntensors > 0) {
            used += (size_t)snprintf(text + used, size - used, "%s%d %s",
                                     used > 0 ? ", " : "", l, model->layers[l].name);
        }
    }
    return text;
}

dp_status dp_model_freeze(dp_model *model, const char *text) {
    char known[512] = "", *end = NULL;
    for (const char *at = text; *at; at = end) {
        long l = strtol(at, &end, 10);
        if (l >= model->nlayers || model->layers[l].ntensors == 0) {
            const char *name = l < model->nlayers ? model->layers[l].name : NULL;
            return dp_fail(DP_EUSAGE,
                           "model.freeze = %s: layer %ld %s%s; those with parameters "
                           "are %s",
                           text, l, name ? name : "does not exist",
                           name ? " has no parameters" : "",
                           list_layers(model, known, sizeof known));
        }
        model->layers[l].frozen = true;
    }
    if (dp_model_lowest_trained(model->layers, model->nlayers) == model->nlayers) {
        return dp_fail(DP_EUSAGE,
                       "model.freeze = %s: nothing is left to train; leave out one of %s",
                       text, list_layers(model, known, sizeof known));
    }
    place(model);
    return DP_OK;
}

int dp_model_lowest_trained(const dp_layer *layers, int n) {
    int l = 0;
    while (l < n && (layers[l].ntensors == 0 || layers[l].frozen)) {
        l++;
    }
    return l;
}

dp_shape dp_model_input(int nshape, const int *shape, int features) {
    return nshape == 3 ? (dp_shape){shape[0], shape[1], shape[2], true}
                       : (dp_shape){features, 1, 1, false};
}

static dp_status fill(dp_model *model, const char *layers) {
    DP_TRY(parse(model, layers));
    return lay_out(model);
}

dp_status dp_model_create(const dp_kernels *set, const char *layers, dp_shape input,
                          int outputs, dp_model **out) {
    dp_model *model = dp_alloc(1, sizeof *model);
    model->set = set;
    model->input = input;
    model->outputs = outputs;
    dp_status s = fill(model, layers);
    if (s != DP_OK) {
        dp_model_destroy(&model);
        return s;
    }
    *out = model;
    return DP_OK;
}

void dp_model_destroy(dp_model **model) {
    if (*model) {
        free((*model)->layers);
        free((*model)->tensors);
        free((*model)->chunk);
        if (!(*model)->params_borrowed) {
            dp_memory_free(&(*model)->params);
        }
        free(*model);
    }
    *model = NULL;
}

double dp_model_flops(const dp_model *model) {
    double flops = 0;
    int lowest = dp_model_lowest_trained(model->layers, model->nlayers);
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        int passes = 1 + (layer->ntensors > 0 && !layer->frozen) + (l > lowest);
        flops += passes * layer->flops;
    }
    return flops;
}

bool dp_model_is_matrix(const dp_model *model, const dp_tensor *tensor) {
    for (int l = 0; l < model->nlayers; l++) {
        const dp_layer *layer = &model->layers[l];
        for (int k = 0; k < layer->ntensors; k++) {
            if (layer->tensor[k].offset == tensor->offset) {
                return tensor->ndim > 1 && layer->start[k].fan_in > 0;
            }
        }
    }
    return false;
}

void dp_model_move_params(dp_model *model, float *params) {
    if (!params) {
        model->params = NULL;
        model->params_borrowed = false;
        return;
    }
    memcpy(params, model->params, model->floats * sizeof *params);
    dp_memory_free(&model->params);
    model->params = params;
    model->params_borrowed = true;
}

dp_status dp_model_load(dp_model *model, const char *path, int ntensors,
                        const dp_tensor *tensors, const float *params) {
    for (int t = 0; t < model->ntensors; t++) {
        const dp_tensor *to = &model->tensors[t], *from = NULL;
        for (int k = 0; k < ntensors && !from; k++) {
            from = strcmp(tensors[k].name, to->name) == 0 ? &tensors[k] : NULL;
        }
        if (!from) {
            return dp_fail(DP_EFILE, "%s: /model/%s is missing; the model is %s", path,
                           to->name, model->text);
        }
        if (!dp_tensor_same_shape(from, to)) {
            char has[DP_SHAPE_TEXT], needs[DP_SHAPE_TEXT];
            return dp_fail(DP_EFILE, "%s: /model/%s has the shape %s, the model needs %s",
                           path, to->name, dp_tensor_shape(from, has),
                           dp_tensor_shape(to, needs));
        }
        memcpy(model->params + to->offset, params + from->offset,
               to->count * sizeof(float));
    }
    if (ntensors != model->ntensors) {
        return dp_fail(DP_EFILE, "%s: /model has %d tensors, the model %s has %d", path,
                       ntensors, model->text, model->ntensors);
    }
    return DP_OK;
}
