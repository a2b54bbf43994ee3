/** Layers: forward beside backward, on flat arrays; offsets into the slabs, no memory of
 *  their own.
 *
 *  A new layer is a file, its kernel and a row in layer.c. The file says in `shape` what
 *  a layer looks like from outside, and computes in the three passes. Everybody else (the
 *  step, the files, the summary of `trainer check`) knows a layer by what `shape`
 *  said. */
#ifndef DP_NN_LAYER_H
#define DP_NN_LAYER_H

#include "base/status.h"
#include "base/tensor.h"
#include "kernels/kernels.h"

/** A sample's features as PyTorch has them: C channels of H x W, in this order. Flat ones
 *  are [F,1,1] and no image. */
typedef struct dp_shape {
    int C, H, W;
    bool image; /* has three dimensions in PyTorch */
} dp_shape;

static inline int dp_shape_size(dp_shape s) {
    return s.C * s.H * s.W;
}

/** What each pass takes beside the layer. Random numbers are a function of seed, step,
 *  row[n] and the feature alone, so that they are the same on any layout. */
typedef struct dp_pass {
    const dp_kernels *set;
    dp_team team;
    int N;               /* samples of this microbatch */
    int block;           /* samples in a block of the block tree */
    int begin, end;      /* channels of the output to compute, see dp_layer.rows */
    bool training;       /* false: evaluation, nothing is kept for a backward pass */
    uint64_t seed;       /* run.seed */
    int64_t step;        /* optimizer step, from 1; 0 in evaluation */
    const int32_t *row;  /* [N] rows of the table; no two samples of a batch share one */
    const float *params; /* the model's slab */
    float *grads;        /* a slab of the same layout, in `gradient` only; else NULL */
    /* Slabs of this layout that are updated right after `gradient`; NULL: no more */
    const float *updated[DP_UPDATED];
} dp_pass;

typedef struct dp_layer dp_layer;

/** Passes are called by the whole team, with equal arguments but for team.id; the net
 *  puts a barrier between one and the next that reads what it wrote. */
typedef struct dp_layer_kind {
    const char *name;  /* as in model.layers, before the colon; NULL: any activation's */
    const char *usage; /* with its argument, as in "dense:N" */
    /** Forward applies above->act and fills above->zt (where not NULL), and backward
     *  multiplies with the derivative of below->act, on their way. Behind other layers an
     *  activation is a layer of its own, and the net does that multiplication. */
    bool fuses;
    /** Forward fills above->y too, where it is not NULL; else the net does, after it. */
    bool writes_rows;
    /** `gradient` reads below->y. */
    bool reads_rows;
    /** Forward and gradient leave out the zeros of below->lit, where it is not NULL. */
    bool skips_zeros;
    /** Takes plain values: images have to be flattened. */
    bool flat;
    /** In evaluation what goes in comes out. */
    bool training_only;
    /** Whether forward and gradient, and backward if it is called, can do the work of
     *  `next`, too, which follows act; then `above` is what comes out of that. NULL: they
     *  can't. */
    bool (*join)(dp_layer *layer, const dp_layer *next, bool backward);
    /** From layer->in and the argument (NULL: none): out, rows, flops, scratch, arg, and
     *  the tensors by dp_layer_add_tensor. One that takes its input as flat says so in
     *  layer->in.
     *  Errors: DP_EUSAGE naming the layer */
    dp_status (*shape)(dp_layer *layer, const char *argument);
    /** below->yt -> above->yt. NULL: what goes in comes out. */
    void (*forward)(const dp_layer *layer, const dp_pass *pass);
    /** above->dzt -> below->dzt: the input gradient. */
    void (*backward)(const dp_layer *layer, const dp_pass *pass);
    /** above->dzt and below -> the gradients of the layer's tensors, overwritten: sums
     *  over the samples in the order of kernels.h. Reads no parameters. NULL: there are
     *  none. */
    void (*gradient)(const dp_layer *layer, const dp_pass *pass);
} dp_layer_kind;

enum { DP_LAYER_TENSORS = 4, DP_LAYER_ARGS = 4 };

/** How a tensor starts. With fan_in 0 all its numbers are `value`; else model.init says,
 *  which takes a tensor of one dimension for a bias. */
typedef struct dp_initial {
    int fan_in, fan_out; /* terms of an output's sum, sums that an input is in */
    float value;
} dp_initial;

/** Where dp_model_init took a tensor's numbers from. Misfit: fresh, since the file has one
 *  of this name but of another shape. */
typedef enum dp_source { DP_SOURCE_FRESH, DP_SOURCE_FILE, DP_SOURCE_MISFIT } dp_source;

struct dp_layer {
    const dp_layer_kind *kind;
    const char *name; /* "dense", "relu" */
    int index;        /* in torch.nn.Sequential: names its tensors */
    dp_shape in, out;
    double arg[DP_LAYER_ARGS]; /* what the argument said; the kind's own */
    const dp_act *act; /* an activation's function; in a net also one fused behind */
    int ntensors;
    dp_tensor tensor[DP_LAYER_TENSORS]; /* one behind the other in the slab */
    dp_initial start[DP_LAYER_TENSORS];
    dp_source source[DP_LAYER_TENSORS];
    /** Channels of the output that can be computed some at a time: each has a row of its
     *  own in all tensors, whose first dimension is `rows`. 0: all at once, whatever
     *  begin and end are. */
    int rows;
    double flops; /* floating-point operations of the forward pass, a sample */
    int scratch;  /* floats a sample that forward leaves for the others */
    bool frozen;  /* training leaves its tensors as they are */
    /* In a net: */
    const dp_activation *below, *above;
    float *kept; /* [S][scratch][64], training only; else NULL */
};

/** The layer of "dense:512" or "relu" on an input of shape `in`, at `index` of the model.
 *  Errors: DP_EUSAGE naming the word */
dp_status dp_layer_parse(const dp_kernels *set, const char *word, int index, dp_shape in,
                         dp_layer *out);

/** Adds the tensor "<index>.<name>" of the dimensions dim[ndim], for `shape`. */
void dp_layer_add_tensor(dp_layer *layer, const char *name, int ndim, const int *dim,
                         dp_initial start);

/** This thread's part of an array of n floats, a multiple of 16: [*begin, *begin +
 *  returned), in whole vectors of 16. */
static inline size_t dp_layer_thread_range(dp_team team, size_t n, size_t *begin) {
    size_t vectors = n / 16;
    *begin = vectors * (size_t)team.id / (size_t)team.n * 16;
    return vectors * (size_t)(team.id + 1) / (size_t)team.n * 16 - *begin;
}

#endif
