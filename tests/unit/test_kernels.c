/* The three GEMMs of a dense layer: right against the reference, and the same bits in
 * each kernel set and for each number of threads. */
#include "base/tree.h"
#include "kernels_cases.h"

typedef struct shape {
    int N, I, O, block;
} shape;

/* Batches around 16 and 64, primes, one input, one output, blocks that do and don't
 * divide. */
static const shape shapes[] = {
    {1, 1, 1, 16},     {1, 7, 3, 1},      {5, 16, 10, 16},  {15, 2, 17, 7},
    {16, 33, 16, 16},  {17, 8, 6, 24},    {31, 5, 29, 16},  {33, 130, 5, 16},
    {47, 20, 13, 5},   {48, 31, 23, 16},  {63, 3, 1, 8},    {64, 17, 19, 16},
    {64, 1, 40, 64},   {64, 300, 11, 16}, {65, 48, 7, 24},  {97, 4, 37, 1000},
    {128, 13, 26, 16}, {130, 9, 12, 32},  {200, 1, 2, 7},   {64, 29, 101, 16},
    {16, 49, 53, 4},   {7, 257, 30, 16},  {129, 6, 15, 13}, {1100, 2, 1, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Inputs of a shape in all layouts, and what one run of the kernels makes of them. */
typedef struct inputs {
    float *X, *W, *b, *dY, *xt, *x, *dyt;
} inputs;

typedef struct results {
    float *zt, *yt, *y, *dxt, *dW, *db;
} results;

/* Padding holds 1e30: a result that depends on it is far off. */
static inputs inputs_create(shape s) {
    inputs in = {.X = noise((size_t)s.N * s.I),
                 .W = noise((size_t)s.O * s.I),
                 .b = noise((size_t)s.O),
                 .dY = noise((size_t)s.N * s.O)};
    in.xt = to_strips(s.N, s.I, in.X, 1e30f);
    in.x = to_rows(s.N, s.I, in.X, 1e30f);
    in.dyt = to_strips(s.N, s.O, in.dY, 1e30f);
    return in;
}

static void inputs_destroy(inputs *in) {
    float **all[] = {&in->X, &in->W, &in->b, &in->dY, &in->xt, &in->x, &in->dyt};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dp_memory_free(all[i]);
    }
}

static void results_destroy(results *r) {
    float **all[] = {&r->zt, &r->yt, &r->y, &r->dxt, &r->dW, &r->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dp_memory_free(all[i]);
    }
}

/* What the kernels of a dense layer take: gelu above and below, or no activation. */
typedef struct dense {
    dp_activation below, above;
    dp_dense_args args;
} dense;

static void dense_init(dense *d, const dp_kernels *set, const char *act, shape s,
                       const inputs *in, const results *r) {
    const dp_act *f = act ? dp_act_find(set, act) : NULL;
    d->below = (dp_activation){.F = s.I,
                               .act = f,
                               .zt = f ? in->xt : NULL,
                               .yt = in->xt,
                               .y = in->x,
                               .dzt = r->dxt};
    d->above = (dp_activation){
        .F = s.O, .act = f, .zt = r->zt, .yt = r->yt, .y = r->y, .dzt = in->dyt};
    d->args = (dp_dense_args){.N = s.N,
                              .end = s.O,
                              .block = s.block,
                              .below = &d->below,
                              .above = &d->above,
                              .W = in->W,
                              .b = in->b,
                              .dW = r->dW,
                              .db = r->db};
}

/* Forward with gelu above, dX with gelu below (it needs z, so all pointers are used);
 * forward and dW from the last `rows` outputs, or what is left of a multiple of it, to
 * the first. */
static results run_by_rows(const dp_kernels *set, int threads, int rows, shape s,
                           const inputs *in) {
    size_t above = dp_strip_floats(s.N, s.O), below = dp_strip_floats(s.N, s.I);
    results r = {floats(above),
                 floats(above),
                 floats((size_t)s.N * (size_t)dp_ld(s.O)),
                 floats(below),
                 floats((size_t)s.O * (size_t)s.I),
                 floats((size_t)s.O)};
    dense d;
    dense_init(&d, set, "gelu", s, in, &r);
    for (int t = 0; t < threads; t++) {
        dp_team team = {t, threads};
        set->dinput(team, &d.args);
        for (int o = (s.O - 1) / rows * rows; o >= 0; o -= rows) {
            d.args.begin = o;
            d.args.end = o + rows < s.O ? o + rows : s.O;
            set->forward(team, &d.args);
            set->dweight(team, &d.args);
        }
    }
    return r;
}

static results run(const dp_kernels *set, int threads, shape s, const inputs *in) {
    return run_by_rows(set, threads, s.O, s, in);
}

static void expect_near(double got, double want, double terms, const char *what,
                        shape s) {
    cr_assert(fabs(got - want) <= 3e-7 * (terms + 2),
              "%s is %.9g, the reference says %.9g (N %d I %d O %d block %d)", what, got,
              want, s.N, s.I, s.O, s.block);
}

static void compare_with_ref(shape s, const inputs *in, const results *r) {
    size_t NI = (size_t)s.N * s.I, NO = (size_t)s.N * s.O, OI = (size_t)s.O * s.I;
    double *Z = malloc(NO * sizeof *Z), *dX = malloc(NI * sizeof *dX);
    double *dW = malloc(OI * sizeof *dW), *db = malloc((size_t)s.O * sizeof *db);
    dp_forward_ref(s.N, s.I, s.O, in->X, in->W, in->b, Z);
    dp_dinput_ref(s.N, s.I, s.O, in->dY, in->W, dX);
    dp_dweight_ref(s.N, s.I, s.O, in->X, in->dY, dW, db);
    for (int n = 0; n < s.N; n++) {
        for (int o = 0; o < s.O; o++) {
            double z = Z[(size_t)n * s.O + o], y = r->yt[dp_strip_at(s.O, n, o)];
            expect_near(r->zt[dp_strip_at(s.O, n, o)], z, s.I, "zt", s);
            expect_near(y, dp_act_ref("gelu", z), s.I, "yt", s);
            cr_assert_eq(r->y[(size_t)n * (size_t)dp_ld(s.O) + (size_t)o], y);
        }
        for (int i = 0; i < s.I; i++) {
            double slope = dp_act_slope_ref("gelu", in->X[(size_t)n * s.I + i]);
            expect_near(r->dxt[dp_strip_at(s.I, n, i)], slope * dX[(size_t)n * s.I + i],
                        s.O, "dxt", s);
        }
    }
    for (size_t k = 0; k < OI; k++) {
        expect_near(r->dW[k], dW[k], s.N, "dW", s);
    }
    for (int o = 0; o < s.O; o++) {
        expect_near(r->db[o], db[o], s.N, "db", s);
    }
    free(Z), free(dX), free(dW), free(db);
}

Test(gemm, matches_ref_on_ragged_edges)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SHAPES; k++) {
        inputs in = inputs_create(shapes[k]);
        for (int i = 0; i < nsets; i++) {
            results r = run(sets[i], 1, shapes[k], &in);
            compare_with_ref(shapes[k], &in, &r);
            results_destroy(&r);
        }
        inputs_destroy(&in);
    }
}

