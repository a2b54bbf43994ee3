/* Static partition of a grid of outputs among threads, and the conversions between the
 * two layouts. */
#ifndef DP_KERNELS_SPLIT_H
#define DP_KERNELS_SPLIT_H

#include "kernels/kernels.h"
#include "vec.h"

typedef struct subgrid {
    int a0, a1, b0, b1; /* [a0,a1) x [b0,b1) of a grid, possibly empty */
} subgrid;

static inline int ceil_div(int a, int b) {
    return a / b + (a % b != 0);
}

static inline int imin(int a, int b) {
    return a < b ? a : b;
}

/* Where part `id` of `n` equal ones of `count` begins. */
static inline int partition_begin(int count, int id, int n) {
    return (int)((int64_t)count * id / n);
}

/* This thread's part of a grid of a x b units. Rows are cut first, since a thread that
 * keeps its rows keeps its weights in cache; columns where that leaves less for the
 * busiest thread. Fewer than `min_rows` rows take as long as `min_rows`. */
static subgrid split_grid(dp_team team, int a, int min_rows, int b) {
    int rows = team.n;
    int64_t best = INT64_MAX;
    for (int r = team.n;; r /= 2) {
        int64_t tall = ceil_div(a, r) < min_rows ? min_rows : ceil_div(a, r);
        int64_t cost = tall * ceil_div(b, team.n / r);
        if (cost < best) {
            best = cost;
            rows = r;
        }
        if (r == 1) {
            break;
        }
    }
    int cols = team.n / rows;
    int ia = team.id % rows, ib = team.id / rows;
    if (ib >= cols) {
        return (subgrid){0};
    }
    return (subgrid){partition_begin(a, ia, rows), partition_begin(a, ia + 1, rows),
                     partition_begin(b, ib, cols), partition_begin(b, ib + 1, cols)};
}

/* This thread's part of a grid of which each row is one thread's. */
static inline subgrid split_rows(dp_team team, int a, int b) {
    return (subgrid){partition_begin(a, team.id, team.n),
                     partition_begin(a, team.id + 1, team.n), 0, b};
}

/* Feature-major to batch-major: up to 16 features of up to 16 samples. t[features][64] at
 * a quarter; x[samples][ld], of which 16 columns are written, those past `features` with
 * 0. */
static inline void to_batch_major(const float *t, int features, int samples, float *x,
                                  ptrdiff_t ld) {
    if (features == QUARTER && samples == QUARTER) {
        transpose_quarter(t, DP_STRIP, x, ld);
        return;
    }
    float in[QUARTER * QUARTER] __attribute__((aligned(64))) = {0};
    float out[QUARTER * QUARTER] __attribute__((aligned(64)));
    for (int f = 0; f < features; f++) {
        memcpy(in + f * QUARTER, t + f * DP_STRIP, QUARTER * sizeof *t);
    }
    transpose_quarter(in, QUARTER, out, QUARTER);
    for (int n = 0; n < samples; n++) {
        memcpy(x + n * ld, out + n * QUARTER, QUARTER * sizeof *x);
    }
}

/* Batch-major to feature-major: 16 samples of up to 16 features. */
static inline void to_strip(const float *x, ptrdiff_t ld, int features, float *t) {
    if (features == QUARTER) {
        transpose_quarter(x, ld, t, DP_STRIP);
        return;
    }
    float out[QUARTER * QUARTER] __attribute__((aligned(64)));
    transpose_quarter(x, ld, out, QUARTER);
    for (int f = 0; f < features; f++) {
        memcpy(t + f * DP_STRIP, out + f * QUARTER, QUARTER * sizeof *t);
    }
}

#endif
