/* Convolution, pooling, layer normalisation and dropout: right against plain loops in
 * double, and the same bits in each kernel set and for each number of threads. */
#include "base/rng.h"
#include "base/tree.h"
#include "kernels_cases.h"

typedef struct shape {
    int N, C, H, W, K, S, P, O, block;
} shape;

/* Odd sizes, strides that leave pixels out, padding up to more than the kernel, a kernel
 * as large as the image and one that is larger, one pixel, one channel and many. */
static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 0, 1, 16},      {5, 1, 5, 7, 3, 1, 0, 2, 16},
    {16, 3, 6, 5, 3, 1, 1, 7, 16},     {17, 2, 9, 8, 3, 2, 1, 5, 7},
    {64, 4, 4, 4, 4, 1, 0, 13, 16},    {65, 3, 7, 7, 5, 3, 2, 6, 24},
    {33, 17, 3, 3, 1, 1, 0, 19, 16},   {100, 1, 12, 11, 5, 1, 0, 26, 13},
    {31, 5, 2, 3, 3, 1, 1, 4, 1},      {48, 6, 10, 10, 2, 2, 0, 3, 16},
    {3, 2, 3, 3, 1, 2, 3, 4, 16},      {16, 1, 13, 13, 13, 1, 0, 5, 16},
    {20, 2, 12, 12, 12, 5, 4, 3, 16},  {80, 40, 3, 4, 3, 1, 1, 37, 1000},
    {16, 1, 24, 24, 5, 1, 0, 3, 16},   {2, 1, 3, 150, 3, 1, 1, 2, 16},
    {130, 16, 5, 5, 3, 1, 0, 9, 32},   {7, 1, 1, 140, 1, 1, 0, 1, 16},
    {6, 1, 140, 140, 135, 3, 1, 2, 4},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static dp_window window_of(shape s) {
    return (dp_window){.C = s.C,
                       .H = s.H,
                       .W = s.W,
                       .K = s.K,
                       .S = s.S,
                       .P = s.P,
                       .OH = (s.H + 2 * s.P - s.K) / s.S + 1,
                       .OW = (s.W + 2 * s.P - s.K) / s.S + 1};
}

static void expect_near(double got, double want, double terms, const char *what,
                        shape s) {
    cr_assert(
        fabs(got - want) <= 3e-7 * (terms + 2),
        "%s is %.9g, the reference says %.9g (N %d, %d x %d x %d to %d, K %d S %d P "
        "%d, block %d)",
        what, got, want, s.N, s.C, s.H, s.W, s.O, s.K, s.S, s.P, s.block);
}

/* Inputs in both layouts, and what one run of the kernels makes of them. Padding holds
 * 1e30: a result that depends on it is far off. */
typedef struct data {
    int I, F;
    float *X, *W, *b, *dY, *xt, *dyt;
    float *zt, *yt, *dxt, *dW, *db;
} data;

static data data_create(shape s, int O, int weights) {
    dp_window w = window_of(s);
    data d = {.I = s.C * s.H * s.W, .F = O * w.OH * w.OW};
    d.X = noise((size_t)(s.N * d.I));
    d.dY = noise((size_t)(s.N * d.F));
    d.W = noise((size_t)weights);
    d.b = noise((size_t)O);
    d.xt = to_strips(s.N, d.I, d.X, 1e30f);
    d.dyt = to_strips(s.N, d.F, d.dY, 1e30f);
    d.zt = floats(dp_strip_floats(s.N, d.F));
    d.yt = floats(dp_strip_floats(s.N, d.F));
    d.dxt = floats(dp_strip_floats(s.N, d.I));
    d.dW = floats((size_t)weights);
    d.db = floats((size_t)O);
    return d;
}

static void data_destroy(data *d) {
    float **all[] = {&d->X,  &d->W,  &d->b,   &d->dY, &d->xt, &d->dyt,
                     &d->zt, &d->yt, &d->dxt, &d->dW, &d->db};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dp_memory_free(all[i]);
    }
}

/* The results' bits, as one number: lanes past N are not part of them. */
static uint64_t digest(const float *v, size_t n, uint64_t h) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        h = (h ^ bits) * 1099511628211u;
    }
    return h;
}

