#include "act.h"

/* y = z P(z), f' = P(z) + z p(z), with the normal distribution P(z) = (1 + erf(z / sqrt
 * 2)) / 2 and its density p: the exact form, not the one with tanh. */
static ALWAYS_INLINE vf normal_cdf(vf z) {
    return (1.0f + vf_erf(z * 0x1.6a09e6p-1f)) * 0.5f;
}

static ALWAYS_INLINE vf gelu_value(vf z) {
    return z * normal_cdf(z);
}

static ALWAYS_INLINE vf gelu_chain(vf z, vf d) {
    vf density = vf_exp(z * z * -0.5f) * 0x1.988454p-2f;
    return d * vf_fma(z, density, normal_cdf(z));
}

static void gelu_forward(const float *z, float *y, size_t n) {
    act_map(gelu_value, z, y, n);
}

static void gelu_backward(const float *z, const float *y, float *d, size_t n) {
    act_chain(gelu_chain, z, d, n);
}
