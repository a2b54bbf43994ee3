#include "act.h"

/* y = z above 0, else z / 100. y has the sign of z, so f' is a function of y. */
static ALWAYS_INLINE vf leaky_relu_value(vf z) {
    return vf_select(vf_lt(vf_set(0.0f), z), z, z * 0.01f);
}

static ALWAYS_INLINE vf leaky_relu_chain(vf y, vf d) {
    return vf_select(vf_lt(vf_set(0.0f), y), d, d * 0.01f);
}

static void leaky_relu_forward(const float *z, float *y, size_t n) {
    act_map(leaky_relu_value, z, y, n);
}

static void leaky_relu_backward(const float *z, const float *y, float *d, size_t n) {
    act_chain(leaky_relu_chain, y, d, n);
}
