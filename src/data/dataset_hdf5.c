/* HDF5: "file.h5", "file.h5:/group" with the datasets images and labels, or x and y; or
 * "file.h5:/dataset" with its labels beside it. data.target names another dataset of
 * labels. uint8 stays bytes, other numbers become floats; labels may be texts. Attributes
 * may name things: `columns` of x and of y, `classes` of labels that are numbers. */
#include "array.h"
#include "base/memory.h"
#include "class_names.h"
#include "h5/h5file.h"
#include "names.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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

/* An attribute `layout` of the samples: NCHW or NHWC, or data.layout's words. */
static dp_status read_layout(const source *s, const char *dataset, dp_array *a) {
    char layout[32] = "";
    if (!dp_h5_has_attr(s->h5, dataset, "layout")) {
        return DP_OK;
    }
    DP_TRY(
        dp_h5_get_attr_one(s->h5, dataset, "layout", DP_H5_TEXT, sizeof layout, layout));
    a->channels_first =
        strcmp(layout, "NCHW") == 0 || strcmp(layout, "channels_first") == 0;
    a->channels_last =
        strcmp(layout, "NHWC") == 0 || strcmp(layout, "channels_last") == 0;
    return a->channels_first || a->channels_last
               ? DP_OK
               : dp_fail(DP_EDATA,
                         "%s has the attribute layout '%s': must be NCHW or NHWC (or "
                         "channels_first, channels_last)",
                         a->name, layout);
}

static dp_status read_array(const source *s, const dp_read_request *request,
                            const char *dataset, bool samples, dp_array *a) {
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
    if (type == DP_H5_TEXT && !samples && a->count <= INT_MAX) {
        a->type = DP_TEXTS;
        return dp_h5_get_texts(s->h5, dataset, (int)a->count, (char ***)&a->value);
    }
    if (samples) {
        DP_TRY(read_layout(s, dataset, a));
    }
    a->type = !samples ? DP_DOUBLES : type == DP_H5_U8 ? DP_BYTES : DP_FLOATS;
    static const dp_h5_type as[] = {
        [DP_BYTES] = DP_H5_U8, [DP_FLOATS] = DP_H5_F32, [DP_DOUBLES] = DP_H5_F64};
    if (samples) {
        int64_t at = 0;
        DP_TRY(dp_h5_where(s->h5, dataset, as[a->type], &at));
        DP_TRY(dp_array_map_file(request, s->file, at,
                                 at < 0
                                     ? "it is chunked, packed or of another type: write "
                                       "it contiguous, as uint8 or float32"
                                     : NULL,
                                 a));
    }
    if (a->map.bytes > 0) {
        return DP_OK;
    }
    DP_TRY(dp_array_alloc(a));
    return dp_h5_get(s->h5, dataset, as[a->type], (int64_t)a->count, a->value);
}

/* ---- names that its attributes give ---- */

/* The texts of an attribute, n of them; NULL where it isn't there. Owner: the caller. */
static dp_status get_names(source *s, const char *dataset, const char *attr, int *n,
                           char ***names) {
    *names = NULL;
    *n = 0;
    return dataset[0] && dp_h5_has_attr(s->h5, dataset, attr)
               ? dp_h5_get_attr(s->h5, dataset, attr, DP_H5_TEXT, n, names)
               : DP_OK;
}

/* `columns` of the samples, and of their labels, are the table's, as a CSV file's header. */
static dp_status take_columns(source *s, int inputs, char *const *input, int labels,
                              char *const *label, const dp_schema *schema,
                              dp_table *out) {
    int targets = !s->label[0] ? 0 : out->ntargets > 0 ? out->ntargets : 1;
    if (inputs == 0 || (targets > 0 && labels == 0) || out->bytes || out->nshape != 1) {
        return DP_OK;
    }
    if (inputs != out->features || labels != targets) {
        return dp_fail(DP_EDATA,
                       "%s: its columns' names are %d and %d, but it has %d and %d",
                       s->path, inputs, labels, out->features, targets);
    }
    for (int k = 0; k < inputs && schema->ncolumns > 0 && k < schema->features; k++) {
        if (strcmp(input[k], schema->column[k]) != 0) {
            return dp_fail(DP_EDATA,
                           "%s: column %d is '%s', but the training data has '%s' there",
                           s->path, k + 1, input[k], schema->column[k]);
        }
    }
    char **all = dp_alloc((size_t)(inputs + targets), sizeof *all);
    memcpy(all, input, (size_t)inputs * sizeof *all);
    for (int k = 0; k < targets; k++) {
        all[inputs + k] = label[k];
    }
    out->ncolumns = inputs + targets;
    out->column = dp_names_copy(inputs + targets, all);
    free(all);
    return DP_OK;
}

static dp_status read_columns(source *s, const dp_schema *schema, dp_table *out) {
    int inputs = 0, labels = 0;
    char **input = NULL, **label = NULL;
    dp_status status = get_names(s, s->data, "columns", &inputs, &input);
    status = status ? status : get_names(s, s->label, "columns", &labels, &label);
    status = status ? status : take_columns(s, inputs, input, labels, label, schema, out);
    free(input);
    free(label);
    return status;
}

/* `classes` of labels that are numbers names the classes, as data.classes does. */
static dp_status read_classes(source *s, const dp_read_request *request, int *n,
                              char ***names) {
    if (!dp_class_names_open(request) || s->labels.type == DP_TEXTS) {
        return DP_OK;
    }
    DP_TRY(get_names(s, s->label, "classes", n, names));
    return request->kind == DP_BINARY && *n != 0 && *n != 2
               ? dp_fail(DP_EDATA,
                         "%s: '%s' names %d classes, but loss.name = bce has two",
                         s->path, s->label, *n)
               : DP_OK;
}

static dp_status make_table(source *s, const dp_read_request *request, int nclasses,
                            char *const *class, dp_table *out) {
    dp_read_request own = *request;
    if (nclasses > 0) {
        own.nclass_name = nclasses;
        own.class_name = class;
        own.schema.classes = own.kind == DP_CLASSES ? nclasses : 0;
    }
    DP_TRY(dp_array_table(&own, &s->samples, s->label[0] ? &s->labels : NULL, out));
    if (nclasses > 0) {
        out->nclass_name = nclasses;
        out->class_name = dp_names_copy(nclasses, class);
    }
    return read_columns(s, &request->schema, out);
}

static dp_status read_source(source *s, const dp_read_request *request, dp_table *out) {
    const char *object = cut_path(s->path, s->file);
    int nclasses = 0;
    char **class = NULL;
    DP_TRY(dp_h5_open_any(s->file, DP_EDATA, &s->h5));
    DP_TRY(find_samples(s, object));
    DP_TRY(find_labels(s, request));
    DP_TRY(read_array(s, request, s->data, true, &s->samples));
    if (s->label[0]) {
        DP_TRY(read_array(s, request, s->label, false, &s->labels));
    }
    dp_status status = read_classes(s, request, &nclasses, &class);
    status = status ? status : make_table(s, request, nclasses, class, out);
    free(class);
    return status;
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
