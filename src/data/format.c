/* Which reader reads a file: by data.format, its name, or its first bytes. */
#include "reader.h"
#include "stream.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { HEAD = 16 }; /* bytes that tell the format */

static bool ends_with(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    return n > k && strcasecmp(path + n - k, ending) == 0;
}

static bool named_idx(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *idx = strstr(slash ? slash : path, "idx");
    return idx && isdigit((unsigned char)idx[3]);
}

static bool named_hdf5(const char *path) {
    return strstr(path, ".h5:/") || strstr(path, ".hdf5:/") || ends_with(path, ".h5") ||
           ends_with(path, ".hdf5");
}

static bool named_csv(const char *path) {
    return ends_with(path, ".csv") || ends_with(path, ".tsv") ||
           ends_with(path, ".csv.gz") || ends_with(path, ".tsv.gz");
}

static bool sniff_idx(const unsigned char *head, int n) {
    return n >= 4 && head[0] == 0 && head[1] == 0 && head[2] >= 8 && head[2] <= 14;
}

static bool sniff_hdf5(const unsigned char *head, int n) {
    return n >= 8 && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
}

static bool sniff_csv(const unsigned char *head, int n) {
    return n > 0 && !memchr(head, 0, (size_t)n);
}

typedef struct format {
    const char *name;
    bool (*named)(const char *path);
    bool (*sniff)(const unsigned char *head, int n);
    dp_status (*read)(const char *path, const dp_read_request *request, dp_table *out);
} format;

static const format formats[] = {
    {"idx", named_idx, sniff_idx, dp_idx_read_pair},
    {"hdf5", named_hdf5, sniff_hdf5, dp_hdf5_read},
    {"csv", named_csv, sniff_csv, dp_csv_read},
};
enum { FORMATS = sizeof formats / sizeof formats[0] };

/* The name decides first, so that a damaged file is read, and reported, as what it was.
 */
static dp_status detect(const char *path, const format **out) {
    for (int i = 0; i < FORMATS; i++) {
        if (formats[i].named(path)) {
            *out = &formats[i];
            return DP_OK;
        }
    }
    struct stat info;
    if (stat(path, &info) != 0) {
        return dp_fail(DP_EDATA, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return dp_fail(DP_EDATA,
                       "%s is a folder: name a file, or set data.dir to a folder of the "
                       "four MNIST files",
                       path);
    }
    unsigned char head[HEAD];
    size_t n = 0;
    dp_stream *stream = NULL;
    dp_status status = dp_stream_open(path, &stream);
    if (status == DP_OK) {
        status = dp_stream_read(stream, head, HEAD, &n);
    }
    dp_stream_close(&stream);
    if (status != DP_OK) {
        return status;
    }
    for (int i = 0; i < FORMATS; i++) {
        if (formats[i].sniff(head, (int)n)) {
            *out = &formats[i];
            return DP_OK;
        }
    }
    return dp_fail(DP_EDATA, "%s: neither IDX, nor HDF5, nor CSV text%s", path,
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
         memcmp(schema->shape, t->shape, (size_t)t->nshape * sizeof *t->shape))) {
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

dp_status dp_format_read(const char *name, const char *path,
                         const dp_read_request *request, dp_table *out) {
    const format *f = NULL;
    for (int i = 0; i < FORMATS; i++) {
        f = strcmp(formats[i].name, name) == 0 ? &formats[i] : f;
    }
    dp_status status = f ? DP_OK : detect(path, &f);
    dp_table table = {0};
    if (status == DP_OK) {
        status = f->read(path, request, &table);
    }
    if (status == DP_OK) {
        status = check_shape(path, &request->schema, &table);
    }
    if (status != DP_OK) {
        dp_table_free(&table);
        return status;
    }
    *out = table;
    return DP_OK;
}
