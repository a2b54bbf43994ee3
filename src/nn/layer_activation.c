/* An activation on its own: at the input, or behind another activation (behind a dense
 * layer it is fused into that one).   y = f(x),  dx = dy f'(x)  */
#include "window.h"
#include <string.h>

static dp_status shape(dp_layer *layer, const char *argument) {
    if (argument) {
        return dp_layer_wrong_argument(layer, argument, "takes no argument");
    }
    layer->out = layer->in;
    return DP_OK;
}

static void forward(const dp_layer *layer, const dp_pass *pass) {
    const dp_activation *below = layer->below, *above = layer->above;
    size_t at = 0,
           n = dp_layer_thread_range(pass->team, dp_strip_floats(pass->N, below->F), &at);
    if (above->zt) {
        memcpy(above->zt + at, below->yt + at, n * sizeof(float));
    }
    above->act->forward(below->yt + at, above->yt + at, n);
}

/* above->dzt is by z already, which is x. */
static void backward(const dp_layer *layer, const dp_pass *pass) {
    const dp_activation *below = layer->below, *above = layer->above;
    size_t at = 0,
           n = dp_layer_thread_range(pass->team, dp_strip_floats(pass->N, below->F), &at);
    memcpy(below->dzt + at, above->dzt + at, n * sizeof(float));
}

const dp_layer_kind dp_layer_activation = {
    .shape = shape, .forward = forward, .backward = backward};
