/* The activations of a piece, carved from one slab. */
#include "base/memory.h"
#include "nn/model.h"
#include <stdlib.h>

/* The next `floats` of the slab, or only their place in it while there is no slab yet. */
static float *carve(dp_net *net, size_t *used, size_t floats) {
    float *p = net->slab ? net->slab + *used : NULL;
    *used += (floats + 15) / 16 * 16;
    return p;
}

static size_t carve_signals(dp_net *net, bool training) {
    size_t used = 0;
    for (int i = 0; i < net->nsignals; i++) {
        dp_signal *s = &net->signals[i];
        size_t strips = dp_strip_floats(net->capacity, s->F);
        bool last = i == net->nsignals - 1;
        s->yt = carve(net, &used, strips);
        s->zt = s->act && s->act->needs_z ? carve(net, &used, strips) : NULL;
        s->y = training && !last
                   ? carve(net, &used, (size_t)net->capacity * (size_t)dp_ld(s->F))
                   : NULL;
        s->dzt = training && i > 0 ? carve(net, &used, strips) : NULL;
    }
    return used;
}

/* An activation right behind a dense layer becomes that layer's. */
static void fuse(dp_net *net) {
    const dp_model *model = net->model;
    for (int l = 0; l < model->nlayers; l++) {
        dp_layer *layer = &net->layers[net->nlayers];
        *layer = model->layers[l];
        if (layer->kind == &dp_layer_dense && l + 1 < model->nlayers &&
            model->layers[l + 1].act) {
            layer->act = model->layers[++l].act;
        }
        net->signals[net->nlayers + 1] = (dp_signal){.F = layer->O, .act = layer->act};
        layer->below = &net->signals[net->nlayers];
        layer->above = &net->signals[++net->nlayers];
    }
    net->nsignals = net->nlayers + 1;
}

dp_status dp_net_create(const dp_model *model, int capacity, bool training,
                        dp_net **out) {
    dp_net *net = calloc(1, sizeof *net);
    if (net) {
        net->layers = calloc((size_t)model->nlayers, sizeof *net->layers);
        net->signals = calloc((size_t)model->nlayers + 1, sizeof *net->signals);
    }
    if (!net || !net->layers || !net->signals) {
        dp_net_destroy(&net);
        return dp_fail(DP_EINTERNAL, "out of memory for the activations");
    }
    net->model = model;
    net->capacity = capacity;
    net->signals[0].F = model->inputs;
    fuse(net);
    size_t floats = carve_signals(net, training);
    void *p = NULL;
    dp_status s = dp_memory_alloc(floats, sizeof(float), &p);
    if (s != DP_OK) {
        dp_net_destroy(&net);
        return s;
    }
    net->slab = p;
    net->bytes = floats * sizeof(float);
    carve_signals(net, training);
    *out = net;
    return DP_OK;
}

void dp_net_destroy(dp_net **net) {
    if (*net) {
        free((*net)->layers);
        free((*net)->signals);
        dp_memory_free(&(*net)->slab);
        free(*net);
    }
    *net = NULL;
}
