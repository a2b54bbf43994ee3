/* Convolution, weight gradient: for each sample a sum over pixels, then the samples along
 * the tree within their block, and the blocks along the block tree.
 *
 * Lanes run over the 16 samples of a quarter. A tile of a few channels by a few taps stays
 * in registers over a rectangle of pixels, whose part of x and dY has been copied to
 * where its rows are one cache line each: in the strips they lie 256 bytes apart, which
 * is a quarter of L1's sets. The copy of x has the padding's zeros, so that there are no
 * edges. The sums of a quarter's samples are then turned, 16 weights at a time, so that
 * lanes run over weights, and go one by one on the tree's stack. */
#ifndef DP_KERNELS_CONV_DWEIGHT_H
#define DP_KERNELS_CONV_DWEIGHT_H

#include "base/tree.h"
#include "conv_box.h"
#include <assert.h>

enum {
    CW_TAPS = 4,       /* of a tile, at most */
    CW_WEIGHTS = 2048, /* of a unit, without biases */
    CW_PIXELS = 64,    /* of a rectangle: dY of a tile's channels stays in L1 */
    CW_DY = 1536,      /* pixels of all channels in the copy of dY: 96 KB */
    CW_X = 2048,       /* pixels of all channels in the copy of x: 128 KB */
    CW_LEVELS = 20,    /* of the tree's stack */
};

/* Channels of a tile. */
static int cw_rows(int taps) {
    return LANES == 16 ? 6 : taps == 4 ? 3 : taps == 3 ? 4 : 6;
}

/* Weights that are computed together: a box of channels [o, o + no) of the output.
 * `bias`: the output channels' biases, too. */
typedef struct cw_unit {
    int o, no, taps;
    conv_box box;
    bool bias;
} cw_unit;

/* Pixels [y, y + ny) x [x, x + nx) of the output: whole rows, or a part of one. */
typedef struct cw_rect {
    int y, ny, x, nx;
} cw_rect;

typedef struct cw_buffers {
    float dy[CW_DY * QUARTER]; /* [no][ny][nx][16] */
    float x[CW_X * QUARTER];   /* [nc][rows][cols][16] */
    /* [no][taps][16], then the biases [no][16] */
    float sums[2 * CW_WEIGHTS * QUARTER];
    float stack[2 * CW_WEIGHTS * CW_LEVELS]; /* [weights / 16][levels][16] */
} cw_buffers __attribute__((aligned(64)));

typedef struct cw_tile {
    const float *x, *dy;    /* at the rectangle's first pixel */
    ptrdiff_t tap[CW_TAPS]; /* floats from x to each tap's */
    ptrdiff_t plane;        /* floats from a channel's dY to the next one's */
    ptrdiff_t next, skip;   /* floats of x from pixel to pixel, and at a row's end */
    int ny, nx;
    bool first;        /* start from 0, else from sums */
    float *sums;       /* of the first channel and tap */
    ptrdiff_t channel; /* floats to the next channel's */
} cw_tile;

static ALWAYS_INLINE void cw_kernel(int rows, int taps, const cw_tile *t) {
    for (int h = 0; h < QUARTER; h += LANES) {
        vf acc[6][CW_TAPS];
        const float *x[CW_TAPS], *dy = t->dy + h;
        ptrdiff_t plane = t->plane, next = t->next;
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int k = 0; k < taps; k++) {
                acc[r][k] = t->first
                                ? vf_zero()
                                : vf_load(t->sums + r * t->channel + k * QUARTER + h);
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < taps; k++) {
            x[k] = t->x + t->tap[k] + h;
        }
        for (int y = 0; y < t->ny; y++) {
            for (int i = 0; i < t->nx; i++) {
                vf xk[CW_TAPS];
#pragma GCC unroll 4
                for (int k = 0; k < taps; k++) {
                    xk[k] = vf_load(x[k]);
                    x[k] += next;
                }
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    vf d = vf_load(dy + r * plane);
#pragma GCC unroll 4
                    for (int k = 0; k < taps; k++) {
                        acc[r][k] = vf_fma(d, xk[k], acc[r][k]);
                    }
                }
                dy += QUARTER;
            }
#pragma GCC unroll 4
            for (int k = 0; k < taps; k++) {
                x[k] += t->skip;
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int k = 0; k < taps; k++) {
                vf_store(t->sums + r * t->channel + k * QUARTER + h, acc[r][k]);
            }
        }
    }
}

