/* The HDF5 reader: which dataset is what, and its shape. */
#include "base/memory.h"
#include "h5/h5file.h"
#include "reader.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PATH = DP_TEXT + 64, MAX_DIMS = 8 };

typedef struct source {
    const char *path;     /* as the user wrote it */
    char file[MAX_PATH];  /* the file's part of it */
    char data[MAX_PATH];  /* the dataset of samples */
    char label[MAX_PATH]; /* its labels or targets, "" if there are none */
    dp_h5 *h5;
    int64_t length; /* of the file, bytes */
} source;

/* "file.h5:/object": the file and the object, "" without one. */
static const char *cut_path(const char *path, char file[MAX_PATH]) {
    const char *colon = strstr(path, ":/");
    if (!colon || access(path, F_OK) == 0) {
        snprintf(file, MAX_PATH, "%s", path);
        return "";
    }
    snprintf(file, MAX_PATH, "%.*s", (int)(colon - path), path);
    return colon[2] ? colon + 1 : "";
}

static dp_status find_samples(source *s, const char *object) {
    static const char *const names[] = {"images", "x"};
    for (int i = 0; i < 2; i++) {
        snprintf(s->data, MAX_PATH, "%s/%s", object, names[i]);
        if (dp_h5_has(s->h5, s->data)) {
            return DP_OK;
        }
    }
    if (!object[0]) {
        return dp_fail(DP_EDATA,
                       "%s: no dataset 'images' or 'x' in it; name one as %s:/path",
                       s->path, s->file);
    }
    if (!dp_h5_has(s->h5, object)) {
        return dp_fail(DP_EDATA, "%s: no '%s' in %s", s->path, object, s->file);
    }
    snprintf(s->data, MAX_PATH, "%s", object);
    return DP_OK;
}

/* images -> labels, x -> y in the last part of the name: "/x", "/x_train", "/train_x". */
static bool rename_to_labels(const char *base, char *out, size_t size) {
    const char *images = strstr(base, "images");
    size_t n = strlen(base);
    if (images) {
        snprintf(out, size, "%.*slabels%s", (int)(images - base), base, images + 6);
        return true;
    }
    snprintf(out, size, "%s", base);
    bool first = tolower((unsigned char)base[0]) == 'x' && (n == 1 || base[1] == '_');
    bool last = n > 2 && tolower((unsigned char)base[n - 1]) == 'x' && base[n - 2] == '_';
    if (first || last) {
        out[first ? 0 : n - 1]++; /* y comes after x, Y after X */
    }
    return first || last;
}

static dp_status find_labels(source *s, const dp_read_request *request) {
    const char *base = strrchr(s->data, '/') + 1;
    int folder = (int)(base - s->data);
    char name[MAX_PATH] = "";
    bool known = request->target[0] || rename_to_labels(base, name, sizeof name);
    if (request->target[0]) {
        snprintf(name, sizeof name, "%s", request->target);
    }
    int n = name[0] == '/'
                ? snprintf(s->label, MAX_PATH, "%s", name)
                : snprintf(s->label, MAX_PATH, "%.*s%s", folder, s->data, name);
    if (known && n < MAX_PATH && dp_h5_has(s->h5, s->label)) {
        return DP_OK;
    }
    if (request->schema.optional) {
        s->label[0] = '\0';
        return DP_OK;
    }
    return known ? dp_fail(DP_EDATA, "%s: no labels: there is no '%s' in it", s->path,
                           s->label)
                 : dp_fail(DP_EDATA,
                           "%s: cannot tell which dataset holds the labels of '%s': set "
                           "data.target to its name",
                           s->path, s->data);
}

