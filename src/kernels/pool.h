/* Pooling: the largest or the mean of each window of a channel. Lanes run over
 * samples. */
#ifndef DP_KERNELS_POOL_H
#define DP_KERNELS_POOL_H

#include "split.h"

/* A channel of a strip, and the quarters of it that have samples. */
typedef struct pool_plane {
    const dp_pool_args *p;
    size_t in, out; /* where the channel begins in the arrays */
    int n;          /* samples, a multiple of 16 */
    const float *x; /* below->yt at `in` */
    float *dx;      /* below->dzt at `in` */
} pool_plane;

/* The largest of a window of row stride `row`, and which it is; x: its first pixel. As in
 * PyTorch a NaN is larger than what is before it. */
static ALWAYS_INLINE vf pool_largest(const float *x, int K, ptrdiff_t row, vi *which) {
    vf best = vf_load(x);
    *which = vi_set(0);
    for (int k = 1; k < K * K; k++) {
        vf v = vf_load(x + k / K * row + k % K * DP_STRIP);
        vm larger = (vm)(vf_lt(best, v) | ~vf_eq(v, v));
        best = vf_select(larger, v, best);
        *which = vi_select(larger, vi_set(k), *which);
    }
    return best;
}

static ALWAYS_INLINE vf pool_mean(const float *x, int K, ptrdiff_t row, vi *which) {
    vf sum = vf_load(x);
    for (int k = 1; k < K * K; k++) {
        sum = sum + vf_load(x + k / K * row + k % K * DP_STRIP);
    }
    return sum / (float)(K * K);
}

/* K a constant where it is 2. */
static ALWAYS_INLINE void pool_windows(bool max, int K, const pool_plane *at) {
    const dp_window *w = &at->p->window;
    const dp_activation *above = at->p->above;
    float *z = (above->zt ? above->zt : above->yt) + at->out;
    ptrdiff_t row = (ptrdiff_t)w->W * DP_STRIP;
    for (int y = 0; y < w->OH; y++) {
        for (int i = 0; i < w->OW; i++, z += DP_STRIP) {
            const float *x = at->x + (ptrdiff_t)(y * w->W + i) * w->S * DP_STRIP;
            for (int n = 0; n < at->n; n += LANES) {
                vi which;
                vf_store(z + n, max ? pool_largest(x + n, K, row, &which)
                                    : pool_mean(x + n, K, row, &which));
            }
        }
    }
}

/* What dy adds to each pixel of its window. `meet`: windows do, or leave pixels out, and
 * dx has been cleared. */
static ALWAYS_INLINE void pool_spread(bool max, bool meet, int K, const pool_plane *at) {
    const dp_window *w = &at->p->window;
    const float *dy = at->p->above->dzt + at->out;
    ptrdiff_t row = (ptrdiff_t)w->W * DP_STRIP;
    for (int y = 0; y < w->OH; y++) {
        for (int i = 0; i < w->OW; i++, dy += DP_STRIP) {
            ptrdiff_t pixel = (ptrdiff_t)(y * w->W + i) * w->S * DP_STRIP;
            for (int n = 0; n < at->n; n += LANES) {
                vi which = vi_set(0);
                vf d = vf_load(dy + n);
                if (max) {
                    pool_largest(at->x + pixel + n, K, row, &which);
                } else {
                    d = d / (float)(K * K);
                }
                for (int k = 0; k < K * K; k++) {
                    float *dx = at->dx + pixel + n + k / K * row + k % K * DP_STRIP;
                    vf part = d;
                    if (max) {
                        part = vf_select(vi_eq(which, vi_set(k)), d, vf_zero());
                    }
                    if (meet) {
                        part = vf_load(dx) + part;
                    }
                    vf_store(dx, part);
                }
            }
        }
    }
}

static ALWAYS_INLINE void pool_back(bool max, const pool_plane *at) {
    const dp_window *w = &at->p->window;
    bool whole = w->S == w->K && w->OH * w->S == w->H && w->OW * w->S == w->W;
    if (!whole) {
        for (int k = 0; k < w->H * w->W; k++) {
            memset(at->dx + k * DP_STRIP, 0, (size_t)at->n * sizeof *at->dx);
        }
    }
    if (whole && w->K == 2) {
        pool_spread(max, false, 2, at);
    } else {
        pool_spread(max, !whole, w->K, at);
    }
}

/* f of `above`, or f' of `below`, on the `pixels` of a channel, which begin at `at`. */
static void pool_act(const dp_activation *a, bool back, size_t at, int pixels, int n) {
    bool whole = n == DP_STRIP;
    size_t floats = (size_t)n * (whole ? (size_t)pixels : 1);
    for (int k = 0; k < (whole ? 1 : pixels); k++, at += DP_STRIP) {
        float *z = a->zt ? a->zt + at : NULL, *y = a->yt + at;
        if (back) {
            a->act->backward(z, y, a->dzt + at, floats);
        } else {
            a->act->forward(z ? z : y, y, floats);
        }
    }
}

/* This thread's channels of all strips. */
static ALWAYS_INLINE void pool_run(bool max, bool back, dp_team team,
                                   const dp_pool_args *p) {
    const dp_window *w = &p->window;
    int planes = ceil_div(p->N, DP_STRIP) * w->C;
    for (int k = partition_begin(planes, team.id, team.n);
         k < partition_begin(planes, team.id + 1, team.n); k++) {
        int left = p->N - k / w->C * DP_STRIP;
        pool_plane at = {.p = p,
                         .in = (size_t)k * (size_t)(w->H * w->W) * DP_STRIP,
                         .out = (size_t)k * (size_t)(w->OH * w->OW) * DP_STRIP,
                         .n = imin(ceil_div(left, QUARTER) * QUARTER, DP_STRIP)};
        at.x = p->below->yt + at.in;
        if (back) {
            at.dx = p->below->dzt + at.in;
            pool_back(max, &at);
        } else if (w->K == 2) {
            pool_windows(max, 2, &at);
        } else {
            pool_windows(max, w->K, &at);
        }
        if (back && p->below->act) {
            pool_act(p->below, true, at.in, w->H * w->W, at.n);
        } else if (!back && p->above->act) {
            pool_act(p->above, false, at.out, w->OH * w->OW, at.n);
        }
    }
}

static void maxpool_forward(dp_team team, const dp_pool_args *p) {
    pool_run(true, false, team, p);
}

static void maxpool_backward(dp_team team, const dp_pool_args *p) {
    pool_run(true, true, team, p);
}

static void avgpool_forward(dp_team team, const dp_pool_args *p) {
    pool_run(false, false, team, p);
}

static void avgpool_backward(dp_team team, const dp_pool_args *p) {
    pool_run(false, true, team, p);
}

#endif
