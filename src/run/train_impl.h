/* What the files of the training loop share. */
#ifndef DP_RUN_TRAIN_IMPL_H
#define DP_RUN_TRAIN_IMPL_H

#include "data/sampler.h"
#include "files/checkpoint.h"
#include "files/metrics.h"
#include "files/rundir.h"
#include "files/writer.h"
#include "run/budget.h"
#include "run/evaluate.h"
#include "run/session.h"
#include "step/step.h"

/* Where the run stands; the same on every rank. */
typedef struct dp_progress_state {
    int64_t epoch;    /* completed */
    int64_t step;     /* taken */
    int64_t position; /* steps done in the open epoch */
    int64_t samples;  /* of the open epoch */
    double loss_sum;  /* of the open epoch */
    double lr;        /* of the last step */
    double best;      /* NaN: none yet */
    int64_t best_step, patience;
} dp_progress_state;

typedef enum dp_start { DP_START_NEW, DP_START_RESUME, DP_START_COMPLETE } dp_start;

/* Why a checkpoint is written. */
typedef enum dp_why { DP_AT_EPOCH, DP_AT_STOP, DP_AT_END } dp_why;

/* The state after the best epoch, as long as it is not on the disk: a resume from before
 * it finds it again, with the same bits, so no checkpoint of a later step may come to the
 * disk earlier. */
typedef struct dp_kept {
    bool there;
    dp_progress_state progress;
    float *params, *slot[DP_SLOTS]; /* owner: this; NULL before the first */
} dp_kept;

typedef struct dp_run {
    dp_comm *comm;
    dp_config config;
    dp_session *session;
    dp_stepper *stepper;
    dp_sampler *sampler;
    dp_evaluator *evaluator;
    dp_progress_state progress;
    bool claimed; /* run.output is locked by this run */
    dp_start start;
    /* step of the newest checkpoint, which may still be being written; -1: none */
    int64_t checkpoint_step;
    const char *metric;   /* that decides on the best epoch */
    bool full_batch;      /* an epoch is one step */
    double epoch_seconds; /* training time of the open epoch since this start */
    int64_t epoch_samples, epoch_steps;
    bool checkpoint_due; /* checkpoint.every = auto wants one at the end of this epoch */
    double start_time;   /* clock at the start */
    int64_t step_epoch;  /* of the last step, from 1 */
    double loss, grad_norm; /* of the last step */

    /* rank 0 only, NULL elsewhere */
    dp_rundir *dir;
    dp_metrics *metrics;
    dp_snapshot *resume_from; /* the checkpoint to resume from */
    char *text;               /* the resolved config */
    bool flush_failed; /* metrics.h5 could not be written, and a warning was given */
    dp_writer *writer;
    int64_t writing_step;       /* step of the checkpoint that the writer has */
    double handed_at, building; /* clock then, and the seconds that it took to build it */
    dp_budget budget;
    dp_kept last_good;
    int64_t carried;      /* bytes of rows in checkpoints since metrics.h5 was written */
    int64_t placed;       /* checkpoints of this start */
    int64_t durable_step; /* step of the newest one on disk, -1 if none */
    dp_status failure;    /* why the run must end after this step */
    char failure_text[2048]; /* and its message */
} dp_run;

/* start.c: locks run.output and decides how to start.
 * MPI: collective. Errors: agreed */
dp_status dp_run_claim(dp_run *run);
/* start.c: parameters, optimizer state and progress from run->resume_from, or new ones.
 * MPI: collective. Errors: agreed */
dp_status dp_run_restore(dp_run *run);

/* epoch.c: the metric that selects the best epoch. Errors: DP_EUSAGE where the run has no
 * such metric */
dp_status dp_run_best_metric(const dp_session *session, const char **metric);
/* save.c: metrics.h5 as it is at the start.  MPI: local, rank 0 */
dp_status dp_run_begin_files(dp_run *run);
/* save.c: the row of a step; starts what is due to be written. MPI: local */
void dp_run_record_step(dp_run *run, const dp_step_result *r, int n, double lr);
/* save.c: whether checkpoint.every = auto saves this run at the end of epochs. MPI:
 * local */
bool dp_run_autosaves(const dp_run *run);
/* save.c: whether it is to be saved now. The clock decides, so rank 0 tells the others;
 * false there.
 * MPI: local */
bool dp_run_wants_checkpoint(dp_run *run);
/* save.c: whether files have failed so that the run must end. MPI: local */
bool dp_run_poll(dp_run *run);
/* save.c: builds a checkpoint and hands it to the writer, after the best one if that is
 * still to be written; `best`: it is the best one itself. A failure to write shows in
 * dp_run_poll and dp_run_wait_writer. MPI: collective. Errors: agreed */
dp_status dp_run_checkpoint(dp_run *run, bool best, dp_why failure_text);
/* save.c: keeps a copy of the state, which is the best one, to be written later.
 * MPI: collective. Errors: agreed */
dp_status dp_run_keep_best(dp_run *run);
/* save.c: waits until the checkpoint is on the disk. MPI: collective. Errors: agreed */
dp_status dp_run_wait_writer(dp_run *run);
/* save.c: everything is on disk, with that status in metrics.h5.
 * MPI: collective. Errors: agreed */
dp_status dp_run_finish(dp_run *run, const char *status);
/* save.c: DP_EDIVERGED, after the best checkpoint is on the disk and metrics.h5 says so.
 * MPI: local */
dp_status dp_run_diverged(dp_run *run, const char *where);
/* state.c: DP_EDIVERGED where parameters or optimizer state aren't finite: a checkpoint
 * is only worth the good one before it if one can go on from it. MPI: local */
dp_status dp_run_check_finite(dp_run *run);
/* state.c: copies the state to run->kept, if it is finite. dp_run_forget frees the copy.
 * MPI: local, rank 0, after dp_stepper_gather.  Errors: DP_EDIVERGED, DP_EINTERNAL */
dp_status dp_run_remember(dp_run *run);
void dp_run_forget(dp_run *run);
/* state.c: the checkpoint of run->kept, or of the run as it is. Owner: the caller, who
 * ends it with dp_checkpoint_destroy. MPI: local, rank 0 */
dp_status dp_run_build(dp_run *run, bool last_good, bool best, dp_checkpoint **out);
/* state.c: its bytes without rows, about. MPI: local */
int64_t dp_run_state_bytes(const dp_run *run);
/* epoch.c: evaluates and records the epoch that has just ended; *finished: it was the
 * last one.
 * MPI: collective. Errors: agreed */
dp_status dp_run_end_epoch(dp_run *run, bool *finished);
/* epoch.c: waits for the parameters of the last step, which counts as training time. MPI:
 * local */
void dp_run_wait_params(dp_run *run);
/* epoch.c: scores the best checkpoint on the test set where a validation split chose it.
 * MPI: collective. Errors: agreed */
dp_status dp_run_final_test(dp_run *run);

#endif
