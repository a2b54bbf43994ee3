/* The losses and their gradients, softmax, and the loading of rows. */
#include "kernels_cases.h"

/* Logits of a problem, its labels and its targets. */
typedef struct problem {
    int N, C;
    float *Z, *zt, *target;
    int32_t *label;
} problem;

typedef struct outcome {
    float *loss, *dzt;
    uint8_t *correct;
} outcome;

static problem problem_create(int N, int C) {
    problem p = {
        .N = N, .C = C, .Z = noise((size_t)N * C), .target = noise((size_t)N * C)};
    p.label = malloc((size_t)N * sizeof *p.label);
    for (int k = 0; k < N * C; k++) {
        p.Z[k] *= 8;
    }
    for (int n = 0; n < N; n++) {
        p.label[n] = (n * 7 + 3) % C;
    }
    p.zt = to_strips(N, C, p.Z, 1e30f);
    return p;
}

static void problem_destroy(problem *p) {
    dp_memory_free(&p->Z);
    dp_memory_free(&p->zt);
    dp_memory_free(&p->target);
    free(p->label);
}

typedef enum loss_kind { ENTROPY, SMOOTHED, MSE, MAE, HUBER, BCE, KINDS } loss_kind;
static const double smoothing = 0.1, delta = 0.75;

/* 0 and 1 for bce, from the sign of the noise. */
static void make_binary(problem *p) {
    for (int k = 0; k < p->N * p->C; k++) {
        p->target[k] = p->target[k] > 0;
    }
}

static outcome run(const dp_kernels *set, int threads, const problem *p, loss_kind kind) {
    outcome r = {floats((size_t)p->N + 1), floats(dp_strip_floats(p->N, p->C)),
                 calloc((size_t)p->N + 1, 1)};
    r.loss[p->N] = -7;
    r.correct[p->N] = 9;
    for (int t = 0; t < threads; t++) {
        dp_team team = {t, threads};
        if (kind == MSE) {
            set->mse(team, p->N, p->C, p->zt, p->target, r.loss, r.dzt);
        } else if (kind == MAE) {
            set->mae(team, p->N, p->C, p->zt, p->target, r.loss, r.dzt);
        } else if (kind == HUBER) {
            set->huber(team, p->N, p->C, p->zt, p->target, (float)delta, r.loss, r.dzt);
        } else if (kind == BCE) {
            set->bce(team, p->N, p->C, p->zt, p->target, r.loss, r.correct, r.dzt);
        } else {
            set->cross_entropy(team, p->N, p->C, p->zt, p->label,
                               kind == SMOOTHED ? (float)smoothing : 0, r.loss, r.correct,
                               r.dzt);
        }
    }
    cr_assert_eq(r.loss[p->N], -7, "writes past the losses");
    cr_assert_eq(r.correct[p->N], 9, "writes past the counts");
    return r;
}

static void outcome_destroy(outcome *r) {
    dp_memory_free(&r->loss);
    dp_memory_free(&r->dzt);
    free(r->correct);
}

static void ref(const problem *p, loss_kind kind, const float *Z, double *loss,
                double *dZ) {
    if (kind == MSE) {
        dp_mse_ref(p->N, p->C, Z, p->target, loss, dZ);
    } else if (kind == MAE) {
        dp_mae_ref(p->N, p->C, Z, p->target, loss, dZ);
    } else if (kind == HUBER) {
        dp_huber_ref(p->N, p->C, Z, p->target, delta, loss, dZ);
    } else if (kind == BCE) {
        dp_bce_ref(p->N, p->C, Z, p->target, loss, dZ);
    } else {
        dp_cross_entropy_ref(p->N, p->C, Z, p->label, kind == SMOOTHED ? smoothing : 0,
                             loss, dZ);
    }
}

static const int sizes[][2] = {{1, 1},  {3, 10}, {16, 2},  {17, 10},
                               {64, 3}, {70, 1}, {130, 12}};
enum { SIZES = sizeof sizes / sizeof *sizes };

Test(loss, matches_ref_with_its_gradient)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SIZES * KINDS; k++) {
        loss_kind kind = k % KINDS;
        problem p = problem_create(sizes[k / KINDS][0], sizes[k / KINDS][1]);
        if (kind == BCE) {
            make_binary(&p);
        }
        double *loss = calloc((size_t)p.N, sizeof *loss);
        double *dZ = calloc((size_t)p.N * p.C, sizeof *dZ);
        ref(&p, kind, p.Z, loss, dZ);
        for (int s = 0; s < nsets; s++) {
            outcome r = run(sets[s], 1, &p, kind);
            for (int n = 0; n < p.N; n++) {
                cr_assert_float_eq(r.loss[n], loss[n], 2e-6 * (fabs(loss[n]) + 1));
                for (int c = 0; c < p.C; c++) {
                    double want = dZ[(size_t)n * p.C + c];
                    cr_assert_float_eq(r.dzt[dp_strip_at(p.C, n, c)], want,
                                       1e-6 * (fabs(want) + 1), "kind %d dz[%d][%d]",
                                       kind, n, c);
                }
            }
            for (int n = p.N; n % 16 != 0; n++) {
                for (int c = 0; c < p.C; c++) {
                    cr_assert_eq(r.dzt[dp_strip_at(p.C, n, c)], 0, "padding is not 0");
                }
            }
            outcome_destroy(&r);
        }
        free(loss), free(dZ);
        problem_destroy(&p);
    }
}

