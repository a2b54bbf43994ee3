/** Readers of data files, one .c file each: a new format is a new file, a line here and a
 *  row in format.c's table.
 *
 *  A reader fills a zeroed table: n, features, shape, raw, and label (DP_CLASSES) or
 *  target. Every value is finite and every label in range afterwards. Errors: DP_EDATA,
 *  naming the file, the place in it and what is wrong; what the table then holds is freed
 *  by the caller. */
#ifndef DP_DATA_READER_H
#define DP_DATA_READER_H

#include "data/dataset.h"

enum { DP_MAX_CLASSES = 65536 }; /* beyond that it is hardly a class number */

/** What goes with each sample: follows from the loss. */
typedef enum dp_target_kind {
    DP_CLASSES, /* cross_entropy: label */
    DP_VALUES,  /* mse: target */
    DP_BINARY   /* bce: target, each 0 or 1 */
} dp_target_kind;

/** The request to a reader. Borrows. */
typedef struct dp_read_request {
    dp_target_kind kind;
    const char *target; /* data.target: names separated by commas, or "" */
    int nclass_name;    /* names of data.classes; 0: none */
    char *const *class_name;
    dp_schema schema;
} dp_read_request;

/** Reads a file in the format of that name, or of the file's own name or content
 *  ("auto"), and checks that its samples are as wide as the schema says, and images of
 *  its shape. *out is unchanged on an error. */
dp_status dp_format_read(const char *name, const char *path,
                         const dp_read_request *request, dp_table *out);

/** IDX images and the labels beside them: "images" -> "labels" and "idx<k>" -> "idx1" in
 *  the file's name, .gz or not. */
dp_status dp_idx_read_pair(const char *path, const dp_read_request *request,
                           dp_table *out);

/** IDX images (magic 0x803, or any uint8 IDX of 2 to 5 dimensions) and labels (0x801, or
 *  NULL: none), each plain or .gz whatever the name. Checks magic, dimensions (against
 *  the file's length, before anything is allocated), exact length, that counts agree, and
 *  that labels are below `classes` (0: none leaves most classes below it empty; -1:
 *  any). */
dp_status dp_idx_read(const char *images, const char *labels, int classes, dp_table *out);

/** Finds `folder/name` or `folder/name.gz`. False: neither is there. out[DP_TEXT + 64] */
bool dp_idx_find(const char *folder, const char *name, char *out);

/** Text with a header line of names; separated by comma, tab or semicolon, found by
 *  itself; fields may be quoted (RFC 4180); plain or .gz. Each cell of a used column is a
 *  number with a decimal point; a column of classes, two of them with bce, holds their
 *  numbers from 0, or names of data.classes. Without data.target the last column is the
 *  target. */
dp_status dp_csv_read(const char *path, const dp_read_request *request, dp_table *out);

/** "file.h5", "file.h5:/group" with the datasets images and labels, or x and y; or
 *  "file.h5:/dataset" with its labels beside it (images -> labels, x -> y in its name).
 *  data.target names another dataset of labels. uint8 stays bytes, other numbers become
 *  float32. Samples [n], [n,features], [n,rows,columns] or [n,channels,rows,columns];
 *  class labels [n]; targets [n] or [n,targets]. */
dp_status dp_hdf5_read(const char *path, const dp_read_request *request, dp_table *out);

/** Copies n names into one allocation. Owner: the caller frees with dp_memory_free. */
dp_status dp_names_copy(int n, char *const *names, char ***out);

/** Cuts text at commas, blanks around trimmed, into one allocation as above. "" gives n =
 *  0. Errors: DP_EUSAGE for an empty name. */
dp_status dp_names_split(const char *text, int *n, char ***out);

/** Whether names[0..n) holds the name of `length` bytes at `name`: its place, or -1. */
int dp_names_find(int n, char *const *names, const char *name, size_t length);

#endif
