#include "act.h"

/* y = log(1 + e^z) = max(z, 0) + log(1 + e^-|z|), f' = sigmoid z. */
static ALWAYS_INLINE vf softplus_value(vf z) {
    vf zero = vf_set(0.0f);
    return vf_select(vf_lt(z, zero), zero, z) + vf_log1p(vf_exp(-vf_abs(z)));
}

static ALWAYS_INLINE vf softplus_chain(vf z, vf d) {
    return d * vf_sigmoid(z);
}

static void softplus_forward(const float *z, float *y, size_t n) {
    act_map(softplus_value, z, y, n);
}

static void softplus_backward(const float *z, const float *y, float *d, size_t n) {
    act_chain(softplus_chain, z, d, n);
}
