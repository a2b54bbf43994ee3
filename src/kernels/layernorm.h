/* Layer normalisation: mean and variance over the features of a sample. Lanes run over
 * samples, in the gradients of weight and bias over features. */
#ifndef DP_KERNELS_LAYERNORM_H
#define DP_KERNELS_LAYERNORM_H

#include "base/tree.h"
#include "split.h"
#include <assert.h>

enum { NORM_CHAINS = 4, NORM_LEVELS = 20 };

static ALWAYS_INLINE vf norm_total(const vf chain[NORM_CHAINS]) {
    return (chain[0] + chain[1]) + (chain[2] + chain[3]);
}

/* LANES samples, whose first feature is at x. */
static void layernorm_samples(const dp_layernorm_args *p, const float *x, float *moment,
                              float *y) {
    vf sum[NORM_CHAINS] = {{0}}, square[NORM_CHAINS] = {{0}};
    for (int f = 0; f < p->below->F; f += NORM_CHAINS) {
#pragma GCC unroll 4
        for (int c = 0; c < NORM_CHAINS; c++) {
            if (f + c < p->below->F) {
                sum[c] = sum[c] + vf_load(x + (f + c) * DP_STRIP);
            }
        }
    }
    vf mean = norm_total(sum) / (float)p->below->F;
    for (int f = 0; f < p->below->F; f += NORM_CHAINS) {
#pragma GCC unroll 4
        for (int c = 0; c < NORM_CHAINS; c++) {
            if (f + c < p->below->F) {
                vf d = vf_load(x + (f + c) * DP_STRIP) - mean;
                square[c] = vf_fma(d, d, square[c]);
            }
        }
    }
    vf inverse = 1.0f / vf_sqrt(norm_total(square) / (float)p->below->F + p->eps);
    for (int f = 0; f < p->below->F; f++) {
        vf h = (vf_load(x + f * DP_STRIP) - mean) * inverse;
        vf_store(y + f * DP_STRIP, vf_fma(h, vf_set(p->w[f]), vf_set(p->b[f])));
    }
    if (moment) {
        vf_store(moment, mean);
        vf_store(moment + DP_STRIP, inverse);
    }
}

static void layernorm_samples_back(const dp_layernorm_args *p, const float *x,
                                   const float *moment, const float *dy, float *dx) {
    vf mean = vf_load(moment), inverse = vf_load(moment + DP_STRIP);
    vf sum[NORM_CHAINS] = {{0}}, along[NORM_CHAINS] = {{0}};
    for (int f = 0; f < p->below->F; f += NORM_CHAINS) {
#pragma GCC unroll 4
        for (int c = 0; c < NORM_CHAINS; c++) {
            if (f + c < p->below->F) {
                vf h = (vf_load(x + (f + c) * DP_STRIP) - mean) * inverse;
                vf g = vf_load(dy + (f + c) * DP_STRIP) * vf_set(p->w[f + c]);
                sum[c] = sum[c] + g;
                along[c] = vf_fma(g, h, along[c]);
            }
        }
    }
    vf mean_g = norm_total(sum) / (float)p->below->F,
       mean_gh = norm_total(along) / (float)p->below->F;
    for (int f = 0; f < p->below->F; f++) {
        vf h = (vf_load(x + f * DP_STRIP) - mean) * inverse;
        vf g = vf_load(dy + f * DP_STRIP) * vf_set(p->w[f]);
        vf_store(dx + f * DP_STRIP, vf_fma(-h, mean_gh, g - mean_g) * inverse);
    }
}

/* This thread's samples. */
static ALWAYS_INLINE void layernorm_run(bool back, dp_team team,
                                        const dp_layernorm_args *p) {
    int vectors = ceil_div(p->N, QUARTER) * QUARTER_VECS;
    for (int k = partition_begin(vectors, team.id, team.n);
         k < partition_begin(vectors, team.id + 1, team.n); k++) {
        size_t strip = (size_t)(k * LANES / DP_STRIP), lane = k * LANES % DP_STRIP;
        size_t at = strip * (size_t)p->below->F * DP_STRIP + lane;
        float *moment = p->moment ? p->moment + strip * 2 * DP_STRIP + lane : NULL;
        if (back) {
            layernorm_samples_back(p, p->below->yt + at, moment, p->above->dzt + at,
                                   p->below->dzt + at);
        } else {
            layernorm_samples(p, p->below->yt + at, moment, p->above->yt + at);
        }
    }
}

