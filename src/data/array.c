/* From arrays to a table: which axis is what, which values may be there. */
#include "array.h"
#include "base/memory.h"
#include "class_names.h"
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INFLATION = 1032 }; /* deflate can't make more bytes than that out of one */

dp_status dp_array_count(dp_array *a, size_t length) {
    int64_t count = 1;
    for (int d = 0; d < a->ndim; d++) {
        if (a->dim[d] < 1 || __builtin_mul_overflow(count, a->dim[d], &count) ||
            count > INT64_MAX / (int64_t)sizeof(double)) {
            return dp_fail(DP_EDATA, "%s: dimension %d is %lld", a->name, d,
                           (long long)a->dim[d]);
        }
    }
    a->count = (size_t)count;
    if (a->count / MAX_INFLATION > length) {
        return dp_fail(DP_EDATA, "%s: claims %zu values in a file of %zu bytes", a->name,
                       a->count, length);
    }
    if (a->dim[0] > INT_MAX || count / a->dim[0] > INT_MAX) {
        return dp_fail(DP_EDATA, "%s: too large: %lld samples of %lld values", a->name,
                       (long long)a->dim[0], (long long)(count / a->dim[0]));
    }
    return DP_OK;
}

static size_t value_size(const dp_array *a) {
    static const size_t size[] = {[DP_BYTES] = 1, [DP_FLOATS] = 4, [DP_DOUBLES] = 8};
    return size[a->type];
}

dp_status dp_array_map_file(const dp_read_request *request, const char *file, int64_t at,
                            const char *why_not, dp_array *a) {
    const size_t large = (size_t)1 << 30;
    size_t size = value_size(a), bytes = a->count * size;
    bool asked = strcmp(request->memory, "map") == 0;
    if (!asked && (strcmp(request->memory, "copy") == 0 || bytes < large)) {
        return DP_OK;
    }
    if (!why_not && at % (int64_t)size != 0) {
        why_not = "its values lie at odd places";
    }
    if (why_not) {
        return asked ? dp_fail(DP_EDATA,
                               "%s: data.memory = map takes a file as it is, but %s",
                               a->name, why_not)
                     : DP_OK;
    }
    return dp_map_open(file, at, bytes, &a->map);
}

dp_status dp_array_map(const dp_read_request *request, dp_stream *s, const char *why_not,
                       dp_array *a) {
    int64_t at = dp_stream_place(s);
    why_not = at < 0 ? "it is packed: gunzip it" : why_not;
    DP_TRY(dp_array_map_file(request, a->name, at, why_not, a));
    return a->map.bytes > 0 ? dp_stream_skip(s, a->map.bytes) : DP_OK;
}

dp_status dp_array_alloc(dp_array *a) {
    return dp_memory_alloc(a->count, value_size(a), &a->value);
}

void dp_array_free(dp_array *a) {
    free(a->name);
    dp_memory_free(&a->value);
    dp_map_close(&a->map);
}

/* ---- samples ---- */

static bool counts_channels(int length) {
    return length == 1 || length == 3 || length == 4;
}

/* Whether a sample of three axes has its channels last. */
static bool is_channels_last(const char *layout, const dp_array *a, const int *shape) {
    bool first = strcmp(layout, "channels_first") == 0;
    if (first || strcmp(layout, "channels_last") == 0) {
        return !first;
    }
    return a->channels_last || (!a->channels_first && !counts_channels(shape[0]) &&
                                counts_channels(shape[2]));
}

/* Sets n, features and shape; *channels_last: the values lie in the order [H,W,C]. */
static void take_shape(const char *layout, const dp_array *a, dp_table *out,
                       bool *channels_last) {
    out->n = (int)a->dim[0];
    out->features = (int)(a->count / (size_t)a->dim[0]);
    if (a->ndim == 1 || a->ndim == 3) { /* one number a sample; an image of one channel */
        out->shape[out->nshape++] = 1;
    }
    for (int d = 1; d < a->ndim; d++) {
        out->shape[out->nshape++] = (int)a->dim[d];
    }
    int *shape = out->shape, last = shape[2];
    *channels_last = a->ndim == 4 && is_channels_last(layout, a, shape);
    if (*channels_last) {
        memmove(shape + 1, shape, 2 * sizeof *shape);
        shape[0] = last;
    }
}

/* One sample from [H,W,C], here pixels x C values at `from`, to [C,H,W]. */
static void move_bytes(int pixels, int C, const uint8_t *from, uint8_t *to) {
    for (int c = 0; c < C; c++) {
        for (int p = 0; p < pixels; p++) {
            to[c * pixels + p] = from[p * C + c];
        }
    }
}

static void move_floats(int pixels, int C, const float *from, float *to) {
    for (int c = 0; c < C; c++) {
        for (int p = 0; p < pixels; p++) {
            to[c * pixels + p] = from[p * C + c];
        }
    }
}

/* In memory, where it may be changed. */
static dp_status copy_map(const dp_read_request *request, const char *name, dp_table *t) {
    void *copy = NULL;
    if (strcmp(request->memory, "map") == 0) {
        return dp_fail(
            DP_EDATA,
            "%s: data.memory = map takes a file as it is, but its channels come "
            "last: write x.transpose(0, 3, 1, 2)",
            name);
    }
    DP_TRY(dp_memory_alloc(t->map.bytes, 1, &copy));
    memcpy(copy, t->raw, t->map.bytes);
    dp_table_drop_raw(t);
    t->raw = copy;
    return DP_OK;
}

