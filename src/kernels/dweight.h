/* dW = dY^T X and db = sum of dY, along the block tree.
 *
 * Lanes run over inputs. A tile of up to 14 outputs by 32 inputs stays in registers over
 * a block; dY enters as scalars straight from its strips, where 16 samples of an output
 * are one cache line. The tree is a stack of finished tiles in L1, and dW is written
 * once. */
#include "base/tree.h"
#include "lit.h"
#include <assert.h>

enum {
    TABULATED = 1024, /* leaves whose merges are looked up once a call, not once a tile */
    TILE_INPUTS = DW_VECS * LANES,
    TILE = DW_ROWS * TILE_INPUTS,
    PANELS = 8,  /* tiles side by side that share a pass through a strip */
    LEVELS = 17, /* of a tile's stack: up to 2^16 blocks a call */
    /* of x that stay in L2 while all outputs are computed: 512 KB */
    L2_FLOATS = 1 << 17,
    PREFETCH_ROWS = 16, /* samples between the prefetch of a row of x and its use */
    PREFETCH_LINES = TILE_INPUTS / QUARTER + 1, /* a tile, of what is updated, at most */
    PREFETCHES = (1 + DP_UPDATED) * PREFETCH_LINES,
};

typedef struct blocks {
    int N, block, count;
    uint8_t merges[TABULATED];
} blocks;

static void blocks_init(blocks *b, int N, int block) {
    b->N = N;
    b->block = block;
    b->count = dp_tree_blocks(N, block);
    for (int leaf = 0; leaf < imin(b->count, TABULATED); leaf++) {
        b->merges[leaf] = (uint8_t)dp_tree_merges(b->count, leaf);
    }
}

static inline int blocks_merges(const blocks *b, int leaf) {
    return leaf < TABULATED ? b->merges[leaf] : dp_tree_merges(b->count, leaf);
}

/* Blocks [leaf, end) of a tile. Those before them are on the tile's stack. */
typedef struct dweight_tile {
    const blocks *blocks;
    int leaf, end;
    float *stack; /* [levels][TILE] */
    int depth;
    int I, columns;      /* of dW; that are computed, at the beginning of its rows */
    int inputs;          /* columns from the tile's first on */
    ptrdiff_t ld, strip; /* floats from sample to sample of x, from strip to strip */
    ptrdiff_t x_ahead, dy_ahead; /* prefetch distances from what is read; 0: none */
    const float *x;              /* x[n][ld] at the tile's first input */
    const float *dyt;            /* strip 0 at the tile's first output */
    float *dW;                   /* dW[o][i] at the tile's corner */
    /* Lines in the tile's first row that are prefetched, with those below them
     * in the other rows. */
    int nprefetches;
    const float *prefetch[PREFETCHES];
} dweight_tile;

/* The tile's place in dW; and in what is updated after it: as much of each row as the tile
 * is of the columns that are computed. */
static void dweight_prefetches(const dp_dense_args *a, int o, int i, dweight_tile *t) {
    int lines = t->columns < t->I ? PREFETCH_LINES : TILE_INPUTS / QUARTER;
    t->nprefetches = 0;
    for (int l = 0; l < TILE_INPUTS; l += QUARTER) {
        t->prefetch[t->nprefetches++] = t->dW + l;
    }
    for (int k = 0; k < DP_UPDATED && a->updated[k]; k++) {
        const float *row = a->updated[k] + (ptrdiff_t)o * t->I;
        for (int l = 0; l < lines; l++) {
            t->prefetch[t->nprefetches++] =
                row + (long)i * t->I / t->columns + (ptrdiff_t)l * QUARTER;
        }
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

/* A block of `todo` samples, which may cross strips. */
typedef struct dweight_cursor {
    const float *x, *dy;
    int lane; /* of the next sample in its strip */
} dweight_cursor;

static ALWAYS_INLINE dweight_cursor dweight_block(int rows, int vecs,
                                                  const dweight_tile *t,
                                                  dweight_cursor at, int todo,
                                                  vf acc[DW_ROWS][DW_VECS]) {
    ptrdiff_t ld = t->ld, ahead = t->x_ahead;
    do {
        int run = imin(todo, DP_STRIP - at.lane);
        const float *end = at.dy + run;
        todo -= run;
        at.lane += run;
        if (t->dy_ahead) {
            const float *next = at.dy + t->dy_ahead;
            /* One pointer and 14 offsets, not 14 pointers. */
            __asm__("" : "+r"(next));
#pragma GCC unroll 14
            for (int r = 0; r < rows; r++) {
                __builtin_prefetch(next + r * DP_STRIP);
            }
        }
        do {
            __builtin_prefetch(at.x + ahead);
            __builtin_prefetch(at.x + ahead + QUARTER);
            dweight_step(rows, vecs, at.x, at.dy, acc);
            at.x += ld;
            at.dy++;
        } while (at.dy < end);
        if (at.lane == DP_STRIP) {
            at.lane = 0;
            at.dy += t->strip - DP_STRIP;
        }
    } while (todo > 0);
    return at;
}

/* Writes the tile; its last vectors may reach past the rows of dW. */
static ALWAYS_INLINE void dweight_store(int rows, int vecs, const dweight_tile *t,
                                        vf acc[DW_ROWS][DW_VECS]) {
    float edge[DW_ROWS * TILE_INPUTS] __attribute__((aligned(64)));
    bool whole = t->inputs >= vecs * LANES;
    float *to = whole ? t->dW : edge;
    ptrdiff_t stride = whole ? t->I : TILE_INPUTS;
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vecs; v++) {
            vf_storeu(to + r * stride + v * LANES, acc[r][v]);
        }
    }
    for (int r = 0; r < rows && !whole; r++) {
        memcpy(t->dW + (ptrdiff_t)r * t->I, edge + r * TILE_INPUTS,
               (size_t)t->inputs * sizeof *edge);
    }
}

