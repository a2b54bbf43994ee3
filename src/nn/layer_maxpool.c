/* The largest of each window of a channel (torch.nn.MaxPool2d); its gradient goes to the
 * first pixel that is as large. */
#include "window.h"

static dp_status shape(dp_layer *layer, const char *argument) {
    return dp_layer_read_window(layer, argument, argument, false, layer->in.C);
}

static dp_pool_args args(const dp_layer *layer, const dp_pass *p) {
    return (dp_pool_args){.window = dp_layer_window(layer),
                          .N = p->N,
                          .below = layer->below,
                          .above = layer->above};
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_pool_args a = args(layer, p);
    p->set->maxpool_forward(p->team, &a);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    dp_pool_args a = args(layer, p);
    p->set->maxpool_backward(p->team, &a);
}

const dp_layer_kind dp_layer_maxpool = {.name = "maxpool",
                                        .usage = "maxpool:K[/S]",
                                        .fuses = true,
                                        .shape = shape,
                                        .forward = forward,
                                        .backward = backward};
