#include "base/dmath.h"
#include "base/rng.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Distance between `got` and the exact value in units of the last place of a double. */
static double ulps(double got, long double exact) {
    int e;
    frexpl(exact, &e);
    return (double)(fabsl((long double)got - exact) / ldexpl(1.0L, e - 53));
}

static double any_double(uint64_t index) {
    uint32_t w[4];
    dp_rng_words(7, DP_FOR_INIT, 0, index, w);
    return (double)((uint64_t)w[0] << 21 | w[1] >> 11) * 0x1p-53;
}

Test(philox, gives_the_published_known_answers)
{
    static const uint32_t kat[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff,
         0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
         0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        const uint32_t *counter = kat[i], *key = kat[i] + 4;
        uint32_t out[4];
        dp_rng_words((uint64_t)key[1] << 32 | key[0], (dp_purpose)counter[3], counter[2],
                     (uint64_t)counter[1] << 32 | counter[0], out);
        cr_assert_arr_eq(out, kat[i] + 6, sizeof out);
    }
}

Test(rng, seed_purpose_stream_and_index_each_change_the_words)
{
    uint32_t a[4], b[4];
    dp_rng_words(1, DP_FOR_INIT, 2, 3, a);
    dp_rng_words(1ull << 32 | 1, DP_FOR_INIT, 2, 3, b);
    cr_assert_arr_neq(a, b, sizeof a);
    dp_rng_words(1, DP_FOR_SHUFFLE, 2, 3, b);
    cr_assert_arr_neq(a, b, sizeof a);
    dp_rng_words(1, DP_FOR_INIT, 1, 3, b);
    cr_assert_arr_neq(a, b, sizeof a);
    dp_rng_words(1, DP_FOR_INIT, 2, 1ull << 32 | 3, b);
    cr_assert_arr_neq(a, b, sizeof a);
    dp_rng_words(1, DP_FOR_INIT, 2, 3, b);
    cr_assert_arr_eq(a, b, sizeof a);
}

/* The fixed numbers are the promise to old checkpoints: a resumed run draws them again.
 */
Test(rng, draws_stay_what_they_were)
{
    cr_assert_eq(dp_rng_uniform(42, DP_FOR_INIT, 0, 0), 0x1.021cd8p-3f);
    cr_assert_eq(dp_rng_normal(42, DP_FOR_INIT, 0, 0), -0x1.ed8476p-1f);
    int32_t order[8];
    dp_rng_permutation(42, DP_FOR_SHUFFLE, 1, 8, order);
    static const int32_t expected[8] = {7, 0, 2, 1, 6, 3, 5, 4};
    cr_assert_arr_eq(order, expected, sizeof expected);
}

Test(rng, uniform_has_the_moments_of_a_uniform)
{
    enum { N = 200000 };
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        float u = dp_rng_uniform(1, DP_FOR_INIT, 0, (uint64_t)i);
        cr_assert(u >= 0 && u < 1);
        sum += u;
        squares += (double)u * u;
    }
    cr_assert_float_eq(sum / N, 0.5, 0.003);
    cr_assert_float_eq(squares / N, 1.0 / 3, 0.003);
}

Test(rng, normal_has_the_moments_and_tails_of_a_normal)
{
    enum { N = 200000 };
    double m1 = 0, m2 = 0, m4 = 0;
    int beyond2 = 0;
    for (int i = 0; i < N; i++) {
        double v = dp_rng_normal(1, DP_FOR_INIT, 3, (uint64_t)i);
        m1 += v;
        m2 += v * v;
        m4 += v * v * v * v;
        beyond2 += fabs(v) > 2;
    }
    cr_assert_float_eq(m1 / N, 0, 0.01);
    cr_assert_float_eq(m2 / N, 1, 0.015);
    cr_assert_float_eq(m4 / N, 3, 0.1);
    cr_assert_float_eq((double)beyond2 / N, 0.0455, 0.002);
}

Test(rng, permutation_holds_every_index_once)
{
    static const int sizes[] = {0, 1, 2, 3, 5, 1000, 60000};
    for (int k = 0; k < 7; k++) {
        int n = sizes[k];
        int32_t *order = calloc((size_t)n + 1, sizeof *order);
        char *seen = calloc((size_t)n + 1, 1);
        order[n] = -7;
        dp_rng_permutation(3, DP_FOR_SHUFFLE, 1, n, order);
        for (int i = 0; i < n; i++) {
            cr_assert(order[i] >= 0 && order[i] < n);
            cr_assert(!seen[order[i]]++);
        }
        cr_assert_eq(order[n], -7);
        free(seen);
        free(order);
    }
}

