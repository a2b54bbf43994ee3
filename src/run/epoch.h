/* A run while it trains, and what happens at the end of its epochs. */
#ifndef DP_RUN_EPOCH_H
#define DP_RUN_EPOCH_H

#include "data/sampler.h"
#include "run/evaluate.h"
#include "saver.h"

typedef struct dp_run {
    dp_comm *comm;           /* borrowed */
    const dp_config *config; /* borrowed */
    dp_start start;
    dp_session *session;
    dp_sampler *sampler;
    dp_stepper *stepper;
    dp_evaluator *evaluator;
    dp_saver *saver;
    const char *metric; /* that decides on the best epoch */
    dp_progress_state progress;
    int64_t first_step; /* taken before this start */
    long major_faults;  /* pages that this process has waited for the disk for, lately */
    int64_t ask_until;  /* the step until which rows are asked for ahead */
    double start_time;  /* clock */
    double line_time;   /* clock, at the last line of an epoch */
    /* of the open epoch since this start: training time, samples, steps */
    double epoch_seconds;
    int64_t epoch_samples, epoch_steps;
} dp_run;

/* An epoch is one step: lines count epochs then. MPI: local */
static inline bool dp_run_full_batch(const dp_run *run) {
    return run->sampler->steps == 1;
}

/* No epoch follows: that was the last one, or train.patience is at its end. MPI: local */
static inline bool dp_run_finished(const dp_run *run) {
    int64_t patience = run->config->train.patience;
    return run->progress.epoch >= run->config->train.epochs ||
           (patience > 0 && run->progress.patience >= patience);
}

/* The metric that decides on the best epoch. MPI: local. Errors: DP_EUSAGE where the run
 * has no such metric */
dp_status dp_epoch_metric(const dp_session *session, const char **metric);

/* Scores the epoch that has just ended, where train.eval_every says so; n = 0 else.
 * MPI: collective. Errors: agreed */
dp_status dp_epoch_evaluate(dp_run *run, dp_score *out);

/* Records the epoch and closes it: metrics rows, log line, best and patience. *best: it is
 * the best one so far, and that is to be saved. MPI: collective */
void dp_epoch_record(dp_run *run, const dp_score *score, bool *best);

/* Scores the best checkpoint on the test set where a validation split chose it; n = 0
 * else. MPI: collective. Errors: agreed */
dp_status dp_epoch_final_test(dp_run *run, dp_score *out);

#endif
