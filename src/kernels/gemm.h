/* forward and dinput: out[m][n] = sum over k of w(m,k) x[k][n], lanes over samples.
 *
 * A tile of `rows` results by 16 to 64 samples stays in registers while k runs over a
 * chunk. Chunks are as long as the strip's rows of x stay in L1 (longer with few samples,
 * whose tiles end too soon otherwise); between them the sums are stored in `out` itself,
 * so each remains one chain. Weights enter as scalars, straight from W. */
#ifndef DP_KERNELS_GEMM_H
#define DP_KERNELS_GEMM_H

#include "lit.h"

enum {
    CHUNK = 128, /* k in a chunk of whole strips: 32 KB; of fewer samples, more of them */
    MAX_ROWS = 24, /* of a tile in any kernel set; most sets have fewer */
};

/* How the weights of a sum follow each other: along a row of W, down a column, or along a
 * row where the input is lit. */
enum order { ROW, COLUMN, LIT };

typedef struct gemm {
    int M, K;
    ptrdiff_t row, step; /* w(m,k) = W[m * row + k * step] */
    const float *W;
    const float *b;    /* [M]: where the sums start; NULL for 0 */
    const float *x;    /* [S][K][64] */
    const dp_lit *lit; /* of x, or NULL */
    float *out;        /* [S][M][64] */
    /* for the epilogue */
    int N;
    const dp_act *act;
    float *yt, *y;              /* forward: act's result [S][M][64], and [N][dp_ld(M)] */
    const float *at_zt, *at_yt; /* dinput: where act's derivative is taken [S][M][64] */
} gemm;

typedef struct tile {
    int K;
    const float *w, *x;
    const dp_term *term; /* [K], in order LIT */
    float *z;
    const float *start; /* where the rows' sums start; NULL: from z */
    bool last;          /* the sums end here */
} tile;

/* Term k of each sum: x at k; w[r / 3][r % 3 * row], row r's weight at k. */
static ALWAYS_INLINE void tile_step(int rows, int vecs, const float *x,
                                    const float *const w[MAX_ROWS / 3], ptrdiff_t row,
                                    vf acc[MAX_ROWS][4]) {
    vf xk[4];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++) {
        xk[v] = vf_load(x + v * LANES);
    }
#pragma GCC unroll 24
    for (int r = 0; r < rows; r++) {
        vf wr = vf_set(w[r / 3][r % 3 * row]);
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            acc[r][v] = vf_fma(wr, xk[v], acc[r][v]);
        }
    }
}

/* Weights are prefetched: down columns, the next line of the same row of W; along rows,
 * the same terms of the next tile, 16 to a line. Past the end that does nothing. */
static ALWAYS_INLINE void tile_sums(enum order order, int rows, int vecs, const tile *t,
                                    ptrdiff_t row, ptrdiff_t step, vf acc[MAX_ROWS][4]) {
    const float *w[MAX_ROWS / 3], *x = t->x;
#pragma GCC unroll 8
    for (int j = 0; 3 * j < rows; j++) {
        w[j] = t->w + 3 * j * row;
        if (order != COLUMN) {
            /* A pointer for three rows: their strides fit the addressing modes. */
            __asm__("" : "+r"(w[j]));
        }
    }
    for (int k = 0; k < t->K && order == COLUMN; k++) {
        __builtin_prefetch(w[0] + QUARTER);
        tile_step(rows, vecs, x, w, row, acc);
        x += DP_STRIP;
#pragma GCC unroll 8
        for (int j = 0; 3 * j < rows; j++) {
            w[j] += step;
        }
    }
    for (int k = 0, next = 0; k < t->K && order == LIT; k = next) {
#pragma GCC unroll 24
        for (int r = 0; r < rows; r++) {
            __builtin_prefetch(t->w + (rows + r) * row + t->term[k].w);
        }
        next = imin(k + QUARTER / 2, t->K);
#pragma GCC unroll 4
        for (int i = k; i < next; i++) {
            const float *wi[MAX_ROWS / 3];
#pragma GCC unroll 8
            for (int j = 0; 3 * j < rows; j++) {
                wi[j] = w[j] + t->term[i].w;
                __asm__("" : "+r"(wi[j]));
            }
            tile_step(rows, vecs, x + t->term[i].x, wi, row, acc);
        }
    }
    for (int k = 0, next = 0; k < t->K && order == ROW; k = next) {
#pragma GCC unroll 24
        for (int r = 0; r < rows; r++) {
            __builtin_prefetch(t->w + (rows + r) * row + k);
        }
        next = imin(k + QUARTER, t->K);
#pragma GCC unroll 4
        for (int i = k; i < next; i++) {
            tile_step(rows, vecs, x, w, row, acc);
            x += DP_STRIP;
#pragma GCC unroll 8
            for (int j = 0; 3 * j < rows; j++) {
                w[j]++;
            }
        }
    }
}

/* A sum that is 0 gets the sign +, whichever terms were left out. */
static ALWAYS_INLINE void add_zero(int rows, int vecs, vf acc[MAX_ROWS][4]) {
#pragma GCC unroll 24
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            acc[r][v] = acc[r][v] + 0.0f;
        }
    }
}

static ALWAYS_INLINE void tile_kernel(enum order order, int rows, int vecs, tile t,
                                      ptrdiff_t row, ptrdiff_t step) {
    vf acc[MAX_ROWS][4];
#pragma GCC unroll 24
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            acc[r][v] =
                t.start ? vf_set(t.start[r]) : vf_load(t.z + r * DP_STRIP + v * LANES);
        }
    }
    tile_sums(order, rows, vecs, &t, row, step, acc);
    if (order != COLUMN && t.last) {
        add_zero(rows, vecs, acc);
    }