static ALWAYS_INLINE void dweight_kernel(int rows, int vecs, const dweight_tile *t) {
    const blocks *b = t->blocks;
    int n = t->leaf * b->block;
    float *top = t->stack + (ptrdiff_t)t->depth * TILE;
    dweight_cursor at = {t->x + n * t->ld,
                         t->dyt + n / DP_STRIP * t->strip + n % DP_STRIP, n % DP_STRIP};
    bool last = t->end == b->count;
    /* Some in each block: all at once would keep its own loads waiting. */
    int prefetched = last ? 0 : t->nprefetches;
    for (int leaf = t->leaf;; leaf++) {
        int prefetch_end =
            prefetched + ceil_div(t->nprefetches - prefetched, t->end - leaf);
        for (; prefetched < prefetch_end; prefetched++) {
#pragma GCC unroll 14
            for (int r = 0; r < rows; r++) {
                dp_memory_prefetch_write(t->prefetch[prefetched] + (ptrdiff_t)r * t->I);
            }
        }
        vf acc[DW_ROWS][DW_VECS];
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                acc[r][v] = vf_zero();
            }
        }
        int todo = imin(b->block, b->N - n);
        n += todo;
        at = dweight_block(rows, vecs, t, at, todo, acc);
        for (int m = blocks_merges(b, leaf); m > 0; m--) {
            top -= TILE;
#pragma GCC unroll 14
            for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
                for (int v = 0; v < vecs; v++) {
                    acc[r][v] = vf_load(top + (r * DW_VECS + v) * LANES) + acc[r][v];
                }
            }
        }
        if (n == b->N) {
            dweight_store(rows, vecs, t, acc);
            return;
        }
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < vecs; v++) {
                vf_store(top + (r * DW_VECS + v) * LANES, acc[r][v]);
            }
        }
        top += TILE;
        if (leaf + 1 == t->end) {
            return;
        }
    }
}

