/* Rows of the data set, bytes or floats, become activations in both layouts in one pass.
 */
#include "lit.h"

typedef struct loader {
    int N, F;
    const uint8_t *raw;
    const int32_t *row;
    const dp_scale *scale;
    float *t, *x;
    const dp_lit *lit; /* of a compact input; else NULL */
} loader;

/* v / 255 for v = 0.. 255, correctly rounded: 1/255 is the sum of two floats. */
static ALWAYS_INLINE vf div255(vf v) {
    return vf_fma(v, vf_set(0x1.010102p-8f), v * vf_set(-0x1.fdfdfep-33f));
}

/* 16 features of one sample at `from`. */
static ALWAYS_INLINE void convert(bool bytes, bool unit, bool scaled, const uint8_t *from,
                                  const float *mean, const float *inv_std, float *to) {
    for (int v = 0; v < QUARTER; v += LANES) {
        vf y =
            bytes ? vf_bytes(from + v) : vf_loadu((const float *)(const void *)from + v);
        if (unit) {
            y = div255(y);
        }
        if (scaled) {
            y = (y - vf_load(mean + v)) * vf_load(inv_std + v);
        }
        vf_store(to + v, y);
    }
}

/* Features [f, f + 16) of quarter `quarter`. */
static ALWAYS_INLINE void load_square(const loader *l, bool bytes, bool unit, bool scaled,
                                      const float *mean, const float *inv_std,
                                      int quarter, int f) {
    size_t size = bytes ? 1 : sizeof(float);
    int features = imin(l->F - f, QUARTER);
    int n = quarter * QUARTER, samples = imin(l->N - n, QUARTER);
    ptrdiff_t ld = dp_ld(l->F);
    float square[QUARTER * QUARTER] __attribute__((aligned(64)));
    bool direct = l->x && samples == QUARTER;
    float *to = direct ? l->x + n * ld + f : square;
    ptrdiff_t stride = direct ? ld : QUARTER;
    for (int k = 0; k < samples; k++) {
        const uint8_t *from = l->raw + ((size_t)l->row[n + k] * l->F + f) * size;
        uint8_t edge[QUARTER * sizeof(float)] __attribute__((aligned(64)));
        if (features < QUARTER) {
            memset(edge, 0, sizeof edge);
            memcpy(edge, from, (size_t)features * size);
            from = edge;
        }
        convert(bytes, unit, scaled, from, mean, inv_std, to + k * stride);
    }
    if (samples < QUARTER) {
        memset(square + samples * QUARTER, 0,
               (size_t)(QUARTER - samples) * QUARTER * sizeof *square);
        for (int k = 0; l->x && k < samples; k++) {
            memcpy(l->x + (n + k) * ld + f, square + k * QUARTER,
                   QUARTER * sizeof *square);
        }
    }
    to_strip(to, stride, features, l->t + dp_strip_at(l->F, n, f));
}

/* Prefetches the raw rows of a quarter, from byte `begin` of each to `end`. */
static inline void prefetch_rows(const loader *l, int quarter, size_t row, size_t begin,
                                 size_t end) {
    int n1 = imin((quarter + 1) * QUARTER, l->N);
    for (int n = quarter * QUARTER; n < n1; n++) {
        for (size_t at = begin; at < end; at += 64) {
            __builtin_prefetch(l->raw + (size_t)l->row[n] * row + at);
        }
    }
}

/* Prefetches the lines that the square at feature f of a quarter is going to fill. */
static ALWAYS_INLINE void prefetch_square(const loader *l, int quarter, int f) {
    float *t = l->t + dp_strip_at(l->F, quarter * QUARTER, f);
    for (int k = 0; k < QUARTER; k++) {
        dp_memory_prefetch_write(t + k * DP_STRIP);
    }
    ptrdiff_t ld = dp_ld(l->F);
    for (int k = 0; k < QUARTER && l->x; k++) {
        dp_memory_prefetch_write(l->x + (quarter * QUARTER + k) * ld + f);
    }
}

/* Rows are anywhere in the data set, so each quarter prefetches those of the next. */
static ALWAYS_INLINE void load_subgrid(const loader *l, bool bytes, bool unit,
                                       bool scaled, subgrid p) {
    float mean[QUARTER] __attribute__((aligned(64))) = {0};
    float inv_std[QUARTER] __attribute__((aligned(64))) = {0};
    size_t square = QUARTER * (bytes ? 1 : sizeof(float));
    size_t row = (size_t)l->F * (bytes ? 1 : sizeof(float));
    if (p.a0 < p.a1) {
        prefetch_rows(l, p.a0, row, p.b0 * square, p.b1 * square);
    }
    for (int q = p.a0; q < p.a1; q++) {
        for (int f = p.b0; f < p.b1; f++) {
            if (q + 1 < p.a1 && f * square % 64 == 0) {
                prefetch_rows(l, q + 1, row, f * square, f * square + 64);
            }
            if (f + 1 < p.b1) {
                prefetch_square(l, q, (f + 1) * QUARTER);
            }
            for (int k = 0; scaled && k < imin(l->F - f * QUARTER, QUARTER); k++) {
                int column = l->scale->columns == 1 ? 0 : f * QUARTER + k;
                mean[k] = l->scale->mean[column];
                inv_std[k] = l->scale->inv_std[column];
            }
            load_square(l, bytes, unit, scaled, mean, inv_std, q, f * QUARTER);
        }
    }
}

