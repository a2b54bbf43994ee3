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

static dp_h5 *make_handle(const char *path, dp_status code) {
    start_library();
    dp_h5 *f = dp_alloc(1, sizeof *f);
    *f = (dp_h5){.id = H5I_INVALID_HID, .path = dp_strdup(path), .code = code};
    return f;
}

void dp_h5_close(dp_h5 **file) {
    dp_h5 *f = *file;
    if (f == NULL) {
        return;
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
    dp_h5 *f = make_handle(path, DP_EFILE);
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

/* Afterwards image[0..size) is the whole file but for its user block. */
dp_status dp_h5_finish(dp_h5 *f) {
    ssize_t length = -1;
    if (H5Fflush(f->id, H5F_SCOPE_LOCAL) >= 0) {
        length = H5Fget_file_image(f->id, NULL, 0);
    }
    herr_t closed = H5Fclose(f->id);
    f->id = H5I_INVALID_HID;
    if (length < 0 || closed < 0 || (size_t)length + DP_H5_BLOCK > f->size) {
        return dp_h5_fail(f, "complete", "the file");
    }
    f->size = (size_t)length + DP_H5_BLOCK;
    return DP_OK;
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

/* ---- opening ---- */

static dp_status open_image(dp_h5 *f) {
    dp_status status = dp_h5_load(f);
    if (status != DP_OK) {
        return status;
    }
    hid_t access = memory_access(f);
    if (H5Pset_file_image(access, f->image, f->size) >= 0) {
        f->id = H5Fopen(image_name(), H5F_ACC_RDONLY, access);
    }
    H5Pclose(access);
    return f->id >= 0 ? DP_OK : dp_h5_fail(f, "open", "the file");
}

static dp_status open_on_disk(dp_h5 *f) {
    dp_status status = dp_h5_readable(f);
    if (status != DP_OK) {
        return status;
    }
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_file_locking(access, false, true);
    f->id = H5Fopen(f->path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    return f->id >= 0 ? DP_OK : dp_h5_fail(f, "open", "it as an HDF5 file");
}

static dp_status open_by(dp_status (*how)(dp_h5 *), const char *path, dp_status code,
                         dp_h5 **out) {
    dp_h5 *f = make_handle(path, code);
    dp_status status = how(f);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    *out = f;
    return DP_OK;
}

dp_status dp_h5_open(const char *path, dp_h5 **out) {
    return open_by(open_image, path, DP_EFILE, out);
}

dp_status dp_h5_open_any(const char *path, dp_status code, dp_h5 **out) {
    return open_by(dp_h5_is_ours(path) ? open_image : open_on_disk, path, code, out);
}
