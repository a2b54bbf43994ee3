/* Our GEMMs as peer.h measures them, and what the machine can do at most.
 *
 *   gemm SET SECONDS     SET auto|avx512|avx2|portable; SECONDS a measurement
 *
 * First the FMA peak and the memory's rate, a line a number of threads:
 *     peak THREADS GFLOP/s
 *     memory THREADS GB/s
 * then the products: "trainer" the product alone, as libraries have it (with the bias and
 * its gradient, summed in blocks of 64 samples), "fused" as in the step, with ReLU, its
 * derivative, the batch-major copy of Y and the tree over blocks of 16. */
#include "base/clock.h"
#include "base/tree.h"
#include "peer.h"
#include "step/team.h"

enum { BLOCK = 16 };

static const dp_kernels *set;

/* What the kernels take beside a problem's own arrays. */
static struct {
    problem *p;
    float *b, *x, *y, *db; /* b[O], x[N][dp_ld(I)], y[N][dp_ld(O)], db[O] */
    int kind, calls;
} now;

static void prepare(problem *p, int kind, int threads) {
    (void)threads;
    free(now.b), free(now.x), free(now.y), free(now.db);
    now.p = p, now.kind = kind;
    now.b = floats(p->O), now.db = floats(p->O);
    now.x = floats((size_t)p->N * dp_ld(p->I)),
    now.y = floats((size_t)p->N * dp_ld(p->O));
    for (int n = 0; n < p->N; n++) {
        memcpy(now.x + (size_t)n * dp_ld(p->I), p->X + (size_t)n * p->I,
               sizeof *p->X * p->I);
    }
}

static void product(dp_team team) {
    problem *p = now.p;
    const dp_act *act = p->relu ? dp_act_find(set, "relu") : NULL;
    dp_activation below = {.F = p->I, .act = act, .yt = p->xt, .y = now.x, .dzt = p->out};
    dp_activation above = {
        .F = p->O, .act = act, .yt = p->out, .y = p->relu ? now.y : NULL, .dzt = p->dyt};
    const dp_dense_args args = {.N = p->N,
                                .end = p->O,
                                .block = p->relu ? BLOCK : STRIP,
                                .below = &below,
                                .above = &above,
                                .W = p->W,
                                .b = now.b,
                                .dW = p->out,
                                .db = now.db};
    (now.kind == FORWARD  ? set->forward
     : now.kind == DINPUT ? set->dinput
                          : set->dweight)(team, &args);
}

static void products(dp_team team, void *arg) {
    (void)arg;
    for (int c = 0; c < now.calls; c++) {
        product(team);
        dp_team_barrier(team);
    }
}

static void multiply(problem *p, int kind, int threads, int calls) {
    (void)p;
    (void)kind;
    now.calls = calls;
    dp_team_run(threads, products, NULL);
}

static float element(const problem *p, int kind, int row, int column) {
    return kind == DWEIGHT
               ? p->out[(size_t)row * p->I + column]
               : strip_element(p->out, kind == FORWARD ? p->O : p->I, row, column);
}

typedef struct machine {
    double seconds;
    double gflops[DP_MOST_THREADS]; /* of each thread */
    float *array[2];                /* too large for a cache */
} machine;

enum { LARGE = 1 << 23 };

static void fma_chains(dp_team team, void *arg) {
    machine *m = arg;
    m->gflops[team.id] = dp_kernels_peak(set, m->seconds);
}

static void add(dp_team team, void *arg) {
    machine *m = arg;
    size_t lines = LARGE / 16, id = (size_t)team.id, n = (size_t)team.n;
    size_t begin = lines * id / n * 16, end = lines * (id + 1) / n * 16;
    dp_tree_add(m->array[0] + begin, m->array[1] + begin, end - begin);
}

/* The best of some tries, as all else here. */
static void measure_machine(int threads, double seconds) {
    enum { TRIES = 6 };
    static machine m;
    m.seconds = seconds;
    m.array[0] = floats(LARGE), m.array[1] = floats(LARGE);
    double peak = 0, memory = 0;
    for (int k = 0; k < TRIES; k++) {
        dp_team_run(threads, fma_chains, &m);
        double sum = 0, start = dp_clock();
        dp_team_run(threads, add, &m);
        memory = fmax(memory, 3e-9 * LARGE * sizeof(float) / (dp_clock() - start));
        for (int t = 0; t < threads; t++) {
            sum += m.gflops[t];
        }
        peak = fmax(peak, sum);
    }
    free(m.array[0]), free(m.array[1]);
    printf("peak %d %.1f\nmemory %d %.1f\n", threads, peak, threads, memory);
}

static dp_status measure(void *arg) {
    double seconds = *(const double *)arg;
    int most = omp_get_max_threads();
    for (int threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
        measure_machine(threads, seconds);
    }
    table("trainer", false, seconds);
    table("fused", true, seconds);
    return DP_OK;
}

int main(int argc, char **argv) {
    double seconds = argc == 3 ? atof(argv[2]) : 0;
    set = argc == 3 ? dp_kernels_find(argv[1]) : NULL;
    if (!set || seconds <= 0) {
        fprintf(stderr, "usage: gemm %s SECONDS\n", dp_kernels_available());
        return 2;
    }
    return dp_team_open(omp_get_max_threads(), measure, &seconds);
}
