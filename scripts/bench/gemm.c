/* Rates of the three GEMMs of a dense layer, as shares of the FMA peak of the same run.
 *
 *   gemm [SET [SECONDS]]     SET auto|avx512|avx2|portable; SECONDS a measurement,
 * default 0.05
 *
 * Two lines a shape, batch and number of threads (1 and OMP_NUM_THREADS): of the product
 * alone, as libraries have it (and with the bias and its gradient, summed in blocks of 64
 * samples), and as in the step: with ReLU, its derivative, the second copy of Y and the
 * tree over blocks of 16. GFLOP/s of the product in both, and percent of the peak that as
 * many threads reach at once. At the end the memory's GB/s. Each kernel's result is held
 * against the reference first; a wrong one ends the program with 1. */
#include "../../tests/ref.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/tree.h"
#include "step/team.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 16, WHOLE = DP_STRIP, KINDS = 3 };
static const char *const kinds[KINDS] = {"forward", "dinput", "dweight"};
static const int batches[] = {16, 64, 256, 1024};
static const int layers[][2] = {{784, 512}, {512, 512}, {512, 10}};

typedef struct problem {
    int N, I, O;
    float *X, *W, *b, *dY;                        /* plain, as the reference takes them */
    float *xt, *x, *yt, *y, *dyt, *dxt, *dW, *db; /* as the kernels do */
} problem;

static float *floats(size_t n) {
    void *p = NULL;
    if (dp_memory_alloc(n, sizeof(float), &p) != DP_OK) {
        fprintf(stderr, "gemm: %s\n", dp_status_message());
        exit(1);
    }
    return p;
}

/* Numbers in [-1, 1) that never sum to much. */
static float *noise(size_t n) {
    static uint32_t state = 1;
    float *p = floats(n);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)state * 0x1p-31f;
    }
    return p;
}

static float *at(float *strips, int F, int n, int f) {
    return strips + dp_strip_at(F, n, f);
}

static problem problem_create(int N, int I, int O) {
    size_t NI = (size_t)N * I, NO = (size_t)N * O, OI = (size_t)O * I;
    problem p = {.N = N, .I = I, .O = O};
    p.X = noise(NI), p.W = noise(OI), p.b = noise(O), p.dY = noise(NO);
    p.xt = floats(dp_strip_floats(N, I)), p.dxt = floats(dp_strip_floats(N, I));
    p.yt = floats(dp_strip_floats(N, O)), p.dyt = floats(dp_strip_floats(N, O));
    p.x = floats((size_t)N * dp_ld(I)), p.y = floats((size_t)N * dp_ld(O));
    p.dW = floats(OI), p.db = floats(O);
    for (int n = 0; n < N; n++) {
        for (int i = 0; i < I; i++) {
            *at(p.xt, I, n, i) = p.x[(size_t)n * dp_ld(I) + i] = p.X[(size_t)n * I + i];
        }
        for (int o = 0; o < O; o++) {
            *at(p.dyt, O, n, o) = p.dY[(size_t)n * O + o];
        }
    }
    return p;
}

static void problem_destroy(problem *p) {
    float *all[] = {p->X,  p->W, p->b,   p->dY,  p->xt, p->x,
                    p->yt, p->y, p->dyt, p->dxt, p->dW, p->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dp_memory_free(&all[i]);
    }
}

static void run(const dp_kernels *set, dp_team team, const problem *p, int kind,
                bool fused) {
    const dp_act *relu = fused ? dp_act_find(set, "relu") : NULL;
    dp_activation below = {.F = p->I, .act = relu, .yt = p->xt, .y = p->x, .dzt = p->dxt};
    dp_activation above = {
        .F = p->O, .act = relu, .yt = p->yt, .y = fused ? p->y : NULL, .dzt = p->dyt};
    dp_dense_args args = {.N = p->N,
                          .end = p->O,
                          .block = fused ? BLOCK : WHOLE,
                          .below = &below,
                          .above = &above,
                          .W = p->W,
                          .b = p->b,
                          .dW = p->dW,
                          .db = p->db};
    (kind == 0 ? set->forward : kind == 1 ? set->dinput : set->dweight)(team, &args);
}

static void check(const char *what, double got, double want, double terms) {
    if (!(fabs(got - want) <= 1e-6 * terms)) {
        fprintf(stderr, "gemm: %s is wrong: %g, the reference says %g\n", what, got,
                want);
        exit(1);
    }
}