static void expect_same(const float *a, const float *b, size_t n, const char *what,
                        const dp_kernels *set, int threads, shape s) {
    cr_assert_eq(memcmp(a, b, n * sizeof *a), 0,
                 "%s differs: %s, %d threads (N %d I %d O %d block %d)", what, set->name,
                 threads, s.N, s.I, s.O, s.block);
}

static void expect_same_results(const results *a, const results *b, const dp_kernels *set,
                                int threads, shape s) {
    size_t above = dp_strip_floats(s.N, s.O), below = dp_strip_floats(s.N, s.I);
    expect_same(a->zt, b->zt, above, "zt", set, threads, s);
    expect_same(a->yt, b->yt, above, "yt", set, threads, s);
    expect_same(a->y, b->y, (size_t)s.N * (size_t)dp_ld(s.O), "y", set, threads, s);
    expect_same(a->dxt, b->dxt, below, "dxt", set, threads, s);
    expect_same(a->dW, b->dW, (size_t)s.O * s.I, "dW", set, threads, s);
    expect_same(a->db, b->db, (size_t)s.O, "db", set, threads, s);
}

Test(gemm, has_the_same_bits_in_each_set_and_for_each_thread_count)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SHAPES; k++) {
        shape s = shapes[k];
        inputs in = inputs_create(s);
        results first = run(sets[0], 1, s, &in);
        for (int i = 0; i < nsets; i++) {
            for (int threads = 1; threads <= THREADS; threads++) {
                results r = run(sets[i], threads, s, &in);
                expect_same_results(&r, &first, sets[i], threads, s);
                results_destroy(&r);
            }
        }
        results_destroy(&first);
        inputs_destroy(&in);
    }
}

