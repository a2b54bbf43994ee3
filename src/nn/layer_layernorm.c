/* Layer normalisation over all features of a sample (torch.nn.LayerNorm of their shape).
 *   h = (x - mean) / sqrt(variance + 1e-5),  y = h w + b
 *   g = dy w,  dx = (g - mean g - h mean(g h)) / sqrt(variance + 1e-5)
 * Source: Ba, Kiros, Hinton, "Layer Normalization", 2016. */
#include "nn/layer.h"

static dp_status shape(dp_layer *layer, const char *argument) {
    if (argument) {
        return dp_fail(DP_EUSAGE,
                       "model.layers: 'layernorm' takes no argument, but has ':%s'",
                       argument);
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

static dp_norm norm_of(const dp_layer *layer, const dp_pass *p) {
    return (dp_norm){.N = p->N,
                     .F = layer->below->F,
                     .block = p->block,
                     .eps = 1e-5F,
                     .w = p->params + layer->tensor[0].offset,
                     .b = p->params + layer->tensor[1].offset,
                     .xt = layer->below->yt,
                     .dyt = layer->above->dzt,
                     .moment = layer->kept};
}

static void forward(const dp_layer *layer, const dp_pass *p) {
    dp_norm norm = norm_of(layer, p);
    norm.yt = layer->above->yt;
    p->set->norm_forward(p->team, &norm);
}

static void backward(const dp_layer *layer, const dp_pass *p) {
    dp_norm norm = norm_of(layer, p);
    norm.dxt = layer->below->dzt;
    p->set->norm_dinput(p->team, &norm);
}

static void gradient(const dp_layer *layer, const dp_pass *p) {
    dp_norm norm = norm_of(layer, p);
    norm.dw = p->grads + layer->tensor[0].offset;
    norm.db = p->grads + layer->tensor[1].offset;
    p->set->norm_dweight(p->team, &norm);
}

const dp_layer_kind dp_layer_layernorm = {.name = "layernorm",
                                          .usage = "layernorm",
                                          .shape = shape,
                                          .forward = forward,
                                          .backward = backward,
                                          .gradient = gradient};