/* Some of the rows of a[N][F], from the first to the last, or some of its columns. */
enum { SOME = 16 };

static int some(int count) {
    return count < SOME ? count : SOME;
}

static int pick(int k, int count) {
    return count <= SOME ? k : (int)((long)k * (count - 1) / (SOME - 1));
}

static float *some_rows(const float *a, int N, int F) {
    float *rows = floats((size_t)some(N) * F);
    for (int k = 0; k < some(N); k++) {
        memcpy(rows + (size_t)k * F, a + (size_t)pick(k, N) * F, F * sizeof *a);
    }
    return rows;
}

static float *some_columns(const float *a, int N, int F) {
    float *columns = floats((size_t)N * some(F));
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < some(F); k++) {
            columns[(size_t)n * some(F) + k] = a[(size_t)n * F + pick(k, F)];
        }
    }
    return columns;
}

static void verify_samples(const problem *p, bool fused) {
    int N = some(p->N), I = p->I, O = p->O;
    float *X = some_rows(p->X, p->N, I), *dY = some_rows(p->dY, p->N, O);
    double *Z = malloc(sizeof *Z * N * O), *dX = malloc(sizeof *dX * N * I);
    dp_forward_ref(N, I, O, X, p->W, p->b, Z);
    dp_dinput_ref(N, I, O, dY, p->W, dX);
    for (int k = 0; k < N; k++) {
        int n = pick(k, p->N);
        for (int o = 0; o < O; o++) {
            double z = Z[(size_t)k * O + o], want = fused ? fmax(z, 0) : z;
            check("forward's yt", *at(p->yt, O, n, o), want, I);
            if (fused) {
                check("forward's y", p->y[(size_t)n * dp_ld(O) + o], want, I);
            }
        }
        for (int i = 0; i < I; i++) {
            double slope = !fused || X[(size_t)k * I + i] > 0;
            check("dinput", *at(p->dxt, I, n, i), slope * dX[(size_t)k * I + i], O);
        }
    }
    free(Z), free(dX);
    dp_memory_free(&X), dp_memory_free(&dY);
}

static void verify_outputs(const problem *p) {
    int N = p->N, I = p->I, O = some(p->O);
    float *dY = some_columns(p->dY, N, p->O);
    double *dW = malloc(sizeof *dW * O * I), *db = malloc(sizeof *db * O);
    dp_dweight_ref(N, I, O, p->X, dY, dW, db);
    for (int k = 0; k < O; k++) {
        int o = pick(k, p->O);
        for (int i = 0; i < I; i++) {
            check("dweight", p->dW[(size_t)o * I + i], dW[(size_t)k * I + i], N);
        }
        check("dweight's db", p->db[o], db[k], N);
    }
    free(dW), free(db);
    dp_memory_free(&dY);
}

static void verify(const dp_kernels *set, const problem *p, bool fused) {
    for (int kind = 0; kind < KINDS; kind++) {
        run(set, (dp_team){0, 1}, p, kind, fused);
    }
    verify_samples(p, fused);
    verify_outputs(p);
}

/* What the threads of a measurement share. */
typedef struct timing {
    const dp_kernels *set;
    const problem *p;
    int kind, threads;
    bool fused, more;
    double seconds, sum; /* to spend; what the threads have found together */
    pthread_mutex_t lock;
} timing;

static void bursts(dp_team team, void *arg) {
    timing *t = arg;
    double flop = 2.0 * t->p->N * t->p->I * t->p->O, start = dp_clock();
    int calls = 1 + (int)(1e8 * t->threads / flop), burst = 0;
    do {
        dp_team_barrier(team);
        double before = dp_clock();
        for (int c = 0; c < calls; c++) {
            run(t->set, team, t->p, t->kind, t->fused);
            dp_team_barrier(team);
        }
        /* One thread's clock decides for all when to stop, or some would wait for others
         * that have. */
        if (team.id == 0) {
            double after = dp_clock();
            t->sum = fmax(t->sum, flop * calls / (after - before) * 1e-9);
            t->more = ++burst < 3 || after - start < t->seconds;
        }
        dp_team_barrier(team);
    } while (t->more);
}

