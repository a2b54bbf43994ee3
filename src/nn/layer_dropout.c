/* Dropout, inverted: in training a feature is 0 with probability P, else it is divided by
 * 1 - P. In evaluation there is none.   y = x m,  dx = dy m  */
#include "window.h"
#include <stdlib.h>

static dp_status shape(dp_layer *layer, const char *argument) {
    char *end = NULL;
    double P = argument ? strtod(argument, &end) : -1;
    if (!argument || end == argument || *end != '\0' || !(P >= 0 && P < 1)) {
        return dp_layer_wrong_argument(
            layer, argument,
            "needs the probability of a zero, from 0 to below 1, as in dropout:0.5");
    }
    layer->arg[0] = P;
    layer->out = layer->in;
    layer->scratch = dp_shape_size(layer->in);
    return DP_OK;
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_dropout_args a = {.N = p->N,
                         .P = (float)layer->arg[0],
                         .seed = p->seed,
                         .step = (uint32_t)p->step,
                         .layer = (uint32_t)layer->index,
                         .row = p->row,
                         .below = layer->below,
                         .above = layer->above,
                         .factor = layer->kept};
    p->set->dropout(p->team, &a);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    const float *dy = layer->above->dzt, *factor = layer->kept;
    float *dx = layer->below->dzt;
    size_t at = 0, floats = dp_strip_floats(p->N, layer->below->F);
    size_t n = dp_layer_thread_range(p->team, floats, &at);
    for (size_t i = at; i < at + n; i++) {
        dx[i] = dy[i] * factor[i];
    }
}

const dp_layer_kind dp_layer_dropout = {.name = "dropout",
                                        .usage = "dropout:P",
                                        .training_only = true,
                                        .shape = shape,
                                        .forward = forward,
                                        .backward = backward};
