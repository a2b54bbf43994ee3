/* The IDX reader: images and the labels beside them. */
#include "base/memory.h"
#include "reader.h"
#include "stream.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_IMAGE_DIMS = DP_DATA_DIMS + 1,
    MAX_INFLATION = 1032, /* deflate can't make more than so many bytes out of one */
    MAX_PATH = DP_TEXT + 64,
};

typedef struct idx {
    const char *path;
    dp_stream *stream;
    int ndim;
    size_t dim[MAX_IMAGE_DIMS];
    size_t total; /* bytes after the header: the product of dim */
} idx;

static dp_status read_exactly(const idx *f, size_t before, void *out, size_t n) {
    size_t got = 0;
    dp_status status = dp_stream_read(f->stream, out, n, &got);
    return status != DP_OK || got == n
               ? status
               : dp_fail(
                     DP_EDATA,
                     "%s: truncated: %zu bytes%s where %zu are needed; get the file anew",
                     f->path, before + got,
                     dp_stream_packed(f->stream) ? " when unpacked" : "", before + n);
}

static uint32_t big_endian(const unsigned char b[4]) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static dp_status read_dimensions(idx *f) {
    unsigned char head[4 + 4 * MAX_IMAGE_DIMS];
    size_t size = 4 + 4 * (size_t)f->ndim;
    dp_status status = read_exactly(f, 4, head + 4, size - 4);
    f->total = 1;
    for (int d = 0; status == DP_OK && d < f->ndim; d++) {
        f->dim[d] = big_endian(head + 4 + 4 * d);
        if (f->dim[d] == 0 || f->dim[d] > INT_MAX ||
            __builtin_mul_overflow(f->total, f->dim[d], &f->total) ||
            f->total > SIZE_MAX / 8) {
            status = dp_fail(DP_EDATA, "%s: damaged header: dimension %d is %zu", f->path,
                             d, f->dim[d]);
        }
    }
    if (status == DP_OK && f->total / f->dim[0] > INT_MAX) {
        status = dp_fail(DP_EDATA, "%s: damaged header: %zu values a sample", f->path,
                         f->total / f->dim[0]);
    }
    return status;
}

/* The size that the header gives against the file's length, so that a damaged header
 * allocates nothing. */
static dp_status check_length(const idx *f) {
    bool packed = dp_stream_packed(f->stream);
    size_t size = 4 + 4 * (size_t)f->ndim, length = dp_stream_size(f->stream);
    size_t need = size + f->total;
    if (!packed && length > need) {
        return dp_fail(DP_EDATA,
                       "%s: %zu bytes too many: its header promises %zu, it has %zu",
                       f->path, length - need, need, length);
    }
    size_t max = packed ? length * MAX_INFLATION : length;
    if (max < need) {
        return dp_fail(DP_EDATA,
                       "%s: truncated: its header promises %zu bytes, but the file has "
                       "%zu%s; get the file anew",
                       f->path, need, length, packed ? " (compressed)" : "");
    }
    return DP_OK;
}

static dp_status read_header(idx *f, bool images) {
    unsigned char magic[4] = {0};
    dp_status status = read_exactly(f, 0, magic, 4);
    if (status != DP_OK) {
        return status;
    }
    f->ndim = magic[3];
    bool is_idx = magic[0] == 0 && magic[1] == 0 && magic[2] == 8;
    if (!is_idx || (images && (f->ndim < 2 || f->ndim > MAX_IMAGE_DIMS)) ||
        (!images && f->ndim != 1)) {
        return dp_fail(DP_EDATA,
                       "%s: not an IDX file of %s: it begins with 0x%08x, not 0x%08x%s",
                       f->path, images ? "images" : "labels", big_endian(magic),
                       images ? 0x803u : 0x801u,
                       is_idx && f->ndim == 1 ? " (these are labels)" : "");
    }
    status = read_dimensions(f);
    return status == DP_OK ? check_length(f) : status;
}

/* What is behind the last value: nothing. gzip's own checksum is read on the way. */
static dp_status check_end(const idx *f, size_t size) {
    char more;
    size_t got = 0;
    dp_status status = dp_stream_read(f->stream, &more, 1, &got);
    return status != DP_OK || got == 0
               ? status
               : dp_fail(DP_EDATA, "%s: more bytes than the %zu its header promises",
                         f->path, size);
}

/* Reads a whole file of bytes; *out is the caller's. */
static dp_status read_file(idx *f, bool images, uint8_t **out) {
    dp_status status = dp_stream_open(f->path, &f->stream);
    uint8_t *bytes = NULL;
    if (status == DP_OK) {
        status = read_header(f, images);
    }
    if (status == DP_OK) {
        status = dp_memory_alloc(f->total, 1, (void **)&bytes);
    }
    size_t size = 4 + 4 * (size_t)f->ndim;
    if (status == DP_OK) {
        status = read_exactly(f, size, bytes, f->total);
    }
    if (status == DP_OK) {
        status = check_end(f, size + f->total);
    }
    dp_stream_close(&f->stream);
    if (status == DP_OK) {
        *out = bytes;
    } else {
        dp_memory_free(&bytes);
    }
    return status;
}

/* data.classes is not set: a label that leaves most of the classes below it without a
 * sample is a damaged byte, not a class. */