Test(gemm, has_the_same_bits_when_outputs_are_made_some_at_a_time)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SHAPES; k++) {
        shape s = shapes[k];
        inputs in = inputs_create(s);
        results whole = run(sets[0], 1, s, &in);
        for (int i = 0; i < nsets; i++) {
            for (int threads = 1; threads <= THREADS; threads++) {
                for (int rows = 16; rows < s.O; rows *= 2) {
                    results r = run_by_rows(sets[i], threads, rows, s, &in);
                    expect_same_results(&r, &whole, sets[i], threads, s);
                    results_destroy(&r);
                }
            }
        }
        results_destroy(&whole);
        inputs_destroy(&in);
    }
}

/* Each thread writes its own slice of the outputs asked for, here in two calls, and
 * nothing else: together the slices cover all of them, once. */
Test(gemm, slices_of_a_team_do_not_overlap)
{
    const dp_kernels *set = dp_kernels_find("auto");
    for (int threads = 2; threads <= 9; threads++) {
        shape s = {100, 37, 53, 16};
        inputs in = inputs_create(s);
        size_t sizes[] = {dp_strip_floats(s.N, s.O), (size_t)s.N * (size_t)dp_ld(s.O),
                          dp_strip_floats(s.N, s.I), (size_t)s.O * s.I, (size_t)s.O};
        uint8_t *writers[5];
        for (int a = 0; a < 5; a++) {
            writers[a] = calloc(sizes[a], 1);
        }
        for (int call = 0; call < 2 * threads; call++) {
            float *out[5];
            for (int a = 0; a < 5; a++) {
                out[a] = floats(sizes[a]);
                memset(out[a], 0xff, sizes[a] * sizeof(float));
            }
            dp_team team = {call / 2, threads};
            dense d;
            dense_init(&d, set, NULL, s, &in,
                       &(results){NULL, out[0], out[1], out[2], out[3], out[4]});
            d.args.begin = call % 2 ? 32 : 0;
            d.args.end = call % 2 ? s.O : 32;
            set->forward(team, &d.args);
            set->dweight(team, &d.args);
            if (call % 2) {
                set->dinput(team, &d.args);
            }
            for (int a = 0; a < 5; a++) {
                for (size_t k = 0; k < sizes[a]; k++) {
                    writers[a][k] += !isnan(out[a][k]);
                }
                dp_memory_free(&out[a]);
            }
        }
        for (int n = 0; n < s.N; n++) {
            for (int o = 0; o < s.O; o++) {
                cr_assert_eq(writers[0][dp_strip_at(s.O, n, o)], 1);
                cr_assert_eq(writers[1][(size_t)n * (size_t)dp_ld(s.O) + (size_t)o], 1);
            }
            for (int i = 0; i < s.I; i++) {
                cr_assert_eq(writers[2][dp_strip_at(s.I, n, i)], 1);
            }
        }
        for (int a = 3; a < 5; a++) {
            for (size_t k = 0; k < sizes[a]; k++) {
                cr_assert_eq(writers[a][k], 1);
            }
        }
        for (int a = 0; a < 5; a++) {
            free(writers[a]);
        }
        inputs_destroy(&in);
    }
}

