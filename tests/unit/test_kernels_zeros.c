/* Zeros that are left out of the first layer's sums: the same bits as with all of them. */
#include "kernels_cases.h"

typedef struct shape {
    int N, F, O;
} shape;

/* Strips that are full and that are not, features around a vector and around 16. */
static const shape shapes[] = {
    {1, 1, 1},     {5, 17, 3},    {16, 40, 7},  {33, 16, 16},  {64, 100, 20},
    {64, 784, 10}, {70, 130, 33}, {130, 61, 5}, {200, 48, 19},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void *room(size_t count, size_t size) {
    void *p = NULL;
    cr_assert_eq(dp_memory_alloc(count, size, &p), DP_OK);
    return p;
}

/* Memory of exactly the sizes that kernels.h says. */
static dp_lit lit_create(int N, int F) {
    size_t strips = ((size_t)N + DP_STRIP - 1) / DP_STRIP;
    size_t wide = ((size_t)F + 15) / 16 * 16;
    return (dp_lit){.strips = (int)strips,
                    .terms = room(strips, sizeof(int32_t)),
                    .term = room(strips * (size_t)F, sizeof(dp_term)),
                    .seen = room((strips + 1) * wide, 1),
                    .dark = room(strips * (1 + wide / 16), sizeof(int32_t)),
                    .feature = room((size_t)F, sizeof(int32_t)),
                    .squeeze = room(wide, 1),
                    .expand = room(wide, 1),
                    .first = room(wide / 4, sizeof(int32_t)),
                    .first_16 = room(wide / 16, sizeof(int32_t))};
}

static void lit_destroy(dp_lit *lit) {
    void *all[] = {lit->terms,  lit->term,  lit->seen,    lit->dark,    lit->squeeze,
                   lit->expand, lit->first, lit->feature, lit->first_16};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dp_memory_free(&all[i]);
    }
}

/* A data set of as many rows as samples, and the weights and gradients of a layer. */
typedef struct data {
    shape s;
    dp_scale scale;
    void *raw;
    int32_t *row;
    float *W, *b, *dyt;
} data;

static data data_create(shape s, bool bytes) {
    size_t n = (size_t)s.N, strips = dp_strip_floats(s.N, s.O);
    data d = {.s = s,
              .scale = {.bytes = bytes, .unit = bytes},
              .raw = room(n * (size_t)s.F, bytes ? 1 : sizeof(float)),
              .row = room(n, sizeof(int32_t)),
              .W = noise((size_t)s.O * (size_t)s.F),
              .b = noise((size_t)s.O),
              .dyt = noise(strips)};
    for (int k = 0; k < s.N; k++) {
        d.row[k] = (k * 7 + 3) % s.N;
    }
    d.b[0] = -0.0f;
    return d;
}

static void data_destroy(data *d) {
    dp_memory_free(&d->raw);
    dp_memory_free(&d->row);
    dp_memory_free(&d->W);
    dp_memory_free(&d->b);
    dp_memory_free(&d->dyt);
}

/* What the kernels make of it. */
typedef struct results {
    float *yt, *y, *dW, *db;
    int columns; /* of the input */
} results;

static void results_destroy(results *r) {
    dp_memory_free(&r->yt);
    dp_memory_free(&r->y);
    dp_memory_free(&r->dW);
    dp_memory_free(&r->db);
}

static results run(const dp_kernels *set, int threads, const data *d, bool skip) {
    shape s = d->s;
    dp_lit lit = lit_create(s.N, s.F);
    dp_activation below = {.F = s.F,
                           .yt = floats(dp_strip_floats(s.N, s.F)),
                           .y = floats((size_t)s.N * (size_t)dp_ld(s.F)),
                           .lit = skip ? &lit : NULL};
    results r = {floats(dp_strip_floats(s.N, s.O)),
                 floats((size_t)s.N * (size_t)dp_ld(s.O)),
                 floats((size_t)s.O * (size_t)s.F), floats((size_t)s.O), s.F};
    dp_activation above = {.F = s.O, .yt = r.yt, .y = r.y, .dzt = d->dyt};
    dp_dense_args args = {.N = s.N,
                          .end = s.O,
                          .block = 16,
                          .below = &below,
                          .above = &above,
                          .W = d->W,
                          .b = d->b,
                          .dW = r.dW,
                          .db = r.db};
    for (int t = 0; t < threads && skip; t++) {
        set->scan((dp_team){t, threads}, s.N, d->raw, d->row, &d->scale, &below);
    }
    if (skip) {
        set->list(s.N, &d->scale, &below);
        r.columns = lit.columns;
    }
    for (int t = 0; t < threads; t++) {
        set->load((dp_team){t, threads}, s.N, d->raw, d->row, &d->scale, &below);
    }
    for (int t = 0; t < threads; t++) {
        set->forward((dp_team){t, threads}, &args);
        set->dweight((dp_team){t, threads}, &args);
    }
    dp_memory_free(&below.yt);
    dp_memory_free(&below.y);
    lit_destroy(&lit);
    return r;
}

