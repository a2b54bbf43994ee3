/* Convolution, forward and input gradient: at each pixel, out[m] = sum over taps of
 * w(m, tap) x[tap], lanes over samples.
 *
 * In strips a channel's pixel is a row of 64 samples, so a pixel's sums are the tile of a
 * dense layer whose inputs lie where a table says: no im2col. The table is the same for
 * all pixels of a row that are away from the edges; those near them have shorter ones.
 * Taps go in chunks, whose rows of x stay in L1 while all channels are computed and from
 * pixel to pixel; between them the sums are stored in `out`. */
#ifndef DP_KERNELS_CONV_H
#define DP_KERNELS_CONV_H

#include "act_relu.h"
#include "split.h"
#include <assert.h>

enum {
    CONV_CHUNK = 128, /* taps: 32 KB of whole strips */
    CONV_ROWS = 12,   /* channels of a tile in any kernel set, at most */
};

typedef struct conv_tap {
    int32_t x, w; /* floats from the pixel's x, and from the channel's weights */
} conv_tap;

typedef struct conv_sum {
    const dp_window *window;
    bool back;               /* the input gradient: x is dY, out is dX */
    int N, J;                /* channels summed over */
    int M, m0, m1;           /* channels of the result, and those to compute */
    int XH, XW, YH, YW;      /* pixels of x and out */
    ptrdiff_t row, step;     /* w(m, j, k) = W[m row + j step + k], k < K K */
    const float *W, *b;      /* b NULL: sums start from 0 */
    const float *x;          /* [S][J XH XW][64] */
    float *out;              /* [S][M YH YW][64] */
    const dp_act *act;       /* NULL: none */
    const dp_activation *at; /* that act makes; back: that its derivative is taken at */
} conv_sum;

/* Positions of the kernel along one axis that meet x: k, k + k_step, ... at pixel at, at
 * + at_step, ... */
typedef struct conv_axis {
    int n, k, k_step, at, at_step;
} conv_axis;

static conv_axis conv_meet(const conv_sum *g, int y, int pixels) {
    int K = g->window->K, S = g->window->S, P = g->window->P;
    if (!g->back) {
        int first = y * S - P, k = first < 0 ? -first : 0;
        int n = imin(K, pixels - first) - k;
        return (conv_axis){n > 0 ? n : 0, k, 1, first + k, 1};
    }
    /* Outputs q that have seen y: 0 <= y + P - q S < K. */
    int q = imin((y + P) / S, pixels - 1), k = y + P - q * S;
    int n = k < K ? imin(ceil_div(K - k, S), q + 1) : 0;
    return (conv_axis){n, k, S, q, -1};
}

/* Taps [begin, end) of a pixel, channel by channel. */
static void conv_list(const conv_sum *g, conv_axis rows, conv_axis cols, int begin,
                      int end, conv_tap *taps) {
    if (begin >= end) {
        return;
    }
    int c = begin % cols.n, r = begin / cols.n % rows.n, j = begin / cols.n / rows.n;
    for (int t = begin; t < end; t++) {
        int row = rows.at + r * rows.at_step;
        *taps++ =
            (conv_tap){((j * g->XH + row) * g->XW + c * cols.at_step) * DP_STRIP,
                       (int)(j * g->step) + (rows.k + r * rows.k_step) * g->window->K +
                           cols.k + c * cols.k_step};
        if (++c == cols.n) {
            c = 0;
            if (++r == rows.n) {
                r = 0;
                j++;
            }
        }
    }
}

typedef struct conv_tile {
    const conv_tap *taps;
    int ntaps;
    ptrdiff_t row;      /* floats from a channel's weights to the next one's */
    ptrdiff_t plane;    /* and from its pixel in z */
    const float *x, *w; /* of the pixel, of the tile's first channel */
    const float *b;     /* NULL for 0 */
    bool first;         /* start from b, else from z */
    float *z;
    bool relu; /* z = relu(z) at the end */
    const float
        *mask; /* not NULL: z = 0 at the end where this, relu's y, is not above 0 */
} conv_tile;

