/* dW = dY^T X and db = sum of dY, along the block tree.
 *
 * Lanes run over inputs. A tile of up to 14 outputs by 32 inputs stays in registers over
 * a block; dY enters as scalars straight from its strips, where 16 samples of an output
 * are one cache line. The tree is a stack of finished tiles in L1, and dW is written
 * once. */
#include "base/tree.h"
#include "split.h"

enum {
    UNROLL = 4,   /* samples in a turn of the inner loop */
    KNOWN = 1024, /* leaves whose merges are looked up once a call, not once a tile */
};

typedef struct blocks {
    int N, block, count;
    uint8_t merges[KNOWN];
} blocks;

static void blocks_init(blocks *b, int N, int block) {
    b->N = N;
    b->block = block;
    b->count = dp_tree_blocks(N, block);
    for (int leaf = 0; leaf < least(b->count, KNOWN); leaf++) {
        b->merges[leaf] = (uint8_t)dp_tree_merges(b->count, leaf);
    }
}

static inline int blocks_merges(const blocks *b, int leaf) {
    return leaf < KNOWN ? b->merges[leaf] : dp_tree_merges(b->count, leaf);
}

/* At output o and input i of whole arrays. */
typedef struct dweight_tile {
    const blocks *blocks;
    int O, I;
    const float *x; /* x[n][ld] at input i */
    ptrdiff_t ld;
    const float *dyt; /* strip 0 at output o */
    float *dW;        /* dW[o][i] */
    int inputs;       /* columns of dW that exist */
} dweight_tile;

static ALWAYS_INLINE void dweight_store(int rows, int vecs, const dweight_tile *t,
                                        vf acc[DW_ROWS][DW_VECS]) {
    enum { WIDE = DW_VECS * LANES };
    if (t->inputs >= vecs * LANES) {
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                vf_storeu(t->dW + (ptrdiff_t)r * t->I + v * LANES, acc[r][v]);
            }
        }
        return;
    }
    float tmp[DW_ROWS * WIDE] __attribute__((aligned(64)));
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            vf_store(tmp + r * WIDE + v * LANES, acc[r][v]);
        }
    }
    for (int r = 0; r < rows; r++) {
        memcpy(t->dW + (ptrdiff_t)r * t->I, tmp + r * WIDE,
               (size_t)t->inputs * sizeof *tmp);
    }
}

/* One sample. */
static ALWAYS_INLINE void dweight_step(int rows, int vecs, const float *x,
                                       const float *dy, vf acc[DW_ROWS][DW_VECS]) {
    vf xk[DW_VECS];
#pragma GCC unroll 4
    for (int v = 0; v < vecs; v++) {
        xk[v] = vf_load(x + v * LANES);
    }
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
        vf d = vf_set(dy[r * DP_STRIP]);
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            acc[r][v] = vf_fma(d, xk[v], acc[r][v]);
        }
    }
}

static ALWAYS_INLINE void run_dweight(int rows, int vecs, const dweight_tile *t) {
    const blocks *b = t->blocks;
    float stack[DP_TREE_DEPTH][DW_ROWS * DW_VECS * LANES] __attribute__((aligned(64)));
    int depth = 0;
    vf acc[DW_ROWS][DW_VECS];
    for (int leaf = 0;; leaf++) {
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                acc[r][v] = vf_set(0.0f);
            }
        }
        int end = least((leaf + 1) * b->block, b->N);
        for (int n = leaf * b->block, next = 0; n < end; n = next) {
            next = least(end, (n / DP_STRIP + 1) * DP_STRIP);
            const float *x = t->x + n * t->ld;
            const float *dy =
                t->dyt + (size_t)(n / DP_STRIP) * t->O * DP_STRIP + n % DP_STRIP;
            int k = 0;
            for (; k + UNROLL <= next - n; k += UNROLL) {
#pragma GCC unroll 16
                for (int u = 0; u < UNROLL; u++) {
                    dweight_step(rows, vecs, x + u * t->ld, dy + k + u, acc);
                }
                x += UNROLL * t->ld;
            }
            for (; k < next - n; k++) {
                dweight_step(rows, vecs, x, dy + k, acc);
                x += t->ld;
            }
        }
        for (int m = blocks_merges(b, leaf); m > 0; m--) {
            const float *left = stack[--depth];
#pragma GCC unroll 14
            for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++) {
                    acc[r][v] = vf_load(left + (r * DW_VECS + v) * LANES) + acc[r][v];
                }
            }
        }
        if (leaf == b->count - 1) {
            break;
        }
        float *top = stack[depth++];
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                vf_store(top + (r * DW_VECS + v) * LANES, acc[r][v]);
            }
        }
    }
    dweight_store(rows, vecs, t, acc);
}

