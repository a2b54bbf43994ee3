/* The largest of each window of a channel (torch.nn.MaxPool2d); its gradient goes to the
 * first pixel that is as large. */
#include "window.h"

static dp_status shape(dp_layer *layer, const char *argument) {
    return dp_layer_read_window(layer, argument, argument, false, layer->in.C);
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    const dp_activation *above = layer->above;
    dp_pool pool = {.window = dp_layer_window(layer),
                    .N = p->N,
                    .xt = layer->below->yt,
                    .act = above->act,
                    .zt = above->zt,
                    .yt = above->yt};
    p->set->maxpool_forward(p->team, &pool);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    const dp_activation *below = layer->below;
    dp_pool pool = {.window = dp_layer_window(layer),
                    .N = p->N,
                    .xt = below->yt,
                    .dyt = layer->above->dzt,
                    .act = below->act,
                    .zt = below->zt,
                    .yt = below->yt,
                    .dxt = below->dzt};
    p->set->maxpool_backward(p->team, &pool);
}

const dp_layer_kind dp_layer_maxpool = {.name = "maxpool",
                                        .usage = "maxpool:K[/S]",
                                        .fuses = true,
                                        .shape = shape,
                                        .forward = forward,
                                        .backward = backward};
