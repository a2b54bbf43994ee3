/* What the kernels' tests share: noise, the two layouts, and the sets this CPU has. */
#ifndef DP_TESTS_KERNELS_CASES_H
#define DP_TESTS_KERNELS_CASES_H

#include "../ref.h"
#include "base/memory.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 3 }; /* teams of 1, 2 and 3 */

/* The sets this CPU has, best first; their number. "portable" is always the last. */
static inline int kernel_sets(const dp_kernels *out[3]) {
    static const char *const names[] = {"avx512", "avx2", "portable"};
    int n = 0;
    for (int i = 0; i < 3; i++) {
        if (dp_kernels_find(names[i])) {
            out[n++] = dp_kernels_find(names[i]);
        }
    }
    return n;
}

static inline float *floats(size_t n) {
    void *p = NULL;
    cr_assert_eq(dp_memory_alloc(n, sizeof(float), &p), DP_OK);
    return p;
}

/* n floats in [-1, 1). */
static inline float *noise(size_t n) {
    static uint32_t state = 1;
    float *p = floats(n);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)state * 0x1p-31f;
    }
    return p;
}

/* Plain [N][F] to strips; lanes past N hold `pad`. */
static inline float *to_strips(int N, int F, const float *plain, float pad) {
    size_t size = dp_strip_floats(N, F);
    float *t = floats(size);
    for (size_t k = 0; k < size; k++) {
        t[k] = pad;
    }
    for (int n = 0; n < N; n++) {
        for (int f = 0; f < F; f++) {
            t[dp_strip_at(F, n, f)] = plain[(size_t)n * F + f];
        }
    }
    return t;
}

/* Plain [N][F] to rows of dp_ld(F), of which the columns past F hold `pad`. */
static inline float *to_rows(int N, int F, const float *plain, float pad) {
    size_t ld = (size_t)dp_ld(F);
    float *x = floats((size_t)N * ld);
    for (int n = 0; n < N; n++) {
        for (size_t f = 0; f < ld; f++) {
            x[(size_t)n * ld + f] = f < (size_t)F ? plain[(size_t)n * F + f] : pad;
        }
    }
    return x;
}

#endif
