/** Data sets: a table of samples in memory, from IDX, CSV or HDF5 files.
 *  Bytes stay bytes: images are converted on the way into the model. */
#ifndef DP_DATA_DATASET_H
#define DP_DATA_DATASET_H

#include "base/status.h"
#include "config/config.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** One file's worth of samples. */
typedef struct dp_table {
    int n;            /* samples */
    int features;     /* per sample */
    int nshape;       /* of a sample: [1,28,28] (bytes of an image) or [features] */
    int shape[4];
    bool bytes;       /* raw is uint8_t[n][features], else float[n][features] */
    void *raw;        /* owner: this table */
    int32_t *label;   /* [n] class labels, or NULL; owner: this table */
    float *target;    /* [n][ntargets], or NULL; owner: this table */
    int ntargets;
    char **column;    /* names: features then targets (CSV), or NULL; owner: this table */
} dp_table;

/** The data of a run: training and test tables, and the splits. */
typedef struct dp_dataset {
    dp_table train, test;  /* test.n = 0: no test set */
    int classes;           /* number of classes (cross_entropy), else 0 */
    int outputs;           /* width of the model's output layer: classes, or targets */
    char **class_name;     /* [classes] or NULL; owner: this */
    int32_t *train_row;    /* [train_n] rows of `train` that are trained on, ascending */
    int train_n;
    int32_t *val_row;      /* [val_n] rows of `train` that are held out, ascending */
    int val_n;
    int nmean;             /* 0: none; 1: one for all; features: one a column */
    double *mean, *std;    /* [nmean], double: as stored in the checkpoint */
    float *mean_f, *inv_std_f; /* [nmean]: as the kernels take them */
    char fingerprint[72];  /* hex digest over the training and test files' contents as read */
} dp_dataset;

/** Opens what the config names, cuts limit and validation, and takes the statistics of the
 *  training split if normalize = standardize (per-sample sums in double along the block tree
 *  over the split's index).
 *  `classes` of the config name the classes.  Errors: DP_EDATA naming the file and what is wrong
 *  in it, DP_EUSAGE for a split that doesn't fit (validation >= n, ...).
 *  Owner: the caller, who frees with dp_dataset_destroy.   MPI: local (every rank, or rank 0) */
dp_status dp_dataset_open(const dp_config *config, dp_dataset **out);

void dp_dataset_destroy(dp_dataset **data);

/** Rough memory of the tables in bytes. */
size_t dp_dataset_bytes(const dp_dataset *data);

/* Readers, one file each: a new format is a new file and a row in dataset.c's table. */

/** IDX images (magic 0x803, or any uint8 IDX of 2 or more dimensions) and labels (0x801), each
 *  plain or .gz. Checks magic, dimensions, exact length and that counts agree; labels must be
 *  < 256 classes and the set of labels dense enough to count (largest label + 1 = classes).
 *  Labels are checked against `classes` (0: take largest + 1). */
dp_status dp_idx_read(const char *images, const char *labels, int classes, dp_table *out);

/** Frees what a reader allocated and zeroes the table. */
void dp_table_free(dp_table *table);

#endif
