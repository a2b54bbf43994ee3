/* The table of formats, and which of them a file has: by data.format, its name, or its
 * first bytes. */
#include "reader.h"
#include "stream.h"
#include <stdio.h>
#include <string.h>

/* One row a format: dp_format_<name> of dataset_<name>.c. CSV is what looks like no
 * other. */
#define FORMATS_(ROW)                                                                    \
    ROW(idx)                                                                             \
    ROW(hdf5)                                                                            \
    ROW(npy)                                                                             \
    ROW(csv)

#define DECLARED(name) extern const dp_format dp_format_##name;
#define LISTED(name) &dp_format_##name,
#define IN_TEXT(name) " " #name
FORMATS_(DECLARED)
static const dp_format *const formats[] = {FORMATS_(LISTED)};
enum { FORMATS = sizeof formats / sizeof formats[0], HEAD = 16 };

static const dp_format *format_called(const char *name) {
    for (int i = 0; i < FORMATS; i++) {
        if (strcmp(formats[i]->name, name) == 0) {
            return formats[i];
        }
    }
    return NULL;
}

static const dp_format *format_named(const char *path) {
    for (int i = 0; i < FORMATS; i++) {
        if (formats[i]->named(path)) {
            return formats[i];
        }
    }
    return NULL;
}

static dp_status look_into(const char *path, const dp_format **out) {
    unsigned char head[HEAD];
    size_t n = 0;
    dp_stream *stream = NULL;
    DP_TRY(dp_stream_open(
        path, "name a file, or set data.dir to a folder of the four MNIST files",
        &stream));
    dp_status status = dp_stream_read(stream, head, HEAD, &n);
    dp_stream_close(&stream);
    DP_TRY(status);
    for (int i = 0; i < FORMATS; i++) {
        if (formats[i]->begins(head, n)) {
            *out = formats[i];
            return DP_OK;
        }
    }
    return dp_fail(DP_EDATA, "%s: in none of the formats" FORMATS_(IN_TEXT) "%s", path,
                   n == 0 ? ": it is empty" : "; data.format says which it is");
}

/* A sample is as wide as the training data's and, where both are images, of their
 * shape. */
static dp_status check_shape(const char *path, const dp_schema *schema,
                             const dp_table *t) {
    char ours[DP_SHAPE_TEXT], theirs[DP_SHAPE_TEXT];
    bool images = schema->nshape > 1 && t->nshape > 1;
    if (images &&
        (schema->nshape != t->nshape ||
         memcmp(schema->shape, t->shape, (size_t)t->nshape * sizeof *t->shape) != 0)) {
        dp_shape_text(t->nshape, t->shape, ours);
        dp_shape_text(schema->nshape, schema->shape, theirs);
        return dp_fail(DP_EDATA,
                       "%s: images of %s, but those of the training data are of %s", path,
                       ours, theirs);
    }
    if (schema->features > 0 && t->features != schema->features) {
        return dp_fail(DP_EDATA, "%s: %d values a sample, but the training data has %d",
                       path, t->features, schema->features);
    }
    return DP_OK;
}

static dp_status read_table(const char *name, const char *path,
                            const dp_read_request *request, dp_table *out) {
    const dp_format *format = format_called(name);
    /* The name decides first, so that a damaged file is read, and reported, as what it
     * was. */
    format = format ? format : format_named(path);
    if (!format) {
        DP_TRY(look_into(path, &format));
    }
    bool lists = request->columns[0] || request->exclude[0];
    if (lists && format != &dp_format_csv && request->schema.features == 0) {
        return dp_fail(DP_EUSAGE,
                       "data.columns and data.exclude choose columns of CSV files, but "
                       "%s is of format %s",
                       path, format->name);
    }
    DP_TRY(format->read(path, request, out));
    return check_shape(path, &request->schema, out);
}

dp_status dp_format_read(const char *name, const char *path,
                         const dp_read_request *request, dp_table *out) {
    dp_table table = {0};
    dp_status status = read_table(name, path, request, &table);
    if (status != DP_OK) {
        dp_table_free(&table);
        return status;
    }
    *out = table;
    return DP_OK;
}
