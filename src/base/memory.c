#include "base/memory.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE = 2 << 20 };

dp_status dp_memory_alloc(size_t count, size_t size, void **out) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - HUGE) {
        return dp_fail(DP_EINTERNAL, "out of memory: %zu x %zu bytes asked for", count,
                       size);
    }
    /* A batch's activations fill less than a huge page, and are better on one. */
    bool large = bytes >= HUGE / 4;
    size_t align = large ? (size_t)HUGE : (size_t)DP_ALIGN;
    size_t rounded = (bytes + align) / align * align;
    void *p = NULL;
    if (posix_memalign(&p, align, rounded) != 0) {
        return dp_fail(DP_EINTERNAL, "out of memory: %zu bytes asked for", bytes);
    }
    if (large) {
        /* Advice only: fewer TLB misses in weights and images. */
        (void)madvise(p, rounded, MADV_HUGEPAGE);
    }
    memset(p, 0, rounded);
    *out = p;
    return DP_OK;
}

void dp_memory_free(void *p) {
    void **slot = p;
    free(*slot);
    *slot = NULL;
}
