#include "act.h"

/* y = 1 / (1 + e^-z), f' = y (1 - y). */
static ALWAYS_INLINE vf sigmoid_value(vf z) {
    return vf_sigmoid(z);
}

static ALWAYS_INLINE vf sigmoid_chain(vf y, vf d) {
    return d * (y * (1.0f - y));
}

static void sigmoid_forward(const float *z, float *y, size_t n) {
    act_map(sigmoid_value, z, y, n);
}

static void sigmoid_backward(const float *z, const float *y, float *d, size_t n) {
    act_chain(sigmoid_chain, y, d, n);
}
