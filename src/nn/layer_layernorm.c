/* Layer normalisation over all features of a sample (torch.nn.LayerNorm of their shape).
 *   h = (x - mean) / sqrt(variance + 1e-5),  y = h w + b
 *   g = dy w,  dx = (g - mean g - h mean(g h)) / sqrt(variance + 1e-5)
 * Source: Ba, Kiros, Hinton, "Layer Normalization", 2016. */
#include "window.h"

static dp_status shape(dp_layer *layer, const char *argument) {
    if (argument) {
        return dp_layer_wrong_argument(layer, argument, "takes no argument");
    }
    dp_shape in = layer->in;
    const int dim[] = {in.C, in.H, in.W};
    int ndim = in.image ? 3 : 1;
    dp_layer_add_tensor(layer, "weight", ndim, dim, (dp_initial){.value = 1});
    dp_layer_add_tensor(layer, "bias", ndim, dim, (dp_initial){.value = 0});
    layer->out = in;
    layer->scratch = 2;
    layer->flops = 8.0 * dp_shape_size(in);
    return DP_OK;
}

static dp_layernorm_args args(const dp_layer *layer, const dp_pass *p) {
    size_t weight = layer->tensor[0].offset, bias = layer->tensor[1].offset;
    return (dp_layernorm_args){.N = p->N,
                               .block = p->block,
                               .eps = 1e-5F,
                               .below = layer->below,
                               .above = layer->above,
                               .w = p->params + weight,
                               .b = p->params + bias,
                               .moment = layer->kept,
                               .dw = p->grads ? p->grads + weight : NULL,
                               .db = p->grads ? p->grads + bias : NULL};
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_layernorm_args a = args(layer, p);
    p->set->layernorm_forward(p->team, &a);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    dp_layernorm_args a = args(layer, p);
    p->set->layernorm_dinput(p->team, &a);
}

static void gradient(const dp_layer *layer, const dp_pass *p) {
    dp_layernorm_args a = args(layer, p);
    p->set->layernorm_dweight(p->team, &a);
}

const dp_layer_kind dp_layer_layernorm = {.name = "layernorm",
                                          .usage = "layernorm",
                                          .shape = shape,
                                          .forward = forward,
                                          .backward = backward,
                                          .gradient = gradient};