/* The sum of terms [a,b) of a block tree, by its definition. */
static float tree_node(const float *leaf, int a, int b) {
    if (b - a == 1) {
        return leaf[a];
    }
    int mid = a + (b - a + 1) / 2;
    float left = tree_node(leaf, a, mid), right = tree_node(leaf, mid, b);
    return left + right;
}

Test(dweight, is_one_fma_chain_a_block_and_the_block_tree_over_them)
{
    const dp_kernels *set = dp_kernels_find("auto");
    for (int k = 0; k < SHAPES; k++) {
        shape s = shapes[k];
        inputs in = inputs_create(s);
        results r = run(set, 1, s, &in);
        int count = dp_tree_blocks(s.N, s.block);
        float *leaf = floats((size_t)count), *bias = floats((size_t)count);
        for (int o = 0; o < s.O; o++) {
            for (int i = 0; i < s.I; i++) {
                for (int b = 0; b < count; b++) {
                    leaf[b] = bias[b] = 0;
                    for (int n = b * s.block; n < s.N && n < (b + 1) * s.block; n++) {
                        float dy = in.dY[(size_t)n * s.O + o];
                        leaf[b] = fmaf(dy, in.X[(size_t)n * s.I + i], leaf[b]);
                        bias[b] += dy;
                    }
                }
                cr_assert_eq(r.dW[(size_t)o * s.I + i], tree_node(leaf, 0, count),
                             "dW[%d][%d] (N %d I %d O %d block %d)", o, i, s.N, s.I, s.O,
                             s.block);
            }
            cr_assert_eq(r.db[o], tree_node(bias, 0, count));
        }
        dp_memory_free(&leaf);
        dp_memory_free(&bias);
        results_destroy(&r);
        inputs_destroy(&in);
    }
}

Test(gemm, forward_and_dinput_are_one_fma_chain_an_output)
{
    const dp_kernels *set = dp_kernels_find("auto");
    shape s = {70, 300, 270, 16}; /* longer than a chunk of the sum, both ways */
    inputs in = inputs_create(s);
    float *zt = floats(dp_strip_floats(s.N, s.O)),
          *dxt = floats(dp_strip_floats(s.N, s.I));
    dense d;
    dense_init(&d, set, NULL, s, &in, &(results){.yt = zt, .dxt = dxt});
    set->forward((dp_team){0, 1}, &d.args);
    set->dinput((dp_team){0, 1}, &d.args);
    for (int n = 0; n < s.N; n += 3) {
        for (int o = 0; o < s.O; o += 7) {
            float acc = in.b[o];
            for (int i = 0; i < s.I; i++) {
                acc = fmaf(in.W[(size_t)o * s.I + i], in.X[(size_t)n * s.I + i], acc);
            }
            cr_assert_eq(zt[dp_strip_at(s.O, n, o)], acc, "z[%d][%d]", n, o);
        }
        for (int i = 0; i < s.I; i += 7) {
            float acc = 0;
            for (int o = 0; o < s.O; o++) {
                acc = fmaf(in.W[(size_t)o * s.I + i], in.dY[(size_t)n * s.O + o], acc);
            }
            cr_assert_eq(dxt[dp_strip_at(s.I, n, i)], acc, "dx[%d][%d]", n, i);
        }
    }
    dp_memory_free(&zt);
    dp_memory_free(&dxt);
    inputs_destroy(&in);
}

/* relu keeps no z: sums, activations and strips are one array. */
Test(gemm, forward_may_keep_only_y)
{
    const dp_kernels *set = dp_kernels_find("auto");
    shape s = {37, 21, 19, 16};
    inputs in = inputs_create(s);
    float *yt = floats(dp_strip_floats(s.N, s.O));
    double *Z = malloc(sizeof *Z * (size_t)s.N * s.O);
    dp_forward_ref(s.N, s.I, s.O, in.X, in.W, in.b, Z);
    dense d;
    dense_init(&d, set, "relu", s, &in, &(results){.yt = yt});
    set->forward((dp_team){0, 1}, &d.args);
    for (int n = 0; n < s.N; n++) {
        for (int o = 0; o < s.O; o++) {
            expect_near(yt[dp_strip_at(s.O, n, o)], fmax(Z[(size_t)n * s.O + o], 0), s.I,
                        "yt", s);
        }
    }
    free(Z);
    dp_memory_free(&yt);
    inputs_destroy(&in);
}