static uint64_t digest_strips(const float *t, int N, int F, uint64_t h) {
    for (int n = 0; n < N; n++) {
        for (int f = 0; f < F; f++) {
            h = digest(&t[dp_strip_at(F, n, f)], 1, h);
        }
    }
    return h;
}

/* ---- convolution ---- */

/* act above and below; channels from the last `rows` on, or what is left of a multiple of
 * it, to the first. */
static uint64_t run_conv(const dp_kernels *set, int threads, const char *name, int rows,
                         shape s, data *d) {
    const dp_act *act = name ? dp_act_find(set, name) : NULL;
    bool z = act && act->needs_z;
    dp_activation below = {
        .F = d->I, .act = act, .zt = z ? d->xt : NULL, .yt = d->xt, .dzt = d->dxt};
    dp_activation above = {
        .F = d->F, .act = act, .zt = z ? d->zt : NULL, .yt = d->yt, .dzt = d->dyt};
    dp_conv_args a = {.window = window_of(s),
                      .N = s.N,
                      .O = s.O,
                      .block = s.block,
                      .below = &below,
                      .above = &above,
                      .W = d->W,
                      .b = d->b,
                      .dW = d->dW,
                      .db = d->db};
    for (int t = 0; t < threads; t++) {
        dp_team team = {t, threads};
        set->conv_dinput(team, &a);
        for (int o = (s.O - 1) / rows * rows; o >= 0; o -= rows) {
            a.begin = o;
            a.end = o + rows < s.O ? o + rows : s.O;
            set->conv_forward(team, &a);
            set->conv_dweight(team, &a);
        }
    }
    uint64_t h = digest_strips(d->yt, s.N, d->F, 0);
    h = digest_strips(d->dxt, s.N, d->I, h);
    h = digest(d->dW, (size_t)s.O * s.C * s.K * s.K, h);
    return digest(d->db, (size_t)s.O, h);
}

/* Sums in double of what every tap of every output pixel does. */
typedef struct conv_sums {
    double *Z, *dX, *dW, *db; /* [N][F], [N][I], [O C K K], [O] */
    double *terms;            /* [O C K K]: products in a weight's sum */
} conv_sums;

static void conv_ref(shape s, const data *d, conv_sums *r) {
    dp_window w = window_of(s);
    size_t weights = (size_t)s.O * s.C * s.K * s.K;
    *r = (conv_sums){calloc((size_t)(s.N * d->F), sizeof(double)),
                     calloc((size_t)(s.N * d->I), sizeof(double)),
                     calloc(weights, sizeof(double)), calloc((size_t)s.O, sizeof(double)),
                     calloc(weights, sizeof(double))};
    for (int k = 0; k < s.N * d->F; k++) {
        int n = k / d->F, o = k % d->F / (w.OH * w.OW), y = k / w.OW % w.OH, x = k % w.OW;
        double dy = d->dY[k];
        r->Z[k] = d->b[o];
        r->db[o] += dy;
        for (int t = 0; t < s.C * s.K * s.K; t++) {
            int row = y * s.S - s.P + t / s.K % s.K, col = x * s.S - s.P + t % s.K;
            if (row >= 0 && row < s.H && col >= 0 && col < s.W) {
                int at = n * d->I + (t / (s.K * s.K) * s.H + row) * s.W + col;
                int weight = o * s.C * s.K * s.K + t;
                r->Z[k] += (double)d->W[weight] * d->X[at];
                r->dX[at] += (double)d->W[weight] * dy;
                r->dW[weight] += d->X[at] * dy;
                r->terms[weight]++;
            }
        }
    }
}

static void conv_ref_free(conv_sums *r) {
    free(r->Z), free(r->dX), free(r->dW), free(r->db), free(r->terms);
}

