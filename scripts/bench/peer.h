/* What the GEMM programs share, ours and the peers': the shapes of the step, and how a
 * rate is taken. Each program defines prepare(), multiply() and element(); the numbers are
 * checked against plain loops before anything is timed.
 *
 * It prints a line a shape, batch and number of threads (1 and OMP_NUM_THREADS):
 *     gemm WHO I O N THREADS FORWARD DINPUT DWEIGHT      (GFLOP/s) */
#ifndef DP_BENCH_PEER_H
#define DP_BENCH_PEER_H

#include <math.h>
#include <omp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRIP = 64 };
enum { FORWARD, DINPUT, DWEIGHT, KINDS };

/* X[N,I] W[O,I] dY[N,O] in the forms that the libraries take best. */
typedef struct problem {
    int N, I, O;
    float *X, *W, *WT, *dY; /* row-major; WT[I,O] = W transposed beforehand */
    float *xt, *dyt;        /* feature-major, strips of 64 samples */
    float *out;             /* the result of one kind, in the program's own layout */
    bool relu;              /* Y = max(0, X W^T), and dX is 0 where X is not above 0 */
} problem;

/* Set-up for a problem (outside the timing); the product, `calls` times; and element
 * (row, column) of the row-major result: Y[N,O], dX[N,I] or dW[O,I]. */
static void prepare(problem *p, int kind, int threads);
static void multiply(problem *p, int kind, int threads, int calls);
static float element(const problem *p, int kind, int row, int column);

static float *floats(size_t n) {
    float *p = aligned_alloc(64, (n * sizeof *p + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memset(p, 0, n * sizeof *p);
}

/* Numbers in [-1, 1) that never sum to much. */
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
    if (p->relu && kind == FORWARD) {
        return fmax(sum, 0);
    }
    return p->relu && kind == DINPUT && p->X[row * p->I + column] <= 0 ? 0 : sum;
}

/* Element (row, column) of a matrix of that width in strips. */
__attribute__((unused)) static float strip_element(const float *strips, int width,
                                                   int row, int column) {
    return strips[((size_t)(row / STRIP) * width + column) * STRIP + row % STRIP];
}

static void verify(const char *who, const problem *p, int kind) {
    int rows = kind == DWEIGHT ? p->O : p->N, columns = kind == FORWARD ? p->O : p->I;
    for (int s = 0; s < 500; s++) {
        int row = (s * 7919) % rows, column = (s * 104729) % columns;
        double want = plain(p, kind, row, column), got = element(p, kind, row, column);
        if (!(fabs(got - want) < 1e-3)) {
            fprintf(stderr, "%s: kind %d is wrong at (%d,%d): %g, not %g\n", who, kind,
                    row, column, got, want);
            exit(1);
        }
    }
}

/* The best of bursts of about a millisecond, three at least. */
static double rate(const char *who, problem *p, int kind, int threads, double seconds) {
    double flop = 2.0 * p->N * p->I * p->O, best = 0;
    int calls = 1 + (int)(1e8 * threads / flop);
    prepare(p, kind, threads);
    multiply(p, kind, threads, 1);
    verify(who, p, kind);
    double start = omp_get_wtime(), after = start;
    for (int burst = 0; burst < 3 || after - start < seconds; burst++) {
        double before = omp_get_wtime();
        multiply(p, kind, threads, calls);
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

/* seconds: of each measurement. */
static void table(const char *who, bool relu, double seconds) {
    static const int batches[] = {16, 64, 256, 1024};
    static const int layers[][2] = {{784, 512}, {512, 512}, {512, 10}};
    int most = omp_get_max_threads();
    for (int l = 0; l < 3; l++) {
        for (int b = 0; b < 4; b++) {
            problem p = make(batches[b], layers[l][0], layers[l][1]);
            p.relu = relu;
            for (int threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
                printf("gemm %s %d %d %d %d", who, p.I, p.O, p.N, threads);
                for (int kind = 0; kind < KINDS; kind++) {
                    printf(" %.1f", rate(who, &p, kind, threads, seconds));
                }
                printf("\n");
                fflush(stdout);
            }
            float *all[] = {p.X, p.W, p.WT, p.dY, p.xt, p.dyt, p.out};
            for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
                free(all[k]);
            }
        }
    }
}

#endif
