/* IDX: images (magic 0x803, or any uint8 IDX of 2 to 5 dimensions), and the labels (0x801)
 * beside them: "images" -> "labels" and "idx<k>" -> "idx1" in the file's name. Each is
 * plain or .gz, whatever its name. */
#include "array.h"
#include "base/memory.h"
#include "stream.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DIMS = DP_DATA_DIMS + 1 };

static bool named(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *idx = strstr(slash ? slash : path, "idx");
    return idx && isdigit((unsigned char)idx[3]);
}

static bool begins(const unsigned char *head, size_t n) {
    return n >= 4 && head[0] == 0 && head[1] == 0 && head[2] >= 8 && head[2] <= 14;
}

static uint32_t big_endian(const unsigned char b[4]) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static dp_status read_stream(dp_stream *s, const dp_read_request *request, bool images,
                             dp_array *a) {
    enum { BYTES = 8 }; /* the type */
    unsigned char magic[4] = {0}, dim[4];
    DP_TRY(dp_stream_read_all(s, magic, sizeof magic));
    a->ndim = magic[3];
    bool is_idx = big_endian(magic) >> 8 == BYTES;
    int least = images ? 2 : 1, most = images ? MAX_DIMS : 1;
    if (!is_idx || a->ndim < least || a->ndim > most) {
        return dp_fail(DP_EDATA,
                       "%s: not an IDX file of %s: it begins with 0x%08x, not 0x%08x%s",
                       a->name, images ? "images" : "labels", big_endian(magic),
                       images ? 0x803u : 0x801u,
                       is_idx && a->ndim == 1 ? " (these are labels)" : "");
    }
    for (int d = 0; d < a->ndim; d++) {
        DP_TRY(dp_stream_read_all(s, dim, sizeof dim));
        a->dim[d] = big_endian(dim);
    }
    DP_TRY(dp_array_count(a, dp_stream_size(s)));
    if (images) {
        DP_TRY(dp_array_map(request, s, NULL, a));
    }
    if (a->map.bytes == 0) {
        DP_TRY(dp_array_alloc(a));
        DP_TRY(dp_stream_read_all(s, a->value, a->count));
    }
    return dp_stream_read_end(s);
}

static dp_status read_array(const char *path, const dp_read_request *request, bool images,
                            dp_array *a) {
    dp_stream *s = NULL;
    a->name = dp_strdup(path);
    DP_TRY(dp_stream_open(path, NULL, &s));
    dp_status status = read_stream(s, request, images, a);
    dp_stream_close(&s);
    return status;
}

/* data.classes is not set: a label that leaves most of the classes below it without a
 * sample is a damaged byte, not a class. */
static dp_status check_range(const char *path, int n, const int32_t *label) {
    int seen[256] = {0}, kinds = 0, max = 0;
    for (int i = 0; i < n; i++) {
        kinds += seen[label[i]]++ == 0;
        max = label[i] > label[max] ? i : max;
    }
    if (label[max] + 1 <= 2 * kinds) {
        return DP_OK;
    }
    return dp_fail(
        DP_EDATA,
        "%s: label %d of sample %d (from 0) is out of range: only %d different labels "
        "occur; if it is right, name all %d classes in data.classes",
        path, label[max], max, kinds, label[max] + 1);
}

static dp_status read_both(const char *path, const dp_read_request *request,
                           dp_array *images, dp_array *labels, dp_table *out) {
    char beside[DP_MAX_PATH];
    bool found = false;
    DP_TRY(read_array(path, request, true, images));
    DP_TRY(dp_array_find_labels(path, request, beside, &found));
    if (found) {
        DP_TRY(read_array(beside, request, false, labels));
    }
    DP_TRY(dp_array_table(request, images, found ? labels : NULL, out));
    return out->label && request->schema.classes == 0
               ? check_range(beside, out->n, out->label)
               : DP_OK;
}

static dp_status read_idx(const char *path, const dp_read_request *request,
                          dp_table *out) {
    dp_array images = {0}, labels = {0};
    dp_status status = read_both(path, request, &images, &labels, out);
    dp_array_free(&images);
    dp_array_free(&labels);
    return status;
}

const dp_format dp_format_idx = {"idx", named, begins, read_idx};
