/* A file's life: created in memory, finished and placed behind its user block; or opened,
 * by a process that reads it; and closed. */
#include "base/log.h"
#include "base/memory.h"
#include "base/open.h"
#include "h5core.h"
#include "reader.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* ---- the user block: magic, length, digest ---- */

static const char MAGIC[] = "trainer file 1\n";

/* The block is a function of the length and the digest alone, so a reader makes the one
   that should be there and compares: no byte of it can change unseen. */
static void render_block(size_t length, const char digest[9],
                         unsigned char block[DP_H5_BLOCK]) {
    memset(block, '\n', DP_H5_BLOCK);
    int n = snprintf(
        (char *)block, DP_H5_BLOCK,
        "%slength %zu\n"
        "crc32 %s\n\n"
        "This is an HDF5 file behind a user block of 512 bytes: h5py, h5dump and\n"
        "other HDF5 programs open it as it is. length counts all its bytes; crc32\n"
        "is taken over all of them, with its own digits as dashes.\n",
        MAGIC, length, digest);
    block[n] = '\n';
}

/* Renders the user block of the file whose other bytes are there: file[512..size). The
 * block may be the file's own. */
static void seal(const unsigned char *file, size_t size,
                 unsigned char block[DP_H5_BLOCK]) {
    char digest[9] = "--------";
    render_block(size, digest, block);
    uLong crc = crc32_z(crc32_z(0, NULL, 0), block, DP_H5_BLOCK);
    crc = crc32_z(crc, file + DP_H5_BLOCK, size - DP_H5_BLOCK);
    snprintf(digest, sizeof digest, "%08lx", (unsigned long)crc);
    render_block(size, digest, block);
}

static bool has_magic(const unsigned char *bytes, size_t size) {
    return size >= DP_H5_BLOCK && memcmp(bytes, MAGIC, strlen(MAGIC)) == 0;
}

static void check_block(dp_h5 *f) {
    unsigned char block[DP_H5_BLOCK];
    char text[64] = "";
    uintmax_t length = 0;
    f->doubt[0] = '\0';
    if (!has_magic(f->image, f->size)) {
        strcpy(f->doubt, "it has no digest of trainer's");
        return;
    }
    seal(f->image, f->size, block);
    if (memcmp(f->image, block, DP_H5_BLOCK) == 0) {
        return;
    }
    strcpy(f->doubt, "its digest does not match its bytes");
    memcpy(text, f->image + strlen(MAGIC), sizeof text - 1);
    if (sscanf(text, "length %ju\n", &length) == 1 && length > f->size) {
        snprintf(f->doubt, sizeof f->doubt,
                 "its digest does not match its bytes (truncated? %zu of %ju are there)",
                 f->size, length);
    }
}

/* ---- both directions ---- */

void dp_h5_close(dp_h5 **file) {
    dp_h5 *f = *file;
    if (f == NULL) {
        return;
    }
    dp_h5_reader_stop(f);
    if (f->id >= 0) {
        H5Fclose(f->id);
    }
    free(f->image);
    free(f->path);
    free(f);
    *file = NULL;
}

/* ---- writing ---- */

dp_status dp_h5_create(const char *path, dp_h5 **out) {
    dp_h5 *f = dp_h5_make(path, DP_EFILE);
    hid_t access = dp_h5_access(f, true);
    hid_t create = H5Pcreate(H5P_FILE_CREATE);
    /* The format of 1.8 holds attributes above 64 KiB (mean and std of wide tables). */
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    H5Pset_userblock(create, DP_H5_BLOCK);
    H5Pset_obj_track_times(create, false);
    f->id = H5Fcreate(dp_h5_image_name(), H5F_ACC_TRUNC, create, access);
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
    seal(f->image, f->size, f->image);
    return dp_file_replace(f->path, f->image, f->size);
}

/* ---- reading ---- */

static dp_status read_image(dp_h5 *f, int fd, size_t size) {
    DP_TRY(dp_memory_resize(&f->image, size + 1));
    ssize_t done = dp_open_read_all(fd, f->image, size);
    if (done < 0) {
        return dp_fail(f->code, "%s: can't be read: %s", f->path, strerror(errno));
    }
    f->size = (size_t)done;
    return DP_OK;
}

/* Reads the file and checks its user block: f->doubt. */
static dp_status load(dp_h5 *f) {
    size_t size = 0;
    int fd = -1;
    DP_TRY(dp_open_regular(f->path, f->code, NULL, &fd, &size));
    dp_status status = read_image(f, fd, size);
    close(fd);
    DP_TRY(status);
    check_block(f);
    return DP_OK;
}

bool dp_h5_is_ours(const char *path) {
    unsigned char head[DP_H5_BLOCK];
    int fd = -1;
    if (dp_open_regular(path, DP_EFILE, NULL, &fd, NULL) != DP_OK) {
        return false;
    }
    ssize_t done = dp_open_read_all(fd, head, sizeof head);
    close(fd);
    return done > 0 && has_magic(head, (size_t)done);
}

/* Only the length: HDF5 reads the file from the disk. */
static dp_status measure(dp_h5 *f) {
    int fd = -1;
    DP_TRY(dp_open_regular(f->path, f->code, NULL, &fd, &f->size));
    close(fd);
    return DP_OK;
}

static dp_status open_file(dp_h5 *f, bool ours) {
    DP_TRY(ours ? load(f) : measure(f));
    return dp_h5_reader_start(f, dp_h5_serve);
}

static dp_status open_handle(const char *path, bool ours, dp_status code, dp_h5 **out) {
    dp_h5 *f = dp_h5_make(path, code);
    dp_status status = open_file(f, ours);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    *out = f;
    return DP_OK;
}

dp_status dp_h5_open(const char *path, dp_h5 **out) {
    return open_handle(path, true, DP_EFILE, out);
}

dp_status dp_h5_open_any(const char *path, dp_status code, dp_h5 **out) {
    return open_handle(path, dp_h5_is_ours(path), code, out);
}

void dp_h5_note(const dp_h5 *file) {
    if (file->doubt[0]) {
        dp_warn("%s: %s, so it is not as trainer wrote it; it is read all the same, and "
                "all that it says is compared first",
                file->path, file->doubt);
    }
}

bool dp_h5_altered(const char *path) {
    dp_h5 *f = dp_h5_make(path, DP_EFILE);
    bool altered = load(f) == DP_OK && f->doubt[0] != '\0';
    dp_h5_close(&f);
    return altered;
}
