/** Arrays, as IDX, HDF5 and NPY files hold them, and the table that two of them make: one of
 *  samples, one of what goes with each. */
#ifndef DP_DATA_ARRAY_H
#define DP_DATA_ARRAY_H

#include "reader.h"
#include "stream.h"

enum { DP_ARRAY_DIMS = 8 };

typedef struct dp_array {
    char *name; /* in messages: the file, and the dataset in it; owner: this */
    int ndim;   /* at least 1 */
    int64_t dim[DP_ARRAY_DIMS];
    size_t count;                       /* values: the product of dim */
    bool channels_last, channels_first; /* what the file says of four dimensions */
    enum { DP_BYTES, DP_FLOATS, DP_DOUBLES, DP_TEXTS } type; /* DP_TEXTS: of labels */
    void *value; /* row-major; texts: a char *[count] and what they point to, in one
                    allocation; owner: this */
    dp_map map;  /* where the samples' values lie in a file, and `value` is NULL; owner:
                    this */
} dp_array;

/** Sets count. Errors: DP_EDATA where a dimension is less than 1, there are more values
 *  or samples than an int can number, or more than a file of `length` bytes can hold,
 *  packed or not: a damaged header is to allocate nothing. */
dp_status dp_array_count(dp_array *a, size_t length);

/** Maps the samples' values, as they lie in the file from byte `at` on, if data.memory says
 *  so: a->map has bytes then. why_not: NULL, or why they can't be taken as they are.
 *  Errors: DP_EDATA, for data.memory = map also where they can't */
dp_status dp_array_map_file(const dp_read_request *request, const char *file, int64_t at,
                            const char *why_not, dp_array *a);

/** The same for the values that a stream of the file a->name would read next, which it
 *  passes then. */
dp_status dp_array_map(const dp_read_request *request, dp_stream *s, const char *why_not,
                       dp_array *a);

/** Allocates `value`. */
dp_status dp_array_alloc(dp_array *a);

void dp_array_free(dp_array *a);

/** The table of these samples, bytes or floats, and their labels, bytes, doubles or texts
 *  (NULL: there are none). Takes the samples' `value`. A sample's shape follows from the
 *  dimensions:
 *      [n]                             one number a sample: [1]
 *      [n,F]                           F numbers
 *      [n,H,W]                         images of one channel: [1,H,W]
 *      [n,C,H,W] or [n,H,W,C]          images: data.layout says which, or the file, or the
 *                                      first axis of the two that is 1, 3 or 4 long. In
 *                                      the table they are [C,H,W], the order of PyTorch
 *      others of four, or five         as they are
 *  Errors: DP_EDATA for a value that isn't finite, another number of labels, or a label
 *  or target that the request doesn't allow. */
dp_status dp_array_table(const dp_read_request *request, dp_array *samples,
                         const dp_array *labels, dp_table *out);

/** The file of the labels beside a file of samples, plain or .gz: that of the name
 *  request->target, else the one that dp_array_labels_name gives, with idx1 in place of
 *  idx<k>. *found: it is there. Errors: DP_EDATA where it isn't, unless it is optional */
dp_status dp_array_find_labels(const char *path, const dp_read_request *request,
                               char out[DP_MAX_PATH], bool *found);

/** The name of the labels beside samples of that name: images -> labels ("train-images"),
 *  or x -> y where it stands alone ("x", "x_train", "train_X",
 *  whatever follows the first dot). False: it doesn't say. */
bool dp_array_labels_name(const char *name, char out[DP_MAX_PATH]);

#endif
