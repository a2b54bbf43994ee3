/* Which features of a microbatch are lit, and what is made of it: lists of the terms of
 * sums, and a compact layout of the input. */
#ifndef DP_KERNELS_LIT_H
#define DP_KERNELS_LIT_H

#include "split.h"

static inline size_t lit_width(int F) {
    return (size_t)ceil_div(F, QUARTER) * QUARTER;
}

/* seen |= one to four rows of F bytes. */
static void see_bytes(int F, uint8_t *restrict seen, const uint8_t *a, const uint8_t *b,
                      const uint8_t *c, const uint8_t *d) {
    for (int f = 0; f < F; f++) {
        seen[f] |= (uint8_t)(a[f] | b[f] | c[f] | d[f]);
    }
}

static void see_floats(int F, uint8_t *restrict seen, const uint8_t *row) {
    for (int f = 0; f < F; f++) {
        uint32_t bits;
        memcpy(&bits, row + (size_t)f * sizeof bits, sizeof bits);
        seen[f] |= bits != 0;
    }
}

/* Features [f, f + count) of the samples of strip s. */
static void scan_strip(int N, int F, const uint8_t *raw, const int32_t *row, bool bytes,
                       int s, int f, int count, uint8_t *seen) {
    int begin = s * DP_STRIP, end = imin(begin + DP_STRIP, N);
    size_t size = bytes ? 1 : sizeof(float), width = (size_t)F * size;
    memset(seen, 0, (size_t)count);
    raw += (size_t)f * size;
    for (int n = begin; n < end; n += 4) {
        const uint8_t *at[4];
        for (int k = 0; k < 4; k++) {
            at[k] = raw + (size_t)row[imin(n + k, end - 1)] * width;
            const uint8_t *ahead = raw + (size_t)row[imin(n + 8 + k, end - 1)] * width;
            for (size_t byte = 0; byte < (size_t)count * size; byte += 64) {
                __builtin_prefetch(ahead + byte);
            }
        }
        if (bytes) {
            see_bytes(count, seen, at[0], at[1], at[2], at[3]);
        } else {
            for (int k = 0; k < 4; k++) {
                see_floats(count, seen, at[k]);
            }
        }
    }
}

/* Scaled values are hardly ever 0. */
static void scan(dp_team team, int N, const void *raw, const int32_t *row,
                 const dp_scale *scale, const dp_activation *input) {
    enum { SPAN = 256 }; /* features */
    int F = input->F;
    subgrid p = split_grid(team, ceil_div(N, DP_STRIP), 1, ceil_div(F, SPAN));
    int begin = p.b0 * SPAN, end = imin(p.b1 * SPAN, F);
    for (int s = p.a0; s < p.a1 && scale->columns == 0 && begin < end; s++) {
        uint8_t *seen = input->lit->seen + (size_t)s * lit_width(F) + begin;
        scan_strip(N, F, raw, row, scale->bytes, s, begin, end - begin, seen);
    }
}

/* The lists of one strip; some[f]: whether feature f has a column. */
static void list_strip(const dp_lit *lit, int F, int s, const uint8_t *some) {
    const uint8_t *seen = lit->seen + (size_t)s * lit_width(F);
    dp_term *term = lit->term + (size_t)s * (size_t)F;
    int32_t *dark = lit->dark + (size_t)s * (1 + lit_width(F) / QUARTER);
    int dense = lit->columns == F, n = 0, column = 0, ndark = 0;
    for (int f = 0; f < F; f++) {
        term[n] = (dp_term){column * DP_STRIP, f};
        n += seen[f] != 0;
        column += dense | (some[f] != 0);
    }
    for (int f = 0; f < F; f += QUARTER) {
        int lit_here = 0;
        for (int l = 0; l < QUARTER; l++) {
            lit_here += seen[f + l] != 0;
        }
        dark[1 + ndark] = f;
        ndark += lit_here < QUARTER;
    }
    dark[0] = ndark;
    lit->terms[s] = n;
}

/* The layout of a compact input; some[f]: whether feature f has a column. */
static void list_columns(const dp_lit *lit, int F, const uint8_t *some) {
    int32_t *first = lit->first, *first_16 = lit->first_16, *feature = lit->feature;
    for (int f = 0, column = 0; f < F; f++) {
        feature[column] = f;
        column += some[f] != 0;
    }
    for (int f = 0, column = 0; f < F; f += QUARTER) {
        uint8_t squeeze[QUARTER + 1] = {0};
        int8_t expand[QUARTER];
        int n = 0, before = 0;
        first_16[f / QUARTER] = column;
        for (int l = 0; l < QUARTER; l++) {
            if (l % LANES == 0) {
                first[(f + l) / LANES] = column + n;
                before = n;
            }
            squeeze[n] = (uint8_t)l;
            expand[l] = (int8_t)(some[f + l] ? n - before : -1);
            n += some[f + l] != 0;
        }
        column += n;
        memcpy(lit->squeeze + f, squeeze, QUARTER);
        memcpy(lit->expand + f, expand, QUARTER);
    }
}

