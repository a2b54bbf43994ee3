/* What training changes, and how it gets into a checkpoint and out of one. */
#ifndef DP_RUN_STATE_H
#define DP_RUN_STATE_H

#include "files/checkpoint.h"
#include "run/session.h"
#include "step/step.h"

/* Where the run stands; the same on every rank. */
typedef struct dp_progress_state {
    int64_t epoch;    /* completed */
    int64_t step;     /* taken */
    int64_t position; /* steps done in the open epoch */
    int64_t samples;  /* of the open epoch */
    double loss_sum;  /* of the open epoch */
    int64_t correct;  /* predictions in the open epoch; -1: not known */
    double lr;        /* of the last step */
    double best;      /* NaN: none yet */
    int64_t best_step, patience;
} dp_progress_state;

/* New parameters, as the config says. MPI: collective. Errors: agreed */
dp_status dp_state_init(dp_session *session, dp_stepper *stepper,
                        dp_progress_state *progress);

/* Parameters, optimizer state and progress of the checkpoint `from`, which rank 0 has
 * read. MPI: collective. Errors: agreed; DP_EDATA where the data has changed since */
dp_status dp_state_restore(const dp_snapshot *from, dp_session *session,
                           dp_stepper *stepper, dp_progress_state *progress);

/* What a checkpoint holds of the run, but for progress and rows; arrays are borrowed, so
 * that parameters and optimizer state are always those of now.
 * classes: names for data whose classes have none. MPI: local */
void dp_state_snapshot(const dp_session *session, const dp_stepper *stepper, char *config,
                       char **classes, dp_snapshot *out);

/* Puts a progress into a snapshot. MPI: local */
void dp_state_set_progress(const dp_progress_state *progress, dp_snapshot *out);

/* A state that is not the run's own any more. */
typedef struct dp_state_copy {
    bool there;
    dp_progress_state progress;
    float *params, *slot[DP_SLOTS]; /* owner: this; NULL before the first */
} dp_state_copy;

/* Copies the slabs of a snapshot, `floats` each. MPI: local. Errors: DP_EINTERNAL (no
 * memory). Owner: the caller, who frees with dp_state_copy_free */
dp_status dp_state_copy_from(dp_state_copy *copy, const dp_snapshot *from, size_t floats,
                             const dp_progress_state *progress);
void dp_state_copy_free(dp_state_copy *copy);

#endif
