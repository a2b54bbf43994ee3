/* Fully connected: Z = X W^T + b, then the activation that follows it, in the same pass.
 *   dW = dZ^T X,  db = sum of dZ,  dX = dZ W */
#include "nn/layer.h"
#include <stdio.h>
#include <stdlib.h>

enum { WIDEST = 1 << 24 };

static dp_status shape(const char *argument, dp_layer *layer) {
    char *end = NULL;
    long width = argument ? strtol(argument, &end, 10) : 0;
    if (!argument || end == argument || *end != '\0' || width < 1 || width > WIDEST) {
        return dp_fail(
            DP_EUSAGE,
            "model.layers: 'dense%s%s' needs a width from 1 to %d, as in dense:512",
            argument ? ":" : "", argument ? argument : "", WIDEST);
    }
    layer->O = (int)width;
    layer->ntensors = 2;
    layer->tensor[0] = (dp_tensor){.ndim = 2,
                                   .dim = {layer->O, layer->I},
                                   .count = (size_t)layer->O * (size_t)layer->I};
    layer->tensor[1] =
        (dp_tensor){.ndim = 1, .dim = {layer->O, 0}, .count = (size_t)layer->O};
    snprintf(layer->tensor[0].name, sizeof layer->tensor[0].name, "%d.weight",
             layer->index);
    snprintf(layer->tensor[1].name, sizeof layer->tensor[1].name, "%d.bias",
             layer->index);
    return DP_OK;
}

static void forward(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                    int begin, int end, const float *params) {
    const dp_signal *below = layer->below, *above = layer->above;
    set->forward(team, N, layer->I, layer->O, begin, end, below->yt,
                 params + layer->tensor[0].offset, params + layer->tensor[1].offset,
                 above->act, above->zt, above->yt, above->y);
}

static void backward(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                     const float *params) {
    const dp_signal *below = layer->below, *above = layer->above;
    set->dinput(team, N, layer->I, layer->O, above->dzt, params + layer->tensor[0].offset,
                below->act, below->zt, below->yt, below->dzt);
}

static void gradient(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                     int block, int begin, int end, float *grads,
                     const dp_window *window) {
    size_t weight = layer->tensor[0].offset, bias = layer->tensor[1].offset;
    float *dW = grads + weight - (window ? window->back : 0);
    dp_soon soon = {0};
    for (int k = 0; window && k < 2; k++) {
        soon.array[k] = window->soon.array[k] ? window->soon.array[k] + weight : NULL;
    }
    set->dweight(team, N, layer->I, layer->O, begin, end, block, layer->below->y,
                 layer->above->dzt, dW, grads + bias, &soon);
}

const dp_layer_kind dp_layer_dense = {"dense", shape, forward, backward, gradient};