static void list(int N, const dp_scale *scale, const dp_activation *input) {
    dp_lit *lit = input->lit;
    int F = input->F, strips = ceil_div(N, DP_STRIP), columns = 0;
    size_t width = lit_width(F);
    lit->columns = F;
    for (int s = 0; s < strips; s++) {
        lit->terms[s] = F;
    }
    if (scale->columns > 0) {
        return;
    }
    uint8_t *some = lit->seen + (size_t)lit->strips * width;
    memset(some, 0, width);
    for (int s = 0; s < strips; s++) {
        uint8_t *seen = lit->seen + (size_t)s * width;
        /* No list is empty: what isn't finite in a gradient reaches its first column. */
        seen[0] = 1;
        memset(seen + F, 0, width - (size_t)F);
        for (size_t f = 0; f < width; f++) {
            some[f] |= seen[f];
        }
    }
    for (int f = 0; f < F; f++) {
        columns += some[f] != 0;
    }
    /* Lists and compact columns cost something for each term: about a tenth. */
    if (10 * (long)columns < 9 * (long)F && F - columns >= QUARTER) {
        lit->columns = columns;
        list_columns(lit, F, some);
    }
    for (int s = 0; s < strips; s++) {
        list_strip(lit, F, s, some);
        if (10 * (long)lit->terms[s] >= 9 * (long)F && lit->columns == F) {
            lit->terms[s] = F;
        }
    }
}

/* start[r] += 0 times each weight of row r, w[r * row], that the list of strip s leaves
 * out: 0, or NaN where one isn't finite. Three rows at a time, to hide latency. */
static void add_left_out(const dp_lit *lit, int F, int s, const float *w, ptrdiff_t row,
                         int rows, float *start) {
    const uint8_t *seen = lit->seen + (size_t)s * lit_width(F);
    const int32_t *dark = lit->dark + (size_t)s * (1 + lit_width(F) / QUARTER);
    int whole = dark[0] > 0 && dark[dark[0]] > F - QUARTER ? dark[0] - 1 : dark[0];
    for (int r = 0; r < rows; r += 3) {
        const float *at[3];
        vf sum[3][QUARTER_VECS];
        for (int k = 0; k < 3; k++) {
            at[k] = w + imin(r + k, rows - 1) * row;
            for (int v = 0; v < QUARTER_VECS; v++) {
                sum[k][v] = vf_zero();
            }
        }
        for (int g = 1; g <= whole; g++) {
            for (int v = 0; v < QUARTER_VECS; v++) {
                int f = dark[g] + v * LANES;
                vm is_dark = vf_eq(vf_bytes(seen + f), vf_zero());
                for (int k = 0; k < 3; k++) {
                    vf left_out = vf_select(is_dark, vf_loadu(at[k] + f), vf_zero());
                    sum[k][v] = vf_fma(left_out, vf_zero(), sum[k][v]);
                }
            }
        }
        for (int k = 0; k < 3 && r + k < rows; k++) {
            for (int v = 0; v < QUARTER_VECS; v++) {
                for (int l = 0; l < LANES; l++) {
                    start[r + k] += sum[k][v][l];
                }
            }
            for (int f = F / QUARTER * QUARTER; f < F; f++) {
                start[r + k] += seen[f] ? 0.0f : 0.0f * at[k][f];
            }
        }
    }
}

/* In place: `columns` floats of a row become F, of which the others are 0. From its end,
 * so that nothing is overwritten that is still to be moved. */
static void expand_row(const dp_lit *lit, int F, float *row) {
    int vectors = ceil_div(F, LANES), rest = F - (vectors - 1) * LANES;
    for (int g = vectors - 1; g >= 0; g--) {
        const float *from = row + lit->first[g];
        float *to = row + (ptrdiff_t)g * LANES;
        const int8_t *expand = lit->expand + (ptrdiff_t)g * LANES;
        if (g == vectors - 1) {
            vf last = vf_load_partial(from, (size_t)imin(F - lit->first[g], LANES));
            vf_store_partial(to, vf_take(last, expand), (size_t)rest);
        } else {
            vf_storeu(to, vf_take(vf_loadu(from), expand));
        }
    }
}

#endif
