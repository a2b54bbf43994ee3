/* The end of an epoch: evaluation, metrics rows, log line, best and patience. */
#include "epoch.h"
#include "base/log.h"
#include "base/memory.h"
#include "facts.h"
#include "lines.h"
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The metrics that can decide on the best epoch. */
static const struct metric {
    const char *name;
    size_t offset; /* in dp_epoch_row */
    bool higher;   /* is better */
} metrics[] = {
    {"train_loss", offsetof(dp_epoch_row, train_loss), false},
    {"train_accuracy", offsetof(dp_epoch_row, train_accuracy), true},
    {"val_loss", offsetof(dp_epoch_row, val_loss), false},
    {"val_accuracy", offsetof(dp_epoch_row, val_accuracy), true},
    {"val_r2", offsetof(dp_epoch_row, val_r2), true},
    {"val_mae", offsetof(dp_epoch_row, val_mae), false},
    {"test_loss", offsetof(dp_epoch_row, test_loss), false},
    {"test_accuracy", offsetof(dp_epoch_row, test_accuracy), true},
    {"test_r2", offsetof(dp_epoch_row, test_r2), true},
    {"test_mae", offsetof(dp_epoch_row, test_mae), false},
};

dp_status dp_epoch_metric(const dp_session *session, const char **metric) {
    const dp_dataset *data = session->data;
    const char *asked = session->config.checkpoint.best;
    bool validation = data->val_n > 0, test = !validation && data->test.n > 0;
    const char *usual = validation ? "val_loss" : test ? "test_loss" : "train_loss";
    *metric = strcmp(asked, "auto") == 0 || strcmp(asked, "none") == 0 ? usual : asked;
    bool is_val = strncmp(*metric, "val_", 4) == 0;
    bool is_test = strncmp(*metric, "test_", 5) == 0;
    bool accuracy = strstr(*metric, "accuracy") != NULL;
    bool regression = strstr(*metric, "_r2") || strstr(*metric, "_mae");
    if ((is_val && !validation) || (is_test && !test) ||
        (accuracy && !session->loss->accuracy) ||
        (regression && session->loss->accuracy)) {
        return dp_fail(DP_EUSAGE,
                       "checkpoint.best = %s: this run has no such metric (%s, loss %s); "
                       "auto takes %s",
                       asked,
                       validation ? "it scores the validation split"
                       : test     ? "it scores the test set"
                                  : "it has neither validation split nor test set",
                       session->config.loss.name, usual);
    }
    return DP_OK;
}

/* Records the row's metric as the best one if it is better than the best so far. */
static bool improves(dp_run *run, const dp_epoch_row *row) {
    const struct metric *m = metrics;
    while (strcmp(m->name, run->metric) != 0) {
        m++;
    }
    double v = 0, best = run->progress.best;
    memcpy(&v, (const char *)row + m->offset, sizeof v);
    if (!isfinite(v) || !(isnan(best) || (m->higher ? v > best : v < best))) {
        return false;
    }
    run->progress.best = v;
    return true;
}

/* Minimum, mean and maximum of v over the ranks; which = the rank with the maximum. */
static void min_mean_max(const double *v, int ranks, double out[3], int *which) {
    out[0] = out[2] = v[0];
    *which = 0;
    double sum = 0;
    for (int r = 0; r < ranks; r++) {
        sum += v[r];
        out[0] = v[r] < out[0] ? v[r] : out[0];
        *which = v[r] > out[2] ? r : *which;
        out[2] = v[r] > out[2] ? v[r] : out[2];
    }
    out[1] = sum / ranks;
}

/* Where the epoch's time went, here and over the ranks; a rank that holds the others up
 * is named. */
