/** Checkpoints: all that a run needs to go on, bit for bit. Layout:
 *  src/README.md, "The contract of files".
 *  MPI: local (rank 0 calls).  Errors: DP_EFILE with file and reason. */
#ifndef DP_FILES_CHECKPOINT_H
#define DP_FILES_CHECKPOINT_H

#include "base/status.h"
#include "base/tensor.h"
#include "files/metrics.h"
#include <stdbool.h>
#include <stdint.h>

enum { DP_SLOTS = 4 }; /* most optimizer slots */

/** What a checkpoint holds. For writing, all pointers are borrowed from the caller. */
typedef struct dp_snapshot {
    char program[64], commit[64],
        created[40]; /* created: set by the writer, ISO 8601 UTC */
    int ranks, threads;

    char *config; /* resolved INI text */

    int ntensors;
    dp_tensor *tensors; /* offsets into params and every slot */
    float *params;
    char layers[2048]; /* with the output layer: "dense:512 relu dense:10" */
    char loss[16];
    int nshape, shape[4]; /* input_shape: [1,28,28] or [n] */
    int nclasses;         /* class names; 0 for regression */
    char **classes;
    int ncolumns; /* names of the input columns then the targets (tables); else 0 */
    int ntargets; /* how many of the names are targets */
    char **columns;

    char optimizer[16];
    double lr; /* of the last step */
    int nslots;
    char slot_name[DP_SLOTS][16]; /* momentum | m, v */
    float *slot[DP_SLOTS];

    char normalize[16];
    bool bytes; /* the features were uint8 */
    int nmean;  /* 0, 1 or F */
    double *mean, *std;
    char fingerprint[72]; /* of the data set */
    int64_t train_samples, val_samples, test_samples;

    int64_t epoch;    /* completed */
    int64_t step;     /* optimizer steps taken */
    int64_t position; /* steps done in the open epoch */
    double loss_sum;  /* of the open epoch */
    int64_t samples;  /* of the open epoch */
    int64_t correct;  /* predictions in it; -1: not known (files of older versions) */
    uint64_t seed;
    double best;       /* best metric so far, NaN if none */
    int64_t best_step; /* the checkpoint that best.h5 points to, 0 if none */
    int64_t patience;  /* epochs without a better one */

    bool regression; /* /metrics/epochs with the R2 and MAE columns */
    dp_rows rows;    /* /metrics: the newest, which metrics.h5 may not hold yet */
} dp_snapshot;

/** A checkpoint on its way to the disk. */
typedef struct dp_checkpoint dp_checkpoint;

/** Builds the file in memory, after which `snapshot` is no longer needed: of step
 *  snapshot->step, in `folder`, runs/<name>/checkpoints. Owner: the caller, who frees
 *  with dp_checkpoint_destroy. */
dp_status dp_checkpoint_build(const char *folder, const dp_snapshot *snapshot, bool best,
                              int keep, dp_checkpoint **out);

/** Writes folder/step-%08lld.h5, then last.h5 (and best.h5 if `best`), then removes what
 *  `keep` (>= 1; the newest that many stay, and the one that best.h5 names) makes
 *  superfluous; removes only files that it could have written itself. Tried `retries`
 *  more times. On failure the previous files are whole. In any thread. */
dp_status dp_checkpoint_place(dp_checkpoint *checkpoint, int retries);

/** Bytes of the file. */
int64_t dp_checkpoint_bytes(const dp_checkpoint *checkpoint);

void dp_checkpoint_destroy(dp_checkpoint **checkpoint);

/** Whether what a file says fits together. `path` stands in messages. Errors: DP_EFILE,
 *  naming the fact; DP_EDIVERGED: parameters that are not finite */
typedef dp_status dp_checkpoint_check(const char *path, const dp_snapshot *snapshot);

/** The checkpoint that people mean by a path: that file, or of a run's folder best.h5,
 *  else last.h5. Owner: the caller, who frees *file. Errors: DP_EFILE: the folder has
 *  neither */
dp_status dp_checkpoint_find(const char *path, char **file);

/** Reads one file, which another program may have written or changed (then a warning says
 *  so); what doesn't pass `check` is not returned. Owner: the caller, who frees with
 *  dp_snapshot_destroy. Errors: also those of `check` */
dp_status dp_checkpoint_read(const char *path, dp_checkpoint_check *check,
                             dp_snapshot **out);

/** The newest valid checkpoint in `folder`: files whose digest doesn't fit and that can't
 *  be read, or don't pass `check`, are named in a warning, renamed to <name>.damaged and
 *  passed over; last.h5 and best.h5 are repaired where a killed writer or the damage left
 *  them behind. *out NULL if there is none (DP_OK).
 *  Errors: DP_EFILE where the folder, or a file in it that is as it was written (no
 *  permission, another version's format), cannot be read: going on from an older one
 *  would lose work. Those of `check` likewise. */
dp_status dp_checkpoint_newest(const char *folder, dp_checkpoint_check *check,
                               dp_snapshot **out);

/** Frees a snapshot that dp_checkpoint_read made and all it holds. *s may be NULL. */
void dp_snapshot_destroy(dp_snapshot **s);

#endif