Test(loss, gradient_is_that_of_finite_differences)
{
    const double h = 0x1p-10;
    for (int kind = 0; kind < KINDS; kind++) {
        problem p = problem_create(19, 5);
        if (kind == BCE) {
            make_binary(&p);
        }
        outcome r = run(dp_kernels_find("auto"), 1, &p, kind);
        double up[19], down[19], dZ[19 * 5];
        for (int c = 0; c < p.C; c++) {
            float *Z = floats((size_t)p.N * p.C);
            for (int sign = -1; sign <= 1; sign += 2) {
                memcpy(Z, p.Z, (size_t)p.N * p.C * sizeof *Z);
                for (int n = 0; n < p.N; n++) {
                    Z[n * p.C + c] += (float)(sign * h);
                }
                ref(&p, kind, Z, sign > 0 ? up : down, dZ);
            }
            for (int n = 0; n < p.N; n++) {
                cr_assert_float_eq(r.dzt[dp_strip_at(p.C, n, c)],
                                   (up[n] - down[n]) / (2 * h), 2e-3,
                                   "kind %d dz[%d][%d]", kind, n, c);
            }
            dp_memory_free(&Z);
        }
        outcome_destroy(&r);
        problem_destroy(&p);
    }
}

Test(loss, has_the_same_bits_in_each_set_and_for_each_thread_count)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SIZES * KINDS; k++) {
        loss_kind kind = k % KINDS;
        problem p = problem_create(sizes[k / KINDS][0], sizes[k / KINDS][1]);
        outcome first = run(sets[0], 1, &p, kind);
        for (int i = 0; i < nsets * THREADS; i++) {
            outcome r = run(sets[i / THREADS], i % THREADS + 1, &p, kind);
            cr_assert_eq(memcmp(r.loss, first.loss, (size_t)p.N * sizeof *r.loss), 0);
            cr_assert_eq(memcmp(r.correct, first.correct, (size_t)p.N), 0);
            cr_assert_eq(
                memcmp(r.dzt, first.dzt, dp_strip_floats(p.N, p.C) * sizeof *r.dzt), 0);
            outcome_destroy(&r);
        }
        outcome_destroy(&first);
        problem_destroy(&p);
    }
}

Test(loss, and_gradient_are_weighed_by_the_thread_that_made_them)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SIZES; k++) {
        problem p = problem_create(sizes[k][0], sizes[k][1]);
        float *weight = noise((size_t)p.N);
        for (int i = 0; i < nsets * THREADS; i++) {
            const dp_kernels *set = sets[i / THREADS];
            outcome plain = run(set, 1, &p, MSE), r = run(set, 1, &p, MSE);
            for (int t = i % THREADS; t >= 0; t--) {
                set->weigh((dp_team){t, i % THREADS + 1}, p.N, p.C, weight, r.loss,
                           r.dzt);
            }
            cr_assert_eq(r.loss[p.N], -7, "writes past the losses");
            for (int n = 0; n < p.N; n++) {
                cr_assert_eq(r.loss[n], plain.loss[n] * weight[n]);
                for (int c = 0; c < p.C; c++) {
                    size_t at = dp_strip_at(p.C, n, c);
                    cr_assert_eq(r.dzt[at], plain.dzt[at] * weight[n]);
                }
            }
            outcome_destroy(&plain);
            outcome_destroy(&r);
        }
        dp_memory_free(&weight);
        problem_destroy(&p);
    }
}

