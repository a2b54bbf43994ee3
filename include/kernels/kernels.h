/** The numerical kernels: a table of functions for each instruction set, with the same
 *  bits.
 *
 *  Layout. The activations of a microbatch of N samples are stored twice:
 *    feature-major strips  t[S][F][64], S = ceil(N/64): sample n, feature f is at
 *                          t[(n/64 * F + f) * 64 + n%64]. Vector lanes run over samples.
 *    batch-major           x[N][ld]: one row a sample, ld = dp_ld(F). Lanes run over
 *                          features.
 *  Lanes of samples >= N, and columns >= F of a batch-major row, hold anything finite; no
 *  result depends on them. Lanes past N rounded up to 16 are neither read nor written,
 *  nor are columns past F rounded up to 16. Weights are W[O][I] row-major, never packed,
 *  never transposed.
 *
 *  Numbers. Every output is one FMA chain in a fixed order: forward over i from the bias,
 *  input gradient over o from 0, weight gradient over the samples of a block from 0 and
 *  then along the block tree (base/tree.h). No sum is split over lanes or threads.
 *
 *  Threads. Every function is called by all threads of a team inside one parallel region,
 *  with the same arguments, and computes this thread's slice of the outputs. No barrier
 *  inside: the caller puts one where the next call reads what this one writes.
 *
 *  All pointers are aligned to 64 bytes unless said otherwise; nothing aliases. */
#ifndef DP_KERNELS_KERNELS_H
#define DP_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DP_STRIP = 64 }; /* samples in a strip */

/** Where sample n, feature f of F is in feature-major strips. */
static inline size_t dp_strip_at(int F, int n, int f) {
    size_t strip = (size_t)(n / DP_STRIP);
    return (strip * (size_t)F + (size_t)f) * DP_STRIP + (size_t)(n % DP_STRIP);
}

/** Floats in feature-major strips of N samples and F features. */
static inline size_t dp_strip_floats(int N, int F) {
    size_t strips = (size_t)(N / DP_STRIP + (N % DP_STRIP != 0));
    return strips * (size_t)F * DP_STRIP;
}

/** Row stride in floats of a batch-major array with F columns: F rounded up to an odd
 *  number of cache lines (16 floats each), so that a column of rows spreads over all
 *  cache sets. */
static inline int dp_ld(int F) {
    int lines = F / 16 + (F % 16 != 0);
    return (lines | 1) * 16;
}

typedef struct dp_team {
    int id, n; /* this thread, and the number of threads */
} dp_team;

/** An activation function: elementwise, y = f(z), dz = dy f'(z). */
typedef struct dp_act {
    const char *name; /* as in model.layers */
    bool needs_z;     /* f' is a function of z; else of y alone, and z may be y */
    /** y[k] = f(z[k]), k < n; n a multiple of 16; y may be z. */
    void (*forward)(const float *z, float *y, size_t n);
    /** d[k] *= f'(.), k < n; n a multiple of 16; z is NULL unless needs_z. */
    void (*backward)(const float *z, const float *y, float *d, size_t n);
} dp_act;

/** A term of a strip's sums: floats from the strip to the input's row in it, and from an
 *  output's first weight to the input's. */
typedef struct dp_term {
    int32_t x, w;
} dp_term;

/** Which of the input's features are lit in a strip: those where some sample's value is
 *  not +0. The others are left out of sums. That changes no bit: their terms are w * 0,
 *  a zero of either sign, which at most changes the sign of a sum that is zero, and sums
 *  of forward end with + 0. Where w is not finite, w * 0 is NaN, and that is added.
 *
 *  Where few enough features are lit in any strip, the input is compact: it has columns
 *  for these alone. Owner: the net. */
typedef struct dp_lit {
    int strips;     /* that there is room for */
    int columns;    /* of the input's yt[S][columns][64] and y[N][dp_ld(columns + 16)] if
                     * compact; else F, and the layout is the usual one */
    int32_t *terms; /* [S] of each sum; F: all, and no list */
    dp_term *term;  /* [S][F] in the order of the features; at least one */
    uint8_t
        *seen; /* [S+1][F16], F16: F rounded up to 16; not 0: lit, last in any strip */
    int32_t *dark; /* [S][1 + F16/16] their number, and groups of 16 features that are not
                     * all lit */
    /* of a compact input: */
    int32_t *feature; /* [F] of each column */
    /* Of each vector of features, and of each 16 for squeeze: the lanes that go to
     * successive columns; the other way round, where a lane comes from, < 0: nowhere; and
     * the first column. */
    uint8_t *squeeze;          /* [F16] */
    int8_t *expand;            /* [F16] */
    int32_t *first, *first_16; /* [F16/4], [F16/16] */
} dp_lit;