/* Shape of a dataset that has one row a sample. Refuses what the file can't hold. */
static dp_status read_shape(const source *s, const char *name, dp_h5_type *type,
                            int *ndim, int64_t dims[MAX_DIMS], int64_t *count) {
    dp_status status = dp_h5_shape(s->h5, name, type, ndim, dims);
    if (status != DP_OK) {
        return status;
    }
    if (*ndim < 1) {
        return dp_fail(DP_EDATA, "%s: '%s' is a single value, not one row a sample",
                       s->path, name);
    }
    *count = 1;
    for (int d = 0; d < *ndim; d++) {
        if (dims[d] < 1 || __builtin_mul_overflow(*count, dims[d], count) ||
            *count > INT64_MAX / 16) {
            return dp_fail(DP_EDATA, "%s: '%s': dimension %d is %lld", s->path, name, d,
                           (long long)dims[d]);
        }
    }
    if (dims[0] > INT_MAX || *count / dims[0] > INT_MAX) {
        return dp_fail(DP_EDATA, "%s: '%s' is too large: %lld rows of %lld values",
                       s->path, name, (long long)dims[0], (long long)(*count / dims[0]));
    }
    /* gzip packs at most 1032 to 1: beyond that the header is damaged, or nothing was
     * written. */
    if (*count / 1032 > s->length) {
        return dp_fail(DP_EDATA, "%s: '%s' claims %lld values in a file of %lld bytes",
                       s->path, name, (long long)*count, (long long)s->length);
    }
    return DP_OK;
}

static dp_status check_finite(const source *s, const char *name, const float *v, int n,
                              int width) {
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < width; k++) {
            float x = v[(size_t)i * width + k];
            if (!isfinite(x)) {
                return dp_fail(
                    DP_EDATA, "%s: '%s': value %d of sample %d (from 0) is %g as a float",
                    s->path, name, k, i, (double)x);
            }
        }
    }
    return DP_OK;
}

static dp_status read_samples(const source *s, dp_table *out) {
    dp_h5_type type;
    int ndim;
    int64_t dims[MAX_DIMS], count;
    dp_status status = read_shape(s, s->data, &type, &ndim, dims, &count);
    if (status != DP_OK) {
        return status;
    }
    if (ndim > DP_DATA_DIMS + 1) {
        return dp_fail(DP_EDATA, "%s: '%s' has %d dimensions, more than %d", s->path,
                       s->data, ndim, DP_DATA_DIMS + 1);
    }
    out->n = (int)dims[0];
    out->features = (int)(count / dims[0]);
    if (ndim == 1 || ndim == 3) { /* one number a sample; an image of one channel */
        out->shape[out->nshape++] = 1;
    }
    for (int d = 1; d < ndim; d++) {
        out->shape[out->nshape++] = (int)dims[d];
    }
    out->bytes = type == DP_H5_U8;
    status = dp_memory_alloc((size_t)count, out->bytes ? 1 : sizeof(float), &out->raw);
    if (status == DP_OK) {
        status =
            dp_h5_get(s->h5, s->data, out->bytes ? DP_H5_U8 : DP_H5_F32, count, out->raw);
    }
    if (status == DP_OK && !out->bytes) {
        status = check_finite(s, s->data, out->raw, out->n, out->features);
    }
    return status;
}

static dp_status to_labels(const source *s, const double *v, int classes, dp_table *out) {
    dp_status status =
        dp_memory_alloc((size_t)out->n, sizeof *out->label, (void **)&out->label);
    for (int i = 0; status == DP_OK && i < out->n; i++) {
        if (!(v[i] >= 0 && v[i] < DP_MAX_CLASSES) || v[i] != floor(v[i])) {
            return dp_fail(DP_EDATA,
                           "%s: '%s': %g of sample %d (from 0) is not a class number (0, "
                           "1, 2, ...); for other numbers set loss.name = mse",
                           s->path, s->label, v[i], i);
        }
        if (classes > 0 && v[i] >= classes) {
            return dp_fail(DP_EDATA,
                           "%s: '%s': label %g of sample %d (from 0) is out of range: "
                           "there are %d classes, 0 to %d",
                           s->path, s->label, v[i], i, classes, classes - 1);
        }
        out->label[i] = (int32_t)v[i];
    }
    return status;
}

