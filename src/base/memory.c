/* Aligned, zeroed memory, on huge pages where it is large. */
#include "base/memory.h"
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE = 2 << 20 };

/* ---- small ---- */

static _Noreturn void no_memory(size_t count, size_t size) {
    dp_fatal(DP_EINTERNAL,
             "out of memory: %zu x %zu bytes asked for; start fewer ranks on a host, or "
             "use one with more memory",
             count, size);
}

void *dp_alloc(size_t count, size_t size) {
    /* Nothing is something too, so that NULL always means that memory has ended. */
    void *p = calloc(count > 0 ? count : 1, size);
    if (!p) {
        no_memory(count, size);
    }
    return p;
}

void *dp_realloc(void *p, size_t count, size_t size) {
    void *more = reallocarray(p, count > 0 ? count : 1, size);
    if (!more) {
        no_memory(count, size);
    }
    return more;
}

char *dp_strdup(const char *text) {
    return strcpy(dp_alloc(strlen(text) + 1, 1), text);
}

char *dp_printed(const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t size = (size_t)vsnprintf(NULL, 0, format, args) + 1;
    char *text = dp_alloc(size, 1);
    vsnprintf(text, size, format, again);
    va_end(again);
    va_end(args);
    return text;
}

FILE *dp_strbuf_open(dp_strbuf *b) {
    *b = (dp_strbuf){0};
    b->stream = open_memstream(&b->text, &b->size);
    if (!b->stream) {
        no_memory(1, BUFSIZ);
    }
    return b->stream;
}

void dp_strbuf_close(dp_strbuf *b) {
    bool whole = !ferror(b->stream);
    if (fclose(b->stream) != 0 || !whole) {
        no_memory(b->size, 1);
    }
    b->stream = NULL;
}

/* ---- slabs ---- */

static dp_status refused(size_t bytes) {
    return dp_fail(DP_EINTERNAL, "out of memory: %zu bytes asked for", bytes);
}

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
        return refused(bytes);
    }
    if (large) {
        /* Advice only: fewer TLB misses in weights and images. */
        (void)madvise(p, rounded, MADV_HUGEPAGE);
    }
    memset(p, 0, rounded);
    *out = p;
    return DP_OK;
}

dp_status dp_memory_resize(void *p, size_t bytes) {
    void **slot = p, *more = realloc(*slot, bytes > 0 ? bytes : 1);
    if (!more) {
        return refused(bytes);
    }
    *slot = more;
    return DP_OK;
}

void dp_memory_free(void *p) {
    void **slot = p;
    free(*slot);
    *slot = NULL;
}
