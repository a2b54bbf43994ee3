/* exp, log, tanh, sigmoid and friends on vectors: our own polynomials in FMA, so that no
 * libm result reaches a number. Coefficients: least maximum relative error over the range
 * named, rounded to float one by one from the lowest, the rest fitted anew each time. */
#ifndef DP_KERNELS_VMATH_H
#define DP_KERNELS_VMATH_H

#include "vec.h"

/* c[0] + c[1] x + ... by Horner. */
static ALWAYS_INLINE vf vf_poly(vf x, const float *c, int degree) {
    vf y = vf_set(c[degree]);
#pragma GCC unroll 16
    for (int k = degree - 1; k >= 0; k--) {
        y = vf_fma(y, x, vf_set(c[k]));
    }
    return y;
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2. */
static ALWAYS_INLINE vf vf_exp(vf x) {
    static const float c[] = {0x1.fffffcp-2f, 0x1.55548cp-3f, 0x1.5558bap-5f,
                              0x1.123e5cp-7f, 0x1.6a4b98p-10f};
    /* Past these the result is inf or 0 anyway; a NaN compares false and stays. */
    x = vf_select(vf_lt(vf_set(104.0f), x), vf_set(104.0f), x);
    x = vf_select(vf_lt(x, vf_set(-104.0f)), vf_set(-104.0f), x);
    /* Adding 1.5 2^23 rounds to an integer, which is then in the low bits. */
    vf magic = vf_set(0x1.8p23f);
    vf shifted = vf_fma(x, vf_set(0x1.715476p+0f), magic);
    vi n = (vi)shifted - (vi)magic;
    vf nf = shifted - magic;
    vf r = vf_fma(nf, vf_set(-0x1.62e430p-1f), x);
    r = vf_fma(nf, vf_set(0x1.05c610p-29f), r);
    vf y = vf_fma(r * r, vf_poly(r, c, 4), r) + 1.0f;
    /* Two factors: 2^n alone may lie outside the normal range. Only the last product
     * rounds, and only where the result is subnormal. */
    vi half = n >> 1;
    return y * vf_pow2(half) * vf_pow2(n - half);
}

/* log x = e ln 2 + log(1 + f), 1 + f in [sqrt 1/2, sqrt 2). */
static ALWAYS_INLINE vf vf_log(vf x) {
    static const float c[] = {-0x1.fffff8p-2f, 0x1.555550p-2f,  -0x1.000440p-2f,
                              0x1.99a43ap-3f,  -0x1.5421acp-3f, 0x1.226792p-3f,
                              -0x1.0f63a4p-3f, 0x1.08a3d6p-3f,  -0x1.382d4cp-4f};
    vm subnormal = vf_lt(x, vf_set(0x1p-126f));
    vf scaled = vf_select(subnormal, x * 0x1p23f, x);
    vf e_offset = vf_select(subnormal, vf_set(-23.0f), vf_set(0.0f));
    /* Subtracting the bits of sqrt 1/2 leaves the exponent of the nearest power of two.
     */
    vi bits = (vi)((vu)scaled - 0x3f3504f3);
    vi exponent = bits >> 23;
    vf f = (vf)((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
    vf e = (vf)(exponent + 0x4b400000) - 0x1.8p23f + e_offset;
    vf y = vf_fma(f * f, vf_poly(f, c, 8), e * -0x1.05c610p-29f);
    y = vf_fma(e, vf_set(0x1.62e430p-1f), f + y);
    y = vf_select(vf_lt(x, vf_set(__builtin_inff())), y, x); /* inf, NaN */
    y = vf_select(vf_lt(x, vf_set(0.0f)), vf_set(__builtin_nanf("")), y);
    return vf_select(vf_eq(x, vf_set(0.0f)), vf_set(-__builtin_inff()), y);
}

/* log(1 + x), 0 <= x <= 1: corrected for the rounding of 1 + x to first order. */
static ALWAYS_INLINE vf vf_log1p(vf x) {
    vf u = x + 1.0f;
    return vf_log(u) + (x - (u - 1.0f)) / u;
}

static ALWAYS_INLINE vf vf_tanh(vf x) {
    static const float c[] = {-0x1.555530p-2f, 0x1.110688p-3f, -0x1.b826fep-5f,
                              0x1.51971ap-6f, -0x1.734efep-8f};
    vf a = vf_abs(x);
    vf t = x * x;
    vf small = vf_fma(x * t, vf_poly(t, c, 4), x);
    vf large = 1.0f - 2.0f / (vf_exp(a + a) + 1.0f);
    return vf_copysign(vf_select(vf_lt(a, vf_set(0.625f)), small, large), x);
}

/* From e = e^-|x|, which is at most 1: accurate down to the last subnormal at both ends.
 * The rounding of 1 + e is corrected to first order. */
static ALWAYS_INLINE vf vf_sigmoid(vf x) {
    vf e = vf_exp(-vf_abs(x));
    vf s = e + 1.0f;
    vf lost = e - (s - 1.0f);
    vf y = vf_select(vf_lt(x, vf_set(0.0f)), e, vf_set(1.0f)) / s;
    return vf_fma(-lost, y, y);
}

/* erf: x + x P(x^2) below 1, 1 - exp(-Q(|x|)) up to 4, then 1. */
static ALWAYS_INLINE vf vf_erf(vf x) {
    static const float p[] = {0x1.06eba8p-3f,  -0x1.81273ep-2f, 0x1.ce2ce6p-4f,
                              -0x1.b7f71ap-6f, 0x1.53f224p-8f,  -0x1.a3515ep-11f,
                              0x1.4771fcp-14f};
    static const float q[] = {-0x1.8b3fdep-13f, 0x1.212c2cp+0f,  0x1.4434f8p-1f,
                              0x1.bc186ep-4f,   -0x1.9d0a8ep-6f, 0x1.1396acp-8f,
                              -0x1.cee270p-12f, 0x1.6bfa2cp-16f};
    vf a = vf_abs(x);
    a = vf_select(vf_lt(vf_set(4.0f), a), vf_set(4.0f), a);
    vf small = vf_fma(x, vf_poly(x * x, p, 6), x);
    vf large = 1.0f - vf_exp(-vf_poly(a, q, 7));
    return vf_select(vf_lt(a, vf_set(1.0f)), small, vf_copysign(large, x));
}

#endif
