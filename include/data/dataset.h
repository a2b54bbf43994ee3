/** Data sets: a table of samples in memory, from IDX, CSV, HDF5 or NPY files.
 *  Bytes stay bytes: images are converted on the way into the model. */
#ifndef DP_DATA_DATASET_H
#define DP_DATA_DATASET_H

#include "base/map.h"
#include "base/status.h"
#include "base/tensor.h"
#include "config/config.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DP_DATA_DIMS = 4 };

/** One file's worth of samples. */
typedef struct dp_table {
    int n;        /* samples */
    int features; /* per sample */
    int nshape;   /* of a sample: [C,H,W] of an image, [1,28,28] or [3,32,32], or
                     [features] */
    int shape[DP_DATA_DIMS];
    bool bytes;      /* raw is uint8_t[n][features], else float[n][features]; images have
                       their channels first, whatever the file has */
    void *raw;       /* owner: this table */
    dp_map map;      /* where raw lies in a file, else zeros */
    int32_t *label;  /* [n] class labels (cross_entropy), or NULL; owner: this table */
    float *target;   /* [n][ntargets] (regression, bce), or NULL; owner: this table */
    int ntargets;    /* 0 without target */
    int ncolumns;    /* CSV: features, then targets or the label; else 0 */
    char **column;   /* [ncolumns] or NULL; one allocation; owner: this table */
    int nclass_name; /* of a training file whose labels are texts, else 0 */
    char **class_name; /* [nclass_name] or NULL; one allocation; owner: this table */
} dp_table;

/** The data of a run: training and test tables, and the splits. */
typedef struct dp_dataset {
    dp_table train, test; /* train.n: after data.limit; test.n = 0: no test set */
    int classes;          /* number of classes (cross_entropy), else 0 */
    int outputs;          /* width of the model's output layer: classes, or targets */
    char **class_name;    /* [classes] (cross_entropy), [2] (bce) or NULL; one allocation;
                             owner: this */
    float *class_weight;  /* [classes], with bce [2]: how much their samples count in the
                             loss of training; NULL: all alike; owner: this */
    int32_t *train_row;   /* [train_n] rows of `train` that are trained on, ascending */
    int train_n;
    int32_t *val_row; /* [val_n] rows of `train` that are held out, ascending */
    int val_n;
    int nmean;     /* 0: none; 1: one for all; features: one a column */
    double *mean;  /* [nmean], of bytes over value / 255: as stored in the checkpoint */
    double *std;   /* [nmean] the divisor: deviation, or 1 in a constant column */
    float *mean_f; /* [nmean] as the kernels take them */
    float *inv_std_f;     /* [nmean] 1 / std */
    char fingerprint[72]; /* hex digest over both tables as used (after data.limit):
                             shapes, values, labels, targets; no names. The
                             first 16 digits are of `train` alone. Of a table of
                             more than 1 GiB, 256 stretches of its rows count */
} dp_dataset;

/** Opens what the config names, cuts limit and validation, and takes the statistics of
 *  the training split if normalize = standardize (per-sample sums in double along the
 *  block tree over the split's index). `data.classes` names the classes, and then says
 *  how many there are (each but once; two with bce); without it, where the labels are texts,
 *  the different ones, sorted, are the classes, else there are (largest label of the whole
 *  training file) + 1. Notes (dp_warn): constant columns under standardize,
 *  classes without a sample.
 *  Errors: DP_EDATA naming the file and what is wrong in it, DP_EUSAGE for a split that
 *  doesn't fit (validation >= n, ...). Owner: the caller, who frees with
 *  dp_dataset_destroy. MPI: local (every rank, or rank 0) */
dp_status dp_dataset_open(const dp_config *config, dp_dataset **out);

void dp_dataset_destroy(dp_dataset **data);

/** How many names class_name has. */
static inline int dp_dataset_class_names(const dp_dataset *data) {
    return !data->class_name ? 0 : data->classes > 0 ? data->classes : 2;
}

/** Bytes of a row of raw. */
static inline size_t dp_table_row_bytes(const dp_table *table) {
    return (size_t)table->features * (table->bytes ? 1 : sizeof(float));
}

/** The class of a sample: its label, or with bce whether its target is 1. */
static inline int dp_table_class(const dp_table *table, int row) {
    return table->label ? table->label[row] : table->target[row] > 0;
}

/** Errors: DP_EDATA where a file that a table maps is another one by now. MPI: local */
dp_status dp_dataset_check(const dp_dataset *data);

/** Rough memory of the tables in bytes, without what is mapped. */
size_t dp_dataset_bytes(const dp_dataset *data);

/** What a trained model expects of a file; zeros: any file will do. Borrows. */
typedef struct dp_schema {
    int features; /* width of a sample; 0: any */
    int nshape;   /* where it is an image: shape[nshape], else 0 or 1 */
    const int *shape;
    int classes; /* labels must be below it; 0: any */
    int nclass_name;
    char *const *class_name; /* [nclass_name] where data.classes is empty */
    int ncolumns;            /* 0, or features + targets */
    /* [ncolumns] dp_table.column of the training file: the columns of a CSV file are
     * matched by these names, in this order, and others ignored */
    char *const *column;
    bool optional; /* labels or targets may be missing: label and target are then NULL */
} dp_schema;

/** Reads one file of any format, as eval and predict need it: nothing is cut or
 *  normalised. path: as data.train ("file.h5:/group" too); NULL: the config's test set,
 *  and where it names none, out->n = 0. Of the config, format, dir, test, target, classes
 *  and loss.name count. Errors: DP_EDATA (*out unchanged), also for another width than
 *  the schema's, and for images of another shape (rows of as many numbers are fine).
 *  Owner: the caller, who frees with dp_table_free. */
dp_status dp_dataset_read(const dp_config *config, const char *path,
                          const dp_schema *schema, dp_table *out);

/** "1x28x28". */
void dp_shape_text(int nshape, const int *shape, char out[DP_SHAPE_TEXT]);

/** Feature f of a row as the file has it. */
double dp_table_value(const dp_table *table, int32_t row, int f);

/** Frees or unmaps raw. */
void dp_table_drop_raw(dp_table *table);

/** Frees what a reader allocated and zeroes the table. */
void dp_table_free(dp_table *table);

#endif
