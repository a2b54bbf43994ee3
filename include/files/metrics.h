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
    double train_loss, val_loss, val_accuracy, test_loss, test_accuracy;
    double seconds, samples_per_second;        /* training only */
    double val_r2, val_mae, test_r2, test_mae; /* columns of regression runs only */
} dp_epoch_row;

/** A row of /profile, seconds of an epoch summed over its steps (of one that was interrupted, over
 *  those since). The first columns are those of rank 0, thread 0 (idle: waiting for other threads);
 *  the last compare all ranks: compute is what a rank works, wait what it spends in the exchange
 *  and for its threads. */
typedef struct dp_profile_row {
    int64_t epoch;
    double data_seconds, forward_seconds, backward_seconds, reduce_seconds,
        update_seconds, idle_seconds;
    double compute_min_seconds, compute_mean_seconds, compute_max_seconds;
    double wait_min_seconds, wait_mean_seconds, wait_max_seconds;
} dp_profile_row;

/** The run's facts for the root attributes. */
typedef struct dp_run_facts {
    const char *program, *commit; /* "trainer 1.0", git commit */
    const char *config;           /* resolved INI text */
    const char *kernels;          /* kernel set */
    int ranks, threads, nodes;
    int64_t parameters, train_samples, val_samples, test_samples;
} dp_run_facts;

typedef struct dp_metrics dp_metrics;

/** An empty record for `path`; nothing is written yet. `regression` adds the R2 and MAE
 *  columns of /epochs. flush_seconds: the shortest time between two writes; it lengthens
 *  itself so that writing stays under 1% of the time. Owner: the caller, who ends it with
 *  dp_metrics_destroy. */
dp_status dp_metrics_create(const char *path, const dp_run_facts *facts, bool regression,
                            double flush_seconds, dp_metrics **out);

/** Takes over the rows of an existing metrics.h5 up to and including `step` / `epoch`
 *  (later ones are cut). A missing file gives no rows; a damaged one neither: it is named
 *  in a warning and renamed to metrics.h5.damaged. Errors: DP_EFILE, DP_EINTERNAL. */
dp_status dp_metrics_load(dp_metrics *metrics, int64_t step, int64_t epoch);

/** Adds the rows of a checkpoint that come after those there are: metrics.h5 may not have
 *  been written with it, or be lost. Errors: DP_EINTERNAL (no memory). */
dp_status dp_metrics_append(dp_metrics *metrics, int64_t nsteps, const dp_step_row *steps,
                            int64_t nepochs, const dp_epoch_row *epochs);

/** Adds a row in memory. Errors: DP_EINTERNAL (no memory). */
dp_status dp_metrics_step(dp_metrics *metrics, const dp_step_row *row);
dp_status dp_metrics_epoch(dp_metrics *metrics, const dp_epoch_row *row);
dp_status dp_metrics_profile(dp_metrics *metrics, const dp_profile_row *row);

/** The epoch rows so far (for the checkpoint). Owner: metrics; valid until the next call.
 */
const dp_epoch_row *dp_metrics_epochs(const dp_metrics *metrics, int64_t *n);

/** Root attribute status: "running", "stopped", "diverged" or "complete". */
void dp_metrics_status(dp_metrics *metrics, const char *status);

/** Root attributes test_loss and test_accuracy (the best checkpoint's, scored once at the
 *  end). */
void dp_metrics_final_test(dp_metrics *metrics, double loss, double accuracy);

/** Writes the file if the flush time has come, atomically. Errors: DP_EFILE. */
dp_status dp_metrics_tick(dp_metrics *metrics);

/** Writes the file now, if anything changed. Errors: DP_EFILE (previous file whole). */
dp_status dp_metrics_flush(dp_metrics *metrics);

/** The same in two parts, for a thread that writes: the finished file (NULL: nothing has
 *  changed; else the caller's, who ends it with dp_h5_close), and whether dp_h5_place put it
 *  on the disk. */
dp_status dp_metrics_build(dp_metrics *metrics, dp_h5 **out);
void dp_metrics_placed(dp_metrics *metrics, bool placed);

/** The step rows that are not known to be on the disk. Owner: metrics; valid until the next
 *  call. */
const dp_step_row *dp_metrics_unsaved(const dp_metrics *metrics, int64_t *n);

/** Reads the status of an existing metrics.h5 into out[size]; "" if there is none or it
 *  is damaged. */
void dp_metrics_read_status(const char *path, char *out, int size);

void dp_metrics_destroy(dp_metrics **metrics);

#endif
