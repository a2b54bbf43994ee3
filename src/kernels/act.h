/* What the activations share: loops over vectors. Each activation is one file
 * act_<name>.h with its f and f', and one row of the table in set.c. */
#ifndef DP_KERNELS_ACT_H
#define DP_KERNELS_ACT_H

#include "vmath.h"

/* y[k] = f(z[k]) */
static ALWAYS_INLINE void act_map(vf (*f)(vf), const float *z, float *y, size_t n) {
    for (size_t k = 0; k < n; k += LANES) {
        vf_store(y + k, f(vf_load(z + k)));
    }
}

/* d[k] = g(s[k], d[k]), s being z or y */
static ALWAYS_INLINE void act_chain(vf (*g)(vf, vf), const float *s, float *d, size_t n) {
    for (size_t k = 0; k < n; k += LANES) {
        vf_store(d + k, g(vf_load(s + k), vf_load(d + k)));
    }
}

#endif
