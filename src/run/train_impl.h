/* What the files of the training loop share. */
#ifndef DP_RUN_TRAIN_IMPL_H
#define DP_RUN_TRAIN_IMPL_H

#include "data/sampler.h"
#include "files/checkpoint.h"
#include "files/metrics.h"
#include "files/rundir.h"
#include "run/evaluate.h"
#include "run/session.h"
#include "run/step.h"

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

typedef struct dp_run {
    dp_comm *comm;
    dp_config config;
    dp_session *session;
    dp_stepper *stepper;
    dp_sampler *sampler;
    dp_evaluator *evaluator;
    dp_progress_state at;
    bool claimed; /* run.output is ours */
    dp_start start;
    int64_t saved_step;   /* of the newest checkpoint, -1 if none */
    const char *metric;   /* that decides on the best epoch */
    bool full_batch;      /* an epoch is one step */
    double epoch_seconds; /* training time of the open epoch since this start */
    int64_t epoch_samples, epoch_steps;
    double began; /* clock at the start */

    /* rank 0 only, NULL elsewhere */
    dp_rundir *dir;
    dp_metrics *metrics;
    dp_snapshot *found; /* the checkpoint to go on from */
    char *text;         /* the resolved config */
    bool flush_failed;
} dp_run;

/* start.c: claims run.output and finds out how to begin. MPI: collective. Errors: agreed
 */
dp_status dp_run_claim(dp_run *run);
/* start.c: parameters, optimizer state and progress from run->found, or new ones.
 * MPI: collective. Errors: agreed */
dp_status dp_run_restore(dp_run *run);

/* record.c: checks that run->config.checkpoint.best can be had, and settles run->metric.
 */
dp_status dp_run_metric(dp_run *run);
/* record.c: the row of a step. MPI: local, rank 0 */
void dp_run_record_step(dp_run *run, const dp_step_result *r, int n, double lr);
/* record.c: writes metrics and a checkpoint. MPI: collective. Errors: agreed */
dp_status dp_run_checkpoint(dp_run *run, bool best);
/* record.c: metrics.h5 with that status, now. A failure is only said. MPI: local, rank 0
 */
void dp_run_flush(dp_run *run, const char *status);
/* record.c: evaluates and records the epoch that has just ended; *finished: no more are
 * to come. MPI: collective. Errors: agreed */
dp_status dp_run_end_epoch(dp_run *run, bool *finished);
/* record.c: scores the best checkpoint on the test set where a validation split chose it.
 * MPI: collective. Errors: agreed */
dp_status dp_run_final_test(dp_run *run);

#endif