static void compare_conv(shape s, const char *act, const data *d, const conv_sums *r) {
    dp_window w = window_of(s);
    int taps = s.C * s.K * s.K;
    for (int k = 0; k < s.N * d->F; k++) {
        double y = d->yt[dp_strip_at(d->F, k / d->F, k % d->F)];
        expect_near(y, dp_act_ref(act, r->Z[k]), taps, "y", s);
    }
    for (int k = 0; k < s.N * d->I; k++) {
        double slope = dp_act_slope_ref(act, d->X[k]);
        double dx = d->dxt[dp_strip_at(d->I, k / d->I, k % d->I)];
        expect_near(dx, slope * r->dX[k], s.O * s.K * s.K, "dx", s);
    }
    for (int k = 0; k < s.O * taps; k++) {
        expect_near(d->dW[k], r->dW[k], r->terms[k], "dW", s);
    }
    for (int o = 0; o < s.O; o++) {
        expect_near(d->db[o], r->db[o], s.N * w.OH * w.OW, "db", s);
    }
}

Test(conv, matches_plain_loops_in_double)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SHAPES; k++) {
        shape s = shapes[k];
        data d = data_create(s, s.O, s.O * s.C * s.K * s.K);
        conv_sums r;
        conv_ref(s, &d, &r);
        for (int i = 0; i < nsets; i++) {
            for (int a = 0; a < 3; a++) {
                const char *act = a == 0 ? NULL : a == 1 ? "relu" : "gelu";
                run_conv(sets[i], 1, act, s.O, s, &d);
                compare_conv(s, act, &d, &r);
            }
        }
        conv_ref_free(&r);
        data_destroy(&d);
    }
}

Test(conv, has_the_same_bits_in_each_set_for_each_thread_count_and_by_channels)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < SHAPES; k++) {
        shape s = shapes[k];
        data d = data_create(s, s.O, s.O * s.C * s.K * s.K);
        uint64_t first = run_conv(sets[0], 1, "relu", s.O, s, &d);
        for (int i = 0; i < nsets; i++) {
            for (int threads = 1; threads <= THREADS; threads++) {
                for (int rows = 16; rows < 2 * s.O; rows *= 2) {
                    uint64_t h = run_conv(sets[i], threads, "relu", rows, s, &d);
                    cr_assert_eq(h, first, "shape %d: %s, %d threads, %d channels", k,
                                 sets[i]->name, threads, rows);
                }
            }
        }
        data_destroy(&d);
    }
}

/* The order of sums, for one output channel: chains over pixels, samples of a block along
 * the tree, blocks along the tree. */
static float tree(const float *v, int n) {
    int half = (n + 1) / 2;
    return n == 1 ? v[0] : tree(v, half) + tree(v + half, n - half);
}

Test(conv, weight_gradient_adds_samples_along_the_tree)
{
    shape s = {75, 2, 4, 5, 3, 1, 1, 1, 13};
    dp_window w = window_of(s);
    data d = data_create(s, s.O, s.O * s.C * s.K * s.K);
    run_conv(dp_kernels_find("auto"), 1, NULL, s.O, s, &d);
    for (int t = 0; t < s.C * s.K * s.K; t++) {
        float sample[75], block[75];
        for (int n = 0; n < s.N; n++) {
            sample[n] = 0;
            for (int p = 0; p < w.OH * w.OW; p++) {
                int row = p / w.OW - 1 + t / 3 % 3, col = p % w.OW - 1 + t % 3;
                bool inside = row >= 0 && row < s.H && col >= 0 && col < s.W;
                float x = 0;
                if (inside) {
                    x = d.X[n * d.I + (t / 9 * s.H + row) * s.W + col];
                }
                sample[n] = fmaf(d.dY[n * d.F + p], x, sample[n]);
            }
        }
        int blocks = dp_tree_blocks(s.N, s.block);
        for (int b = 0; b < blocks; b++) {
            int left = s.N - b * s.block;
            block[b] = tree(sample + b * s.block, left < s.block ? left : s.block);
        }
        cr_assert_eq(d.dW[t], tree(block, blocks), "tap %d", t);
    }
    data_destroy(&d);
}

