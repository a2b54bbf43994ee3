/* What a run writes: metrics.h5 and checkpoints, and when. It owns the run's folder and
 * all that is written there. All ranks have one, rank 0 writes; files go to the disk in a
 * thread while training goes on, so a failure to write shows later, in dp_saver_failed and
 * in the status of the collective functions. */
#ifndef DP_RUN_SAVER_H
#define DP_RUN_SAVER_H

#include "run/evaluate.h"
#include "start.h"
#include "state.h"

typedef struct dp_saver dp_saver;

/* Why a checkpoint is written. */
typedef enum dp_why { DP_WHILE_RUNNING, DP_AT_STOP, DP_AT_END } dp_why;

/* Writes config.ini and metrics.h5 as they are at the start; takes over the folder and the
 * checkpoint of `start`. Borrows session, stepper and the run's progress.
 * steps: of an epoch. MPI: collective. Errors: agreed. Owner: the caller, who ends it with
 * dp_saver_destroy */
dp_status dp_saver_create(const dp_session *session, dp_stepper *stepper,
                          const dp_progress_state *progress, int steps, dp_start *start,
                          dp_saver **out);
void dp_saver_destroy(dp_saver **saver);

/* The row of a step of n samples; begins to write what is due. MPI: local */
void dp_saver_step(dp_saver *saver, const dp_step_result *r, int n);

/* The rows of an epoch. MPI: local */
void dp_saver_epoch(dp_saver *saver, const dp_epoch_row *row,
                    const dp_profile_row *profile);

/* Whether files have failed so that the run must end; true on rank 0 only. MPI: local */
bool dp_saver_failed(dp_saver *saver);

/* Whether a checkpoint is due after this step, which may be the last one of an epoch.
 * MPI: collective at the end of an epoch with checkpoint.every = auto; else local */
bool dp_saver_due(dp_saver *saver, bool epoch_end);

/* Saves the state, if that was not done yet; is_best: it is the best one so far.
 * MPI: collective. Errors: agreed; DP_EDIVERGED where it isn't finite */
dp_status dp_saver_checkpoint(dp_saver *saver, bool is_best, dp_why why);

/* Keeps a copy of the state, which is the best one, to be written later.
 * MPI: collective. Errors: as dp_saver_checkpoint */
dp_status dp_saver_keep_best(dp_saver *saver);

/* Waits until the last checkpoint is on the disk. MPI: collective. Errors: agreed */
dp_status dp_saver_wait(dp_saver *saver);

/* All is on the disk, with that status in metrics.h5, and the score of the final test
 * (NULL or n = 0: there was none). MPI: collective. Errors: agreed */
dp_status dp_saver_finish(dp_saver *saver, const char *status, const dp_score *test);

/* DP_EDIVERGED, after the best checkpoint is on the disk and metrics.h5 says so. where:
 * the layer, for the message.
 * MPI: local */
dp_status dp_saver_diverged(dp_saver *saver, const char *where);

#endif
