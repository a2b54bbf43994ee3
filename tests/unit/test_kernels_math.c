/* exp, log, tanh, sigmoid over all floats; the activations and their derivatives. */
#include "kernels_cases.h"

enum { CHUNK = 4096 };

typedef void map(const float *x, float *y, size_t n);

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static const struct {
    const char *name;
    double (*exact)(double);
} functions[] = {{"exp", exp}, {"log", log}, {"tanh", tanh}, {"sigmoid", sigmoid}};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static map *function_of(const dp_kernels *set, int f) {
    map *const all[FUNCTIONS] = {set->exp, set->log, set->tanh, set->sigmoid};
    return all[f];
}

/* Distance in units of the last place of the float nearest to `want`. */
static double ulps(double want, float got) {
    if (isnan(want) || isnan(got)) {
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    }
    if (isinf((float)want) || isinf(got)) {
        return (float)want == got ? 0 : INFINITY;
    }
    int e = 0;
    frexp(want, &e);
    double ulp = want == 0 || e - 24 < -149 ? 0x1p-149 : ldexp(1, e - 24);
    return fabs(got - want) / ulp;
}

/* Every `step`-th of all 2^32 bit patterns: both signs, subnormals, infinities, NaNs. */
static uint64_t fill(float *x, uint64_t at, uint64_t step) {
    for (int i = 0; i < CHUNK; i++, at += step) {
        uint32_t bits = (uint32_t)at;
        memcpy(x + i, &bits, sizeof bits);
    }
    return at;
}

/* Function f on x[CHUNK], into y. */
static void expect_near(const dp_kernels *set, int f, const float *x, float *y) {
    function_of(set, f)(x, y, CHUNK);
    for (int i = 0; i < CHUNK; i++) {
        double d = ulps(functions[f].exact(x[i]), y[i]);
        cr_assert(d <= 2, "%s(%a) = %a is %.2f ulp off", functions[f].name, (double)x[i],
                  (double)y[i], d);
    }
}

Test(math, is_within_two_ulp_over_all_floats)
{
    const dp_kernels *set = dp_kernels_find("auto");
    float *x = floats(CHUNK), *y = floats(CHUNK);
    for (uint64_t at = 0; at < 1ULL << 32;) {
        at = fill(x, at, 3001);
        for (int f = 0; f < FUNCTIONS; f++) {
            expect_near(set, f, x, y);
        }
    }
    dp_memory_free(&x);
    dp_memory_free(&y);
}

/* The same where it matters: each binade in which the result is neither 0 nor
 * saturated. */
Test(math, is_within_two_ulp_where_training_happens)
{
    const dp_kernels *set = dp_kernels_find("auto");
    float *x = floats(CHUNK), *y = floats(CHUNK);
    static const double ranges[FUNCTIONS][2] = {
        {-105, 90}, {0.4, 2.5}, {-10, 10}, {-105, 20}};
    for (int f = 0; f < FUNCTIONS; f++) {
        double width = ranges[f][1] - ranges[f][0];
        for (int part = 0; part < 100; part++) {
            for (int i = 0; i < CHUNK; i++) {
                x[i] = (float)(ranges[f][0] + width * (part + i / (double)CHUNK) / 100);
            }
            expect_near(set, f, x, y);
        }
    }
    dp_memory_free(&x);
    dp_memory_free(&y);
}

Test(math, has_the_same_bits_in_each_set)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    float *x = floats(CHUNK), *want = floats(CHUNK), *got = floats(CHUNK);
    for (uint64_t at = 0; at < 1ULL << 32;) {
        at = fill(x, at, 30011);
        for (int f = 0; f < FUNCTIONS; f++) {
            function_of(sets[0], f)(x, want, CHUNK);
            for (int s = 1; s < nsets; s++) {
                function_of(sets[s], f)(x, got, CHUNK);
                for (int i = 0; i < CHUNK; i++) {
                    bool same = memcmp(want + i, got + i, sizeof *got) == 0 ||
                                (isnan(want[i]) && isnan(got[i]));
                    cr_assert(same, "%s(%a): %a in %s, %a in %s", functions[f].name,
                              (double)x[i], (double)want[i], sets[0]->name,
                              (double)got[i], sets[s]->name);
                }
            }
        }
    }
    dp_memory_free(&x);
    dp_memory_free(&want);
    dp_memory_free(&got);
}

Test(math, keeps_zeros_infinities_and_nan)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    const float x[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, -1.0f};
    float y[6];
    for (int s = 0; s < nsets; s++) {
        sets[s]->exp(x, y, 6);
        cr_assert(y[0] == 1 && y[1] == 1 && y[2] == INFINITY && y[3] == 0 && isnan(y[4]));
        sets[s]->log(x, y, 6);
        cr_assert(y[0] == -INFINITY && y[1] == -INFINITY && y[2] == INFINITY &&
                  isnan(y[3]) && isnan(y[4]) && isnan(y[5]));
        sets[s]->tanh(x, y, 6);
        cr_assert(y[0] == 0 && signbit(y[1]) && y[2] == 1 && y[3] == -1 && isnan(y[4]));
        sets[s]->sigmoid(x, y, 6);
        cr_assert(y[0] == 0.5f && y[1] == 0.5f && y[2] == 1 && y[3] == 0 && isnan(y[4]));
    }
}