Test(loss, needs_neither_gradient_nor_counts)
{
    const dp_kernels *set = dp_kernels_find("auto");
    dp_team one = {0, 1};
    problem p = problem_create(37, 4);
    float *loss = floats(37);
    for (int kind = 0; kind < KINDS; kind++) {
        outcome r = run(set, 1, &p, kind);
        if (kind == MSE) {
            set->mse(one, p.N, p.C, p.zt, p.target, loss, NULL);
        } else if (kind == MAE) {
            set->mae(one, p.N, p.C, p.zt, p.target, loss, NULL);
        } else if (kind == HUBER) {
            set->huber(one, p.N, p.C, p.zt, p.target, (float)delta, loss, NULL);
        } else if (kind == BCE) {
            set->bce(one, p.N, p.C, p.zt, p.target, loss, NULL, NULL);
        } else {
            set->cross_entropy(one, p.N, p.C, p.zt, p.label,
                               kind == SMOOTHED ? (float)smoothing : 0, loss, NULL, NULL);
        }
        cr_assert_eq(memcmp(loss, r.loss, sizeof(float) * (size_t)p.N), 0);
        outcome_destroy(&r);
    }
    dp_memory_free(&loss);
    problem_destroy(&p);
}

Test(loss, counts_the_first_of_equal_logits_and_all_of_bce)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    const float Z[] = {1, 3, 3, 0, /**/ 1, 3, 3, 0, /**/ -1, -2, -3, -4, /**/ 5, 5, 5, 5};
    int32_t label[] = {1, 2, 0, 0};
    const float target[] = {1,      1, 1, 0, /**/ 1, 1, 0, 0,
                            /**/ 0, 0, 0, 0, /**/ 1, 1, 1, 1};
    for (int s = 0; s < nsets; s++) {
        problem p = {.N = 4, .C = 4, .label = label, .target = (float *)target};
        p.zt = to_strips(4, 4, Z, 0);
        outcome r = run(sets[s], 1, &p, ENTROPY);
        cr_assert(r.correct[0] == 1 && r.correct[1] == 0 && r.correct[2] == 1 &&
                  r.correct[3] == 1);
        outcome_destroy(&r);
        r = run(sets[s], 1, &p, BCE); /* a logit of 0 is "no" */
        cr_assert(r.correct[0] == 1 && r.correct[1] == 0 && r.correct[2] == 1 &&
                  r.correct[3] == 1);
        outcome_destroy(&r);
        dp_memory_free(&p.zt);
    }
}

Test(loss, large_logits_stay_finite)
{
    const float Z[] = {1000, -1000, 0, /**/ -1e30f, 1e30f, 3};
    int32_t label[] = {0, 1};
    problem p = {.N = 2, .C = 3, .label = label, .zt = to_strips(2, 3, Z, 0)};
    outcome r = run(dp_kernels_find("auto"), 1, &p, ENTROPY);
    cr_assert(r.loss[0] == 0 && r.loss[1] == 0);
    outcome_destroy(&r);
    dp_memory_free(&p.zt);
}

Test(loss, a_nan_or_infinite_logit_is_never_hidden)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < nsets * KINDS * 5; k++) {
        problem p = problem_create(20, 5);
        loss_kind kind = k % KINDS;
        if (kind == BCE) {
            make_binary(&p);
        }
        int c = k / KINDS % 5;
        p.zt[dp_strip_at(p.C, 3, c)] = NAN;
        p.zt[dp_strip_at(p.C, 18, c)] = p.label[18] == c ? -INFINITY : INFINITY;
        p.target[18 * p.C + c] = 0; /* so that +inf is wrong for bce, too */
        if (kind == BCE) {
            p.zt[dp_strip_at(p.C, 18, c)] = INFINITY;
        }
        outcome r = run(sets[k / KINDS / 5], 1, &p, kind);
        for (int n = 0; n < p.N; n++) {
            bool bad = n == 3 || n == 18;
            cr_assert_eq(isfinite(r.loss[n]) == 0, bad, "kind %d class %d loss[%d] = %g",
                         kind, c, n, (double)r.loss[n]);
        }
        cr_assert(!isfinite(r.dzt[dp_strip_at(p.C, 3, c)]));
        outcome_destroy(&r);
        problem_destroy(&p);
    }
}

Test(softmax, gives_probabilities)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    problem p = problem_create(71, 10);
    float *first = floats(710), *got = floats(711);
    for (int i = 0; i < nsets * THREADS; i++) {
        got[710] = -7;
        for (int t = 0; t <= i % THREADS; t++) {
            sets[i / THREADS]->softmax((dp_team){t, i % THREADS + 1}, 71, 10, p.zt, got);
        }
        cr_assert_eq(got[710], -7, "writes past the end");
        if (i == 0) {
            memcpy(first, got, 710 * sizeof *got);
        }
        cr_assert_eq(memcmp(first, got, 710 * sizeof *got), 0);
    }
    for (int n = 0; n < 71; n++) {
        double sum = 0;
        for (int c = 0; c < 10; c++) {
            sum += exp(p.Z[n * 10 + c]);
        }
        for (int c = 0; c < 10; c++) {
            cr_assert_float_eq(first[n * 10 + c], exp(p.Z[n * 10 + c]) / sum, 1e-6);
        }
    }
    dp_memory_free(&first);
    dp_memory_free(&got);
    problem_destroy(&p);
}

