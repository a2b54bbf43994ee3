/* What the peers' GEMM programs share: the shapes of the step, and how a rate is taken.
 * Each peer defines multiply(); the numbers are checked against plain loops before
 * anything is timed. */
#ifndef DP_BENCH_PEER_H
#define DP_BENCH_PEER_H

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRIP = 64 };
enum { FORWARD, DINPUT, DWEIGHT, KINDS };

/* X[N,I] W[O,I] dY[N,O] in the forms that the libraries take best; results in Y, dX,
 * dW. */
typedef struct problem {
    int N, I, O;
    float *X, *W, *WT, *dY; /* row-major; WT[I,O] = W transposed beforehand */
    float *xt,
        *dyt;   /* feature-major strips of 64 samples, as libxsmm's loops want them */
    float *out; /* the result of one kind, in the peer's own layout */
} problem;

/* The peer's name; set-up for a problem (outside the timing); the product itself; and
 * element (row, column) of the row-major result: Y[N,O], dX[N,I] or dW[O,I]. */
extern const char *const peer;
void prepare(problem *p, int kind, int threads);
void multiply(problem *p, int kind, int threads);
float element(const problem *p, int kind, int row, int column);

static float *floats(size_t n) {
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return p;
}

static float *noise(size_t n) {
    static unsigned state = 1;
    float *p = floats(n);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (float)(int)state * 0x1p-31f;
    }
    return p;
}

static double plain(const problem *p, int kind, int row, int column) {
    double sum = 0;
    int terms = kind == FORWARD ? p->I : kind == DINPUT ? p->O : p->N;
    for (int k = 0; k < terms; k++) {
        sum += kind == FORWARD  ? (double)p->X[row * p->I + k] * p->W[column * p->I + k]
               : kind == DINPUT ? (double)p->dY[row * p->O + k] * p->W[k * p->I + column]
                                : (double)p->dY[k * p->O + row] * p->X[k * p->I + column];
    }
    return sum;
}

static void verify(problem *p, int kind) {
    int rows = kind == DWEIGHT ? p->O : p->N, columns = kind == FORWARD ? p->O : p->I;
    for (int s = 0; s < 500; s++) {
        int row = (s * 7919) % rows, column = (s * 104729) % columns;
        double want = plain(p, kind, row, column), got = element(p, kind, row, column);
        if (!(fabs(got - want) < 1e-3)) {
            fprintf(stderr, "%s: kind %d is wrong at (%d,%d): %g, not %g\n", peer, kind,
                    row, column, got, want);
            exit(1);
        }
    }
}

/* The best of bursts of about a millisecond, three at least, as in gemm.c. */
static double rate(problem *p, int kind, int threads, double seconds) {
    double flop = 2.0 * p->N * p->I * p->O, best = 0;
    int calls = 1 + (int)(1e8 * threads / flop);
    prepare(p, kind, threads);
    multiply(p, kind, threads);
    verify(p, kind);
    double start = omp_get_wtime(), after = start;
    for (int burst = 0; burst < 3 || after - start < seconds; burst++) {
        double before = omp_get_wtime();
        for (int c = 0; c < calls; c++) {
            multiply(p, kind, threads);
        }
        after = omp_get_wtime();
        best = fmax(best, flop * calls / (after - before) * 1e-9);
    }
    return best;
}

static problem make(int N, int I, int O) {
    int strips = (N + STRIP - 1) / STRIP;
    problem p = {.N = N, .I = I, .O = O};
    p.X = noise((size_t)N * I), p.W = noise((size_t)O * I), p.dY = noise((size_t)N * O);
    p.WT = floats((size_t)O * I);
    p.xt = floats((size_t)strips * STRIP * I), p.dyt = floats((size_t)strips * STRIP * O);
    p.out = floats((size_t)(strips * STRIP + O) * (size_t)(I + O));
    for (int o = 0; o < O; o++) {
        for (int i = 0; i < I; i++) {
            p.WT[(size_t)i * O + o] = p.W[(size_t)o * I + i];
        }
    }
    for (int n = 0; n < N; n++) {
        size_t strip = n / STRIP, lane = n % STRIP;
        for (int i = 0; i < I; i++) {
            p.xt[(strip * I + i) * STRIP + lane] = p.X[(size_t)n * I + i];
        }
        for (int o = 0; o < O; o++) {
            p.dyt[(strip * O + o) * STRIP + lane] = p.dY[(size_t)n * O + o];
        }
    }
    return p;
}

int main(int argc, char **argv) {
    static const int batches[] = {16, 64, 256, 1024},
                     layers[][2] = {{784, 512}, {512, 512}, {512, 10}};
    double seconds = argc > 1 ? atof(argv[1]) : 0.05;
    int most = omp_get_max_threads();
    for (int l = 0; l < 3; l++) {
        for (int b = 0; b < 4; b++) {
            problem p = make(batches[b], layers[l][0], layers[l][1]);
            for (int threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
                printf("%-9s %4d -> %-5d %5d %7d", peer, p.I, p.O, p.N, threads);
                for (int kind = 0; kind < KINDS; kind++) {
                    printf(" %8.1f", rate(&p, kind, threads, seconds));
                }
                printf("\n");
                fflush(stdout);
            }
            free(p.X), free(p.W), free(p.WT), free(p.dY), free(p.xt), free(p.dyt),
                free(p.out);
        }
    }
    return 0;
}

#endif