static dp_status check_range(const char *path, const uint8_t *label, int n) {
    int seen[256] = {0}, kinds = 0, max = 0;
    for (int i = 0; i < n; i++) {
        kinds += seen[label[i]]++ == 0;
        max = label[i] > label[max] ? i : max;
    }
    if (n == 0 || label[max] + 1 <= 2 * kinds) {
        return DP_OK;
    }
    return dp_fail(
        DP_EDATA,
        "%s: label %d of sample %d (from 0) is out of range: only %d different labels "
        "occur; if it is right, name all %d classes in data.classes",
        path, label[max], max, kinds, label[max] + 1);
}

static dp_status read_labels(const char *path, const char *images, int classes,
                             dp_table *out) {
    idx f = {.path = path};
    uint8_t *bytes = NULL;
    dp_status status = read_file(&f, false, &bytes);
    if (status == DP_OK && f.total != (size_t)out->n) {
        status = dp_fail(DP_EDATA, "%s holds %d images, but %s holds %zu labels", images,
                         out->n, path, f.total);
    }
    if (status == DP_OK) {
        status =
            dp_memory_alloc((size_t)out->n, sizeof *out->label, (void **)&out->label);
    }
    if (status == DP_OK && classes == 0) {
        status = check_range(path, bytes, out->n);
    }
    for (int i = 0; status == DP_OK && i < out->n; i++) {
        out->label[i] = bytes[i];
        if (classes > 0 && bytes[i] >= classes) {
            status = dp_fail(DP_EDATA,
                             "%s: label %d of sample %d (from 0) is out of range: there "
                             "are %d classes, 0 to %d",
                             path, bytes[i], i, classes, classes - 1);
        }
    }
    dp_memory_free(&bytes);
    return status;
}

dp_status dp_idx_read(const char *images, const char *labels, int classes,
                      dp_table *out) {
    idx f = {.path = images};
    dp_status status = read_file(&f, true, (uint8_t **)&out->raw);
    if (status != DP_OK) {
        return status;
    }
    out->bytes = true;
    out->n = (int)f.dim[0];
    out->features = (int)(f.total / f.dim[0]);
    if (f.ndim == 3) { /* one channel */
        out->shape[out->nshape++] = 1;
    }
    for (int d = 1; d < f.ndim; d++) {
        out->shape[out->nshape++] = (int)f.dim[d];
    }
    return labels ? read_labels(labels, images, classes, out) : DP_OK;
}

bool dp_idx_find(const char *folder, const char *name, char *out) {
    static const char *const ending[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        int n = snprintf(out, MAX_PATH, "%s/%s%s", folder, name, ending[i]);
        if (n < MAX_PATH && access(out, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

/* The labels' name beside an images file, without .gz. False: the name doesn't say. */
static bool labels_name(const char *path, char folder[MAX_PATH], char name[MAX_PATH]) {
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    snprintf(folder, MAX_PATH, "%.*s", slash ? (int)(slash - path) : 1,
             slash ? path : ".");
    if (slash == path) {
        snprintf(folder, MAX_PATH, "/");
    }
    snprintf(name, MAX_PATH, "%s", base);
    char *images = strstr(name, "images");
    if (!images) {
        return false;
    }
    memcpy(images, "labels", 6);
    char *kind = strstr(images, "idx");
    if (kind && isdigit((unsigned char)kind[3])) {
        kind[3] = '1';
    }
    size_t n = strlen(name);
    if (n > 3 && strcmp(name + n - 3, ".gz") == 0) {
        name[n - 3] = '\0';
    }
    return true;
}

/* Regression and yes-or-no losses take the label as a number. */
static dp_status labels_to_targets(const char *labels, dp_target_kind kind,
                                   dp_table *out) {
    dp_status status =
        dp_memory_alloc((size_t)out->n, sizeof *out->target, (void **)&out->target);
    for (int i = 0; status == DP_OK && i < out->n; i++) {
        out->target[i] = (float)out->label[i];
        if (kind == DP_BINARY && out->label[i] > 1) {
            status = dp_fail(DP_EDATA,
                             "%s: label %d of sample %d (from 0): loss.name = bce takes "
                             "0 and 1 only; for more classes use cross_entropy",
                             labels, out->label[i], i);
        }
    }
    out->ntargets = 1;
    dp_memory_free(&out->label);
    return status;
}

dp_status dp_idx_read_pair(const char *path, const dp_read_request *request,
                           dp_table *out) {
    char folder[MAX_PATH], name[MAX_PATH], labels[MAX_PATH];
    bool guessed = labels_name(path, folder, name);
    bool found = guessed && dp_idx_find(folder, name, labels);
    if (!found && !request->schema.optional) {
        /* Missing images first: their name is what the user wrote. */
        if (access(path, F_OK) != 0) {
            return dp_fail(DP_EDATA, "%s: %s", path, strerror(errno));
        }
        return guessed
                   ? dp_fail(DP_EDATA,
                             "%s: no labels beside it: looked for %s/%s and %s.gz", path,
                             folder, name, name)
                   : dp_fail(
                         DP_EDATA,
                         "%s: cannot tell the name of its labels: an IDX file of images "
                         "is to have \"images\" in its name, its labels \"labels\"",
                         path);
    }
    bool numbers = request->kind != DP_CLASSES;
    dp_status status = dp_idx_read(path, found ? labels : NULL,
                                   numbers ? -1 : request->schema.classes, out);
    if (status == DP_OK && found && numbers) {
        status = labels_to_targets(labels, request->kind, out);
    }
    return status;
}
