/* Convolution, weight gradient: for each sample a sum over pixels, then the samples along
 * the tree within their block, and the blocks along the block tree.
 *
 * Lanes run over the 16 samples of a quarter. A tile of a few channels by a few taps stays
 * in registers over a rectangle of pixels. Its dY is copied to where a pixel's 16 samples
 * are next to the next one's: in the strips they lie 256 bytes apart, which is a quarter
 * of L1's sets. So is x, with the padding's zeros. The sums of a quarter's samples are
 * then turned, 16 weights at a time, so that lanes run over weights, and go one by one on
 * the tree's stack. */
#ifndef DP_KERNELS_CONV_DWEIGHT_H
#define DP_KERNELS_CONV_DWEIGHT_H

#include "base/tree.h"
#include "conv_dweight_tile.h"
#include <assert.h>

/* 16 samples. */
static ALWAYS_INLINE void cw_copy(float *to, const float *from) {
    for (int v = 0; v < QUARTER; v += LANES) {
        vf_store(to + v, vf_load(from + v));
    }
}

/* Row y of dY at pixels [x, x + n) of channel o of a quarter, where maxpool follows: its
 * gradient goes to the pixels that it has taken. */
static void cw_spread_row(const dp_conv_args *c, int o, int quarter, int y, int x, int n,
                          float *to) {
    int K = c->pool, height = c->window.OH / K, width = c->window.OW / K;
    size_t channel = (size_t)(quarter / STRIP_QUARTERS * c->O + o) * (size_t)height;
    size_t row = (channel + (size_t)(y / K)) * (size_t)width * DP_STRIP +
                 (size_t)(quarter % STRIP_QUARTERS * QUARTER);
    size_t at = row + (size_t)(x / K) * DP_STRIP;
    for (int i = x, k = x % K; i < x + n; i++, to += QUARTER) {
        vi here = vi_set(y % K * K + k);
        for (int v = 0; v < QUARTER; v += LANES) {
            vf d = vf_zero();
            if (y < height * K && i < width * K) {
                vi taken = vi_load(c->taken + at + v);
                d = vf_select(vi_eq(taken, here), vf_load(c->above->dzt + at + v), d);
            }
            vf_store(to + v, d);
        }
        at += ++k == K ? DP_STRIP : 0;
        k = k == K ? 0 : k;
    }
}

/* As it is. */
static void cw_copy_row(const dp_conv_args *c, int o, int quarter, int y, int x, int n,
                        float *to) {
    const dp_window *w = &c->window;
    size_t channel = (size_t)(quarter / STRIP_QUARTERS * c->O + o) * (size_t)w->OH;
    const float *from = c->above->dzt +
                        ((channel + (size_t)y) * (size_t)w->OW + (size_t)x) * DP_STRIP +
                        quarter % STRIP_QUARTERS * QUARTER;
    for (int i = 0; i < n; i++, from += DP_STRIP, to += QUARTER) {
        cw_copy(to, from);
    }
}

