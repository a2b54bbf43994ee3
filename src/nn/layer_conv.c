/* Convolution (cross-correlation, as torch.nn.Conv2d): Z = X * W + b, then the activation
 * that follows it, in the same pass.
 *   z[o,y,x] = b[o] + sum over c,i,j of w[o,c,i,j] x[c, y S - P + i, x S - P + j]  */
#include "window.h"
#include <stdlib.h>

static dp_status shape(dp_layer *layer, const char *argument) {
    char *end = NULL;
    long O = argument && *argument >= '0' && *argument <= '9'
                 ? strtol(argument, &end, 10)
                 : 0;
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

static dp_conv conv_of(const dp_layer *layer, const dp_pass *p) {
    return (dp_conv){.window = dp_layer_window(layer),
                     .N = p->N,
                     .O = layer->out.C,
                     .o0 = p->begin,
                     .o1 = p->end,
                     .W = p->params + layer->tensor[0].offset,
                     .b = p->params + layer->tensor[1].offset,
                     .xt = layer->below->yt,
                     .dyt = layer->above->dzt,
                     .block = p->block};
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_conv conv = conv_of(layer, p);
    conv.act = layer->above->act;
    conv.zt = layer->above->zt;
    conv.yt = layer->above->yt;
    p->set->conv_forward(p->team, &conv);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    dp_conv conv = conv_of(layer, p);
    conv.act = layer->below->act;
    conv.zt = layer->below->zt;
    conv.yt = layer->below->yt;
    conv.dxt = layer->below->dzt;
    p->set->conv_dinput(p->team, &conv);
}

static void gradient(const dp_layer *layer, const dp_pass *p) {
    dp_conv conv = conv_of(layer, p);
    conv.dW = p->grads + layer->tensor[0].offset;
    conv.db = p->grads + layer->tensor[1].offset;
    p->set->conv_dweight(p->team, &conv);
}

const dp_layer_kind dp_layer_conv = {.name = "conv",
                                     .usage = "conv:C@K[/S][+P]",
                                     .fuses = true,
                                     .shape = shape,
                                     .forward = forward,
                                     .backward = backward,
                                     .gradient = gradient};