/* The same bits, or both NaN, whose bits are nobody's. */
static bool same(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void expect_same(const results *a, const results *b, shape s, const char *set,
                        int threads, const char *what) {
    for (int o = 0; o < s.O; o++) {
        for (int n = 0; n < s.N; n++) {
            size_t at = dp_strip_at(s.O, n, o), row = (size_t)n * (size_t)dp_ld(s.O);
            cr_assert(same(a->yt[at], b->yt[at]) && same(a->y[row + o], b->y[row + o]),
                      "%s, %d threads, %s: y[%d][%d] is %a, not %a (N %d F %d O %d)", set,
                      threads, what, n, o, (double)a->yt[at], (double)b->yt[at], s.N, s.F,
                      s.O);
        }
        for (int f = 0; f < s.F; f++) {
            size_t at = (size_t)o * (size_t)s.F + (size_t)f;
            cr_assert(same(a->dW[at], b->dW[at]),
                      "%s, %d threads, %s: dW[%d][%d] is %a, not %a (N %d F %d O %d)",
                      set, threads, what, o, f, (double)a->dW[at], (double)b->dW[at], s.N,
                      s.F, s.O);
        }
        cr_assert(same(a->db[o], b->db[o]));
    }
}

static void compare(const data *d, const char *what) {
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    results dense = run(sets[nsets - 1], 1, d, false);
    for (int i = 0; i < nsets * THREADS; i++) {
        results r = run(sets[i % nsets], i / nsets + 1, d, true);
        expect_same(&r, &dense, d->s, sets[i % nsets]->name, i / nsets + 1, what);
        results_destroy(&r);
    }
    results_destroy(&dense);
}

static unsigned draw(unsigned below) {
    static uint32_t state = 7;
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
}

/* Of 100 features about `zeros` are 0 in all samples, and as many values of the others. */
static void fill(data *d, int zeros, const float *special, int nspecial) {
    shape s = d->s;
    for (int f = 0; f < s.F; f++) {
        bool dark = (int)draw(100) < zeros;
        for (int n = 0; n < s.N; n++) {
            size_t at = (size_t)n * (size_t)s.F + (size_t)f;
            bool zero = dark || (int)draw(100) < zeros;
            unsigned number = 1 + draw(255);
            if (d->scale.bytes) {
                ((uint8_t *)d->raw)[at] = zero ? 0 : (uint8_t)number;
            } else {
                float x = (float)number * 0x1p-6f - 2;
                ((float *)d->raw)[at] = !zero ? x
                                        : nspecial > 0 && draw(40) == 0
                                            ? special[draw(nspecial)]
                                            : 0;
            }
        }
    }
}

static const int shares[] = {0, 1, 50, 99, 100};

Test(zeros, left_out_change_no_bit)
{
    for (int k = 0; k < SHAPES; k++) {
        for (int i = 0; i < 5; i++) {
            for (int bytes = 0; bytes < 2; bytes++) {
                data d = data_create(shapes[k], bytes);
                char what[32];
                snprintf(what, sizeof what, "%d%% zeros", shares[i]);
                fill(&d, shares[i], NULL, 0);
                compare(&d, what);
                data_destroy(&d);
            }
        }
    }
}

Test(zeros, of_negative_sign_subnormal_nan_and_infinite_values_are_lit)
{
    static const float special[] = {-0.0f, 1e-45f, -1e-40f, NAN, INFINITY, -INFINITY};
    for (int k = 0; k < SHAPES; k++) {
        for (int i = 0; i < 5; i++) {
            data d = data_create(shapes[k], false);
            fill(&d, shares[i], special, 3);
            compare(&d, "-0 and subnormal values");
            fill(&d, shares[i], special, 6);
            compare(&d, "values that are not finite");
            data_destroy(&d);
        }
    }
}

/* Wherever an output isn't finite with all terms, one isn't without them. */
Test(zeros, weights_that_are_not_finite_reach_the_outputs)
{
    for (int k = 0; k < SHAPES; k++) {
        for (int i = 0; i < 5; i++) {
            data d = data_create(shapes[k], true);
            fill(&d, shares[i], NULL, 0);
            for (int o = 0; o < d.s.O; o += 3) {
                int f = (o * 11 + i) % d.s.F;
                d.W[(size_t)o * (size_t)d.s.F + (size_t)f] = o % 2 ? INFINITY : NAN;
            }
            compare(&d, "weights that are not finite");
            data_destroy(&d);
        }
    }
}

Test(zeros, are_left_out_where_there_are_enough_of_them)
{
    const dp_kernels *set = dp_kernels_find("auto");
    shape s = {64, 784, 10};
    data d = data_create(s, true);
    for (int i = 0; i < 5; i++) {
        fill(&d, shares[i], NULL, 0);
        results r = run(set, 1, &d, true);
        cr_assert(shares[i] < 10 ? r.columns == s.F : r.columns < s.F * 9 / 10,
                  "%d of %d columns with %d%% zeros", r.columns, s.F, shares[i]);
        results_destroy(&r);
    }
    data_destroy(&d);
}

/* Values that are scaled are not 0 where the raw ones are. */
Test(zeros, of_scaled_values_are_none)
{
    float mean = 0.5f, inv_std = 2;
    shape s = {70, 130, 33};
    data d = data_create(s, true);
    d.scale.columns = 1;
    d.scale.mean = &mean;
    d.scale.inv_std = &inv_std;
    fill(&d, 99, NULL, 0);
    compare(&d, "scaled");
    data_destroy(&d);
}