/* Makes `rows` a constant; tiles with few taps have more of them. */
static ALWAYS_INLINE void cw_dispatch(int rows, int taps, const cw_tile *t) {
#define ROWS(n)                                                                          \
    case n:                                                                              \
        if (LANES == 16 || n * taps <= 12) {                                             \
            cw_kernel(n, taps, t);                                                       \
        }                                                                                \
        break
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
    }
#undef ROWS
}

static void cw_any_tile(int rows, int taps, const cw_tile *t) {
    switch (taps) {
    case 1:
        cw_dispatch(rows, 1, t);
        break;
    case 2:
        cw_dispatch(rows, 2, t);
        break;
    case 3:
        cw_dispatch(rows, 3, t);
        break;
    case 4:
        cw_dispatch(rows, 4, t);
        break;
    }
}

static ALWAYS_INLINE void cw_copy(float *to, const float *from) {
    for (int v = 0; v < QUARTER; v += LANES) {
        vf_store(to + v, vf_load(from + v));
    }
}

/* A quarter's dY in a rectangle; adds it to the biases' sums. */
static void cw_copy_dy(const dp_conv_args *c, const cw_unit *u, cw_rect r, int quarter,
                       float *to, float *bias) {
    const dp_window *w = &c->window;
    size_t plane = (size_t)(w->OH * w->OW) * DP_STRIP;
    const float *from = c->above->dzt +
                        (size_t)(quarter / STRIP_QUARTERS) * c->O * plane +
                        quarter % STRIP_QUARTERS * QUARTER;
    for (int o = u->o; o < u->o + u->no; o++, bias += QUARTER) {
        vf sum[QUARTER_VECS];
        for (int v = 0; v < QUARTER_VECS; v++) {
            sum[v] = vf_load(bias + v * LANES);
        }
        for (int y = r.y; y < r.y + r.ny; y++) {
            const float *row =
                from + (size_t)o * plane + (size_t)(y * w->OW + r.x) * DP_STRIP;
            for (int x = 0; x < r.nx; x++, row += DP_STRIP, to += QUARTER) {
#pragma GCC unroll 4
                for (int v = 0; v < QUARTER_VECS; v++) {
                    vf d = vf_load(row + v * LANES);
                    vf_store(to + v * LANES, d);
                    sum[v] = sum[v] + d;
                }
            }
        }
        for (int v = 0; v < QUARTER_VECS; v++) {
            vf_store(bias + v * LANES, sum[v]);
        }
    }
}

/* The input's pixels under a rectangle, rows and cols of them, with the padding. */
static void cw_copy_x(const dp_conv_args *c, const cw_unit *u, cw_rect r, int rows,
                      int cols, int quarter, float *to) {
    const dp_window *w = &c->window;
    size_t plane = (size_t)(w->H * w->W) * DP_STRIP;
    const float *from = c->below->yt + (size_t)(quarter / STRIP_QUARTERS) * w->C * plane +
                        quarter % STRIP_QUARTERS * QUARTER;
    int y0 = r.y * w->S - w->P + u->box.i, x0 = r.x * w->S - w->P + u->box.j;
    for (int k = u->box.c; k < u->box.c + u->box.nc; k++) {
        for (int y = y0; y < y0 + rows; y++) {
            const float *row = from + (size_t)k * plane + (ptrdiff_t)y * w->W * DP_STRIP;
            for (int x = x0; x < x0 + cols; x++, to += QUARTER) {
                if (y >= 0 && y < w->H && x >= 0 && x < w->W) {
                    cw_copy(to, row + (ptrdiff_t)x * DP_STRIP);
                } else {
                    memset(to, 0, QUARTER * sizeof *to);
                }
            }
        }
    }
}

