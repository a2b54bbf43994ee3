/* An activation on its own: at the input, or behind another activation (behind a dense
 * layer it is fused into that one).   y = f(x),  dx = dy f'(x)  */
#include "nn/layer.h"
#include <assert.h>
#include <string.h>

static dp_status shape(const char *argument, dp_layer *layer) {
    if (argument) {
        return dp_fail(DP_EUSAGE, "model.layers: '%s' takes no argument, but has ':%s'",
                       layer->act->name, argument);
    }
    layer->O = layer->I;
    layer->ntensors = 0;
    return DP_OK;
}

/* This thread's part of an array, in whole vectors of 16. */
static size_t part(dp_team team, size_t n, size_t *begin) {
    size_t vectors = n / 16;
    *begin = vectors * (size_t)team.id / (size_t)team.n * 16;
    return vectors * (size_t)(team.id + 1) / (size_t)team.n * 16 - *begin;
}

static void forward(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                    int begin, int end, const float *params) {
    (void)set;
    (void)params;
    assert(begin == 0 && end == layer->O);
    const dp_signal *below = layer->below, *above = layer->above;
    size_t at = 0, n = part(team, dp_strip_floats(N, layer->I), &at);
    if (above->zt) {
        memcpy(above->zt + at, below->yt + at, n * sizeof(float));
    }
    above->act->forward(below->yt + at, above->yt + at, n);
    if (above->y) {
        n = part(team, (size_t)N * (size_t)dp_ld(layer->I), &at);
        above->act->forward(below->y + at, above->y + at, n);
    }
}

static void backward(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                     const float *params) {
    (void)set;
    (void)params;
    const dp_signal *below = layer->below, *above = layer->above;
    size_t at = 0, n = part(team, dp_strip_floats(N, layer->I), &at);
    memcpy(below->dzt + at, above->dzt + at, n * sizeof(float));
    if (below->act) {
        below->act->backward(below->zt ? below->zt + at : NULL, below->yt + at,
                             below->dzt + at, n);
    }
}

const dp_layer_kind dp_layer_activation = {"activation", shape, forward, backward, NULL};
