/* libxsmm on the step's GEMM shapes: its kernels, made for the tile, in loops over tiles.
 * Operands are laid out for it beforehand (feature-major strips, W transposed for the
 * input gradient), so these are its best rates. */
#include "peer.h"
#include <libxsmm.h>

enum { TILE_O = 16, TILE_I = 64 };

static libxsmm_smmfunction kernel(int m, int n, int k, int lda, int ldb, int ldc,
                                  float beta) {
    float alpha = 1;
    int flags = LIBXSMM_GEMM_FLAG_NONE, prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
    libxsmm_smmfunction f =
        libxsmm_smmdispatch(m, n, k, &lda, &ldb, &ldc, &alpha, &beta, &flags, &prefetch);
    if (!f) {
        fprintf(stderr, "libxsmm has no kernel of %d x %d x %d\n", m, n, k);
        exit(1);
    }
    return f;
}

static void prepare(problem *p, int kind, int threads) {
    (void)p;
    (void)kind;
    (void)threads;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* C[columns][lanes] = A[k][lanes] B[columns][k], strip by strip: column-major for
 * libxsmm. */
static void by_strips(const float *A, const float *B, float *C, int N, int columns, int k,
                      int threads) {
    int strips = (N + STRIP - 1) / STRIP, m = least(N, STRIP);
    int tiles = (columns + TILE_O - 1) / TILE_O;
    libxsmm_smmfunction whole = kernel(m, least(TILE_O, columns), k, STRIP, k, STRIP, 0);
    libxsmm_smmfunction rest =
        columns % TILE_O ? kernel(m, columns % TILE_O, k, STRIP, k, STRIP, 0) : whole;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int job = 0; job < strips * tiles; job++) {
        int s = job / tiles, at = job % tiles * TILE_O;
        libxsmm_smmfunction f = columns - at < TILE_O ? rest : whole;
        f(A + (size_t)s * k * STRIP, B + (size_t)at * k,
          C + ((size_t)s * columns + at) * STRIP);
    }
}

static void weights(problem *p, int threads) {
    int strips = (p->N + STRIP - 1) / STRIP, k = least(p->N, STRIP);
    int across = (p->I + TILE_I - 1) / TILE_I, down = (p->O + TILE_O - 1) / TILE_O;
    int edge_i = p->I % TILE_I ? p->I % TILE_I : TILE_I;
    int edge_o = p->O % TILE_O ? p->O % TILE_O : TILE_O;
    libxsmm_smmfunction f[2][2][2];
    for (int v = 0; v < 8; v++) {
        int i = v & 1 ? edge_i : least(TILE_I, p->I),
            o = v & 2 ? edge_o : least(TILE_O, p->O);
        f[v & 1][v >> 1 & 1][v >> 2] = kernel(i, o, k, p->I, STRIP, p->I, v & 4 ? 1 : 0);
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int job = 0; job < across * down; job++) {
        int i = job % across * TILE_I, o = job / across * TILE_O;
        int last_i = job % across == across - 1, last_o = job / across == down - 1;
        for (int s = 0; s < strips; s++) {
            f[last_i][last_o][s > 0](p->X + (size_t)s * STRIP * p->I + i,
                                     p->dyt + ((size_t)s * p->O + o) * STRIP,
                                     p->out + (size_t)o * p->I + i);
        }
    }
}

static void multiply(problem *p, int kind, int threads, int calls) {
    for (int c = 0; c < calls; c++) {
        if (kind == FORWARD) {
            by_strips(p->xt, p->W, p->out, p->N, p->O, p->I, threads);
        } else if (kind == DINPUT) {
            by_strips(p->dyt, p->WT, p->out, p->N, p->I, p->O, threads);
        } else {
            weights(p, threads);
        }
    }
}

static float element(const problem *p, int kind, int row, int column) {
    return kind == DWEIGHT
               ? p->out[(size_t)row * p->I + column]
               : strip_element(p->out, kind == FORWARD ? p->O : p->I, row, column);
}

int main(int argc, char **argv) {
    table("libxsmm", false, argc > 1 ? atof(argv[1]) : 0.05);
    return 0;
}