/* The unit's sums over a rectangle of pixels. */
static void cw_add_rect(const dp_conv_args *c, const cw_unit *u, cw_rect r, int quarter,
                        cw_buffers *buf) {
    int S = c->window.S, taps = u->taps;
    int rows = (r.ny - 1) * S + u->box.ni, cols = (r.nx - 1) * S + u->box.nj;
    cw_copy_dy(c, u, r, quarter, buf->dy, buf->sums + u->no * taps * QUARTER);
    cw_copy_x(c, u, r, rows, cols, quarter, buf->x);
    cw_tile t = {.plane = r.ny * r.nx * QUARTER,
                 .next = S * QUARTER,
                 .skip = (ptrdiff_t)(S * cols - r.nx * S) * QUARTER,
                 .ny = r.ny,
                 .nx = r.nx,
                 .first = r.y == 0 && r.x == 0,
                 .channel = taps * QUARTER,
                 .x = buf->x};
    int width = c->window.K == 3 ? 3 : CW_TAPS, groups = ceil_div(taps, width);
    int tiles = ceil_div(u->no, cw_rows(width));
    for (int i = 0; i < tiles; i++) {
        int o = partition_begin(u->no, i, tiles);
        t.dy = buf->dy + o * t.plane;
        for (int g = 0; g < groups; g++) {
            int begin = partition_begin(taps, g, groups);
            int n = partition_begin(taps, g + 1, groups) - begin;
            for (int k = 0; k < n; k++) {
                int tap = begin + k, line = tap / u->box.nj;
                int row = line / u->box.ni * rows + line % u->box.ni;
                t.tap[k] = (ptrdiff_t)(row * cols + tap % u->box.nj) * QUARTER;
            }
            t.sums = buf->sums + (o * taps + begin) * QUARTER;
            cw_any_tile(partition_begin(u->no, i + 1, tiles) - o, n, &t);
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
    int pixels = imin(CW_PIXELS, CW_DY / u->no);
    cw_rect r = {.ny = imin(w->OH, pixels / w->OW), .nx = w->OW};
    if (r.ny == 0) {
        r = (cw_rect){.ny = 1, .nx = pixels};
    }
    for (;;) {
        int rows = (r.ny - 1) * w->S + u->box.ni, cols = (r.nx - 1) * w->S + u->box.nj;
        if ((int64_t)u->box.nc * rows * cols <= CW_X) {
            break;
        }
        if (r.ny > 1) {
            r.ny--;
        } else {
            r.nx--;
        }
    }
    r.ny = ceil_div(w->OH, ceil_div(w->OH, r.ny));
    return r;
}

static void cw_run(const dp_conv_args *c, const cw_unit *u, cw_buffers *buf) {
    const dp_window *w = &c->window;
    int taps = u->taps, weights = u->no * (taps + u->bias);
    int groups = ceil_div(weights, QUARTER), depth = 0;
    cw_rect size = cw_size(c, u);
    for (int q = 0; q * QUARTER < c->N; q++) {
        uint8_t merges[QUARTER];
        int samples = imin(c->N - q * QUARTER, QUARTER);
        cw_merges(c, q * QUARTER, samples, merges);
        memset(buf->sums + u->no * taps * QUARTER, 0,
               (size_t)(u->no * QUARTER) * sizeof *buf->sums);
        for (int y = 0; y < w->OH; y += size.ny) {
            for (int x = 0; x < w->OW; x += size.nx) {
                cw_rect r = {y, imin(size.ny, w->OH - y), x, imin(size.nx, w->OW - x)};
                cw_add_rect(c, u, r, q, buf);
            }
        }
        depth = cw_push(buf->sums, groups, samples, merges, depth, buf->stack);
        assert(depth < CW_LEVELS);
    }
    for (int k = 0; k < weights; k++) {
        float sum = buf->stack[k / QUARTER * CW_LEVELS * QUARTER + k % QUARTER];
        if (k >= u->no * taps) {
            c->db[u->o + k - u->no * taps] = sum;
        } else {
            int o = u->o + k / taps, tap = k % taps, line = tap / u->box.nj;
            int channel = u->box.c + line / u->box.ni, i = u->box.i + line % u->box.ni;
            size_t row = ((size_t)o * w->C + channel) * w->K + i;
            c->dW[row * w->K + u->box.j + tap % u->box.nj] = sum;
        }
    }
}

/* This thread's part: output channels by boxes. */
static void conv_dweight(dp_team team, const dp_conv_args *c) {
    const dp_window *w = &c->window;
    conv_cut cut = conv_cut_taps(w->C, w->K);
    int no = imin(CW_WEIGHTS / (cut.nc * cut.ni * cut.nj),
                  CW_DY / imin(CW_PIXELS, w->OH * w->OW));
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