/* Rows of F raw values, of which some are taken, some twice. */
static void load_case(int N, int F, dp_scale scale) {
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets), rows = 40;
    size_t item = scale.bytes ? 1 : sizeof(float);
    /* One item off: rows need not be aligned; and no more, so that reading past shows. */
    uint8_t *slab = malloc(((size_t)rows * F + 1) * item), *raw = slab + item;
    float *values = noise((size_t)rows * F);
    for (int k = 0; k < rows * F; k++) {
        raw[k] = (uint8_t)(k * 37 + 11);
    }
    if (!scale.bytes) {
        memcpy(raw, values, (size_t)rows * F * item);
    }
    int32_t *row = malloc((size_t)N * sizeof *row);
    for (int n = 0; n < N; n++) {
        row[n] = (n * 17 + 5) % rows;
    }
    size_t nt = dp_strip_floats(N, F), nx = (size_t)N * (size_t)dp_ld(F);
    for (int i = 0; i < nsets * THREADS; i++) {
        float *t = floats(nt), *x = floats(nx), *alone = floats(nt);
        int threads = i % THREADS + 1;
        for (int k = 0; k < threads; k++) {
            dp_team team = {k, threads};
            dp_activation both = {.F = F, .yt = t, .y = x}, one = {.F = F, .yt = alone};
            sets[i / THREADS]->load(team, N, raw, row, &scale, &both);
            sets[i / THREADS]->load(team, N, raw, row, &scale, &one);
        }
        cr_assert_eq(memcmp(t, alone, nt * sizeof *t), 0, "depends on x");
        for (int n = 0; n < N; n++) {
            for (int f = 0; f < F; f++) {
                float got = x[n * dp_ld(F) + f];
                const uint8_t *from = raw + (size_t)row[n] * F * item;
                float v = scale.bytes ? (float)from[f] : values[row[n] * F + f];
                float want = scale.unit ? v / 255.0f : v;
                if (scale.columns) {
                    int c = scale.columns == 1 ? 0 : f;
                    want = (want - scale.mean[c]) * scale.inv_std[c];
                }
                cr_assert_eq(got, want, "%s, %d threads: x[%d][%d] = %a, not %a (F %d)",
                             sets[i / THREADS]->name, threads, n, f, (double)got,
                             (double)want, F);
                cr_assert_eq(t[dp_strip_at(F, n, f)], got);
            }
        }
        for (int n = N; n % 16 != 0; n++) {
            for (int f = 0; f < F; f++) {
                cr_assert_eq(t[dp_strip_at(F, n, f)], 0, "padding is not 0");
            }
        }
        dp_memory_free(&t);
        dp_memory_free(&x);
        dp_memory_free(&alone);
    }
    free(row);
    free(slab);
    dp_memory_free(&values);
}

Test(load, converts_scales_and_lays_out_rows)
{
    float mean[784], inv_std[784];
    for (int f = 0; f < 784; f++) {
        mean[f] = 0.1307f + (float)f * 0.01f;
        inv_std[f] = 3.245f - (float)f * 0.003f;
    }
    static const int cases[][2] = {{1, 1},   {64, 784}, {70, 37},
                                   {16, 16}, {33, 8},   {130, 17}};
    for (int k = 0; k < 6; k++) {
        int N = cases[k][0], F = cases[k][1];
        load_case(N, F, (dp_scale){true, true, 0, NULL, NULL});
        load_case(N, F, (dp_scale){true, true, 1, mean, inv_std});
        load_case(N, F, (dp_scale){true, false, 0, NULL, NULL});
        load_case(N, F, (dp_scale){false, false, 0, NULL, NULL});
        load_case(N, F, (dp_scale){false, false, F, mean, inv_std});
    }
}

Test(load, divides_every_byte_by_255_with_correct_rounding)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    uint8_t raw[256];
    float *t = floats(256 * DP_STRIP), *x = floats((size_t)dp_ld(256));
    for (int k = 0; k < 256; k++) {
        raw[k] = (uint8_t)k;
    }
    for (int s = 0; s < nsets; s++) {
        dp_scale unit = {true, true, 0, NULL, NULL};
        dp_activation input = {.F = 256, .yt = t, .y = x};
        sets[s]->load((dp_team){0, 1}, 1, raw, (int32_t[]){0}, &unit, &input);
        for (int k = 0; k < 256; k++) {
            cr_assert_eq(x[k], (float)k / 255.0f);
            cr_assert_float_eq(x[k], dp_load_ref(raw, k, &unit), 0x1p-25);
        }
    }
    dp_memory_free(&t);
    dp_memory_free(&x);
}
