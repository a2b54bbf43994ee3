/* Convolution (cross-correlation, as torch.nn.Conv2d): Z = X * W + b, then the activation
 * that follows it, in the same pass.
 *   z[o,y,x] = b[o] + sum over c,i,j of w[o,c,i,j] x[c, y S - P + i, x S - P + j]  */
#include "window.h"
#include <stdlib.h>
#include <string.h>

enum {
    POOL = 3
}; /* layer->arg behind those of the window: of a maxpool that has joined */

static dp_status shape(dp_layer *layer, const char *argument) {
    char *end = NULL;
    long O =
        argument && *argument >= '0' && *argument <= '9' ? strtol(argument, &end, 10) : 0;
    bool counted = O >= 1 && O <= DP_WIDEST && *end == '@';
    dp_status s = dp_layer_read_window(layer, argument, counted ? end + 1 : NULL, true,
                                       counted ? (int)O : 1);
    if (s != DP_OK) {
        return s;
    }
    dp_window w = dp_layer_window(layer);
    double taps = (double)w.C * w.K * w.K;
    if (taps * (double)O >= 1UL << 31) {
        return dp_layer_wrong_argument(layer, argument, "has more than 2^31 weights");
    }
    int fan_in = (int)taps, fan_out = (int)O * w.K * w.K;
    layer->rows = (int)O;
    layer->flops = 2.0 * taps * dp_shape_size(layer->out);
    dp_layer_add_tensor(layer, "weight", 4, (int[]){(int)O, w.C, w.K, w.K},
                        (dp_initial){fan_in, fan_out, 0});
    dp_layer_add_tensor(layer, "bias", 1, (int[]){(int)O},
                        (dp_initial){fan_in, fan_out, 0});
    return DP_OK;
}

static dp_conv_args args(const dp_layer *layer, const dp_pass *p) {
    size_t weight = layer->tensor[0].offset, bias = layer->tensor[1].offset;
    return (dp_conv_args){.window = dp_layer_window(layer),
                          .N = p->N,
                          .O = layer->out.C,
                          .begin = p->begin,
                          .end = p->end,
                          .block = p->block,
                          .below = layer->below,
                          .above = layer->above,
                          .W = p->params + weight,
                          .b = p->params + bias,
                          .dW = p->grads ? p->grads + weight : NULL,
                          .db = p->grads ? p->grads + bias : NULL,
                          .pool = (int)layer->arg[POOL],
                          .taken = (int32_t *)layer->kept};
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_conv_args a = args(layer, p);
    p->set->conv_forward(p->team, &a);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    dp_conv_args a = args(layer, p);
    p->set->conv_dinput(p->team, &a);
}

static void gradient(const dp_layer *layer, const dp_pass *p) {
    dp_conv_args a = args(layer, p);
    p->set->conv_dweight(p->team, &a);
}

/* maxpool with windows side by side, which needs to know which pixels it has taken and
 * nothing else, unless there is an input gradient. */
static bool join(dp_layer *layer, const dp_layer *next, bool backward) {
    dp_window w = dp_layer_window(next);
    bool z = layer->act && layer->act->needs_z;
    if (strcmp(next->name, "maxpool") != 0 || w.K != w.S || z || backward ||
        w.K * layer->out.W > DP_CONV_POOL) {
        return false;
    }
    layer->arg[POOL] = w.K;
    layer->scratch = dp_shape_size(next->out);
    return true;
}

const dp_layer_kind dp_layer_conv = {.name = "conv",
                                     .usage = "conv:C@K[/S][+P]",
                                     .fuses = true,
                                     .join = join,
                                     .shape = shape,
                                     .forward = forward,
                                     .backward = backward,
                                     .gradient = gradient};