Test(conv, leaves_other_channels_alone)
{
    const dp_kernels *set = dp_kernels_find("auto");
    shape s = {20, 3, 6, 6, 3, 1, 0, 40, 16};
    data d = data_create(s, s.O, s.O * s.C * s.K * s.K);
    dp_activation below = {.F = d.I, .yt = d.xt};
    dp_activation above = {.F = d.F, .yt = d.yt, .dzt = d.dyt};
    dp_conv_args a = {.window = window_of(s),
                      .N = s.N,
                      .O = s.O,
                      .begin = 16,
                      .end = 32,
                      .block = 16,
                      .below = &below,
                      .above = &above,
                      .W = d.W,
                      .b = d.b,
                      .dW = d.dW,
                      .db = d.db};
    int per = s.C * s.K * s.K, plane = d.F / s.O;
    for (int k = 0; k < s.O * per; k++) {
        d.dW[k] = 7;
    }
    for (size_t k = 0; k < dp_strip_floats(s.N, d.F); k++) {
        d.yt[k] = 7;
    }
    set->conv_forward((dp_team){0, 1}, &a);
    set->conv_dweight((dp_team){0, 1}, &a);
    for (int k = 0; k < s.O * per; k++) {
        cr_assert_eq(d.dW[k] == 7, k / per < 16 || k / per >= 32);
    }
    for (int f = 0; f < d.F; f++) {
        int o = f / plane;
        cr_assert_eq(d.yt[dp_strip_at(d.F, 3, f)] == 7, o < 16 || o >= 32);
        cr_assert_eq(d.yt[dp_strip_at(d.F, 0, f) + 40], 7, "a lane past N");
    }
    data_destroy(&d);
}

/* ---- pooling ---- */

static const shape pools[] = {
    {1, 1, 2, 2, 2, 2, 0, 0, 16},  {17, 3, 6, 8, 2, 2, 0, 0, 16},
    {64, 2, 7, 5, 2, 2, 0, 0, 16}, {70, 2, 7, 7, 3, 2, 0, 0, 16},
    {5, 4, 5, 6, 3, 1, 0, 0, 16},  {16, 1, 9, 9, 2, 3, 0, 0, 16},
    {33, 5, 4, 4, 4, 4, 0, 0, 16}, {20, 2, 3, 3, 1, 1, 0, 0, 16},
};
enum { POOLS = sizeof pools / sizeof *pools };

/* Values of which many are equal. */
static void coarsen(shape s, data *d) {
    for (int k = 0; k < s.N * d->I; k++) {
        d->X[k] = roundf(2 * d->X[k]);
        d->xt[dp_strip_at(d->I, k / d->I, k % d->I)] = d->X[k];
    }
}

static uint64_t run_pool(const dp_kernels *set, bool max, int threads, const char *name,
                         shape s, data *d) {
    const dp_act *act = name ? dp_act_find(set, name) : NULL;
    bool z = act && act->needs_z;
    dp_activation below = {
        .F = d->I, .act = act, .zt = z ? d->xt : NULL, .yt = d->xt, .dzt = d->dxt};
    dp_activation above = {
        .F = d->F, .act = act, .zt = z ? d->zt : NULL, .yt = d->yt, .dzt = d->dyt};
    dp_pool_args a = {.window = window_of(s), .N = s.N, .below = &below, .above = &above};
    for (int t = 0; t < threads; t++) {
        dp_team team = {t, threads};
        if (max) {
            set->maxpool_forward(team, &a);
            set->maxpool_backward(team, &a);
        } else {
            set->avgpool_forward(team, &a);
            set->avgpool_backward(team, &a);
        }
    }
    uint64_t h = digest_strips(d->yt, s.N, d->F, 0);
    return digest_strips(d->dxt, s.N, d->I, h);
}

static void compare_pool(shape s, bool max, const char *act, const data *d) {
    dp_window w = window_of(s);
    double *dX = calloc((size_t)(s.N * d->I), sizeof *dX);
    for (int k = 0; k < s.N * d->F; k++) {
        int n = k / d->F, c = k % d->F / (w.OH * w.OW);
        int y = k / w.OW % w.OH * s.S, x = k % w.OW * s.S, best = -1;
        double mean = 0;
        for (int t = 0; t < s.K * s.K; t++) {
            int at = n * d->I + (c * s.H + y + t / s.K) * s.W + x + t % s.K;
            mean += (double)d->X[at] / (s.K * s.K);
            best = best < 0 || d->X[at] > d->X[best] ? at : best;
            dX[at] += max ? 0 : (double)d->dY[k] / (s.K * s.K);
        }
        dX[best] += max ? (double)d->dY[k] : 0;
        expect_near(d->yt[dp_strip_at(d->F, n, k % d->F)],
                    dp_act_ref(act, max ? (double)d->X[best] : mean), s.K * s.K, "y", s);
    }
    for (int k = 0; k < s.N * d->I; k++) {
        expect_near(d->dxt[dp_strip_at(d->I, k / d->I, k % d->I)],
                    dX[k] * dp_act_slope_ref(act, d->X[k]), s.K * s.K, "dx", s);
    }
    free(dX);
}

