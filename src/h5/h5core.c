/* HDF5 files in memory, and opening them. */
#include "h5core.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static herr_t first_reason(unsigned n, const H5E_error2_t *error, void *out) {
    if (n == 0) {
        snprintf(out, 256, "%s", error->desc == NULL ? "unknown" : error->desc);
    }
    return 0;
}

dp_status dp_h5_fail(const dp_h5 *file, const char *what, const char *object) {
    if (file->starved) {
        return dp_fail(DP_EINTERNAL, "%s: cannot %s %s: out of memory", file->path, what,
                       object);
    }
    char reason[256] = "no reason given";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_reason, reason);
    return dp_fail(file->code, "%s: cannot %s %s: %s", file->path, what, object, reason);
}

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

hid_t dp_h5_disk_type(dp_h5_type type) {
    switch (type) {
    case DP_H5_F32:
        return H5T_IEEE_F32LE;
    case DP_H5_F64:
        return H5T_IEEE_F64LE;
    case DP_H5_I64:
        return H5T_STD_I64LE;
    case DP_H5_I32:
        return H5T_STD_I32LE;
    default:
        return H5T_STD_U8LE;
    }
}

hid_t dp_h5_memory_type(dp_h5_type type) {
    switch (type) {
    case DP_H5_F32:
        return H5T_NATIVE_FLOAT;
    case DP_H5_F64:
        return H5T_NATIVE_DOUBLE;
    case DP_H5_I64:
        return H5T_NATIVE_INT64;
    case DP_H5_I32:
        return H5T_NATIVE_INT32;
    default:
        return H5T_NATIVE_UINT8;
    }
}

size_t dp_h5_type_size(dp_h5_type type) {
    return H5Tget_size(dp_h5_memory_type(type));
}

hid_t dp_h5_text_type(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    if (size != H5T_VARIABLE) {
        H5Tset_strpad(type, H5T_STR_NULLPAD);
    }
    return type;
}

dp_status dp_h5_no_memory(const dp_h5 *file, const char *object) {
    return dp_fail(DP_EINTERNAL, "%s: out of memory for %s", file->path, object);
}

dp_status dp_h5_wrong(const dp_h5 *file, const char *object, const char *what) {
    return dp_fail(file->code, "%s: %s %s", file->path, object, what);
}

bool dp_h5_plausible(const dp_h5 *file, uint64_t n, uint64_t size) {
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > INT64_MAX) {
        return false;
    }
    const uint64_t max = 1032; /* deflate can't pack tighter; we never compress */
    return (file->doubt[0] || file->image == NULL ? bytes / max : bytes) <= file->size;
}

bool dp_h5_is_number(H5T_class_t class) {
    return class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM;
}

/* HDF5's core driver asks these for its memory. The image belongs to dp_h5 in both
   directions, so it is handed over without a copy, and outlives H5Fclose, which completes
   it (H5Fget_file_image would leave the superblock's checksum wrong in this format). */
static void *image_realloc(void *p, size_t size, H5FD_file_image_op_t op, void *udata) {
    dp_h5 *f = udata;
    if (dp_memory_resize(&f->image, size) != DP_OK) {
        f->starved = true;
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

static hid_t memory_access(dp_h5 *f) {
    enum { GROW = 1 << 20 };
    H5FD_file_image_callbacks_t calls = {
        image_malloc, image_memcpy, image_realloc, image_free, udata_copy, udata_free, f};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, GROW, false);
    H5Pset_file_image_callbacks(access, &calls);
    H5Pset_file_locking(access, false, true);
    return access;
}

/* HDF5 takes two images of one name for one file. */
static const char *image_name(void) {
    static unsigned counter = 0;
    static char name[32];
    snprintf(name, sizeof name, "image-%u", counter++);
    return name;
}

dp_h5 *dp_h5_make(const char *path, dp_status code) {
    start_library();
    dp_h5 *f = dp_alloc(1, sizeof *f);
    *f = (dp_h5){
        .id = H5I_INVALID_HID, .path = dp_strdup(path), .code = code, .channel = -1};
    return f;
}

void dp_h5_close(dp_h5 **file) {
    dp_h5 *f = *file;
    if (f == NULL) {
        return;
    }
    if (f->reader) {
        f->leave(f);
    }
    if (f->id >= 0) {
        H5Fclose(f->id);
    }
    free(f->image);
    free(f->path);
    free(f);
    *file = NULL;
}

dp_status dp_h5_create(const char *path, dp_h5 **out) {
    dp_h5 *f = dp_h5_make(path, DP_EFILE);
    hid_t access = memory_access(f);
    hid_t create = H5Pcreate(H5P_FILE_CREATE);
    /* The format of 1.8 holds attributes above 64 KiB (mean and std of wide tables). */
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_userblock(create, DP_H5_BLOCK);
    H5Pset_obj_track_times(create, false);
    f->id = H5Fcreate(image_name(), H5F_ACC_TRUNC, create, access);
    H5Pclose(create);
    H5Pclose(access);
    if (f->id < 0) {
        dp_status status = dp_h5_fail(f, "start", "the file");
        dp_h5_close(&f);
        return status;
    }
    *out = f;
    return DP_OK;
}

/* Where the superblock (version 2: HDF5 file format specification, II.A) says that the
 * file ends, counted from the user block's start. 0: it is none. Any other length is
 * mended by the next program that opens the file for writing, and then the digest no
 * longer fits. */
static size_t end_of_file(const unsigned char *image, size_t size) {
    enum { VERSION = DP_H5_BLOCK + 8, END = DP_H5_BLOCK + 28 };
    uint64_t end = 0;
    if (size >= END + 8 && image[VERSION] == 2) {
        for (int i = 7; i >= 0; i--) {
            end = end << 8 | image[END + i];
        }
    }
    return end <= size ? (size_t)end : 0;
}

/* Afterwards image[0..size) is the whole file but for its user block. */
dp_status dp_h5_finish(dp_h5 *f) {
    herr_t closed = H5Fclose(f->id);
    f->id = H5I_INVALID_HID;
    size_t end = closed < 0 ? 0 : end_of_file(f->image, f->size);
    if (end == 0) {
        return dp_h5_fail(f, "complete", "the file");
    }
    f->size = end;
    return DP_OK;
}

int64_t dp_h5_bytes(const dp_h5 *f) {
    return (int64_t)f->size;
}

dp_status dp_h5_place(dp_h5 *f) {
    dp_h5_seal(f->image, f->size, f->image);
    return dp_file_replace(f->path, f->image, f->size);
}

dp_status dp_h5_commit(dp_h5 **file) {
    dp_status status = dp_h5_finish(*file);
    status = status ? status : dp_h5_place(*file);
    dp_h5_close(file);
    return status;
}

/* ---- reading ---- */

dp_status dp_h5_open_here(dp_h5 *f) {
    hid_t access = f->image ? memory_access(f) : H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_file_locking(access, false, true);
    if (f->image == NULL || H5Pset_file_image(access, f->image, f->size) >= 0) {
        f->id = H5Fopen(f->image ? image_name() : f->path, H5F_ACC_RDONLY, access);
    }
    H5Pclose(access);
    if (f->id >= 0) {
        return DP_OK;
    }
    const char *doubt = f->image && f->doubt[0] ? f->doubt : NULL;
    char what[192] = "it as an HDF5 file";
    if (doubt) {
        snprintf(what, sizeof what, "it as an HDF5 file (%s)", doubt);
    }
    return dp_h5_fail(f, "open", what);
}