static dp_status move_channels_first(dp_table *t) {
    int C = t->shape[0], pixels = t->features / C;
    size_t bytes = dp_table_row_bytes(t);
    void *copy = NULL;
    DP_TRY(dp_memory_alloc(bytes, 1, &copy));
    for (int i = 0; i < t->n; i++) {
        void *sample = (char *)t->raw + (size_t)i * bytes;
        memcpy(copy, sample, bytes);
        if (t->bytes) {
            move_bytes(pixels, C, copy, sample);
        } else {
            move_floats(pixels, C, copy, sample);
        }
    }
    dp_memory_free(&copy);
    return DP_OK;
}

static dp_status check_finite(const char *name, const dp_table *t) {
    const float *v = t->raw;
    size_t width = (size_t)t->features;
    for (int k = 0; k < dp_table_stretches(t); k++) {
        int begin = 0, end = 0;
        dp_table_stretch(t, k, &begin, &end);
        for (size_t i = (size_t)begin * width; i < (size_t)end * width; i++) {
            if (!isfinite(v[i])) {
                return dp_fail(DP_EDATA,
                               "%s: value %zu of sample %zu (from 0) is %g as a float",
                               name, i % width, i / width, (double)v[i]);
            }
        }
    }
    return DP_OK;
}

/* ---- what goes with them ---- */

static dp_status take_labels(const dp_read_request *request, const dp_array *a,
                             dp_table *out) {
    int width = (int)(a->count / (size_t)a->dim[0]);
    if (request->kind == DP_CLASSES && width != 1) {
        return dp_fail(
            DP_EDATA,
            "%s: has %d values a sample, but cross_entropy takes one class number",
            a->name, width);
    }
    if (a->type == DP_TEXTS && (request->kind == DP_VALUES || width != 1)) {
        return dp_fail(
            DP_EDATA,
            "%s: holds texts: names of classes are for loss.name = cross_entropy "
            "or bce, one a sample",
            a->name);
    }
    DP_TRY(dp_table_alloc_targets(request, (size_t)out->n, width, out));
    if (a->type == DP_TEXTS) {
        return dp_class_names_take(request, a->name, out->n, a->value, out);
    }
    for (size_t j = 0; j < a->count; j++) {
        double v =
            a->type == DP_BYTES ? ((uint8_t *)a->value)[j] : ((double *)a->value)[j];
        size_t i = j / (size_t)width;
        const char *fault =
            dp_table_set_target(request, out, i, (int)(j % (size_t)width), v);
        if (fault) {
            return dp_fail(DP_EDATA, "%s: label %g of sample %zu (from 0)%s", a->name, v,
                           i, fault);
        }
    }
    return DP_OK;
}

dp_status dp_array_table(const dp_read_request *request, dp_array *samples,
                         const dp_array *labels, dp_table *out) {
    if (samples->ndim > DP_DATA_DIMS + 1) {
        return dp_fail(DP_EDATA, "%s: has %d dimensions, more than %d", samples->name,
                       samples->ndim, DP_DATA_DIMS + 1);
    }
    if (labels && labels->dim[0] != samples->dim[0]) {
        return dp_fail(DP_EDATA, "%s holds %lld samples, but %s holds %lld labels",
                       samples->name, (long long)samples->dim[0], labels->name,
                       (long long)labels->dim[0]);
    }
    bool channels_last = false;
    take_shape(request->layout, samples, out, &channels_last);
    out->bytes = samples->type == DP_BYTES;
    out->map = samples->map;
    out->raw = out->map.bytes > 0 ? out->map.memory : samples->value;
    samples->map = (dp_map){0};
    samples->value = NULL;
    if (!out->bytes) {
        DP_TRY(check_finite(samples->name, out));
    }
    if (channels_last && out->map.bytes > 0) {
        DP_TRY(copy_map(request, samples->name, out));
    }
    if (channels_last) {
        DP_TRY(move_channels_first(out));
    }
    return labels ? take_labels(request, labels, out) : DP_OK;
}

bool dp_array_labels_name(const char *name, char out[DP_MAX_PATH]) {
    const char *images = strstr(name, "images");
    size_t n = strcspn(name, "."); /* without .npy */
    if (images) {
        snprintf(out, DP_MAX_PATH, "%.*slabels%s", (int)(images - name), name,
                 images + 6);
        return true;
    }
    snprintf(out, DP_MAX_PATH, "%s", name);
    bool first = tolower((unsigned char)name[0]) == 'x' && (n == 1 || name[1] == '_');
    bool last = n > 2 && tolower((unsigned char)name[n - 1]) == 'x' && name[n - 2] == '_';
    if (first || last) {
        out[first ? 0 : n - 1]++; /* y comes after x, Y after X */
    }
    return first || last;
}

dp_status dp_array_find_labels(const char *path, const dp_read_request *request,
                               char out[DP_MAX_PATH], bool *found) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char folder[DP_MAX_PATH] = ".", name[DP_MAX_PATH];
    if (slash) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    }
    bool guessed = dp_array_labels_name(base, name);
    char *kind = strstr(name, "idx");
    if (kind && isdigit((unsigned char)kind[3])) {
        kind[3] = '1';
    }
    if (request->target[0]) {
        snprintf(name, sizeof name, "%s", request->target);
        guessed = true;
    }
    if (dp_path_ends(name, ".gz")) {
        name[strlen(name) - 3] = '\0';
    }
    *found = guessed && dp_path_find(folder, name, out);
    if (*found || request->schema.optional) {
        return DP_OK;
    }
    return guessed
               ? dp_fail(DP_EDATA, "%s: no labels beside it: looked for %s/%s and %s.gz",
                         path, folder, name, name)
               : dp_fail(
                     DP_EDATA,
                     "%s: cannot tell the name of its labels: samples are to have "
                     "\"images\" in their file's name and their labels \"labels\", or "
                     "x and y as in x_train and y_train",
                     path);
}
