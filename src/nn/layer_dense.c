/* Fully connected: Z = X W^T + b, then the activation that follows it, in the same pass.
 *   dW = dZ^T X,  db = sum of dZ,  dX = dZ W */
#include "nn/layer.h"
#include <stdlib.h>

enum { WIDEST = 1 << 24 };

static dp_status shape(dp_layer *layer, const char *argument) {
    char *end = NULL;
    long width = argument ? strtol(argument, &end, 10) : 0;
    if (!argument || end == argument || *end != '\0' || width < 1 || width > WIDEST) {
        return dp_fail(
            DP_EUSAGE,
            "model.layers: 'dense%s%s' needs a width from 1 to %d, as in dense:512",
            argument ? ":" : "", argument ? argument : "", WIDEST);
    }
    int O = (int)width, I = dp_shape_size(layer->in);
    layer->in = (dp_shape){I, 1, 1, false};
    layer->out = (dp_shape){O, 1, 1, false};
    layer->rows = O;
    layer->flops = 2.0 * I * O;
    dp_layer_add_tensor(layer, "weight", 2, (int[]){O, I}, (dp_initial){I, O, 0});
    dp_layer_add_tensor(layer, "bias", 1, (int[]){O}, (dp_initial){I, O, 0});
    return DP_OK;
}

static dp_dense_args args(const dp_layer *layer, const dp_pass *p) {
    size_t weight = layer->tensor[0].offset, bias = layer->tensor[1].offset;
    return (dp_dense_args){.N = p->N,
                           .begin = p->begin,
                           .end = p->end,
                           .block = p->block,
                           .below = layer->below,
                           .above = layer->above,
                           .W = p->params + weight,
                           .b = p->params + bias,
                           .dW = p->grads ? p->grads + weight : NULL,
                           .db = p->grads ? p->grads + bias : NULL};
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_dense_args a = args(layer, p);
    p->set->forward(p->team, &a);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    dp_dense_args a = args(layer, p);
    p->set->dinput(p->team, &a);
}

static void gradient(const dp_layer *layer, const dp_pass *p) {
    dp_dense_args a = args(layer, p);
    for (int k = 0; k < DP_UPDATED && p->updated[k]; k++) {
        a.updated[k] = p->updated[k] + layer->tensor[0].offset;
    }
    p->set->dweight(p->team, &a);
}

const dp_layer_kind dp_layer_dense = {.name = "dense",
                                      .usage = "dense:N",
                                      .fuses = true,
                                      .writes_rows = true,
                                      .reads_rows = true,
                                      .skips_zeros = true,
                                      .flat = true,
                                      .shape = shape,
                                      .forward = forward,
                                      .backward = backward,
                                      .gradient = gradient};