Test(gemm, a_nan_or_infinite_input_reaches_the_outputs_it_enters)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    shape s = {20, 9, 8, 16};
    for (int i = 0; i < nsets; i++) {
        inputs in = inputs_create(s);
        in.xt[dp_strip_at(s.I, 3, 4)] = in.x[3 * dp_ld(s.I) + 4] = NAN;
        in.dyt[dp_strip_at(s.O, 5, 2)] = INFINITY;
        results r = run(sets[i], 1, s, &in);
        for (int o = 0; o < s.O; o++) {
            cr_assert(isnan(r.yt[dp_strip_at(s.O, 3, o)]));
            cr_assert(isnan(r.y[3 * dp_ld(s.O) + o]));
            cr_assert(isnan(r.dW[o * s.I + 4]));
            cr_assert(isfinite(r.yt[dp_strip_at(s.O, 4, o)]));
        }
        for (int k = 0; k < s.I; k++) {
            cr_assert(!isfinite(r.dxt[dp_strip_at(s.I, 5, k)]));
            cr_assert(!isfinite(r.dW[2 * s.I + k]));
        }
        cr_assert(isinf(r.db[2]));
        cr_assert(isfinite(r.db[3]));
        results_destroy(&r);
        inputs_destroy(&in);
    }
}

Test(kernels, rows_are_the_strips_the_other_way_round)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SHAPES; k++) {
        int N = shapes[k].N, F = shapes[k].I, ld = dp_ld(F), wide = (F + 15) / 16 * 16;
        float *X = noise((size_t)N * F), *t = to_strips(N, F, X, 1e30f);
        for (int i = 0; i < nsets * THREADS; i++) {
            float *x = floats((size_t)N * ld);
            for (int id = 0; id <= i / nsets; id++) {
                dp_activation a = {.F = F, .yt = t, .y = x};
                sets[i % nsets]->rows((dp_team){id, i / nsets + 1}, N, &a);
            }
            for (int n = 0; n < N; n++) {
                for (int f = 0; f < ld; f++) {
                    float wanted = f < F ? X[(size_t)n * F + f] : 0;
                    cr_assert(x[(size_t)n * ld + f] == wanted || (f >= F && f < wide),
                              "%d x %d: sample %d, column %d", N, F, n, f);
                }
            }
            dp_memory_free(&x);
        }
        dp_memory_free(&X);
        dp_memory_free(&t);
    }
}

Test(kernels, finds_sets_by_name)
{
    cr_assert_not_null(dp_kernels_find("auto"));
    cr_assert_str_eq(dp_kernels_find("portable")->name, "portable");
    cr_assert_null(dp_kernels_find("avx1024"));
    const char *names = dp_kernels_available(), *best = dp_kernels_find("auto")->name;
    cr_assert_eq(strncmp(names, best, strlen(best)), 0, "%s does not start with %s",
                 names, best);
    cr_assert_not_null(strstr(names, "portable"));
    cr_assert_null(dp_act_find(dp_kernels_find("auto"), "rulo"));
}

Test(kernels, rows_are_an_odd_number_of_cache_lines)
{
    for (int F = 1; F <= 3000; F++) {
        cr_assert_geq(dp_ld(F), F);
        cr_assert_lt(dp_ld(F), F + 32);
        cr_assert_eq(dp_ld(F) % 32, 16);
    }
    cr_assert_eq(dp_strip_floats(65, 3), 2 * 3 * 64);
}

Test(kernels, peak_is_a_rate_this_cpu_can_have)
{
    const dp_kernels *set = dp_kernels_find("auto");
    double rate = dp_kernels_peak(set, 0.01);
    /* Up to 6 GHz, 2 FMA pipes; a dropped loop would be faster, a tenth of a GHz is
     * broken. */
    cr_assert_gt(rate, 0.1);
    cr_assert_lt(rate, 6.0 * 2 * 2 * set->lanes);
}
