/* What all of this module needs of the HDF5 library: errors, types, files in memory. */
#include "h5core.h"
#include "base/memory.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void start_library(void) {
    static bool started = false;
    if (started) {
        return;
    }
    started = true;
    /* This variable, where set, would overrule H5Pset_file_locking. */
    if (getenv("HDF5_USE_FILE_LOCKING") != NULL) {
        setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
    }
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

const char *dp_h5_version(void) {
    static char text[32] = "";
    if (text[0] == '\0') {
        unsigned a = 0, b = 0, c = 0;
        start_library();
        H5get_libversion(&a, &b, &c);
        snprintf(text, sizeof text, "%u.%u.%u", a, b, c);
    }
    return text;
}

dp_h5 *dp_h5_make(const char *path, dp_status code) {
    start_library();
    dp_h5 *f = dp_alloc(1, sizeof *f);
    f->id = H5I_INVALID_HID;
    f->path = dp_strdup(path);
    f->code = code;
    return f;
}

/* ---- errors ---- */

static herr_t first_reason(unsigned n, const H5E_error2_t *error, void *out) {
    if (n == 0) {
        snprintf(out, 256, "%s", error->desc == NULL ? "unknown" : error->desc);
    }
    return 0;
}

dp_status dp_h5_fail(const dp_h5 *file, const char *what, const char *object) {
    if (file->out_of_memory) {
        return dp_fail(DP_EINTERNAL, "%s: cannot %s %s: out of memory", file->path, what,
                       object);
    }
    char reason[256] = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_reason, reason);
    return dp_fail(file->code, "%s: cannot %s %s: %s", file->path, what, object, reason);
}

dp_status dp_h5_wrong(const dp_h5 *file, const char *format, ...) {
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return dp_fail(file->code, "%s: %s", file->path, text);
}

dp_status dp_h5_no_memory(const dp_h5 *file, const char *object) {
    return dp_fail(DP_EINTERNAL, "%s: out of memory for %s", file->path, object);
}

bool dp_h5_plausible(const dp_h5 *file, uint64_t n, uint64_t size) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > INT64_MAX) {
        return false;
    }
    const uint64_t max = 1032; /* deflate can't pack tighter; we never compress */
    return (file->doubt[0] || file->image == NULL ? bytes / max : bytes) <= file->size;
}

/* ---- types ---- */

dp_h5_ids dp_h5_type_ids(dp_h5_type type) {
    switch (type) {
    case DP_H5_F32:
        return (dp_h5_ids){H5T_IEEE_F32LE, H5T_NATIVE_FLOAT};
    case DP_H5_F64:
        return (dp_h5_ids){H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE};
    case DP_H5_I64:
        return (dp_h5_ids){H5T_STD_I64LE, H5T_NATIVE_INT64};
    case DP_H5_I32:
        return (dp_h5_ids){H5T_STD_I32LE, H5T_NATIVE_INT32};
    default:
        return (dp_h5_ids){H5T_STD_U8LE, H5T_NATIVE_UINT8};
    }
}

size_t dp_h5_type_size(dp_h5_type type) {
    return H5Tget_size(dp_h5_type_ids(type).memory);
}

/* ---- files in memory ----
 *
 * HDF5's core driver asks these functions for its memory. The image belongs to dp_h5 in
 * both directions, so it is handed over without a copy, and outlives H5Fclose, which
 * completes it (H5Fget_file_image would leave the superblock's checksum wrong in this
 * format). */

static void *image_realloc(void *p, size_t size, H5FD_file_image_op_t op, void *udata) {
    dp_h5 *f = udata;
    if (dp_memory_resize(&f->image, size) != DP_OK) {
        f->out_of_memory = true;
        return NULL;
    }
    f->size = size;
    return f->image;
}

static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *udata) {
    dp_h5 *f = udata;
    return f->image == NULL  ? image_realloc(NULL, size, op, udata)
           : f->size >= size ? f->image
                             : NULL;
}

static void *image_memcpy(void *to, const void *from, size_t size,
                          H5FD_file_image_op_t op, void *udata) {
    return to == from ? to : memcpy(to, from, size);
}

static herr_t image_free(void *p, H5FD_file_image_op_t op, void *udata) {
    return 0;
}

static void *udata_copy(void *udata) {
    return udata;
}

static herr_t udata_free(void *udata) {
    return 0;
}

hid_t dp_h5_access(dp_h5 *f, bool image) {
    enum { GROW = 1 << 20 };
    H5FD_file_image_callbacks_t calls = {
        image_malloc, image_memcpy, image_realloc, image_free, udata_copy, udata_free, f};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (image) {
        H5Pset_fapl_core(access, GROW, false);
        H5Pset_file_image_callbacks(access, &calls);
    }
    H5Pset_file_locking(access, false, true);
    return access;
}

/* A path that no file can have: the core driver refuses to open an image by the name of
 * a file that exists, and should the driver not be set, nothing is written. */
const char *dp_h5_image_name(void) {
    static unsigned counter = 0;
    static char name[32];
    snprintf(name, sizeof name, "/dev/null/%u", counter++);
    return name;
}
