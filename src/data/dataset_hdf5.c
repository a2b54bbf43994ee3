/* HDF5: "file.h5", "file.h5:/group" with the datasets images and labels, or x and y; or
 * "file.h5:/dataset" with its labels beside it. data.target names another dataset of
 * labels. uint8 stays bytes, other numbers become floats. */
#include "array.h"
#include "base/memory.h"
#include "h5/h5file.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct source {
    const char *path;        /* as the user wrote it */
    char file[DP_MAX_PATH];  /* the file's part of it */
    char data[DP_MAX_PATH];  /* the dataset of samples */
    char label[DP_MAX_PATH]; /* its labels or targets, "" if there are none */
    dp_h5 *h5;
    dp_array samples, labels;
} source;

static bool named(const char *path) {
    return strstr(path, ".h5:/") || strstr(path, ".hdf5:/") ||
           dp_path_ends(path, ".h5") || dp_path_ends(path, ".hdf5");
}

static bool begins(const unsigned char *head, size_t n) {
    return n >= 8 && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
}

/* "file.h5:/object": the file and the object, "" without one. */
static const char *cut_path(const char *path, char file[DP_MAX_PATH]) {
    const char *colon = strstr(path, ":/");
    if (!colon || access(path, F_OK) == 0) {
        snprintf(file, DP_MAX_PATH, "%s", path);
        return "";
    }
    snprintf(file, DP_MAX_PATH, "%.*s", (int)(colon - path), path);
    return colon[2] ? colon + 1 : "";
}

static dp_status find_samples(source *s, const char *object) {
    static const char *const names[] = {"images", "x"};
    for (int i = 0; i < 2; i++) {
        snprintf(s->data, DP_MAX_PATH, "%s/%s", object, names[i]);
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
    snprintf(s->data, DP_MAX_PATH, "%s", object);
    return DP_OK;
}

static dp_status find_labels(source *s, const dp_read_request *request) {
    const char *base = strrchr(s->data, '/') + 1;
    int folder = (int)(base - s->data);
    char name[DP_MAX_PATH] = "";
    bool known = request->target[0] || dp_array_labels_name(base, name);
    if (request->target[0]) {
        snprintf(name, sizeof name, "%s", request->target);
    }
    int n = name[0] == '/'
                ? snprintf(s->label, DP_MAX_PATH, "%s", name)
                : snprintf(s->label, DP_MAX_PATH, "%.*s%s", folder, s->data, name);
    if (known && n < DP_MAX_PATH && dp_h5_has(s->h5, s->label)) {
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

static dp_status read_array(const source *s, const char *dataset, bool samples,
                            dp_array *a) {
    dp_h5_type type;
    struct stat info = {0};
    a->name = dp_printed("%s: '%s'", s->path, dataset);
    DP_TRY(dp_h5_shape(s->h5, dataset, &type, &a->ndim, a->dim));
    if (a->ndim < 1) {
        return dp_fail(DP_EDATA, "%s is a single value, not one row a sample", a->name);
    }
    if (stat(s->file, &info) != 0) {
        return dp_fail(DP_EDATA, "%s: can't be read any more", s->file);
    }
    DP_TRY(dp_array_count(a, (size_t)info.st_size));
    a->type = !samples ? DP_DOUBLES : type == DP_H5_U8 ? DP_BYTES : DP_FLOATS;
    static const dp_h5_type as[] = {
        [DP_BYTES] = DP_H5_U8, [DP_FLOATS] = DP_H5_F32, [DP_DOUBLES] = DP_H5_F64};
    DP_TRY(dp_array_alloc(a));
    return dp_h5_get(s->h5, dataset, as[a->type], (int64_t)a->count, a->value);
}

static dp_status read_source(source *s, const dp_read_request *request, dp_table *out) {
    const char *object = cut_path(s->path, s->file);
    DP_TRY(dp_h5_open_any(s->file, DP_EDATA, &s->h5));
    DP_TRY(find_samples(s, object));
    DP_TRY(find_labels(s, request));
    DP_TRY(read_array(s, s->data, true, &s->samples));
    if (s->label[0]) {
        DP_TRY(read_array(s, s->label, false, &s->labels));
    }
    return dp_array_table(request, &s->samples, s->label[0] ? &s->labels : NULL, out);
}

static dp_status read_hdf5(const char *path, const dp_read_request *request,
                           dp_table *out) {
    source s = {.path = path};
    dp_status status = read_source(&s, request, out);
    dp_array_free(&s.samples);
    dp_array_free(&s.labels);
    dp_h5_close(&s.h5);
    return status;
}

const dp_format dp_format_hdf5 = {"hdf5", named, begins, read_hdf5};