Test(math, takes_any_length_and_alignment)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    float *x = noise(80), *whole = floats(80), *y = floats(80);
    for (int s = 0; s < nsets; s++) {
        sets[s]->exp(x, whole, 80);
        for (size_t n = 0; n <= 40; n++) {
            for (size_t k = 0; k < 80; k++) {
                y[k] = -1;
            }
            sets[s]->exp(x + 3, y + 5, n);
            cr_assert_eq(memcmp(y + 5, whole + 3, n * sizeof *y), 0);
            cr_assert(y[4] == -1 && y[5 + n] == -1, "writes outside [0,%zu)", n);
        }
    }
    dp_memory_free(&x);
    dp_memory_free(&whole);
    dp_memory_free(&y);
}

/* z from -12 to 12, both zeros, and the far ends, a multiple of 16 in all. */
enum { POINTS = 4096 };
static float *act_points(void) {
    float *z = floats(POINTS);
    for (int k = 0; k < POINTS; k++) {
        z[k] = (float)(24.0 * k / POINTS - 12 + 1e-3);
    }
    z[0] = 0.0f, z[1] = -0.0f, z[2] = 100.0f, z[3] = -100.0f, z[4] = 1e-30f,
    z[5] = -1e-30f;
    return z;
}

Test(act, matches_ref)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    float *z = act_points(), *y = floats(POINTS), *d = floats(POINTS);
    for (int s = 0; s < nsets; s++) {
        for (const dp_act *act = sets[s]->acts; act->name; act++) {
            act->forward(z, y, POINTS);
            for (int k = 0; k < POINTS; k++) {
                d[k] = 3;
            }
            act->backward(act->needs_z ? z : NULL, y, d, POINTS);
            for (int k = 0; k < POINTS; k++) {
                double want = dp_act_ref(act->name, z[k]);
                double slope = dp_act_slope_ref(act->name, z[k]);
                cr_assert(fabs(y[k] - want) <= 3e-7 * (fabs(want) + 1),
                          "%s: %s(%g) = %.9g, not %.9g", sets[s]->name, act->name,
                          (double)z[k], (double)y[k], want);
                cr_assert(fabs(d[k] - 3 * slope) <= 4e-6,
                          "%s: 3 %s'(%g) = %.9g, not %.9g", sets[s]->name, act->name,
                          (double)z[k], (double)d[k], 3 * slope);
            }
        }
    }
    dp_memory_free(&z);
    dp_memory_free(&y);
    dp_memory_free(&d);
}

Test(act, derivative_is_that_of_finite_differences)
{
    const dp_kernels *set = dp_kernels_find("auto");
    const float h = 0x1p-7f;
    float *z = act_points(), *y = floats(POINTS), *d = floats(POINTS);
    float *up = floats(POINTS), *down = floats(POINTS);
    for (const dp_act *act = set->acts; act->name; act++) {
        for (int k = 0; k < POINTS; k++) {
            up[k] = z[k] + h, down[k] = z[k] - h, d[k] = 1;
        }
        act->forward(z, y, POINTS);
        act->forward(up, up, POINTS); /* in place is allowed */
        act->forward(down, down, POINTS);
        act->backward(act->needs_z ? z : NULL, y, d, POINTS);
        for (int k = 6; k < POINTS; k++) {
            bool at_a_kink = fabsf(z[k]) <= h;
            double slope = ((double)up[k] - down[k]) / (2 * (double)h);
            cr_assert(at_a_kink || fabs(d[k] - slope) < 2e-4,
                      "%s'(%g) = %g, differences %g", act->name, (double)z[k],
                      (double)d[k], slope);
        }
    }
    float **all[] = {&z, &y, &d, &up, &down};
    for (int i = 0; i < 5; i++) {
        dp_memory_free(all[i]);
    }
}

Test(act, has_the_same_bits_in_each_set)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    float *z = act_points(), *y[2] = {floats(POINTS), floats(POINTS)};
    float *d[2] = {floats(POINTS), floats(POINTS)};
    for (int a = 0; sets[0]->acts[a].name; a++) {
        for (int s = 0; s < nsets; s++) {
            const dp_act *act = &sets[s]->acts[a];
            int to = s > 0;
            cr_assert_str_eq(act->name, sets[0]->acts[a].name);
            memcpy(d[to], z, POINTS * sizeof *z);
            act->forward(z, y[to], POINTS);
            act->backward(act->needs_z ? z : NULL, y[to], d[to], POINTS);
            cr_assert_eq(memcmp(y[0], y[to], POINTS * sizeof *z), 0, "%s: %s", act->name,
                         sets[s]->name);
            cr_assert_eq(memcmp(d[0], d[to], POINTS * sizeof *z), 0, "%s': %s", act->name,
                         sets[s]->name);
        }
    }
    for (int i = 0; i < 2; i++) {
        dp_memory_free(&y[i]);
        dp_memory_free(&d[i]);
    }
    dp_memory_free(&z);
}

Test(act, nan_stays_nan)
{
    const dp_kernels *sets[3];
    int nsets = kernel_sets(sets);
    float *z = floats(16), *y = floats(16), *d = floats(16);
    for (int s = 0; s < nsets; s++) {
        for (const dp_act *act = sets[s]->acts; act->name; act++) {
            z[5] = NAN, d[5] = 1, d[6] = NAN, z[6] = 1;
            act->forward(z, y, 16);
            act->backward(act->needs_z ? z : NULL, y, d, 16);
            cr_assert(isnan(y[5]), "%s(NaN) in %s", act->name, sets[s]->name);
            cr_assert(isnan(d[6]), "NaN times %s' in %s", act->name, sets[s]->name);
        }
    }
    dp_memory_free(&z);
    dp_memory_free(&y);
    dp_memory_free(&d);
}