/* Makes `rows` a constant. */
static ALWAYS_INLINE void dweight_of_rows(int rows, int vecs, const dweight_tile *t) {
#define ROWS(n)                                                                          \
    case n:                                                                              \
        if (n <= DW_ROWS) {                                                              \
            run_dweight(n <= DW_ROWS ? n : 1, vecs, t);                                  \
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
    }
#undef ROWS
}

static void dweight_wide(int rows, const dweight_tile *t) {
    dweight_of_rows(rows, DW_VECS, t);
}

static void dweight_narrow(int rows, const dweight_tile *t) {
    dweight_of_rows(rows, QUARTER_VECS, t);
}

/* db of outputs [o, o + outputs), at most 16. Lanes run over outputs: 16 samples at a
 * time are turned round. */
static void dbias(const blocks *b, int O, const float *dyt, int o, int outputs,
                  float *db) {
    float stack[DP_TREE_DEPTH][QUARTER] __attribute__((aligned(64)));
    float turned[QUARTER * QUARTER] __attribute__((aligned(64)));
    int depth = 0;
    vf acc[QUARTER_VECS];
    for (int leaf = 0; leaf < b->count; leaf++) {
        for (int v = 0; v < QUARTER_VECS; v++) {
            acc[v] = vf_set(0.0f);
        }
        int begin = leaf * b->block, end = least(begin + b->block, b->N);
        for (int n = begin; n < end; n++) {
            if (n == begin || n % QUARTER == 0) {
                const float *d = dyt + ((size_t)(n / DP_STRIP) * O + o) * DP_STRIP;
                to_batch_major(d + n % DP_STRIP / QUARTER * QUARTER, outputs, QUARTER,
                               turned, QUARTER);
            }
            for (int v = 0; v < QUARTER_VECS; v++) {
                acc[v] = acc[v] + vf_load(turned + n % QUARTER * QUARTER + v * LANES);
            }
        }
        for (int m = blocks_merges(b, leaf); m > 0; m--) {
            depth--;
            for (int v = 0; v < QUARTER_VECS; v++) {
                acc[v] = vf_load(stack[depth] + v * LANES) + acc[v];
            }
        }
        for (int v = 0; v < QUARTER_VECS; v++) {
            vf_store(stack[depth] + v * LANES, acc[v]);
        }
        depth++;
    }
    memcpy(db, stack[0], (size_t)outputs * sizeof *db);
}

static void dweight(dp_team team, int N, int I, int O, int block, const float *x,
                    const float *dyt, float *dW, float *db) {
    blocks b;
    blocks_init(&b, N, block);
    enum { WIDE = DW_VECS * LANES };
    part p = split(team, O, 4, ceil_div(I, QUARTER));
    int i1 = least(p.b1 * QUARTER, I);
    int tiles = ceil_div(p.a1 - p.a0, DW_ROWS);
    for (int i = p.b0 * QUARTER; i < i1; i += WIDE) {
        for (int j = 0; j < tiles; j++) {
            int o = p.a0 + share_begin(p.a1 - p.a0, j, tiles);
            dweight_tile t = {.blocks = &b,
                              .O = O,
                              .I = I,
                              .x = x + i,
                              .ld = dp_ld(I),
                              .dyt = dyt + (size_t)o * DP_STRIP,
                              .dW = dW + (size_t)o * I + i,
                              .inputs = i1 - i};
            int rows = p.a0 + share_begin(p.a1 - p.a0, j + 1, tiles) - o;
            (i1 - i > QUARTER ? dweight_wide : dweight_narrow)(rows, &t);
        }
    }
    int groups = ceil_div(O, QUARTER);
    for (int g = share_begin(groups, team.id, team.n);
         g < share_begin(groups, team.id + 1, team.n); g++) {
        int o = g * QUARTER;
        dbias(&b, O, dyt, o, least(O - o, QUARTER), db + o);
    }
}
