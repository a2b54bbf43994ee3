/** metrics.h5: what happened in the run, for people with h5py, readable while the run
 *  goes on. MPI: local (rank 0 calls). */
#ifndef DP_FILES_METRICS_H
#define DP_FILES_METRICS_H

#include "base/status.h"
#include "h5/h5file.h"
#include <stdbool.h>
#include <stdint.h>

/** A row of /steps, one an optimizer step (every metrics.every steps). */
typedef struct dp_step_row {
    int64_t step, epoch, samples; /* step and epoch from 1; samples: the global batch */
    double loss;                  /* batch mean before the update */
    double lr, grad_norm;
    double seconds, comm_seconds; /* the whole step, and any time in which the job was
                                     suspended in it; the part spent in exchange */
} dp_step_row;

/** A row of /epochs. NaN where a column doesn't apply. */
typedef struct dp_epoch_row {
    int64_t epoch, step; /* step: taken at its end */
    double train_loss, train_accuracy, val_loss, val_accuracy, test_loss, test_accuracy;
    double seconds, samples_per_second;        /* training only */
    double val_r2, val_mae, test_r2, test_mae; /* columns of regression runs only */
} dp_epoch_row;

/** A row of /profile, seconds of an epoch summed over its steps (of one that was
 *  interrupted, over those since). The first columns are those of rank 0, thread 0 (idle:
 *  waiting for other threads); the last compare all ranks: compute is what a rank works,
 *  wait what it spends in the exchange and for its threads.
 *  flops_per_second counts the floating-point operations of rank 0's samples, and
 *  skipped_flops_per_second those of them that zeros of the input made needless. */
typedef struct dp_profile_row {
    int64_t epoch;
    double data_seconds, forward_seconds, backward_seconds, reduce_seconds,
        update_seconds, idle_seconds;
    double compute_min_seconds, compute_mean_seconds, compute_max_seconds;
    double wait_min_seconds, wait_mean_seconds, wait_max_seconds;
    double flops_per_second, skipped_flops_per_second;
} dp_profile_row;

/** The run's facts for the root attributes. Its texts are borrowed for the life of a
 *  dp_metrics. */
typedef struct dp_run_facts {
    const char *program, *commit; /* "trainer 1.0", git commit */
    const char *config;           /* resolved INI text */
    const char *kernels;          /* kernel set */
    int ranks, threads, nodes;
    int64_t parameters, train_samples, val_samples, test_samples;
} dp_run_facts;

enum { DP_STEPS, DP_EPOCHS, DP_PROFILE, DP_TABLES };

/** Rows of the tables, n[table] of them: dp_step_row, dp_epoch_row, dp_profile_row. */
typedef struct dp_rows {
    int64_t n[DP_TABLES];
    void *of[DP_TABLES];
} dp_rows;

typedef struct dp_metrics dp_metrics;

/** An empty record for `path`; nothing is written yet. `regression` adds the R2 and MAE
 *  columns of /epochs. All rows stay in memory, as they are in the file: 64 bytes a step,
 *  232 an epoch. Owner: the caller, who ends it with dp_metrics_destroy. */
dp_status dp_metrics_create(const char *path, const dp_run_facts *facts, bool regression,
                            dp_metrics **out);

/** Takes over the rows of an existing metrics.h5 up to and including `step` / `epoch`
 *  (later ones are cut). A missing file gives no rows, and a warning; a damaged one
 *  neither: it is named in a warning and renamed to metrics.h5.damaged. Errors: DP_EFILE,
 *  DP_EINTERNAL. */
dp_status dp_metrics_load(dp_metrics *metrics, int64_t step, int64_t epoch);

/** Adds the rows of a checkpoint that come after those there are: metrics.h5 may not have
 *  been written with it, or be lost. */
void dp_metrics_append(dp_metrics *metrics, const dp_rows *rows);

/** Adds a row to DP_STEPS, DP_EPOCHS or DP_PROFILE, in memory. */
void dp_metrics_add(dp_metrics *metrics, int table, const void *row);

/** The rows up to `step` and `epoch` that are not known to be on the disk, for a
 *  checkpoint.
 *  Owner: metrics; valid until rows are added. */
dp_rows dp_metrics_unsaved(const dp_metrics *metrics, int64_t step, int64_t epoch);

/** Bytes of the file if it were written now, and of all rows that are not known to be in
 *  the one on the disk; about. */
int64_t dp_metrics_bytes(const dp_metrics *metrics);
int64_t dp_metrics_unsaved_bytes(const dp_metrics *metrics);

/** Root attribute status: "running", "stopped", "diverged" or "complete". */
void dp_metrics_status(dp_metrics *metrics, const char *status);

/** Root attribute checkpoint: the step of the newest checkpoint that is on the disk (0:
 *  there has been none yet), and whether the file on the disk still says 0. */
void dp_metrics_checkpoint(dp_metrics *metrics, int64_t step);
bool dp_metrics_hides_checkpoint(const dp_metrics *metrics);

/** Root attributes test_loss and test_accuracy (the best checkpoint's, scored once at the
 *  end). */
void dp_metrics_final_test(dp_metrics *metrics, double loss, double accuracy);

/** Whether a write would change the file. */
bool dp_metrics_dirty(const dp_metrics *metrics);

/** Writes the file now, if anything changed. Errors: DP_EFILE (previous file whole). */
dp_status dp_metrics_flush(dp_metrics *metrics);

/** The same in two steps, for a thread that writes: the finished file (NULL: nothing has
 *  changed; else the caller's, who ends it with dp_h5_close), and whether dp_h5_place has
 *  written it. */
dp_status dp_metrics_build(dp_metrics *metrics, dp_h5 **out);
void dp_metrics_placed(dp_metrics *metrics, bool placed);

void dp_metrics_destroy(dp_metrics **metrics);

#endif