static dp_profile_row profile(const dp_run *run) {
    enum { NOTICE = 10, LEAST_STEPS = 10 }; /* percent of the epoch; steps that it has */
    dp_times t = dp_stepper_times(run->stepper);
    int ranks = dp_comm_size(run->comm), rank = dp_comm_rank(run->comm), slowest = 0,
        other = 0;
    double *all = dp_alloc(2 * (size_t)ranks, sizeof *all), compute[3], wait[3];
    all[rank] = t.data + t.forward + t.backward + t.update;
    all[ranks + rank] = t.reduce + t.idle;
    dp_comm_sum(run->comm, all, 2 * (size_t)ranks);
    min_mean_max(all, ranks, compute, &slowest);
    min_mean_max(all + ranks, ranks, wait, &other);
    free(all);
    double lost = compute[2] - compute[1], whole = compute[1] + wait[1];
    if (ranks > 1 && run->epoch_steps >= LEAST_STEPS && lost * 100 > whole * NOTICE) {
        dp_log("        rank %d is slow: it computes %.2f s an epoch, the ranks' mean is "
               "%.2f s",
               slowest, compute[2], compute[1]);
    }
    return (dp_profile_row){.epoch = run->progress.epoch,
                            .data_seconds = t.data,
                            .forward_seconds = t.forward,
                            .backward_seconds = t.backward,
                            .reduce_seconds = t.reduce,
                            .update_seconds = t.update,
                            .idle_seconds = t.idle,
                            .compute_min_seconds = compute[0],
                            .compute_mean_seconds = compute[1],
                            .compute_max_seconds = compute[2],
                            .wait_min_seconds = wait[0],
                            .wait_mean_seconds = wait[1],
                            .wait_max_seconds = wait[2],
                            .flops_per_second = t.flops / run->epoch_seconds,
                            .skipped_flops_per_second = t.skipped / run->epoch_seconds};
}

/* Whether the epoch that has just ended is scored. */
static bool is_scored(const dp_run *run) {
    int64_t epoch = run->progress.epoch;
    return epoch == run->config->train.epochs ||
           epoch % run->config->train.eval_every == 0;
}

static const dp_score none = {
    .n = 0, .loss = NAN, .accuracy = NAN, .r2 = NAN, .mae = NAN};

dp_status dp_epoch_evaluate(dp_run *run, dp_score *out) {
    const dp_dataset *data = run->session->data;
    *out = none;
    if (is_scored(run) && data->val_n > 0) {
        return dp_evaluate(run->evaluator, &data->train, data->val_row, data->val_n, out);
    }
    if (is_scored(run) && data->test.n > 0) {
        return dp_evaluate(run->evaluator, &data->test, NULL, data->test.n, out);
    }
    return DP_OK;
}

/* Of the samples as they were seen, each before the update that it was for. */
static double train_accuracy(const dp_run *run) {
    const dp_progress_state *progress = &run->progress;
    bool known = run->session->loss->accuracy && progress->correct >= 0;
    return known ? (double)progress->correct / (double)progress->samples : NAN;
}

void dp_epoch_record(dp_run *run, const dp_score *score, bool *best) {
    dp_progress_state *progress = &run->progress;
    bool validates = run->session->data->val_n > 0;
    const dp_score *val = validates ? score : &none, *test = validates ? &none : score;
    dp_epoch_row row = {.epoch = progress->epoch,
                        .step = progress->step,
                        .train_loss = progress->loss_sum / (double)progress->samples,
                        .train_accuracy = train_accuracy(run),
                        .val_loss = val->loss,
                        .val_accuracy = val->accuracy,
                        .test_loss = test->loss,
                        .test_accuracy = test->accuracy,
                        .seconds = run->epoch_seconds,
                        .samples_per_second =
                            (double)run->epoch_samples / run->epoch_seconds,
                        .val_r2 = val->r2,
                        .val_mae = val->mae,
                        .test_r2 = test->r2,
                        .test_mae = test->mae};
    dp_profile_row times = profile(run);
    dp_saver_epoch(run->saver, &row, &times);
    bool better = improves(run, &row);
    progress->patience = better ? 0 : progress->patience + is_scored(run);
    *best = better && strcmp(run->config->checkpoint.best, "none") != 0;
    if (*best) {
        progress->best_step = progress->step;
    }
    dp_lines_epoch(run, &row, score);
    progress->samples = 0;
    progress->loss_sum = 0;
    progress->correct = 0;
    run->epoch_seconds = 0;
    run->epoch_samples = run->epoch_steps = 0;
}

dp_status dp_epoch_final_test(dp_run *run, dp_score *out) {
    const dp_dataset *data = run->session->data;
    bool root = dp_comm_rank(run->comm) == 0, chosen = run->progress.best_step > 0;
    *out = none;
    if (data->val_n == 0 || data->test.n == 0) {
        return DP_OK;
    }
    dp_snapshot *best = NULL;
    char *path = dp_printed("%s/checkpoints/%s.h5", run->config->run.output,
                            chosen ? "best" : "last");
    dp_status s = dp_comm_agree(
        run->comm, root ? dp_checkpoint_read(path, dp_facts_check, &best) : DP_OK);
    s = s != DP_OK ? s : dp_session_load(run->session, best, path);
    dp_snapshot_destroy(&best);
    free(path);
    DP_TRY(s);
    DP_TRY(dp_evaluate(run->evaluator, &data->test, NULL, data->test.n, out));
    dp_lines_test(run, out, chosen);
    return DP_OK;
}
