/* The user block before an HDF5 file: magic, length, digest. */
#include "base/memory.h"
#include "base/open.h"
#include "h5core.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

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

void dp_h5_seal(const unsigned char *file, size_t size,
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
    dp_h5_seal(f->image, f->size, block);
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

/* Up to n bytes; -1 with errno. */
static ssize_t read_fully(int fd, unsigned char *out, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t now = read(fd, out + done, n - done);
        if (now == 0) {
            break;
        }
        if (now < 0 && errno != EINTR) {
            return -1;
        }
        done += now > 0 ? (size_t)now : 0;
    }
    return (ssize_t)done;
}

static dp_status read_image(dp_h5 *f, int fd, size_t size) {
    DP_TRY(dp_memory_resize(&f->image, size + 1));
    ssize_t done = read_fully(fd, f->image, size);
    if (done < 0) {
        return dp_fail(f->code, "%s: can't be read: %s", f->path, strerror(errno));
    }
    f->size = (size_t)done;
    return DP_OK;
}

dp_status dp_h5_load(dp_h5 *f) {
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
    ssize_t done = read_fully(fd, head, sizeof head);
    close(fd);
    return done > 0 && has_magic(head, (size_t)done);
}