Test(pool, matches_plain_loops_with_the_same_bits_everywhere)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < 2 * POOLS; k++) {
        shape s = pools[k / 2];
        data d = data_create(s, s.C, 1);
        coarsen(s, &d);
        for (int a = 0; a < 3; a++) {
            const char *act = a == 0 ? NULL : a == 1 ? "relu" : "gelu";
            uint64_t first = run_pool(sets[0], k % 2, 1, act, s, &d);
            compare_pool(s, k % 2, act, &d);
            for (int i = 0; i < nsets * THREADS; i++) {
                const dp_kernels *set = sets[i % nsets];
                cr_assert_eq(run_pool(set, k % 2, i / nsets + 1, act, s, &d), first, "%s",
                             set->name);
            }
        }
        data_destroy(&d);
    }
}

Test(pool, nan_wins_and_the_first_of_equals_gets_the_gradient)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int i = 0; i < nsets; i++) {
        shape s = {16, 1, 2, 2, 2, 2, 0, 0, 16};
        data d = data_create(s, 1, 1);
        for (int f = 0; f < 4; f++) {
            d.xt[dp_strip_at(4, 0, f)] = 3;
            d.xt[dp_strip_at(4, 1, f)] = f == 1 ? NAN : 5;
            d.xt[dp_strip_at(4, 2, f)] = f == 3 ? NAN : -5;
            d.xt[dp_strip_at(4, 3, f)] = -INFINITY;
            d.xt[dp_strip_at(4, 4, f)] = f >= 2 ? 9 : 1;
        }
        run_pool(sets[i], true, 1, NULL, s, &d);
        const int taken[] = {0, 1, 3, 0, 2};
        cr_assert(isnan(d.yt[1]) && isnan(d.yt[2]));
        cr_assert_eq(d.yt[3], -INFINITY);
        for (int k = 0; k < 5 * 4; k++) {
            float dx = d.dxt[dp_strip_at(4, k / 4, k % 4)];
            cr_assert_eq(dx, k % 4 == taken[k / 4] ? d.dY[k / 4] : 0, "%s: sample %d",
                         sets[i]->name, k / 4);
        }
        data_destroy(&d);
    }
}

/* ---- convolution with pooling ---- */

static const shape pooled[] = {
    {64, 1, 12, 12, 5, 1, 0, 24, 16}, {17, 3, 9, 8, 3, 1, 1, 7, 5},
    {70, 2, 13, 11, 2, 2, 0, 40, 16}, {33, 20, 6, 7, 3, 1, 0, 5, 16},
    {5, 1, 3, 40, 1, 1, 0, 3, 16},
};
enum { POOLED = sizeof pooled / sizeof *pooled };

