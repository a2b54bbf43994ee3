/** Layers: forward beside backward, on flat arrays; offsets into the slabs, no memory of
 *  their own. A new kind is a new file and a row in layer.c. */
#ifndef DP_NN_LAYER_H
#define DP_NN_LAYER_H

#include "base/status.h"
#include "base/tensor.h"
#include "kernels/kernels.h"

/** The activations between two layers, of a piece of up to `capacity` samples; layouts as
 *  in kernels.h. Owner: the model. */
typedef struct dp_signal {
    int F;             /* features */
    const dp_act *act; /* y = act(z); NULL: y is z */
    float *zt;         /* [S][F][64], only if act needs z; else NULL */
    float *yt;         /* [S][F][64] */
    float *y;          /* [N][dp_ld(F)], training only; else NULL */
    float *dzt;        /* [S][F][64]: loss gradient by z, training only; else NULL */
} dp_signal;

typedef struct dp_layer dp_layer;

/** For gradients that are used as soon as they are there, some rows of a weight at a time: they are
 *  written `back` floats before their place, where earlier ones were, which is still in the cache.
 *  soon: slabs that the caller then changes there. */
typedef struct dp_window {
    size_t back;
    dp_soon soon;
} dp_window;

typedef struct dp_layer_kind {
    const char *name; /* as in model.layers, before the colon */
    /** The layer's width and parameter shapes from its argument (NULL: none) and input
     *  width. Errors: DP_EUSAGE naming the layer. */
    dp_status (*shape)(const char *argument, dp_layer *layer);
    /** below->y -> outputs [begin, end) of above->y, multiples of 16 (end may be O), of whose
     *  parameters alone it reads; a layer without parameters does all at once. Called by the whole
     *  team; barrier afterwards. */
    void (*forward)(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                    int begin, int end, const float *params);
    /** above->dzt -> below->dzt. Called by the whole team; barrier afterwards. */
    void (*backward)(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                     const float *params);
    /** above->dzt, below->y -> the gradients of outputs [begin, end), overwritten; those of a
     *  weight in `window`, if it is not NULL. Reads no parameters. NULL: the layer has none. */
    void (*gradient)(const dp_kernels *set, dp_team team, const dp_layer *layer, int N,
                     int block, int begin, int end, float *grads,
                     const dp_window *window);
} dp_layer_kind;

struct dp_layer {
    const dp_layer_kind *kind;
    int index; /* in torch.nn.Sequential: names its tensors */
    int I, O;
    const dp_act
        *act;     /* activation kinds: its function; dense: the one fused behind it */
    int ntensors; /* 0, or weight and bias */
    dp_tensor tensor[2];
    const dp_signal *below, *above;
};

extern const dp_layer_kind dp_layer_dense, dp_layer_activation;

/** The kind of "dense:512" or "relu" (activations by their name in `set`); NULL if
 *  unknown. */
const dp_layer_kind *dp_layer_find(const dp_kernels *set, const char *name);

/** The names of all kinds, separated by blanks, for messages. */
const char *dp_layer_names(void);

#endif