/* GFLOP/s of `threads` threads together: the best of bursts of about a millisecond, three
 * at least. */
static double rate(const dp_kernels *set, const problem *p, int kind, bool fused,
                   int threads, double seconds) {
    timing t = {.set = set,
                .p = p,
                .kind = kind,
                .threads = threads,
                .fused = fused,
                .seconds = seconds};
    dp_team_run(threads, bursts, &t);
    return t.sum;
}

static void fma_chains(dp_team team, void *arg) {
    timing *t = arg;
    double mine = dp_kernels_peak(t->set, t->seconds);
    pthread_mutex_lock(&t->lock);
    t->sum += mine;
    pthread_mutex_unlock(&t->lock);
}

static double peak(const dp_kernels *set, int threads, double seconds) {
    timing t = {.set = set, .seconds = seconds, .lock = PTHREAD_MUTEX_INITIALIZER};
    dp_team_run(threads, fma_chains, &t);
    return t.sum;
}

enum { LARGE = 1 << 23 }; /* floats: too many for a cache */

static void add(dp_team team, void *arg) {
    float **array = arg;
    size_t begin = (size_t)LARGE / 16 * (size_t)team.id / (size_t)team.n * 16;
    size_t end = (size_t)LARGE / 16 * (size_t)(team.id + 1) / (size_t)team.n * 16;
    dp_tree_add(array[0] + begin, array[1] + begin, end - begin);
}

/* GB/s that `threads` threads together read and write: the best of five passes. */
static double bandwidth(int threads) {
    float *array[2] = {floats(LARGE), floats(LARGE)};
    double best = 0;
    for (int pass = 0; pass < 6; pass++) {
        double start = dp_clock();
        dp_team_run(threads, add, array);
        double seconds = dp_clock() - start;
        best = pass > 0 ? fmax(best, 3e-9 * LARGE * sizeof **array / seconds) : 0;
    }
    dp_memory_free(&array[0]), dp_memory_free(&array[1]);
    return best;
}

/* A line of the table. */
static void measure(const dp_kernels *set, const problem *p, bool fused, int threads,
                    double seconds) {
    double top = peak(set, threads, seconds);
    printf("%-5s %4d -> %-5d %5d %7d %8.1f", fused ? "fused" : "alone", p->I, p->O, p->N,
           threads, top);
    for (int kind = 0; kind < KINDS; kind++) {
        double r = rate(set, p, kind, fused, threads, seconds);
        printf("  %8.1f %4.1f", r, 100 * r / top);
    }
    printf("\n");
    fflush(stdout);
}

typedef struct task {
    const dp_kernels *set;
    double seconds;
    int threads; /* the most */
} task;

static dp_status table(void *arg) {
    const task *t = arg;
    int counts[2] = {1, t->threads}, ncounts = t->threads > 1 ? 2 : 1;
    printf("%-5s %-13s %5s %7s %8s", "", "layer", "batch", "threads", "peak");
    for (int kind = 0; kind < KINDS; kind++) {
        printf("  %8s    %%", kinds[kind]);
    }
    printf("   (GFLOP/s, %s)\n", t->set->name);
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            problem p = problem_create(batches[b], layers[l][0], layers[l][1]);
            for (int fused = 0; fused < 2; fused++) {
                verify(t->set, &p, fused);
                for (int k = 0; k < ncounts; k++) {
                    measure(t->set, &p, fused, counts[k], t->seconds);
                }
            }
            problem_destroy(&p);
        }
    }
    for (int k = 0; k < ncounts; k++) {
        printf("memory, %d threads: %.1f GB/s\n", counts[k], bandwidth(counts[k]));
    }
    return DP_OK;
}

int main(int argc, char **argv) {
    const char *threads = getenv("OMP_NUM_THREADS");
    task t = {.set = dp_kernels_find(argc > 1 ? argv[1] : "auto"),
              .seconds = argc > 2 ? atof(argv[2]) : 0.05,
              .threads = threads ? atoi(threads) : (int)sysconf(_SC_NPROCESSORS_ONLN)};
    if (!t.set || t.seconds <= 0 || t.threads < 1 || t.threads > DP_MOST_THREADS) {
        fprintf(stderr, "usage: gemm [%s [SECONDS]]\n", dp_kernels_available());
        return 2;
    }
    return dp_team_open(t.threads, table, &t);
}