/* Forward and weight gradient of conv, act and maxpool:K, joined or one by one. */
static uint64_t run_pooled(const dp_kernels *set, int threads, bool joined, int K,
                           const char *name, shape s, data *d) {
    const dp_act *act = name ? dp_act_find(set, name) : NULL;
    dp_window w = window_of(s);
    shape p = {.N = s.N, .C = s.O, .H = w.OH, .W = w.OW, .K = K, .S = K};
    dp_window v = window_of(p);
    int F = s.O * v.OH * v.OW;
    float *yt = floats(dp_strip_floats(s.N, F)), *dyt = floats(dp_strip_floats(s.N, F));
    float *taken = floats(dp_strip_floats(s.N, F));
    dp_activation below = {.F = d->I, .yt = d->xt};
    dp_activation middle = {.F = d->F, .act = act, .yt = d->yt, .dzt = d->zt};
    dp_activation above = {.F = F, .act = joined ? act : NULL, .yt = yt, .dzt = dyt};
    dp_conv_args a = {.window = w,
                      .N = s.N,
                      .O = s.O,
                      .end = s.O,
                      .block = s.block,
                      .below = &below,
                      .above = joined ? &above : &middle,
                      .W = d->W,
                      .b = d->b,
                      .dW = d->dW,
                      .db = d->db,
                      .pool = joined ? K : 0,
                      .taken = joined ? (int32_t *)taken : NULL};
    dp_pool_args pool = {.window = v, .N = s.N, .below = &middle, .above = &above};
    for (int t = 0; t < threads; t++) {
        set->conv_forward((dp_team){t, threads}, &a);
    }
    if (!joined) {
        set->maxpool_forward((dp_team){0, 1}, &pool);
    }
    for (size_t k = 0; k < dp_strip_floats(s.N, F); k++) {
        dyt[k] = d->dyt[k];
    }
    if (!joined) {
        set->maxpool_backward((dp_team){0, 1}, &pool);
    } else if (act) {
        act->backward(NULL, yt, dyt, dp_strip_floats(s.N, F));
    }
    for (int t = 0; t < threads; t++) {
        set->conv_dweight((dp_team){t, threads}, &a);
    }
    uint64_t h = digest_strips(yt, s.N, F, 0);
    h = digest(d->dW, (size_t)s.O * s.C * s.K * s.K, h);
    dp_memory_free(&yt);
    dp_memory_free(&dyt);
    dp_memory_free(&taken);
    return digest(d->db, (size_t)s.O, h);
}

Test(conv, joined_with_maxpool_has_the_bits_of_one_after_the_other)
{
    const dp_kernels *sets[3];
    const char *acts[] = {NULL, "relu", "tanh"};
    int nsets = kernel_sets(sets);
    for (int k = 0; k < POOLED * 6; k++) {
        shape s = pooled[k / 6];
        int K = k % 2 == 0 ? 2 : window_of(s).OH == 3 ? 1 : 3;
        data d = data_create(s, s.O, s.O * s.C * s.K * s.K);
        for (int i = 0; i < s.N * d.I / 2; i++) { /* and some zeros */
            d.xt[i] = 0;
        }
        uint64_t first = run_pooled(sets[0], 1, false, K, acts[k / 2 % 3], s, &d);
        for (int i = 0; i < nsets * THREADS; i++) {
            uint64_t h = run_pooled(sets[i % nsets], i / nsets + 1, true, K,
                                    acts[k / 2 % 3], s, &d);
            cr_assert_eq(h, first, "case %d, pool %d, %s, %d threads", k / 6, K,
                         sets[i % nsets]->name, i / nsets + 1);
        }
        data_destroy(&d);
    }
}

/* ---- layer normalisation ---- */

static const shape norms[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 16},      {5, 3, 1, 1, 1, 1, 0, 0, 16},
    {64, 17, 1, 1, 1, 1, 0, 0, 16},    {65, 2, 3, 3, 1, 1, 0, 0, 7},
    {100, 50, 1, 1, 1, 1, 0, 0, 1000}, {16, 4, 6, 6, 1, 1, 0, 0, 16},
};
enum { NORMS = sizeof norms / sizeof *norms };

static uint64_t run_norm(const dp_kernels *set, int threads, shape s, data *d,
                         float *moment) {
    dp_activation below = {.F = d->I, .yt = d->xt, .dzt = d->dxt};
    dp_activation above = {.F = d->I, .yt = d->yt, .dzt = d->dyt};
    dp_layernorm_args a = {.N = s.N,
                           .block = s.block,
                           .eps = 1e-3F,
                           .below = &below,
                           .above = &above,
                           .w = d->W,
                           .b = d->W + d->I,
                           .moment = moment,
                           .dw = d->dW,
                           .db = d->dW + d->I};
    void (*const passes[])(dp_team, const dp_layernorm_args *) = {
        set->layernorm_forward, set->layernorm_dinput, set->layernorm_dweight};
    for (int pass = 0; pass < 3; pass++) {
        for (int t = 0; t < threads; t++) {
            passes[pass]((dp_team){t, threads}, &a);
        }
    }
    uint64_t h = digest_strips(d->yt, s.N, d->I, 0);
    h = digest_strips(d->dxt, s.N, d->I, h);
    return digest(d->dW, (size_t)(2 * d->I), h);
}