Test(rng, all_permutations_of_four_are_equally_likely)
{
    enum { N = 48000 };
    int count[256] = {0};
    for (uint32_t stream = 0; stream < N; stream++) {
        int32_t o[4];
        dp_rng_permutation(9, DP_FOR_SHUFFLE, stream, 4, o);
        count[o[0] | o[1] << 2 | o[2] << 4 | o[3] << 6]++;
    }
    int kinds = 0;
    double chi = 0;
    for (int i = 0; i < 256; i++) {
        kinds += count[i] > 0;
        if (count[i] > 0) {
            chi += (count[i] - N / 24.0) * (count[i] - N / 24.0) / (N / 24.0);
        }
    }
    cr_assert_eq(kinds, 24);
    cr_assert_lt(chi, 50, "chi-square with 23 degrees: %g",
                 chi); /* 0.1% quantile: 49.7 */
}

Test(dmath, log_is_within_two_ulp)
{
    double worst = 0;
    for (uint64_t i = 0; i < 300000; i++) {
        double x = any_double(i) + 0x1p-60;
        worst = fmax(worst, ulps(dp_dlog(x), logl(x)));
        x = 1.0 + (x - 0.5) * 0.01; /* around the zero */
        if (x != 1.0) {
            worst = fmax(worst, ulps(dp_dlog(x), logl(x)));
        }
        x = ldexp(any_double(i) + 0.5, (int)(i % 2070) - 1073);
        if (x <= 0x1p1000) {
            worst = fmax(worst, ulps(dp_dlog(x), logl(x)));
        }
    }
    cr_log_info("log: worst %.3f ulp", worst);
    cr_assert_lt(worst, 2.0, "worst %g ulp", worst);
    cr_assert_eq(dp_dlog(1.0), 0.0);
    cr_assert_eq(dp_dlog(0x1p-1074), log(0x1p-1074));
}

Test(dmath, exp_is_within_two_ulp)
{
    double worst = 0;
    for (uint64_t i = 0; i < 300000; i++) {
        double x = 1400 * (any_double(i) - 0.5);
        worst = fmax(worst, ulps(dp_dexp(x), expl(x)));
        worst = fmax(worst, ulps(dp_dexp(x / 1400), expl(x / 1400)));
    }
    cr_log_info("exp: worst %.3f ulp", worst);
    cr_assert_lt(worst, 2.0, "worst %g ulp", worst);
    cr_assert_eq(dp_dexp(0), 1.0);
}

Test(dmath, cosine_is_within_one_and_a_half_ulp_everywhere)
{
    const long double two_pi = 6.283185307179586476925286766559005768L;
    double worst = 0;
    for (uint64_t i = 0; i < 300000; i++) {
        double x = 2 * any_double(i) - 1;
        /* cosl loses the relative error near its zeros: there it is a sine of the
         * distance. */
        long double d = (long double)x * 4;
        long q = lrintl(d);
        long double r = (d - q) / 4 * two_pi;
        long double exact = q % 2 == 0 ? cosl(r) : sinl(r);
        if ((q & 3) == 1 || (q & 3) == 2) {
            exact = -exact;
        }
        worst = fmax(worst, ulps(dp_dcos2pi(x), exact));
    }
    cr_log_info("cos: worst %.3f ulp", worst);
    cr_assert_lt(worst, 1.5, "worst %g ulp", worst);
    cr_assert_eq(dp_dcos2pi(0), 1);
    cr_assert_eq(dp_dcos2pi(0.25), 0);
    cr_assert_eq(dp_dcos2pi(-0.5), -1);
    cr_assert_eq(dp_dcos2pi(-1), 1);
}

Test(dmath, power_is_within_two_ulp_at_a_million_steps)
{
    static const double base[] = {0.9, 0.95, 0.99, 0.999, 0.9999, 0.1, 0.5, 1.0000001};
    static const long n[] = {0, 1, 2, 3, 10, 100, 1875, 65537, 1000003};
    for (int b = 0; b < 8; b++)
        for (int k = 0; k < 9; k++) {
            long double exact = powl(base[b], n[k]);
            if (exact > 1e-280L)
                cr_assert_lt(ulps(dp_dpow(base[b], n[k]), exact), 2.0, "%g^%ld", base[b],
                             n[k]);
        }
    cr_assert_eq(dp_dpow(0.5, 100000), 0);
    cr_assert_eq(dp_dpow(10, 400), INFINITY);
    cr_assert_eq(dp_dpow(0, 0), 1);
}