/** The activations between two layers, of a microbatch; y = act(z). Owner: the net. */
typedef struct dp_activation {
    int F;             /* features */
    const dp_act *act; /* NULL: y is z */
    float *zt;         /* [S][F][64], only if act needs z; else NULL */
    float *yt;         /* [S][F][64] */
    float *y;    /* [N][dp_ld(F)], in training if the layer above reads it; else NULL */
    float *dzt;  /* [S][F][64]: loss gradient by z, training only; else NULL */
    dp_lit *lit; /* of an input whose zeros are left out; else NULL */
} dp_activation;

/** Feature f of sample n. */
static inline float dp_activation_at(const dp_activation *a, int n, int f) {
    return a->yt[dp_strip_at(a->F, n, f)];
}

enum { DP_UPDATED = 3 }; /* arrays: parameters, and as much of the optimizer's state */

/** A dense layer from I = below->F inputs to O = above->F outputs, on N samples; all of
 *  it, whichever pass is called. Weights, biases and their gradients are only 4-byte
 *  aligned. */
typedef struct dp_dense_args {
    int N;
    int begin, end; /* outputs that forward and dweight compute: multiples of 16 (end may
                     * be O) */
    int block;      /* samples in a block of the block tree */
    const dp_activation *below, *above;
    const float *W, *b; /* [O][I], [O] */
    float *dW, *db;     /* [O][I], [O] */
    /* What an update right after dweight reads and writes, laid out as W: prefetched,
     * not read. NULL: no more. */
    const float *updated[DP_UPDATED];
} dp_dense_args;

/** How raw features become floats; mean and inv_std are NULL for none.
 *    bytes:  (raw/255 - mean) / deviation
 *    floats: (raw - mean) / deviation */
typedef struct dp_scale {
    bool bytes;           /* raw are uint8, divided by 255 when `unit` */
    bool unit;            /* divide bytes by 255 */
    int columns;          /* 1: one mean for all; F: one a column; 0: none */
    const float *mean;    /* [columns] */
    const float *inv_std; /* [columns] */
} dp_scale;

/** Square windows on images, as in convolution and pooling: output pixel (y, x) sees rows
 *  [y S - P, y S - P + K) of the input and columns likewise; past the edges are zeros.
 *  Pixel (y, x) of channel c is feature (c H + y) W + x. */
typedef struct dp_window {
    int C, H, W; /* of the input */
    int K, S, P; /* K x K pixels; from one to the next; padding on each side */
    int OH, OW;  /* of the output: (H + 2P - K) / S + 1, rounded down */
} dp_window;

/** A convolution of N samples, from C channels to O: above->F = O OH OW. Weights, biases
 *  and their gradients are only 4-byte aligned. */
typedef struct dp_conv_args {
    dp_window window;
    int N, O;
    int begin, end; /* channels that forward and dweight compute: multiples of 16 (end may
                     * be O) */
    int block;      /* samples in a block of the block tree */
    const dp_activation *below, *above;
    const float *W, *b; /* [O][C][K][K], [O] */
    float *dW, *db;     /* likewise */
    /* Not 0: maxpool with windows of pool x pool, side by side, follows f, and `above` is
     * what comes out of it: above->F = O (OH / pool) (OW / pool). */
    int pool;
    int32_t *taken; /* [S][above->F][64] the pixel that it has taken; evaluation: NULL */
} dp_conv_args;

enum { DP_CONV_POOL = 80 }; /* pool OW, at most */

/** Pooling of the channels of N samples. */
typedef struct dp_pool_args {
    dp_window window; /* P = 0 */
    int N;
    const dp_activation *below, *above;
} dp_pool_args;

/** Normalisation of the F = below->F features of each of N samples. Weights, biases and
 *  their gradients are only 4-byte aligned. */
typedef struct dp_layernorm_args {
    int N, block;
    float eps;
    const dp_activation *below, *above;
    const float *w, *b; /* [F] */
    float *moment;      /* [S][2][64]: mean, 1 / sqrt(variance + eps); forward: or NULL */
    float *dw, *db;     /* [F] */
} dp_layernorm_args;

/** Dropout of the features of N samples. */
typedef struct dp_dropout_args {
    int N;
    float P; /* of a feature to be 0 */
    uint64_t seed;
    uint32_t step, layer;
    const int32_t *row; /* [N] of the table */
    const dp_activation *below, *above;
    float *factor; /* [S][F][64] */
} dp_dropout_args;