static void layernorm_forward(dp_team team, const dp_layernorm_args *p) {
    layernorm_run(false, team, p);
}

static void layernorm_dinput(dp_team team, const dp_layernorm_args *p) {
    layernorm_run(true, team, p);
}

/* 16 samples of up to 16 features [f, f + features): dy, and h = (x - mean) inverse, both
 * turned so that lanes run over features. */
static void layernorm_turn(const dp_layernorm_args *p, int n, int f, int features,
                           float *dy, float *h) {
    size_t strip = (size_t)(n / DP_STRIP), lane = n % DP_STRIP;
    size_t at = (strip * (size_t)p->below->F + (size_t)f) * DP_STRIP + lane;
    const float *moment = p->moment ? p->moment + strip * 2 * DP_STRIP + lane : NULL;
    float plain[QUARTER * QUARTER] __attribute__((aligned(64)));
    for (int k = 0; k < features; k++) {
        for (int v = 0; v < QUARTER; v += LANES) {
            vf x = vf_load(p->below->yt + at + k * DP_STRIP + v);
            vf_store(plain + k * QUARTER + v,
                     (x - vf_load(moment + v)) * vf_load(moment + DP_STRIP + v));
        }
    }
    for (int k = features; k < QUARTER; k++) {
        memset(plain + k * QUARTER, 0, QUARTER * sizeof *plain);
    }
    transpose_quarter(plain, QUARTER, h, QUARTER);
    to_batch_major(p->above->dzt + at, features, QUARTER, dy, QUARTER);
}

/* dw and db of up to 16 features. */
static void layernorm_gradient(const dp_layernorm_args *p, int f, int features) {
    float stack[NORM_LEVELS][2][QUARTER] __attribute__((aligned(64)));
    float dy[QUARTER * QUARTER] __attribute__((aligned(64)));
    float h[QUARTER * QUARTER] __attribute__((aligned(64)));
    int depth = 0, leaves = dp_tree_blocks(p->N, p->block);
    for (int leaf = 0; leaf < leaves; leaf++) {
        vf dw[QUARTER_VECS] = {{0}}, db[QUARTER_VECS] = {{0}};
        int begin = leaf * p->block, end = imin(begin + p->block, p->N);
        for (int n = begin; n < end; n++) {
            if (n == begin || n % QUARTER == 0) {
                layernorm_turn(p, n / QUARTER * QUARTER, f, features, dy, h);
            }
            for (int v = 0; v < QUARTER_VECS; v++) {
                vf d = vf_load(dy + n % QUARTER * QUARTER + v * LANES);
                dw[v] = vf_fma(d, vf_load(h + n % QUARTER * QUARTER + v * LANES), dw[v]);
                db[v] = db[v] + d;
            }
        }
        for (int m = dp_tree_merges(leaves, leaf); m > 0; m--) {
            depth--;
            for (int v = 0; v < QUARTER_VECS; v++) {
                dw[v] = vf_load(stack[depth][0] + v * LANES) + dw[v];
                db[v] = vf_load(stack[depth][1] + v * LANES) + db[v];
            }
        }
        assert(depth < NORM_LEVELS);
        for (int v = 0; v < QUARTER_VECS; v++) {
            vf_store(stack[depth][0] + v * LANES, dw[v]);
            vf_store(stack[depth][1] + v * LANES, db[v]);
        }
        depth++;
    }
    memcpy(p->dw + f, stack[0][0], (size_t)features * sizeof *p->dw);
    memcpy(p->db + f, stack[0][1], (size_t)features * sizeof *p->db);
}

static void layernorm_dweight(dp_team team, const dp_layernorm_args *p) {
    int groups = ceil_div(p->below->F, QUARTER);
    for (int g = partition_begin(groups, team.id, team.n);
         g < partition_begin(groups, team.id + 1, team.n); g++) {
        layernorm_gradient(p, g * QUARTER, imin(p->below->F - g * QUARTER, QUARTER));
    }
}

#endif
