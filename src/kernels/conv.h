/* Convolution, forward and input gradient: at each pixel, out[m] = sum over taps of
 * w(m, tap) x[tap], lanes over samples.
 *
 * In strips a channel's pixel is a row of 64 samples, so a pixel's sums are the tile of a
 * dense layer whose inputs lie where a table says: no im2col. The table is the same for
 * all pixels of a row that are away from the edges; those near them have shorter ones.
 * Taps go by boxes, whose rows of x stay in L1 while all channels are computed and from
 * pixel to pixel, and whose weights are copied in the order in which tiles read them;
 * between boxes the sums are stored in `out`.
 *
 * Where maxpool follows, the rows of pixels that it sees together are computed into an
 * array that stays in cache, and only what it takes of them is written. */
#ifndef DP_KERNELS_CONV_H
#define DP_KERNELS_CONV_H

#include "act_relu.h"
#include "conv_box.h"
#include "pool.h"
#include <assert.h>

enum {
    CONV_TAPS = 128,     /* of a box, at most */
    CONV_ROWS = 12,      /* channels of a tile in any kernel set, at most */
    CONV_GROUP = 64,     /* channels whose weights are copied together */
    CONV_BAND = 1 << 16, /* floats of rows that are pooled */
    CONV_LIT = 4096, /* values of a sample of which is known which are zero, at most */
};

typedef struct conv_tap {
    int32_t x, w; /* floats from the pixel's x, and from the tile's weights */
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
    int pool;                /* 0, or maxpool's K: at is what it puts out */
    int32_t *taken;          /* [S][M YH/pool YW/pool][64]; or NULL */
} conv_sum;

/* What is the same for many pixels: channels [m, m + n) of quarters [0, quarters) of a
 * strip, and a box. */
typedef struct conv_part {
    int strip, quarters, wide; /* wide: quarters of a tile */
    int m, n, tiles, height;   /* height: channels of a tile, at most */
    conv_box box;
    bool first, last;    /* of the boxes */
    const uint8_t *lit;  /* [J XH XW] of the strip; NULL: all */
    const float *packed; /* [tiles][taps][height] */
    size_t base;         /* floats of g->at's arrays before channel m of the strip */
    float *out;          /* rows from `top` on of channel m; or of rows that are pooled */
    int top;
    size_t plane; /* floats from channel to channel there */
} conv_part;

/* Positions of the kernel along one axis that meet x: k, k + k_step, ... at pixel at, at
 * + at_step, ... */
typedef struct conv_axis {
    int n, k, k_step, at, at_step;
} conv_axis;

/* Those for pixel y of the result that are in [begin, end); x has `pixels`. */
static conv_axis conv_meet(const conv_sum *g, int y, int pixels, int begin, int end) {
    int K = g->window->K, S = g->window->S, P = g->window->P;
    conv_axis a = {.k_step = 1, .at_step = 1};
    if (g->back) {
        /* Outputs q that have seen y: 0 <= y + P - q S < K. */
        a = (conv_axis){.k_step = S, .at = imin((y + P) / S, pixels - 1), .at_step = -1};
        a.k = y + P - a.at * S;
        a.n = a.k < K ? imin(ceil_div(K - a.k, S), a.at + 1) : 0;
    } else {
        int first = y * S - P;
        a.k = first < 0 ? -first : 0;
        a.n = imin(K, pixels - first) - a.k;
        a.at = first + a.k;
    }
    int skip = a.k < begin ? ceil_div(begin - a.k, a.k_step) : 0;
    a.k += skip * a.k_step;
    a.at += skip * a.at_step;
    a.n = imin(a.n - skip, a.k < end ? ceil_div(end - a.k, a.k_step) : 0);
    a.n = a.n > 0 ? a.n : 0;
    return a;
}

/* A pixel's taps in the box, channel by channel; their number. */
static int conv_list(const conv_sum *g, const conv_part *p, conv_axis rows,
                     conv_axis cols, conv_tap *taps) {
    const conv_box *b = &p->box;
    conv_tap *to = taps;
    for (int c = 0; c < b->nc; c++) {
        for (int i = 0; i < rows.n; i++) {
            int row = (b->c + c) * g->XH + rows.at + i * rows.at_step;
            int x = row * g->XW;
            int w = (c * b->ni + rows.k + i * rows.k_step - b->i) * b->nj + cols.k - b->j;
            for (int j = 0; j < cols.n; j++) {
                *to = (conv_tap){(x + j * cols.at_step) * DP_STRIP,
                                 (w + j * cols.k_step) * p->height};
                to += !p->lit || p->lit[x + cols.at + j * cols.at_step];
            }
        }
    }
    return (int)(to - taps);
}