static void compare_norm(shape s, const data *d) {
    int F = d->I;
    double *dw = calloc((size_t)(2 * F), sizeof *dw), *db = dw + F;
    for (int n = 0; n < s.N; n++) {
        const float *x = d->X + n * F, *dy = d->dY + n * F;
        double mean = 0, variance = 0, mean_g = 0, mean_gh = 0;
        for (int f = 0; f < F; f++) {
            mean += (double)x[f] / F;
        }
        for (int f = 0; f < F; f++) {
            variance += (x[f] - mean) * (x[f] - mean) / F;
        }
        double inverse = 1 / sqrt(variance + 1e-3);
        for (int f = 0; f < F; f++) {
            double h = (x[f] - mean) * inverse, g = (double)dy[f] * d->W[f];
            mean_g += g / F;
            mean_gh += g * h / F;
            dw[f] += dy[f] * h;
            db[f] += (double)dy[f];
            double y = h * d->W[f] + d->W[F + f];
            expect_near(d->yt[dp_strip_at(F, n, f)], y, F + 10, "y", s);
        }
        for (int f = 0; f < F; f++) {
            double h = (x[f] - mean) * inverse, g = (double)dy[f] * d->W[f];
            double dx = (g - mean_g - h * mean_gh) * inverse;
            expect_near(d->dxt[dp_strip_at(F, n, f)], dx, 10 * F + 40, "dx", s);
        }
    }
    for (int f = 0; f < F; f++) {
        expect_near(d->dW[f], dw[f], 10 * s.N, "dw", s);
        expect_near(d->dW[F + f], db[f], s.N, "db", s);
    }
    free(dw);
}

Test(norm, matches_plain_loops_with_the_same_bits_everywhere)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    for (int k = 0; k < NORMS; k++) {
        shape s = norms[k];
        data d = data_create(s, s.C, 2 * s.C * s.H * s.W);
        float *moment = floats(dp_strip_floats(s.N, 2));
        uint64_t first = run_norm(sets[0], 1, s, &d, moment);
        compare_norm(s, &d);
        for (int i = 0; i < nsets * THREADS; i++) {
            const dp_kernels *set = sets[i % nsets];
            cr_assert_eq(run_norm(set, i / nsets + 1, s, &d, moment), first, "%s",
                         set->name);
        }
        dp_memory_free(&moment);
        data_destroy(&d);
    }
}

/* ---- dropout ---- */

Test(dropout, factors_are_those_of_dp_rng_words_in_each_set)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    enum { N = 70, F = 27 };
    shape s = {N, F, 1, 1, 1, 1, 0, 0, 16};
    data d = data_create(s, F, 1);
    float *factor = floats(dp_strip_floats(N, F));
    int32_t row[N];
    for (int n = 0; n < N; n++) {
        row[n] = (n * 7919) % 60000 + (n == 5 ? 1 << 30 : 0);
    }
    dp_activation below = {.F = F, .yt = d.xt}, above = {.F = F, .yt = d.yt};
    dp_dropout_args a = {.N = N,
                         .P = 0.3F,
                         .seed = 0x123456789abcdef0,
                         .step = 77,
                         .layer = 200,
                         .row = row,
                         .below = &below,
                         .above = &above,
                         .factor = factor};
    for (int i = 0; i < nsets * THREADS; i++) {
        for (int id = 0; id <= i / nsets; id++) {
            sets[i % nsets]->dropout((dp_team){id, i / nsets + 1}, &a);
        }
        int zeros = 0;
        for (int n = 0; n < N; n++) {
            for (int f = 0; f < F; f++) {
                uint32_t word[4];
                dp_rng_words(a.seed, DP_FOR_LAYER, a.step,
                             (uint64_t)a.layer << 56 | (uint64_t)row[n] << 24 | f / 4,
                             word);
                bool zero = word[f % 4] < 0.3F * 0x1p32;
                float m = factor[dp_strip_at(F, n, f)];
                cr_assert_eq(m, zero ? 0 : 1 / (1 - 0.3F));
                cr_assert_eq(d.yt[dp_strip_at(F, n, f)], m * d.X[n * F + f]);
                zeros += zero;
            }
        }
        cr_assert(abs(zeros - N * F * 3 / 10) < 3 * 20, "%d", zeros);
    }
    dp_memory_free(&factor);
    data_destroy(&d);
}