static ALWAYS_INLINE void conv_kernel(int rows, int vecs, const conv_tile *t) {
    vf acc[CONV_ROWS][4];
    ptrdiff_t row = t->row, plane = t->plane;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            acc[r][v] = !t->first ? vf_load(t->z + r * plane + v * LANES)
                                  : vf_set(t->b ? t->b[r] + 0.0f : 0.0f);
        }
    }
    for (const conv_tap *k = t->taps, *end = k + t->ntaps; k < end; k++) {
        const float *x = t->x + k->x, *w = t->w + k->w;
        vf xk[4];
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            xk[v] = vf_load(x + v * LANES);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vf wr = vf_set(w[r * row]);
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                acc[r][v] = vf_fma(wr, xk[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            ptrdiff_t at = r * plane + v * LANES;
            vf z = t->relu ? relu_value(acc[r][v]) : acc[r][v];
            vf_store(t->z + at, t->mask ? relu_chain(vf_load(t->mask + at), z) : z);
        }
    }
}

/* Makes `rows`, at most `max`, a constant. */
static ALWAYS_INLINE void conv_dispatch(int rows, int max, int vecs, const conv_tile *t) {
#define ROWS(n)                                                                          \
    case n:                                                                              \
        if (n <= max) {                                                                  \
            conv_kernel(n, vecs, t);                                                     \
        }                                                                                \
        break
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
        ROWS(7);
        ROWS(8);
        ROWS(9);
        ROWS(10);
        ROWS(11);
        ROWS(12);
    }
#undef ROWS
}

static void conv_any_tile(int rows, int quarters, const conv_tile *t) {
    if (TILE_QUARTERS == 1 || quarters == 1) {
        conv_dispatch(rows, tile_rows(false, 1), QUARTER_VECS, t);
    } else if (quarters == 2) {
        conv_dispatch(rows, tile_rows(false, 2), 2 * QUARTER_VECS, t);
    } else if (quarters == 3) {
        conv_dispatch(rows, tile_rows(false, 3), 3 * QUARTER_VECS, t);
    } else {
        conv_dispatch(rows, tile_rows(false, 4), 4 * QUARTER_VECS, t);
    }
}

/* All channels of a pixel: the taps of t on top of what is in `out`. pixel: floats from a
 * plane's first. */
static void conv_pixel(const conv_sum *g, conv_tile t, size_t strip, size_t pixel, int q0,
                       int q1) {
    int wide = TILE_QUARTERS == 1 ? 1 : q1 - q0;
    int tiles = ceil_div(g->m1 - g->m0, tile_rows(false, wide));
    const float *x = t.x;
    for (int i = 0; i < tiles; i++) {
        int m = g->m0 + partition_begin(g->m1 - g->m0, i, tiles);
        int rows = g->m0 + partition_begin(g->m1 - g->m0, i + 1, tiles) - m;
        size_t at = strip + (size_t)m * (size_t)t.plane + pixel;
        t.w = g->W + m * g->row;
        t.b = g->b ? g->b + m : NULL;
        for (int q = q0 * QUARTER; q < q1 * QUARTER; q += wide * QUARTER) {
            t.x = x + q;
            t.z = g->out + at + q;
            if (t.mask) {
                t.mask = g->at->yt + at + q;
            }
            conv_any_tile(rows, wide, &t);
        }
    }
}

/* The activation, or its derivative, on a finished row of pixels. */
static void conv_act(const conv_sum *g, size_t at, size_t n) {
    if (g->back) {
        const float *z = g->at->zt ? g->at->zt + at : NULL;
        g->act->backward(z, g->at->yt + at, g->out + at, n);
    } else {
        g->act->forward(g->out + at, g->at->yt + at, n);
    }
}