/* The box's weights, in the order of tiles, taps and channels. */
static void conv_pack(const conv_sum *g, const conv_part *p, float *to) {
    const conv_box *b = &p->box;
    int K = g->window->K;
    for (int i = 0; i < p->tiles; i++) {
        int m = p->m + partition_begin(p->n, i, p->tiles);
        int rows = p->m + partition_begin(p->n, i + 1, p->tiles) - m;
        for (int t = 0; t < b->nc * b->ni * b->nj; t++, to += p->height) {
            int c = b->c + t / b->nj / b->ni;
            int k = (b->i + t / b->nj % b->ni) * K + b->j + t % b->nj;
            for (int r = 0; r < rows; r++) {
                to[r] = g->W[(m + r) * g->row + c * g->step + k];
            }
        }
    }
}

typedef struct conv_tile {
    const conv_tap *taps;
    int ntaps;
    ptrdiff_t plane;    /* floats from a channel's pixel in z to the next one's */
    const float *x, *w; /* of the pixel, of the tile */
    const float *b;     /* NULL for 0 */
    bool first;         /* start from b, else from z */
    float *z;
    bool relu; /* z = relu(z) at the end */
    const float
        *mask; /* not NULL: z = 0 at the end where this, relu's y, is not above 0 */
} conv_tile;