/* Adds [from, to) to 16 sums. */
static void cw_add_row(float *sums, const float *from, const float *to) {
    vf sum[QUARTER_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < QUARTER_VECS; v++) {
        sum[v] = vf_load(sums + v * LANES);
    }
    for (; from < to; from += QUARTER) {
#pragma GCC unroll 4
        for (int v = 0; v < QUARTER_VECS; v++) {
            sum[v] = sum[v] + vf_load(from + v * LANES);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < QUARTER_VECS; v++) {
        vf_store(sums + v * LANES, sum[v]);
    }
}

/* A quarter's dY in a rectangle, channels [o, o + n); if there are sums of biases, adds
 * it to them. */
static void cw_copy_dy(const dp_conv_args *c, int o, int n, cw_rect r, int quarter,
                       float *to, float *bias) {
    for (int end = o + n; o < end; o++) {
        const float *first = to;
        for (int y = r.y; y < r.y + r.ny; y++, to += r.nx * QUARTER) {
            if (c->pool) {
                cw_spread_row(c, o, quarter, y, r.x, r.nx, to);
            } else {
                cw_copy_row(c, o, quarter, y, r.x, r.nx, to);
            }
        }
        if (bias) {
            cw_add_row(bias, first, to);
            bias += QUARTER;
        }
    }
}

/* The input's pixels under a rectangle, rows and cols of them, with the padding; where
 * there are few channels, looks for zeros. */
static void cw_copy_x(const dp_conv_args *c, const cw_unit *u, cw_rect r, int rows,
                      int cols, int quarter, float *to, cw_span *lit) {
    const dp_window *w = &c->window;
    size_t plane = (size_t)(w->H * w->W) * DP_STRIP;
    const float *from = c->below->yt + (size_t)(quarter / STRIP_QUARTERS) * w->C * plane +
                        quarter % STRIP_QUARTERS * QUARTER;
    int y0 = r.y * w->S - w->P + u->box.i, x0 = r.x * w->S - w->P + u->box.j;
    int left = x0 < 0 ? imin(-x0, cols) : 0;
    int right = imin(cols, w->W - x0) > left ? imin(cols, w->W - x0) : left;
    for (int k = 0; k < u->box.nc * rows; k++, to += cols * QUARTER, lit++) {
        int y = y0 + k % rows;
        *lit = (cw_span){0, 0};
        if (y < 0 || y >= w->H) {
            memset(to, 0, (size_t)(cols * QUARTER) * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)(left * QUARTER) * sizeof *to);
        const float *row = from + (size_t)(u->box.c + k / rows) * plane +
                           ((ptrdiff_t)y * w->W + x0) * DP_STRIP;
        for (int x = left; x < right; x++) {
            cw_copy(to + x * QUARTER, row + (ptrdiff_t)x * DP_STRIP);
        }
        memset(to + right * QUARTER, 0, (size_t)((cols - right) * QUARTER) * sizeof *to);
        *lit = (cw_span){(int16_t)left, (int16_t)right};
        while (w->C <= CONV_IMAGE && lit->to > left &&
               !conv_lit(to + (lit->to - 1) * QUARTER, QUARTER)) {
            lit->to--;
        }
        while (w->C <= CONV_IMAGE && lit->from < lit->to &&
               !conv_lit(to + lit->from * QUARTER, QUARTER)) {
            lit->from++;
        }
    }
}

/* The pixels of each row for which some of the taps [begin, end) is not 0. */
static void cw_find_spans(const cw_unit *u, int S, cw_rect r, int rows, int begin,
                          int end, const cw_span *lit, cw_span *span) {
    for (int y = 0; y < r.ny; y++) {
        int from = r.nx, to = 0;
        for (int k = begin; k < end; k++) {
            int line = k / u->box.nj, j = k % u->box.nj;
            cw_span l = lit[line / u->box.ni * rows + line % u->box.ni + y * S];
            if (l.from < l.to) {
                /* Pixels i with from <= i S + j < to. */
                int first = l.from > j ? ceil_div(l.from - j, S) : 0;
                int last = l.to > j ? imin(ceil_div(l.to - j, S), r.nx) : 0;
                from = first < last ? imin(from, first) : from;
                to = first < last && last > to ? last : to;
            }
        }
        span[y] = (cw_span){(int16_t)(from < to ? from : 0), (int16_t)to};
    }
}

/* The unit's sums over a rectangle of pixels. */
static void cw_add_rect(const dp_conv_args *c, const cw_unit *u, cw_rect r, int quarter,
                        cw_buffers *buf) {
    const conv_box *b = &u->box;
    int S = c->window.S, taps = u->taps;
    int rows = (r.ny - 1) * S + b->ni, cols = (r.nx - 1) * S + b->nj;
    cw_tile t = {.plane = r.ny * r.nx * QUARTER,
                 .x = buf->x,
                 .dy = buf->dy,
                 .next = S * QUARTER,
                 .line = (ptrdiff_t)S * cols * QUARTER,
                 .ny = r.ny,
                 .nx = r.nx,
                 .first = r.y == 0 && r.x == 0,
                 .channel = taps * QUARTER};
    int width = c->window.K == 3 ? 3 : CW_TAPS, groups = ceil_div(taps, width);
    int tiles = ceil_div(u->no, cw_rows(width));
    bool zeros = c->window.C <= CONV_IMAGE;
    cw_copy_x(c, u, r, rows, cols, quarter, buf->x, buf->lit);
    for (int k = 0; k < taps; k++) {
        int row = k / b->nj / b->ni * rows + k / b->nj % b->ni;
        buf->tap[k] = (ptrdiff_t)(row * cols + k % b->nj) * QUARTER;
    }
    for (int g = 0; g < groups && zeros; g++) {
        cw_find_spans(u, S, r, rows, partition_begin(taps, g, groups),
                      partition_begin(taps, g + 1, groups), buf->lit, buf->span[g]);
    }
    for (int y = 0; y < r.ny && !zeros; y++) {
        buf->span[0][y] = (cw_span){0, (int16_t)r.nx};
    }
    for (int i = 0; i < tiles; i++) {
        int o = partition_begin(u->no, i, tiles);
        int channels = partition_begin(u->no, i + 1, tiles) - o;
        float *bias = buf->sums + (u->no * taps + o) * QUARTER;
        cw_copy_dy(c, u->o + o, channels, r, quarter, buf->dy, u->bias ? bias : NULL);
        for (int g = 0; g < groups; g++) {
            int begin = partition_begin(taps, g, groups);
            t.tap = buf->tap + begin;
            t.span = buf->span[zeros ? g : 0];
            t.sums = buf->sums + (o * taps + begin) * QUARTER;
            cw_any_tile(channels, partition_begin(taps, g + 1, groups) - begin, &t);
        }
    }
}

/* Pushes the samples of a quarter on the stack, of whose levels `depth` are in use;
 * merges[n]: how many merges follow sample n. */
static int cw_push(const float *sums, int groups, int samples, const uint8_t *merges,
                   int depth, float *stack) {
    int after = depth;
    for (int g = 0; g < groups; g++) {
        float turned[QUARTER * QUARTER] __attribute__((aligned(64)));
        transpose_quarter(sums + g * QUARTER * QUARTER, QUARTER, turned, QUARTER);
        float *top = stack + (g * CW_LEVELS + depth) * QUARTER;
        after = depth;
        for (int n = 0; n < samples; n++) {
            vf acc[QUARTER_VECS];
            for (int v = 0; v < QUARTER_VECS; v++) {
                acc[v] = vf_load(turned + n * QUARTER + v * LANES);
            }
            for (int m = merges[n]; m > 0; m--) {
                top -= QUARTER;
                for (int v = 0; v < QUARTER_VECS; v++) {
                    acc[v] = vf_load(top + v * LANES) + acc[v];
                }
            }
            for (int v = 0; v < QUARTER_VECS; v++) {
                vf_store(top + v * LANES, acc[v]);
            }
            top += QUARTER;
            after += 1 - merges[n];
        }
    }
    return after;
}

/* The merges after each sample of a quarter: in its block, and of the block if it is the
 * last of one. */
static void cw_merges(const dp_conv_args *c, int first, int samples, uint8_t *merges) {
    for (int n = first; n < first + samples; n++) {
        int leaf = n / c->block, begin = leaf * c->block;
        int count = imin(c->block, c->N - begin);
        int m = dp_tree_merges(count, n - begin);
        if (n - begin == count - 1) {
            m += dp_tree_merges(dp_tree_blocks(c->N, c->block), leaf);
        }
        merges[n - first] = (uint8_t)m;
    }
}

/* A rectangle's size, such that its copies fit. */
static cw_rect cw_size(const dp_conv_args *c, const cw_unit *u) {
    const dp_window *w = &c->window;
    cw_rect r = {.ny = imin(w->OH, CW_PIXELS / w->OW), .nx = w->OW};
    if (r.ny == 0) {
        r = (cw_rect){.ny = 1, .nx = CW_PIXELS};
    }
    for (;;) {
        int rows = (r.ny - 1) * w->S + u->box.ni, cols = (r.nx - 1) * w->S + u->box.nj;
        if ((int64_t)u->box.nc * rows * cols <= CW_X) {
            break;
        }
        r.nx -= r.ny == 1;
        r.ny -= r.ny > 1;
    }
    r.ny = ceil_div(w->OH, ceil_div(w->OH, r.ny));
    return r;
}

static cw_rect cw_rect_at(const dp_window *w, cw_rect size, int k) {
    int across = ceil_div(w->OW, size.nx);
    int y = k / across * size.ny, x = k % across * size.nx;
    return (cw_rect){y, imin(size.ny, w->OH - y), x, imin(size.nx, w->OW - x)};
}

/* The tree's results, from the stack's lowest level. */
static void cw_write(const dp_conv_args *c, const cw_unit *u, const float *stack) {
    const conv_box *b = &u->box;
    int C = c->window.C, K = c->window.K, k = 0;
    for (int o = u->o; o < u->o + u->no; o++) {
        for (int line = 0; line < b->nc * b->ni; line++) {
            size_t channel = (size_t)o * C + b->c + line / b->ni;
            float *to = c->dW + (channel * K + b->i + line % b->ni) * K + b->j;
            for (int j = 0; j < b->nj; j++, k++) {
                to[j] = stack[k / QUARTER * CW_LEVELS * QUARTER + k % QUARTER];
            }
        }
    }
    for (int o = u->o; o < u->o + u->no && u->bias; o++, k++) {
        c->db[o] = stack[k / QUARTER * CW_LEVELS * QUARTER + k % QUARTER];
    }
}

static void cw_run(const dp_conv_args *c, const cw_unit *u, cw_buffers *buf) {
    const dp_window *w = &c->window;
    int taps = u->taps, weights = u->no * (taps + u->bias);
    int groups = ceil_div(weights, QUARTER), depth = 0;
    cw_rect size = cw_size(c, u);
    int rects = ceil_div(w->OH, size.ny) * ceil_div(w->OW, size.nx);
    for (int q = 0; q * QUARTER < c->N; q++) {
        uint8_t merges[QUARTER];
        int samples = imin(c->N - q * QUARTER, QUARTER);
        cw_merges(c, q * QUARTER, samples, merges);
        memset(buf->sums + u->no * taps * QUARTER, 0,
               (size_t)(u->no * QUARTER) * sizeof *buf->sums);
        for (int k = 0; k < rects; k++) {
            cw_add_rect(c, u, cw_rect_at(w, size, k), q, buf);
        }
        depth = cw_push(buf->sums, groups, samples, merges, depth, buf->stack);
        assert(depth < CW_LEVELS);
    }
    cw_write(c, u, buf->stack);
}

/* This thread's part: output channels by boxes. */
static void conv_dweight(dp_team team, const dp_conv_args *c) {
    const dp_window *w = &c->window;
    conv_cut cut = conv_cut_taps(w->C, w->K, CW_BOX);
    int no = imin(CW_WEIGHTS / (cut.nc * cut.ni * cut.nj), CW_CHANNELS);
    subgrid p = split_grid(team, c->end - c->begin, cw_rows(CW_TAPS), cut.boxes);
    int channels = p.a1 - p.a0, parts = ceil_div(channels, no);
    cw_buffers buf;
    for (int k = p.b0; k < p.b1; k++) {
        cw_unit u = {.box = conv_cut_box(&cut, k), .bias = k == 0};
        u.taps = u.box.nc * u.box.ni * u.box.nj;
        for (int b = 0; b < parts; b++) {
            u.o = partition_begin(channels, b, parts);
            u.no = partition_begin(channels, b + 1, parts) - u.o;
            u.o += c->begin + p.a0;
            cw_run(c, &u, &buf);
        }
    }
}

#endif