/* The lit ones of a row's bytes. 15 more may be written. */
static ALWAYS_INLINE void squeeze_bytes(const dp_lit *lit, int F, const uint8_t *from,
                                        uint8_t *to) {
    const uint8_t *squeeze = lit->squeeze;
    const int32_t *first = lit->first_16;
    int whole = F / QUARTER;
    for (int g = 0; g < whole; g++) {
        bytes_take(from + g * QUARTER, squeeze + g * QUARTER, to + first[g]);
    }
    for (int c = lit->columns; F % QUARTER > 0 && c > first[whole]; c--) {
        to[c - 1] = from[lit->feature[c - 1]];
    }
}

/* Quarter q of a compact input: its rows, then its part of a strip. The bytes of a row
 * are squeezed into the end of its floats, which are made from the beginning: none is
 * overwritten too soon. */
static ALWAYS_INLINE void load_compact(const loader *l, bool bytes, bool unit, int q) {
    const dp_lit *lit = l->lit;
    int columns = lit->columns, n = q * QUARTER, samples = imin(l->N - n, QUARTER);
    ptrdiff_t ld = dp_ld(columns + QUARTER);
    size_t room = lit_width(columns) + QUARTER, end = (size_t)ld * sizeof(float);
    for (int k = 0; k < samples; k++) {
        size_t row = (size_t)l->row[n + k] * (size_t)l->F;
        float *to = l->x + (n + k) * ld;
        if (bytes) {
            squeeze_bytes(lit, l->F, l->raw + row, (uint8_t *)to + end - room);
        } else {
            for (int c = 0; c < columns; c++) {
                size_t at = (row + (size_t)lit->feature[c]) * sizeof(float);
                memcpy(to + c, l->raw + at, sizeof(float));
            }
        }
    }
    for (int k = 0; k < samples && bytes; k++) {
        float *to = l->x + (n + k) * ld;
        const uint8_t *squeezed = (const uint8_t *)to + end - room;
        for (int c = 0; c < columns; c += QUARTER) {
            convert(true, unit, false, squeezed + c, NULL, NULL, to + c);
        }
    }
    for (int c = 0; c < columns; c += QUARTER) {
        float square[QUARTER * QUARTER] __attribute__((aligned(64)));
        const float *from = l->x + n * ld + c;
        if (samples < QUARTER) {
            memset(square, 0, sizeof square);
            for (int k = 0; k < samples; k++) {
                memcpy(square + k * QUARTER, from + k * ld, QUARTER * sizeof *square);
            }
            from = square;
        }
        to_strip(from, samples < QUARTER ? QUARTER : ld, imin(columns - c, QUARTER),
                 l->t + dp_strip_at(columns, n, c));
    }
}

static void load_all_compact(const loader *l, dp_team team) {
    int quarters = ceil_div(l->N, QUARTER);
    for (int q = partition_begin(quarters, team.id, team.n);
         q < partition_begin(quarters, team.id + 1, team.n); q++) {
        if (!l->scale->bytes) {
            load_compact(l, false, false, q);
        } else if (l->scale->unit) {
            load_compact(l, true, true, q);
        } else {
            load_compact(l, true, false, q);
        }
    }
}

static void load(dp_team team, int N, const void *raw, const int32_t *row,
                 const dp_scale *scale, const dp_activation *input) {
    int F = input->F;
    loader l = {.N = N,
                .F = F,
                .raw = raw,
                .row = row,
                .scale = scale,
                .t = input->yt,
                .x = input->y,
                .lit = input->lit};
    if (input->lit && input->lit->columns < F) {
        load_all_compact(&l, team);
        return;
    }
    subgrid p = split_grid(team, ceil_div(N, QUARTER), 1, ceil_div(F, QUARTER));
    bool scaled = scale->columns > 0;
    if (!scale->bytes) {
        load_subgrid(&l, false, false, scaled, p);
    } else if (scale->unit) {
        load_subgrid(&l, true, true, scaled, p);
    } else {
        load_subgrid(&l, true, false, scaled, p);
    }
}