/* Sums end with + 0: then it makes no difference which zeros were left out of them. */
static ALWAYS_INLINE void conv_kernel(int rows, int vecs, const conv_tile *t) {
    vf acc[CONV_ROWS][4];
    ptrdiff_t plane = t->plane;
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
            vf wr = vf_set(w[r]);
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
            vf z = acc[r][v] + 0.0f;
            z = t->relu ? relu_value(z) : z;
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

/* Not inline: addresses stay in registers. */
static __attribute__((noinline)) void conv_any_tile(int rows, int quarters,
                                                    const conv_tile *t) {
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

/* All channels of the part at a pixel, `pixel` floats from a plane's first. */
static void conv_pixel(const conv_sum *g, const conv_part *p, conv_tile t, size_t pixel) {
    ptrdiff_t weights = (ptrdiff_t)p->box.nc * p->box.ni * p->box.nj * p->height;
    const float *x = t.x;
    bool masked = t.mask != NULL;
    for (int i = 0; i < p->tiles; i++) {
        int m = partition_begin(p->n, i, p->tiles);
        int rows = partition_begin(p->n, i + 1, p->tiles) - m;
        size_t at = (size_t)m * p->plane + pixel;
        t.w = p->packed + i * weights;
        t.b = g->b ? g->b + p->m + m : NULL;
        for (int q = 0; q < p->quarters * QUARTER; q += p->wide * QUARTER) {
            t.x = x + q;
            t.z = p->out + at + q;
            t.mask = masked ? g->at->yt + p->base + at + q : NULL;
            conv_any_tile(rows, p->wide, &t);
        }
    }
}

/* The activation, or its derivative, on a finished row of pixels of a channel, `at` floats
 * from p->out. */
static void conv_act(const conv_sum *g, const conv_part *p, size_t at) {
    bool whole = p->quarters == STRIP_QUARTERS;
    size_t n = (size_t)(p->quarters * QUARTER) * (whole ? (size_t)g->YW : 1);
    for (int x = 0; x < (whole ? 1 : g->YW); x++, at += DP_STRIP) {
        float *out = p->out + at, *y = g->pool ? out : g->at->yt + p->base + at;
        if (g->back) {
            const float *z = g->at->zt ? g->at->zt + p->base + at : NULL;
            g->act->backward(z, y, out, n);
        } else {
            g->act->forward(out, y, n);
        }
    }
}

/* Row y of the result. */
static void conv_row(const conv_sum *g, const conv_part *p, int y) {
    const conv_box *b = &p->box;
    bool relu = g->act && g->act->forward == relu_forward;
    conv_tap taps[CONV_TAPS];
    conv_tile t = {.taps = taps, .plane = (ptrdiff_t)p->plane, .first = p->first};
    if (p->last && relu) {
        t.relu = !g->back;
        t.mask = g->back ? g->at->yt : NULL;
    }
    conv_axis rows = conv_meet(g, y, g->XH, b->i, b->i + b->ni), before = {.n = -1};
    size_t row = (size_t)((y - p->top) * g->YW) * DP_STRIP;
    for (int x = 0; x < g->YW; x++) {
        conv_axis cols = conv_meet(g, x, g->XW, b->j, b->j + b->nj);
        if (cols.n != before.n || cols.k != before.k || p->lit) {
            t.ntaps = conv_list(g, p, rows, cols, taps);
            before = cols;
        }
        if (t.ntaps > 0 || p->first || p->last) {
            t.x =
                g->x + ((ptrdiff_t)p->strip * g->J * g->XH * g->XW + cols.at) * DP_STRIP;
            conv_pixel(g, p, t, row + (size_t)x * DP_STRIP);
        }
    }
    for (int m = 0; m < p->n && p->last && g->act && !relu; m++) {
        conv_act(g, p, (size_t)m * p->plane + row);
    }
}

/* Row y / pool of what maxpool puts out. */
static void conv_pool(const conv_sum *g, const conv_part *p, int y) {
    int width = g->YW / g->pool, height = g->YH / g->pool;
    ptrdiff_t row = (ptrdiff_t)g->YW * DP_STRIP;
    for (int m = 0; m < p->n; m++) {
        size_t channel = (size_t)(p->strip * g->M + p->m + m) * (size_t)height;
        size_t at = (channel + (size_t)(y / g->pool)) * (size_t)width * DP_STRIP;
        const float *x = p->out + (size_t)m * p->plane;
        for (int i = 0; i < width; i++, at += DP_STRIP, x += g->pool * DP_STRIP) {
            for (int n = 0; n < p->quarters * QUARTER; n += LANES) {
                vi which;
                vf_store(g->at->yt + at + n,
                         g->pool == 2 ? pool_largest(x + n, 2, row, &which)
                                      : pool_largest(x + n, g->pool, row, &which));
                if (g->taken) {
                    memcpy(g->taken + at + n, &which, sizeof which);
                }
            }
        }
    }
}

/* Which values of a strip's samples are not all zero; true if enough are that it pays to
 * know. */
static bool conv_find_lit(const conv_sum *g, const conv_part *p, uint8_t *lit) {
    int n = g->J * g->XH * g->XW, dark = 0;
    if (n > CONV_LIT || g->J > CONV_IMAGE) {
        return false;
    }
    const float *x = g->x + (size_t)p->strip * n * DP_STRIP;
    for (int k = 0; k < n; k++, x += DP_STRIP) {
        lit[k] = conv_lit(x, p->quarters * QUARTER);
        dark += !lit[k];
    }
    return 16 * dark > n;
}

/* Rows [begin, end) of a strip, channels [m0, m1). */
static void conv_strip(const conv_sum *g, int strip, int begin, int end, int m0, int m1) {
    float packed[(CONV_GROUP + CONV_ROWS) * CONV_TAPS] __attribute__((aligned(64)));
    float band[CONV_BAND] __attribute__((aligned(64)));
    uint8_t lit[CONV_LIT];
    conv_cut cut = conv_cut_taps(g->J, g->window->K, CONV_TAPS);
    int rows = g->pool ? g->pool : end - begin, most = CONV_GROUP;
    conv_part p = {.strip = strip, .packed = packed};
    p.plane = (size_t)((g->pool ? g->pool : g->YH) * g->YW) * DP_STRIP;
    p.quarters = imin(ceil_div(g->N - strip * DP_STRIP, QUARTER), STRIP_QUARTERS);
    p.wide = TILE_QUARTERS == 1 ? 1 : p.quarters;
    p.height = tile_rows(false, p.wide);
    p.lit = conv_find_lit(g, &p, lit) ? lit : NULL;
    most = g->pool ? imin(most, CONV_BAND / (int)p.plane) : most;
    for (p.m = m0; p.m < m1; p.m += p.n) {
        p.n = imin(m1 - p.m, most);
        p.tiles = ceil_div(p.n, p.height);
        p.base = (size_t)(strip * g->M + p.m) * p.plane;
        p.out = g->pool ? band : g->out + p.base;
        for (int top = begin; top < end; top += rows) {
            p.top = g->pool ? top : 0;
            for (int k = 0; k < cut.boxes; k++) {
                p.box = conv_cut_box(&cut, k);
                p.first = k == 0;
                p.last = k == cut.boxes - 1;
                if (cut.boxes > 1 || top == begin) {
                    conv_pack(g, &p, packed);
                }
                for (int y = top; y < top + rows; y++) {
                    conv_row(g, &p, y);
                }
            }
            if (g->pool) {
                conv_pool(g, &p, top);
            }
        }
    }
}

/* This thread's part: rows of pixels, channels by 16 where there are too few rows. */
static void conv_thread(const conv_sum *g, dp_team team) {
    int rows = g->pool ? g->pool : 1, units = g->YH / rows;
    int strips = ceil_div(g->N, DP_STRIP);
    subgrid p = split_grid(team, strips * units, 1, ceil_div(g->m1 - g->m0, QUARTER));
    int m0 = g->m0 + p.b0 * QUARTER, m1 = imin(g->m0 + p.b1 * QUARTER, g->m1);
    for (int unit = p.a0, next = 0; unit < p.a1; unit = next) {
        int s = unit / units;
        next = imin((s + 1) * units, p.a1);
        conv_strip(g, s, (unit - s * units) * rows, (next - s * units) * rows, m0, m1);
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
                  .at = above,
                  .pool = c->pool,
                  .taken = c->taken};
    if (c->pool) {
        g.YH -= g.YH % c->pool;
        g.YW -= g.YW % c->pool;
    }
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
