#ifndef DP_KERNELS_ACT_RELU_H
#define DP_KERNELS_ACT_RELU_H

#include "act.h"

/* y = max(z, 0), and NaN stays NaN: a comparison with NaN is false. */
static ALWAYS_INLINE vf relu_value(vf z) {
    return vf_select(vf_lt(z, vf_set(0.0f)), vf_set(0.0f), z);
}

static ALWAYS_INLINE vf relu_chain(vf y, vf d) {
    return vf_select(vf_le(y, vf_set(0.0f)), vf_set(0.0f), d);
}

static void relu_forward(const float *z, float *y, size_t n) {
    act_map(relu_value, z, y, n);
}

static void relu_backward(const float *z, const float *y, float *d, size_t n) {
    act_chain(relu_chain, y, d, n);
}

#endif
