/** Memory in slabs: aligned, zeroed, and large ones on huge pages where the kernel has
 *  them. */
#ifndef DP_BASE_MEMORY_H
#define DP_BASE_MEMORY_H

#include "base/status.h"
#include <stddef.h>

enum { DP_ALIGN = 64 }; /* bytes: a cache line, and the widest vector */

/** `count` elements of `size` bytes, zeroed, aligned to DP_ALIGN; never NULL on DP_OK,
 *  also for count 0. Errors: DP_EINTERNAL where memory ends (*out unchanged). Owner: the
 *  caller, who frees with dp_memory_free. */
dp_status dp_memory_alloc(size_t count, size_t size, void **out);

/** Frees what p, the address of a pointer, points to, and sets it to NULL (NULL is fine).
 */
void dp_memory_free(void *p);

/** Fetches a cache line that will be written. */
static inline void dp_memory_want(const void *p) {
#ifdef __x86_64__
    /* Older CPUs take it for nothing; the compiler's own would ask for reading only. */
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

#endif