/* Row y of quarters [q0,q1) of strip s. */
static void conv_row(const conv_sum *g, int s, int q0, int q1, int y) {
    size_t plane = (size_t)(g->YH * g->YW) * DP_STRIP, strip = (size_t)s * g->M * plane;
    bool relu = g->act && g->act->forward == relu_forward;
    int K = g->window->K;
    conv_axis rows = conv_meet(g, y, g->XH);
    int most = g->J * rows.n * (g->back ? ceil_div(K, g->window->S) : K);
    int chunks = most > CONV_CHUNK ? ceil_div(most, CONV_CHUNK) : 1;
    for (int c = 0; c < chunks; c++) {
        conv_tap taps[CONV_CHUNK];
        conv_tile t = {
            .taps = taps, .row = g->row, .plane = (ptrdiff_t)plane, .first = c == 0};
        if (c == chunks - 1 && relu) {
            t.relu = !g->back;
            t.mask = g->back ? g->at->yt : NULL;
        }
        conv_axis before = {.n = -1};
        for (int x = 0; x < g->YW; x++) {
            conv_axis cols = conv_meet(g, x, g->XW);
            if (cols.n != before.n || cols.k != before.k) {
                int count = g->J * rows.n * cols.n;
                int begin = partition_begin(count, c, chunks);
                t.ntaps = partition_begin(count, c + 1, chunks) - begin;
                conv_list(g, rows, cols, begin, begin + t.ntaps, taps);
                before = cols;
            }
            t.x = g->x + ((size_t)s * g->J * g->XH * g->XW + cols.at) * DP_STRIP;
            conv_pixel(g, t, strip, (size_t)(y * g->YW + x) * DP_STRIP, q0, q1);
        }
    }
    bool whole = q1 - q0 == STRIP_QUARTERS;
    size_t n = (size_t)(q1 - q0) * QUARTER * (whole ? (size_t)g->YW : 1);
    for (int m = g->m0; m < g->m1 && g->act && !relu; m++) {
        for (int x = 0; x < (whole ? 1 : g->YW); x++) {
            conv_act(g,
                     strip + m * plane + (size_t)(y * g->YW + x) * DP_STRIP +
                         (size_t)q0 * QUARTER,
                     n);
        }
    }
}

/* This thread's part: rows of pixels, channels by 16 where there are too few rows. */
static void conv_thread(const conv_sum *g, dp_team team) {
    int strips = ceil_div(g->N, DP_STRIP);
    subgrid p = split_grid(team, strips * g->YH, 1, ceil_div(g->m1 - g->m0, QUARTER));
    conv_sum mine = *g;
    mine.m1 = imin(g->m0 + p.b1 * QUARTER, g->m1);
    mine.m0 = g->m0 + p.b0 * QUARTER;
    for (int i = p.a0; i < p.a1; i++) {
        int s = i / g->YH, left = g->N - s * DP_STRIP;
        conv_row(&mine, s, 0, imin(ceil_div(left, QUARTER), STRIP_QUARTERS), i % g->YH);
    }
}

static void conv_forward(dp_team team, const dp_conv_args *c) {
    const dp_window *w = &c->window;
    const dp_activation *above = c->above;
    assert(c->begin % QUARTER == 0 && (c->end % QUARTER == 0 || c->end == c->O));
    conv_sum g = {.window = w,
                  .N = c->N,
                  .J = w->C,
                  .M = c->O,
                  .m0 = c->begin,
                  .m1 = c->end,
                  .XH = w->H,
                  .XW = w->W,
                  .YH = w->OH,
                  .YW = w->OW,
                  .row = (ptrdiff_t)w->C * w->K * w->K,
                  .step = w->K * w->K,
                  .W = c->W,
                  .b = c->b,
                  .x = c->below->yt,
                  .out = above->zt ? above->zt : above->yt,
                  .act = above->act,
                  .at = above};
    conv_thread(&g, team);
}

static void conv_dinput(dp_team team, const dp_conv_args *c) {
    const dp_window *w = &c->window;
    conv_sum g = {.window = w,
                  .back = true,
                  .N = c->N,
                  .J = c->O,
                  .M = w->C,
                  .m0 = 0,
                  .m1 = w->C,
                  .XH = w->OH,
                  .XW = w->OW,
                  .YH = w->H,
                  .YW = w->W,
                  .row = w->K * w->K,
                  .step = (ptrdiff_t)w->C * w->K * w->K,
                  .W = c->W,
                  .x = c->above->dzt,
                  .out = c->below->dzt,
                  .act = c->below->act,
                  .at = c->below};
    conv_thread(&g, team);
}

#endif
