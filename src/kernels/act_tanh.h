#include "act.h"

/* y = tanh z, f' = 1 - y^2. */
static ALWAYS_INLINE vf tanh_value(vf z) {
    return vf_tanh(z);
}

static ALWAYS_INLINE vf tanh_chain(vf y, vf d) {
    return d * vf_fma(-y, y, vf_set(1.0f));
}

static void tanh_forward(const float *z, float *y, size_t n) {
    act_map(tanh_value, z, y, n);
}

static void tanh_backward(const float *z, const float *y, float *d, size_t n) {
    act_chain(tanh_chain, y, d, n);
}