/* Makes `rows` a constant. */
static ALWAYS_INLINE void dweight_dispatch(int rows, int vecs, const dweight_tile *t) {
#define ROWS(n)                                                                          \
    case n:                                                                              \
        if (n <= DW_ROWS) {                                                              \
            dweight_kernel(n <= DW_ROWS ? n : 1, vecs, t);                               \
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

/* db of outputs [o, o + outputs), at most 16. Lanes run over outputs: 16 samples at a
 * time are transposed. */
static void dbias(const blocks *b, int O, const float *dyt, int o, int outputs,
                  float *db) {
    float stack[DP_TREE_DEPTH][QUARTER] __attribute__((aligned(64)));
    float turned[QUARTER * QUARTER] __attribute__((aligned(64)));
    int depth = 0;
    vf acc[QUARTER_VECS];
    for (int leaf = 0; leaf < b->count; leaf++) {
        for (int v = 0; v < QUARTER_VECS; v++) {
            acc[v] = vf_zero();
        }
        int begin = leaf * b->block, end = imin(begin + b->block, b->N);
        for (int n = begin; n < end; n++) {
            if (n == begin || n % QUARTER == 0) {
                to_batch_major(dyt + dp_strip_at(O, n / QUARTER * QUARTER, o), outputs,
                               QUARTER, turned, QUARTER);
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

/* All tiles of outputs [o, o + rows) and inputs [i0, i1), of which t is the first. With
 * many samples the tiles alternate, a strip or a block each, while dY is in L1. */
static void dweight_row(const dp_dense_args *a, int o, int rows, dweight_tile t, int i0,
                        int i1) {
    const blocks *b = t.blocks;
    int turn = ceil_div(DP_STRIP, b->block), panels = turn < b->count ? PANELS : 1;
    int levels = 1;
    while (b->count >> levels > 0) {
        levels++;
    }
    float stacks[PANELS * LEVELS * TILE] __attribute__((aligned(64)));
    assert(levels <= LEVELS);
    const float *x = t.x;
    float *dW = t.dW;
    for (t.leaf = 0, t.depth = 0; t.leaf < b->count; t.leaf = t.end) {
        t.end = imin(t.leaf + turn, b->count);
        for (int i = i0; i < i1; i += TILE_INPUTS) {
            int panel = panels > 1 ? (i - i0) / TILE_INPUTS : 0;
            assert(panel < panels);
            t.stack = stacks + panel * levels * TILE;
            t.inputs = i1 - i;
            t.x = x + (i - i0);
            t.dW = dW + (i - i0);
            dweight_prefetches(a, o, i, &t);
            if (t.inputs > QUARTER) {
                dweight_dispatch(rows, DW_VECS, &t);
            } else {
                dweight_dispatch(rows, QUARTER_VECS, &t);
            }
        }
        for (int leaf = t.leaf; leaf < t.end; leaf++) {
            t.depth += 1 - blocks_merges(b, leaf);
        }
    }
}

/* How many inputs pass together through all outputs, so that their part of x stays in
 * L2. */
static int dweight_inputs_in_l2(int N, int block) {
    int panels = 1 + L2_FLOATS / TILE_INPUTS / N;
    bool turns = ceil_div(DP_STRIP, block) < dp_tree_blocks(N, block);
    return (turns ? imin(panels, PANELS) : panels) * TILE_INPUTS;
}

static void dweight(dp_team team, const dp_dense_args *a) {
    int N = a->N, I = a->below->F, O = a->above->F, o0 = a->begin, o1 = a->end;
    const float *x = a->below->y, *dyt = a->above->dzt;
    assert(N >= 1 && 0 <= o0 && o1 <= O);
    blocks b;
    blocks_init(&b, N, a->block);
    /* Compact inputs are summed at the beginning of each row of dW, then expanded. */
    const dp_lit *lit = a->below->lit;
    int columns = lit ? lit->columns : I;
    bool compact = columns < I;
    subgrid p = compact ? split_rows(team, o1 - o0, ceil_div(columns, QUARTER))
                        : split_grid(team, o1 - o0, 4, ceil_div(I, QUARTER));
    int end = o0 + p.a1;
    int i1 = imin(p.b1 * QUARTER, columns), l2_inputs = dweight_inputs_in_l2(N, a->block);
    dweight_tile t = {.blocks = &b,
                      .I = I,
                      .columns = columns,
                      .ld = dp_ld(compact ? columns + QUARTER : I),
                      .strip = (ptrdiff_t)O * DP_STRIP};
    /* A few samples leave room in L1 for the next tile's inputs, many don't. */
    t.x_ahead = N <= 2 * DP_STRIP ? TILE_INPUTS : PREFETCH_ROWS * t.ld;
    t.dy_ahead = N > DP_STRIP ? t.strip : 0;
    for (int i = p.b0 * QUARTER; i < i1; i += l2_inputs) {
        for (int o = o0 + p.a0, rows = 0; o < end; o += rows) {
            /* Full tiles, but no very small last one. */
            int left = end - o;
            rows = left > 2 * DW_ROWS ? DW_ROWS : left > DW_ROWS ? (left + 1) / 2 : left;
            t.x = x + i;
            t.dyt = dyt + dp_strip_at(O, 0, o);
            t.dW = a->dW + (size_t)o * I + i;
            dweight_row(a, o, rows, t, i, imin(i + l2_inputs, i1));
            for (int r = 0; r < rows && compact && i + l2_inputs >= i1; r++) {
                expand_row(lit, I, a->dW + (ptrdiff_t)(o + r) * I);
            }
        }
    }
    int groups = ceil_div(o1 - o0, QUARTER);
    for (int g = partition_begin(groups, team.id, team.n);
         g < partition_begin(groups, team.id + 1, team.n); g++) {
        int o = o0 + g * QUARTER;
        dbias(&b, O, dyt, o, imin(o1 - o, QUARTER), a->db + o);
    }
}
