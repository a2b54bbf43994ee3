/* The tile of conv_dweight.h: a few channels by a few taps over a rectangle of pixels, and
 * what it works on. */
#ifndef DP_KERNELS_CONV_DWEIGHT_TILE_H
#define DP_KERNELS_CONV_DWEIGHT_TILE_H

#include "conv_box.h"

enum {
    CW_TAPS = 4,       /* of a tile, at most */
    CW_ROWS = 6,       /* channels of a tile, at most */
    CW_BOX = 128,      /* taps of a unit, at most */
    CW_CHANNELS = 256, /* channels of a unit, at most */
    CW_WEIGHTS = 2048, /* of a unit, at most, without biases */
    CW_PIXELS = 64,    /* of a rectangle: dY of a tile's channels stays in L1 */
    CW_X = 2048,       /* pixels of all channels in the copy of x: 128 KB */
    CW_LEVELS = 20,    /* of the tree's stack */
    CW_SUMS = CW_WEIGHTS + CW_CHANNELS + 16,
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

/* Columns [from, to) of a row of pixels: past them x is 0 for all taps of a tile. */
typedef struct cw_span {
    int16_t from, to;
} cw_span;

typedef struct cw_buffers {
    ptrdiff_t tap[CW_BOX];           /* floats from the first pixel of x to each tap's */
    cw_span lit[CW_X];               /* of each row of the copy of x */
    cw_span span[CW_BOX][CW_PIXELS]; /* of each group of taps and row of dY */
    float dy[CW_ROWS * CW_PIXELS * QUARTER]; /* [channels of a tile][ny][nx][16] */
    float x[CW_X * QUARTER];                 /* [nc][rows][cols][16] */
    /* [no][taps][16], then the biases [no][16] */
    float sums[CW_SUMS * QUARTER];
    float stack[CW_SUMS * CW_LEVELS]; /* [weights / 16][levels][16] */
} cw_buffers __attribute__((aligned(64)));

typedef struct cw_tile {
    const float *x, *dy;  /* at the rectangle's first pixel */
    const ptrdiff_t *tap; /* floats from x to each tap's */
    const cw_span *span;  /* [ny] pixels to go through */
    ptrdiff_t plane;      /* floats from a channel's dY to the next one's */
    ptrdiff_t next, line; /* floats of x from pixel to pixel, and from row to row */
    int ny, nx;
    bool first;        /* start from 0, else from sums */
    float *sums;       /* of the first channel and tap */
    ptrdiff_t channel; /* floats to the next channel's */
} cw_tile;

/* A pixel: of dY and x the fewer stay in registers, the others come one by one. x[k] +
 * at: of tap k; dy[r / 3] + r % 3 * plane: of channel r, a pointer for three, whose
 * strides fit the addressing modes. */
static ALWAYS_INLINE void cw_step(int rows, int taps, const float *const x[CW_TAPS],
                                  ptrdiff_t at, const float *const dy[2], ptrdiff_t plane,
                                  vf acc[CW_ROWS][CW_TAPS]) {
    vf d[CW_ROWS], xk[CW_TAPS];
    if (taps < rows) {
#pragma GCC unroll 4
        for (int k = 0; k < taps; k++) {
            xk[k] = vf_load(x[k] + at);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            d[r] = vf_load(dy[r / 3] + r % 3 * plane);
#pragma GCC unroll 4
            for (int k = 0; k < taps; k++) {
                acc[r][k] = vf_fma(d[r], xk[k], acc[r][k]);
            }
        }
        return;
    }
#pragma GCC unroll 4
    for (int r = 0; r < CW_TAPS; r++) {
        if (r < rows) {
            d[r] = vf_load(dy[r / 3] + r % 3 * plane);
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < taps; k++) {
        xk[k] = vf_load(x[k] + at);
#pragma GCC unroll 4
        for (int r = 0; r < CW_TAPS; r++) {
            if (r < rows) {
                acc[r][k] = vf_fma(d[r], xk[k], acc[r][k]);
            }
        }
    }
}

/* Half a quarter, or all of it, from sample h on. Sums end with + 0: then it makes no
 * difference which zeros were left out of them. */
static ALWAYS_INLINE void cw_half(int rows, int taps, const cw_tile *t, int h) {
    vf acc[CW_ROWS][CW_TAPS];
    ptrdiff_t plane = t->plane, next = t->next;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int k = 0; k < taps; k++) {
            acc[r][k] = t->first ? vf_zero()
                                 : vf_load(t->sums + r * t->channel + k * QUARTER + h);
        }
    }
    for (int y = 0; y < t->ny; y++) {
        int from = t->span[y].from, to = t->span[y].to;
        const float *dy[2], *x[CW_TAPS], *end = t->dy + (y * t->nx + to) * QUARTER + h;
        ptrdiff_t at = y * t->line + from * next + h;
        dy[0] = t->dy + (y * t->nx + from) * QUARTER + h;
        dy[1] = dy[0] + 3 * plane;
        __asm__("" : "+r"(dy[1]));
#pragma GCC unroll 4
        for (int k = 0; k < taps; k++) {
            x[k] = t->x + t->tap[k];
        }
        while (dy[0] < end) {
            cw_step(rows, taps, x, at, dy, plane, acc);
            at += next;
            dy[0] += QUARTER;
            dy[1] += rows > 3 ? QUARTER : 0;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int k = 0; k < taps; k++) {
            vf_store(t->sums + r * t->channel + k * QUARTER + h, acc[r][k] + 0.0f);
        }
    }
}

static ALWAYS_INLINE void cw_kernel(int rows, int taps, const cw_tile *t) {
    for (int h = 0; h < QUARTER; h += LANES) {
        cw_half(rows, taps, t, h);
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

/* Not inline: addresses stay in registers. */
static __attribute__((noinline)) void cw_any_tile(int rows, int taps, const cw_tile *t) {
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

#endif
