/* The vector type of the set being compiled: LANES floats, and the few operations that
 * the kernels need beside the + - * / of GNU C. A new set is one more file like these
 * three.
 *
 * vf: floats; vi: int32; vm: a mask, one truth value a lane. Each operation is the IEEE
 * one lane by lane, so a kernel written in them gives the same bits in every set. */
#ifndef DP_KERNELS_VEC_H
#define DP_KERNELS_VEC_H

#include "base/memory.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(DP_SET_avx512)
#include "vec_avx512.h"
#elif defined(DP_SET_avx2)
#include "vec_avx2.h"
#else
#include "vec_portable.h"
#endif

enum {
    QUARTER = 16,       /* samples, and the granularity of all work: a cache line of
                         * floats */
    STRIP_QUARTERS = 4, /* quarters in a strip of DP_STRIP samples */
    QUARTER_VECS = 16 / LANES,
};

static ALWAYS_INLINE vi vi_set(int32_t x) {
    return (vi){0} + x;
}

static ALWAYS_INLINE vf vf_zero(void) {
    return (vf){0};
}

/* x in [-126, 127] -> 2^x, exactly. */
static ALWAYS_INLINE vf vf_pow2(vi x) {
    return (vf)(((vu)x + 127) << 23);
}

static ALWAYS_INLINE vf vf_abs(vf x) {
    return (vf)((vi)x & 0x7fffffff);
}

/* |x| with the sign of s. */
static ALWAYS_INLINE vf vf_copysign(vf x, vf s) {
    return (vf)(((vi)x & 0x7fffffff) | ((vi)s & INT32_MIN));
}

/* n < LANES floats, the other lanes 0. */
static ALWAYS_INLINE vf vf_load_partial(const float *p, size_t n) {
    float tmp[LANES] __attribute__((aligned(64))) = {0};
    memcpy(tmp, p, n * sizeof *p);
    return vf_load(tmp);
}

static ALWAYS_INLINE void vf_store_partial(float *p, vf x, size_t n) {
    float tmp[LANES] __attribute__((aligned(64)));
    vf_store(tmp, x);
    memcpy(p, tmp, n * sizeof *p);
}

#endif
