/** Readers of data files: a new format is a new file dataset_<name>.c and a row in
 *  format.c. Formats of whole arrays share array.h, those read as a stream of bytes
 *  stream.h. */
#ifndef DP_DATA_READER_H
#define DP_DATA_READER_H

#include "data/dataset.h"

enum { DP_MAX_PATH = DP_TEXT + 64 };

/** What goes with each sample: follows from the loss. */
typedef enum dp_target_kind {
    DP_CLASSES, /* cross_entropy: label */
    DP_VALUES,  /* mse, mae, huber: target */
    DP_BINARY   /* bce: target, each 0 or 1 */
} dp_target_kind;

/** The request to a reader. Borrows. */
typedef struct dp_read_request {
    dp_target_kind kind;
    const char *target;            /* data.target: names separated by commas, or "" */
    const char *columns, *exclude; /* CSV: data.columns, data.exclude, likewise */
    const char *layout, *memory;   /* data.layout, data.memory */
    int nclass_name;               /* names of classes that are known; 0: none */
    char *const *class_name;
    dp_schema schema;
} dp_read_request;

typedef struct dp_format {
    const char *name; /* in data.format */
    /** Whether a file of that name is of this format, whatever is in it. */
    bool (*named)(const char *path);
    /** Whether one that begins with head[0..n) is; n = 16, or less in a shorter file. */
    bool (*begins)(const unsigned char *head, size_t n);
    /** Fills a zeroed table: n, features, shape, raw, and label (DP_CLASSES) or target.
     *  Every value is finite and every label in range afterwards. Errors: DP_EDATA,
     *  naming the file, the place in it and what is wrong; what the table then holds is
     *  freed by the caller. */
    dp_status (*read)(const char *path, const dp_read_request *request, dp_table *out);
} dp_format;

/** Reads a file in the format of that name, or of the file's own name or content
 *  ("auto"), and checks that its samples are as wide as the schema says, and images of
 *  its shape. *out is unchanged on an error. */
dp_status dp_format_read(const char *name, const char *path,
                         const dp_read_request *request, dp_table *out);

/** How many stretches of rows stand for a table where all of it may be too much: one, of all
 *  rows, up to 1 GiB, else 256 of a MiB, evenly spaced. */
int dp_table_stretches(const dp_table *table);

/** Rows [*begin, *end) of stretch k. */
void dp_table_stretch(const dp_table *table, int k, int *begin, int *end);

/** Whether the path ends so, in capitals or not. */
bool dp_path_ends(const char *path, const char *ending);

/** Finds `folder/name` or `folder/name.gz`. False: neither is there. */
bool dp_path_find(const char *folder, const char *name, char out[DP_MAX_PATH]);

/** Allocates what goes with n samples: label, or target[n][width]. */
dp_status dp_table_alloc_targets(const dp_read_request *request, size_t n, int width,
                                 dp_table *out);

/** Stores v, the k-th of what goes with sample i. Returns NULL, or why it can't be a label
 *  or target of this request, " is not a class number ...", until the next call. */
const char *dp_table_set_target(const dp_read_request *request, dp_table *out, size_t i,
                                int k, double v);

#endif
