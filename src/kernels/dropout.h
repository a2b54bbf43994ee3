/* Dropout: Philox in vectors, a sample a lane; one call gives the words of four
 * features. */
#ifndef DP_KERNELS_DROPOUT_H
#define DP_KERNELS_DROPOUT_H

#include "base/rng.h"
#include "split.h"

/* dp_philox with a counter a lane. */
static ALWAYS_INLINE void philox(vu c0, vu c1, vu c2, vu c3, uint32_t k0, uint32_t k1,
                                 vu out[4]) {
    for (int round = 0; round < 10; round++) {
        vu low0, low1, high0 = vu_multiply(c0, vu_set(0xD2511F53u), &low0);
        vu high1 = vu_multiply(c2, vu_set(0xCD9E8D57u), &low1);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* Features f .. f + 3, or as many as there are, of LANES samples of table rows `row`;
 * at: where feature f is. */
static ALWAYS_INLINE void dropout_four(const dp_dropout_args *d, vu row, int f,
                                       size_t at) {
    uint32_t quad = (uint32_t)f / 4, least = (uint32_t)((double)d->P * 0x1p32);
    vu word[4];
    philox((row << 24) + quad, (row >> 8) + (d->layer << 24), vu_set(d->step),
           vu_set(DP_FOR_LAYER), (uint32_t)d->seed, (uint32_t)(d->seed >> 32), word);
    vf scale = vf_set(1.0f / (1.0f - d->P));
    for (int k = 0; k < 4 && f + k < d->below->F; k++, at += DP_STRIP) {
        vf factor = vf_select(vu_lt(word[k], vu_set(least)), vf_zero(), scale);
        vf_store(d->factor + at, factor);
        vf_store(d->above->yt + at, vf_load(d->below->yt + at) * factor);
    }
}

/* This thread's groups of four features, of all samples. */
static void dropout(dp_team team, const dp_dropout_args *d) {
    int quads = ceil_div(d->below->F, 4);
    int begin = partition_begin(quads, team.id, team.n);
    int end = partition_begin(quads, team.id + 1, team.n);
    for (int n = 0; n < d->N; n += LANES) {
        uint32_t row[LANES] __attribute__((aligned(64))) = {0};
        memcpy(row, d->row + n, (size_t)imin(LANES, d->N - n) * sizeof *row);
        vu rows = *(const vu *)(const void *)row;
        size_t strip = (size_t)(n / DP_STRIP) * (size_t)d->below->F;
        for (int k = begin; k < end; k++) {
            size_t at = (strip + (size_t)(4 * k)) * DP_STRIP + (size_t)(n % DP_STRIP);
            dropout_four(d, rows, 4 * k, at);
        }
    }
}

#endif
