/* The taps of a convolution, C K K of them, in parts that caches hold. */
#ifndef DP_KERNELS_CONV_BOX_H
#define DP_KERNELS_CONV_BOX_H

#include "split.h"

enum {
    CONV_IMAGE = 4, /* channels of an image, at most: zeros are looked for */
};

/* Channels [c, c + nc), of each the rows [i, i + ni) and columns [j, j + nj) of the
 * kernel. */
typedef struct conv_box {
    int c, nc, i, ni, j, nj;
} conv_box;

/* Whole channels, or rows of one, or a part of a row: boxes are in the order of taps. */
typedef struct conv_cut {
    int C, K;
    int nc, ni, nj; /* of a box, at most */
    int rows, cols; /* boxes of a channel */
    int boxes;
} conv_cut;

/* Boxes of at most `most` taps. */
static conv_cut conv_cut_taps(int C, int K, int most) {
    conv_cut cut = {.C = C, .K = K, .nj = imin(K, most)};
    cut.ni = imin(K, most / cut.nj);
    cut.nc = cut.nj < K || cut.ni < K ? 1 : imin(C, most / (K * K));
    cut.nc = ceil_div(C, ceil_div(C, cut.nc));
    cut.rows = ceil_div(K, cut.ni);
    cut.cols = ceil_div(K, cut.nj);
    cut.boxes = ceil_div(C, cut.nc) * cut.rows * cut.cols;
    return cut;
}

static conv_box conv_cut_box(const conv_cut *cut, int k) {
    conv_box b = {.c = k / cut->cols / cut->rows * cut->nc,
                  .i = k / cut->cols % cut->rows * cut->ni,
                  .j = k % cut->cols * cut->nj};
    b.nc = imin(cut->nc, cut->C - b.c);
    b.ni = imin(cut->ni, cut->K - b.i);
    b.nj = imin(cut->nj, cut->K - b.j);
    return b;
}

/* Whether any of the samples of a row has a value that is not +0; n: a multiple of 16. */
static inline bool conv_lit(const float *x, int n) {
    vi any = vi_set(0);
    for (int k = 0; k < n; k += LANES) {
        any = any | (vi)vf_load(x + k);
    }
    int32_t lane[LANES] __attribute__((aligned(64)));
    memcpy(lane, &any, sizeof lane);
    int32_t found = 0;
    for (int k = 0; k < LANES; k++) {
        found |= lane[k];
    }
    return found != 0;
}

#endif