#pragma GCC unroll 24
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            vf_store(t.z + r * DP_STRIP + v * LANES, acc[r][v]);
        }
    }
}

/* Makes `rows`, at most `max`, a constant. */
static ALWAYS_INLINE void tile_dispatch(enum order order, int rows, int max, int vecs,
                                        tile t, ptrdiff_t row, ptrdiff_t step) {
#define ROWS(n)                                                                          \
    case n:                                                                              \
        if (n <= max) {                                                                  \
            tile_kernel(order, n, vecs, t, row, step);                                   \
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
        ROWS(13);
        ROWS(14);
        ROWS(15);
        ROWS(16);
        ROWS(17);
        ROWS(18);
        ROWS(19);
        ROWS(20);
        ROWS(21);
        ROWS(22);
        ROWS(23);
        ROWS(24);
    }
#undef ROWS
}

/* Makes the number of vectors a constant. */
static ALWAYS_INLINE void any_tile(enum order order, int rows, int quarters, tile t,
                                   ptrdiff_t row, ptrdiff_t step) {
    if (TILE_QUARTERS == 1 || quarters == 1) {
        tile_dispatch(order, rows, tile_rows(order == COLUMN, 1), QUARTER_VECS, t, row,
                      step);
    } else if (quarters == 2) {
        tile_dispatch(order, rows, tile_rows(order == COLUMN, 2), 2 * QUARTER_VECS, t,
                      row, step);
    } else if (quarters == 3) {
        tile_dispatch(order, rows, tile_rows(order == COLUMN, 3), 3 * QUARTER_VECS, t,
                      row, step);
    } else {
        tile_dispatch(order, rows, tile_rows(order == COLUMN, 4), 4 * QUARTER_VECS, t,
                      row, step);
    }
}

typedef void gemm_epilogue(const gemm *g, int s, int q0, int q1, int m, int rows);

/* Where the sums of `rows` outputs start: start[r] = b[r], or NaN where a weight that is
 * left out is not finite; 0 without b. */
static ALWAYS_INLINE void gemm_start(const gemm *g, enum order order, int s, int m,
                                     int rows, float *start) {
    for (int r = 0; r < rows; r++) {
        start[r] = g->b ? g->b[m + r] : 0.0f;
    }
    if (order == LIT) {
        add_left_out(g->lit, (int)g->row, s, g->W + m * g->row, g->row, rows, start);
    }
}

/* Rows [m0,m1) of quarters [q0,q1) of strip s; `epilogue` is called with rows [m,m+rows)
 * as soon as they are done and still in L1. */
static ALWAYS_INLINE void gemm_strip(const gemm *g, enum order order, int s, int q0,
                                     int q1, int m0, int m1, gemm_epilogue *epilogue) {
    ptrdiff_t row = order == COLUMN ? 1 : g->row, step = order == COLUMN ? g->step : 1;
    int wide = TILE_QUARTERS == 1 ? 1 : q1 - q0;
    int K = order == LIT ? g->lit->terms[s] : g->K;
    const dp_term *term = order == LIT ? g->lit->term + (ptrdiff_t)s * g->row : NULL;
    int chunks = ceil_div(K * (q1 - q0), CHUNK * STRIP_QUARTERS);
    int tiles = ceil_div(m1 - m0, tile_rows(order == COLUMN, wide));
    for (int c = 0; c < chunks; c++) {
        int k0 = partition_begin(K, c, chunks), k1 = partition_begin(K, c + 1, chunks);
        for (int i = 0; i < tiles; i++) {
            int m = m0 + partition_begin(m1 - m0, i, tiles);
            int rows = m0 + partition_begin(m1 - m0, i + 1, tiles) - m;
            float start[MAX_ROWS];
            if (c == 0) {
                gemm_start(g, order, s, m, rows, start);
            }
            for (int q = q0; q < q1; q += wide) {
                int n = s * DP_STRIP + q * QUARTER;
                tile t = {.K = k1 - k0,
                          .w = g->W + m * row,
                          .x = g->x + dp_strip_at(g->K, n, 0),
                          .z = g->out + dp_strip_at(g->M, n, m),
                          .start = c == 0 ? start : NULL,
                          .last = c == chunks - 1};
                if (order == LIT) {
                    t.term = term + k0;
                } else {
                    t.w += k0 * step;
                    t.x += k0 * DP_STRIP;
                }
                any_tile(order, rows, wide, t, row, step);
            }
            if (c == chunks - 1) {
                epilogue(g, s, q0, q1, m, rows);
            }
        }
    }
}

/* This thread's part of rows [m0,m1), m0 a multiple of 16. */
static ALWAYS_INLINE void gemm_thread(const gemm *g, enum order order, int m0, int m1,
                                      dp_team team, gemm_epilogue *epilogue) {
    subgrid p = split_grid(team, ceil_div(m1 - m0, QUARTER), 1, ceil_div(g->N, QUARTER));
    int begin = m0 + p.a0 * QUARTER, end = imin(m0 + p.a1 * QUARTER, m1);
    for (int q = p.b0, next = 0; q < p.b1; q = next) {
        int s = q / STRIP_QUARTERS, q0 = s * STRIP_QUARTERS;
        next = imin(q0 + STRIP_QUARTERS, p.b1);
        if (order == ROW && g->lit && g->lit->terms[s] < g->row) {
            gemm_strip(g, LIT, s, q - q0, next - q0, begin, end, epilogue);
        } else {
            gemm_strip(g, order, s, q - q0, next - q0, begin, end, epilogue);
        }
    }
}

#endif
