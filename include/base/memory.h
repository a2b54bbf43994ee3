/** Memory of two kinds.
 *
 *  What is small whatever the data and the model are comes from dp_alloc and its like,
 *  which never return NULL: where memory ends there, the whole job does (dp_fatal), so
 *  that no rank can miss a collective call that the others wait in. Slabs come from
 *  dp_memory_alloc, which returns a status: the ranks agree on it (dp_comm_agree) before
 *  the next collective call. Nothing outside base calls malloc. */
#ifndef DP_BASE_MEMORY_H
#define DP_BASE_MEMORY_H

#include "base/status.h"
#include <stddef.h>
#include <stdio.h>

enum { DP_ALIGN = 64 }; /* bytes: a cache line, and the widest vector */

/* ---- small: never NULL; owner: the caller, who frees with free ---- */

/** `count` elements of `size` bytes, zeroed. */
void *dp_alloc(size_t count, size_t size);

/** p (NULL is fine) with room for `count` elements of `size` bytes: realloc; bytes beyond
 *  the old ones are undefined. */
void *dp_realloc(void *p, size_t count, size_t size);

/** A copy. */
char *dp_strdup(const char *text);

/** The text that printf would write. */
char *dp_printed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** A text that grows: fprintf(dp_strbuf_open(&b), ...), then
 *  dp_strbuf_close. */
typedef struct dp_strbuf {
    char *text;  /* after dp_strbuf_close, with a NUL at its end; owner: the caller */
    size_t size; /* without the NUL */
    FILE *stream;
} dp_strbuf;

/** The stream to print to. */
FILE *dp_strbuf_open(dp_strbuf *b);
void dp_strbuf_close(dp_strbuf *b);

/* ---- slabs ---- */

/** `count` elements of `size` bytes, zeroed, aligned to DP_ALIGN, on huge pages where it
 *  is large and the kernel has them; never NULL on DP_OK, also for count 0. Errors:
 *  DP_EINTERNAL where memory ends (*out unchanged). Owner: the caller, who frees with
 *  dp_memory_free. */
dp_status dp_memory_alloc(size_t count, size_t size, void **out);

/** What p, the address of a pointer, points to (NULL is fine) with room for `bytes`:
 *  realloc, neither zeroed nor aligned. Errors: DP_EINTERNAL (*p unchanged) */
dp_status dp_memory_resize(void *p, size_t bytes);

/** Frees what p, the address of a pointer, points to, and sets it to NULL (NULL is fine).
 */
void dp_memory_free(void *p);

/** Prefetches the cache line of p for writing. */
static inline void dp_memory_prefetch_write(const void *p) {
#ifdef __x86_64__
    /* PREFETCHW does nothing on older CPUs; __builtin_prefetch may ask for the line to be
     * read only. */
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

#endif