typedef struct dp_kernels {
    const char *name;        /* "avx512", "avx2", "portable" */
    int lanes;               /* floats in a vector */
    bool (*supported)(void); /* by this CPU */

    /** Before load, if input->lit is not NULL: scan finds the lit features, then one
     *  thread makes the lists of them, with a barrier before and after. */
    void (*scan)(dp_team team, int N, const void *raw, const int32_t *row,
                 const dp_scale *scale, const dp_activation *input);
    void (*list)(int N, const dp_scale *scale, const dp_activation *input);

    /** Rows of the data set -> the input's yt and, unless it is NULL (evaluation), y.
     *  raw[rows][F] uint8, or float (aligned as floats are); row[n]: row of sample n < N.
     *  Bytes / 255 is the correctly rounded quotient. */
    void (*load)(dp_team team, int N, const void *raw, const int32_t *row,
                 const dp_scale *scale, const dp_activation *input);

    /** yt -> y: the other layout of the same activations. */
    void (*rows)(dp_team team, int N, const dp_activation *a);

    /** Z = X W^T + b, Y = f(Z): below->yt -> above->zt, yt and y, where these are not
     *  NULL.
     *  Each output: acc = b[o], then fma(W[o][i], x[i], acc) for i = 0 .. I-1; at the
     *  end + 0, which makes a zero positive. */
    void (*forward)(dp_team team, const dp_dense_args *a);

    /** dX = dY W, times f'(.) of below->act: above->dzt -> below->dzt.
     *  Each output: acc = 0, then fma(W[o][i], dy[o], acc) for o = 0 .. O-1. */
    void (*dinput)(dp_team team, const dp_dense_args *a);

    /** dW = dY^T X and db = sum of dY, over the N samples of one tree node: below->y,
     *  above->dzt -> dW, db (overwritten).
     *  Samples are cut into blocks of `block`; inside a block acc = 0, then
     *  fma(dy[n][o], x[n][i], acc) in order (db: acc + dy[n][o]); blocks are added along
     *  dp_tree over the ceil(N/block) local blocks. */
    void (*dweight)(dp_team team, const dp_dense_args *a);

    /** z = W * x + b, y = f(z) of above: below->yt, W, b -> above->zt, yt; channels
     *  [begin, end) only.
     *  Each output: acc = b[o] + 0, then fma(W[o][c][i][j], x, acc) over (c, i, j) in
     *  order, and + 0 at the end; terms in the padding are left out. */
    void (*conv_forward)(dp_team team, const dp_conv_args *conv);

    /** above->dzt, W -> below->dzt, times f'(.) of below.
     *  Each output: acc = 0, then fma(W[o][c][i][j], dz, acc) over (o, i, j) in order.
     *  Without pool. */
    void (*conv_dinput)(dp_team team, const dp_conv_args *conv);

    /** above->dzt, below->yt -> dW, db of channels [begin, end), overwritten.
     *  For each sample acc = 0, then fma(dz, x, acc) over the output's pixels in order
     *  (db: acc + dz); x is 0 in the padding. The samples of a block are added along
     *  dp_tree over their number, then the blocks as in dweight. */
    void (*conv_dweight)(dp_team team, const dp_conv_args *conv);

    /** The largest of each window, NaN where one is NaN; then f of above: below->yt ->
     *  above->zt, yt. */
    void (*maxpool_forward)(dp_team team, const dp_pool_args *pool);

    /** above->dzt -> below->dzt: dz goes to the window's largest pixel, the first of
     *  equals; where windows meet, sums in the order of the outputs; times f'(.) of
     *  below. */
    void (*maxpool_backward)(dp_team team, const dp_pool_args *pool);

    /** The mean of each window: the sum in order, divided by K K. As maxpool. */
    void (*avgpool_forward)(dp_team team, const dp_pool_args *pool);
    void (*avgpool_backward)(dp_team team, const dp_pool_args *pool);

    /** y = h w + b with h = (x - mean) / sqrt(variance + eps), for each sample: below->yt,
     *  w, b -> moment, above->yt. Sums over features in 4 interleaved chains, (0 + 1) + (2
     *  + 3). */
    void (*layernorm_forward)(dp_team team, const dp_layernorm_args *norm);

    /** With g = dy w: dx = (g - mean g - h mean(g h)) / sqrt(variance + eps): above->dzt,
     *  below->yt, w, moment -> below->dzt, without f' of below. */
    void (*layernorm_dinput)(dp_team team, const dp_layernorm_args *norm);

    /** dw = sum of dy h, db = sum of dy, as in dweight: above->dzt, below->yt, moment ->
     *  dw, db. */
    void (*layernorm_dweight)(dp_team team, const dp_layernorm_args *norm);

    /** factor = 0 with probability P, else 1 / (1 - P), and y = x factor: below->yt ->
     *  factor, above->yt. The factor of feature f is 0 where word f % 4 of
     *  dp_rng_words(seed, DP_FOR_LAYER, step, layer << 56 | row << 24 | f / 4) is below P
     *  2^32. */
    void (*dropout)(dp_team team, const dp_dropout_args *dropout);

    /** Softmax cross-entropy on logits, fused with its gradient.
     *  zt[S][C][64] label[N] -> loss[N], correct[N] (1 if argmax, first of equals, is the
     *  label), dzt[S][C][64] (lanes from N up to a multiple of 16 are set to 0, as in mse
     *  and bce). correct, dzt may be NULL.
     *    loss     = logsumexp(z) - sum_c target_c z_c
     *    dz_c     = softmax_c - target_c               not divided by the batch
     *    target_c = (1-s) [c == label] + s/C           s: label smoothing */
    void (*cross_entropy)(dp_team team, int N, int C, const float *zt,
                          const int32_t *label, float smoothing, float *loss,
                          uint8_t *correct, float *dzt);

    /** After a loss, by the same team: loss[n] and dz of sample n times weight[N]. */
    void (*weigh)(dp_team team, int N, int O, const float *weight, float *loss,
                  float *dzt);

    /** Mean squared error over O outputs. target[N][O] (unpadded). dzt may be NULL.
     *    loss[n] = sum_o (z - y)^2 / O
     *    dz      = 2 (z - y) / O */
    void (*mse)(dp_team team, int N, int O, const float *zt, const float *target,
                float *loss, float *dzt);

    /** Mean absolute error, likewise, as PyTorch's L1Loss.
     *    loss[n] = sum_o |z - y| / O
     *    dz      = sign(z - y) / O, 0 where they are equal */
    void (*mae)(dp_team team, int N, int O, const float *zt, const float *target,
                float *loss, float *dzt);

    /** As PyTorch's HuberLoss, with d = z - y:
     *    loss[n] = sum_o (d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2)) / O
     *    dz      = (d, or delta sign(d)) / O */
    void (*huber)(dp_team team, int N, int O, const float *zt, const float *target,
                  float delta, float *loss, float *dzt);

    /** Binary cross-entropy on logits. target[N][O] in {0,1}. correct[n]: all of (z > 0)
     *  == y.
     *    loss[n] = mean over O of max(z,0) - z y + log1p(exp(-|z|))
     *    dz      = (sigmoid(z) - y) / O */
    void (*bce)(dp_team team, int N, int O, const float *zt, const float *target,
                float *loss, uint8_t *correct, float *dzt);

    /** Probabilities for prediction: p[n][c] (unpadded [N][C]) = softmax of zt over c. */
    void (*softmax)(dp_team team, int N, int C, const float *zt, float *p);

    /** Elementwise on arrays of any n and alignment, one thread: at most 2 ulp from the
     *  exact value over the whole range, subnormal results included. */
    void (*exp)(const float *x, float *y, size_t n);
    void (*log)(const float *x, float *y, size_t n);
    void (*tanh)(const float *x, float *y, size_t n);
    void (*sigmoid)(const float *x, float *y, size_t n);

    /** Independent FMA chains in registers, `rounds` times: the number of floating-point
     *  operations done (a multiply-add is 2). */
    double (*fma_chains)(long rounds);

    /** Ended by a name NULL: relu tanh sigmoid gelu leaky_relu softplus. */
    const dp_act *acts;
} dp_kernels;

/** The set named "auto" (the best this CPU has), "avx512", "avx2" or "portable".
 *  NULL if the name is unknown or the CPU lacks it. */
const dp_kernels *dp_kernels_find(const char *name);

/** The names of the sets that this CPU can run, best first, separated by spaces. */
const char *dp_kernels_available(void);

/** The activation of that name in a set, or NULL. */
const dp_act *dp_act_find(const dp_kernels *set, const char *name);

/** Runs independent FMA chains in registers for about `seconds` on this thread and
 *  returns GFLOP/s: the FMA peak, of which other figures are given in percent. */
double dp_kernels_peak(const dp_kernels *set, double seconds);

#endif