static dp_status read_labels(const source *s, int64_t count,
                             const dp_read_request *request, dp_table *out) {
    if (count != out->n) {
        return dp_fail(
            DP_EDATA,
            "%s: '%s' has %lld values a sample, but cross_entropy takes one class number",
            s->path, s->label, (long long)(count / out->n));
    }
    double *v = NULL;
    dp_status status = dp_memory_alloc((size_t)count, sizeof *v, (void **)&v);
    if (status == DP_OK) {
        status = dp_h5_get(s->h5, s->label, DP_H5_F64, count, v);
    }
    if (status == DP_OK) {
        status = to_labels(s, v, request->schema.classes, out);
    }
    dp_memory_free(&v);
    return status;
}

/* 0 and 1, judged before they are rounded to floats. */
static dp_status read_binary(const source *s, int64_t count, dp_table *out) {
    double *v = NULL;
    dp_status status = dp_memory_alloc((size_t)count, sizeof *v, (void **)&v);
    if (status == DP_OK) {
        status = dp_h5_get(s->h5, s->label, DP_H5_F64, count, v);
    }
    for (int64_t i = 0; status == DP_OK && i < count; i++) {
        out->target[i] = (float)v[i];
        if (v[i] != 0 && v[i] != 1) {
            status = dp_fail(DP_EDATA,
                             "%s: '%s': %g of sample %lld (from 0) is neither 0 nor 1, "
                             "which loss.name = bce takes",
                             s->path, s->label, v[i], (long long)(i / out->ntargets));
        }
    }
    dp_memory_free(&v);
    return status;
}

static dp_status read_targets(const source *s, int64_t count,
                              const dp_read_request *request, dp_table *out) {
    dp_status status =
        dp_memory_alloc((size_t)count, sizeof *out->target, (void **)&out->target);
    if (status != DP_OK) {
        return status;
    }
    out->ntargets = (int)(count / out->n);
    if (request->kind == DP_BINARY) {
        return read_binary(s, count, out);
    }
    status = dp_h5_get(s->h5, s->label, DP_H5_F32, count, out->target);
    return status == DP_OK ? check_finite(s, s->label, out->target, out->n, out->ntargets)
                           : status;
}

static dp_status read_all(source *s, const char *object, const dp_read_request *request,
                          dp_table *out) {
    dp_status status = find_samples(s, object);
    if (status == DP_OK) {
        status = find_labels(s, request);
    }
    if (status == DP_OK) {
        status = read_samples(s, out);
    }
    if (status != DP_OK || !s->label[0]) {
        return status;
    }
    dp_h5_type type;
    int ndim;
    int64_t dims[MAX_DIMS], count;
    status = read_shape(s, s->label, &type, &ndim, dims, &count);
    if (status == DP_OK && dims[0] != out->n) {
        status = dp_fail(DP_EDATA, "%s: '%s' has %d samples, but '%s' has %lld", s->path,
                         s->data, out->n, s->label, (long long)dims[0]);
    }
    if (status != DP_OK) {
        return status;
    }
    return request->kind == DP_CLASSES ? read_labels(s, count, request, out)
                                       : read_targets(s, count, request, out);
}

dp_status dp_hdf5_read(const char *path, const dp_read_request *request, dp_table *out) {
    source s = {.path = path};
    const char *object = cut_path(path, s.file);
    struct stat info;
    if (stat(s.file, &info) != 0) {
        return dp_fail(DP_EDATA, "%s: %s", s.file, strerror(errno));
    }
    s.length = (int64_t)info.st_size;
    dp_status status = dp_h5_open_any(s.file, DP_EDATA, &s.h5);
    if (status == DP_OK) {
        status = read_all(&s, object, request, out);
        dp_h5_close(&s.h5);
    }
    return status;
}
