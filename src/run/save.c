/* What a run writes: metrics rows of steps, checkpoints, its status. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "train_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Records why the run must end; all ranks learn of it by the next step's stop request. */
static void fail_run(dp_run *run, dp_status s) {
    if (run->failure == DP_OK) {
        run->failure = s;
        snprintf(run->failure_text, sizeof run->failure_text, "%s", dp_status_message());
    }
}

/* metrics.h5 could not be written, which by itself ends no run. */
static void flush_failed(dp_run *run, dp_status s, const char *text) {
    if (dp_rundir_lost(run->dir)) {
        fail_run(run, s);
    } else if (!run->flush_failed) {
        dp_warn("%s; training goes on, the rows are kept in memory and written later",
                text);
    }
    run->flush_failed = true;
}

/* Waits for the writer and records how its writes went. */
static void collect_writes(dp_run *run) {
    if (!dp_writer_busy(run->writer)) {
        return;
    }
    dp_written w;
    dp_status s = dp_writer_wait(run->writer, &w);
    for (int k = 0; k < DP_WRITES; k++) {
        if (w.bytes[k] > 0) {
            dp_budget_note(&run->budget, k, run->handed_at, run->building + w.seconds[k],
                           w.bytes[k]);
        }
    }
    if (w.bytes[DP_WRITE_METRICS] > 0) {
        dp_metrics_placed(run->metrics, w.metrics == DP_OK);
        if (w.metrics != DP_OK) {
            flush_failed(run, w.metrics, w.text);
        } else {
            run->flush_failed = false;
            run->carried = 0;
        }
    } else if (s == DP_OK) {
        run->durable_step = run->writing_step;
        dp_metrics_checkpoint(run->metrics, run->durable_step);
    } else {
        fail_run(run, s);
    }
}

bool dp_run_poll(dp_run *run) {
    if (run->dir && dp_writer_idle(run->writer)) {
        collect_writes(run);
    }
    return run->failure != DP_OK;
}

/* The status of the files, on rank 0. */
static dp_status files_status(dp_run *run) {
    collect_writes(run);
    return run->failure == DP_OK ? DP_OK : dp_fail(run->failure, "%s", run->failure_text);
}

dp_status dp_run_wait_writer(dp_run *run) {
    return dp_comm_agree(run->comm, run->dir ? files_status(run) : DP_OK);
}

/* ---- what is written, and when ---- */

static void hand_over(dp_run *run, double begin, const dp_job *job) {
    run->handed_at = dp_clock();
    run->building = dp_clock_thread() - begin;
    dp_writer_start(run->writer, job);
}

/* The writer gets metrics.h5. That alone ends no run. */
static void start_metrics(dp_run *run) {
    dp_job job = {0};
    double begin = dp_clock_thread();
    dp_status s = dp_metrics_build(run->metrics, &job.metrics);
    if (s != DP_OK) {
        flush_failed(run, s, dp_status_message());
    } else if (job.metrics) {
        hand_over(run, begin, &job);
    }
}

/* The writer gets the best state, if that is not on the disk yet, and with `newest` the
 * one that the run is in, which may be the best one itself. */
static dp_status start_checkpoints(dp_run *run, bool newest, bool best) {
    dp_job job = {.retries = (int)run->config.checkpoint.retries};
    double begin = dp_clock_thread();
    dp_status s = newest ? dp_run_check_finite(run) : DP_OK;
    if (s == DP_OK && run->last_good.there && !best) {
        s = dp_run_build(run, true, true, &job.best);
    }
    if (s == DP_OK && newest) {
        s = dp_run_build(run, false, best, &job.newest);
    }
    if (s != DP_OK) {
        dp_checkpoint_destroy(&job.best);
        dp_checkpoint_destroy(&job.newest);
        return s;
    }
    run->writing_step = newest ? run->progress.step : run->last_good.progress.step;
    run->carried += dp_metrics_unsaved_bytes(run->metrics);
    run->placed += (job.best != NULL) + newest;
    run->last_good.there = false;
    hand_over(run, begin, &job);
    return DP_OK;
}

/* What the run would leave if it ended now. */
static int64_t final_bytes(const dp_run *run) {
    int64_t keep = run->config.checkpoint.keep, files = run->placed + 1;
    return dp_metrics_bytes(run->metrics) +
           ((files < keep ? files : keep) + 1) * dp_run_state_bytes(run);
}

static int64_t checkpoint_bytes(const dp_run *run) {
    return dp_run_state_bytes(run) + dp_metrics_unsaved_bytes(run->metrics);
}

static bool checkpoint_due(const dp_run *run, double now) {
    return dp_budget_due(&run->budget, DP_WRITE_CHECKPOINT, now, checkpoint_bytes(run),
                         final_bytes(run));
}

static bool metrics_due(const dp_run *run, double now) {
    int64_t bytes = dp_metrics_bytes(run->metrics);
    return dp_metrics_dirty(run->metrics) &&
           (dp_budget_due(&run->budget, DP_WRITE_METRICS, now, bytes, final_bytes(run)) ||
            (dp_metrics_hides_checkpoint(run->metrics) &&
             dp_budget_affords(&run->budget, DP_WRITE_METRICS, now, bytes)));
}

/* Whether metrics.h5 is to be written before a checkpoint that else carries its rows:
 * where they outweigh the state, and were carried so often that the file costs no more,
 * or where they would stay. A stop may have little time. A file that can't be written
 * keeps no checkpoint waiting. */
static bool rows_first(const dp_run *run, dp_why failure_text) {
    int64_t rows = dp_metrics_unsaved_bytes(run->metrics);
    int64_t carried = failure_text == DP_AT_STOP ? rows : run->carried + rows;
    return rows > dp_run_state_bytes(run) &&
           (failure_text == DP_AT_END || carried * 2 > dp_metrics_bytes(run->metrics));
}

bool dp_run_autosaves(const dp_run *run) {
    return strcmp(run->config.checkpoint.every, "auto") == 0 && !run->full_batch;
}

bool dp_run_wants_checkpoint(dp_run *run) {
    double now = dp_clock();
    if (!run->dir || !dp_run_autosaves(run) || !dp_writer_idle(run->writer)) {
        return false;
    }
    collect_writes(run);
    if (!checkpoint_due(run, now)) {
        return false;
    }
    bool rows = !run->flush_failed && rows_first(run, DP_AT_EPOCH) &&
                dp_budget_affords(&run->budget, DP_WRITE_METRICS, now,
                                  dp_metrics_bytes(run->metrics));
    if (rows) {
        start_metrics(run);
    }
    return !rows;
}

void dp_run_record_step(dp_run *run, const dp_step_result *r, int n, double lr) {
    if (!run->metrics) {
        return;
    }
    if ((run->progress.step - 1) % run->config.metrics.every == 0) {
        dp_step_row row = {.step = run->progress.step,
                           .epoch = run->progress.epoch + 1,
                           .samples = n,
                           .loss = r->loss,
                           .lr = lr,
                           .grad_norm = r->grad_norm,
                           .seconds = r->seconds,
                           .comm_seconds = r->comm_seconds};
        dp_metrics_add(run->metrics, DP_STEPS, &row);
    }
    double now = dp_clock();
    dp_status s = DP_OK;
    if (!dp_writer_busy(run->writer)) {
        if (metrics_due(run, now)) {
            start_metrics(run);
        } else if (run->last_good.there && !dp_run_autosaves(run) &&
                   checkpoint_due(run, now)) {
            s = start_checkpoints(run, false, false);
        }
    }
    if (s != DP_OK) {
        fail_run(run, s);
    }
}

dp_status dp_run_begin_files(dp_run *run) {
    dp_budget_begin(&run->budget, dp_clock(), run->config.metrics.flush);
    double begin = dp_clock_thread();
    dp_status s = dp_metrics_flush(run->metrics);
    dp_budget_note(&run->budget, DP_WRITE_METRICS, dp_clock(), dp_clock_thread() - begin,
                   dp_metrics_bytes(run->metrics));
    return s;
}

dp_status dp_run_finish(dp_run *run, const char *status) {
    dp_status s = run->dir ? files_status(run) : DP_OK;
    if (run->dir && s == DP_OK) {
        struct timespec pause = {.tv_nsec = 100000000};
        dp_metrics_status(run->metrics, status);
        s = dp_metrics_flush(run->metrics);
        for (int64_t i = 0; i < run->config.checkpoint.retries && s != DP_OK; i++) {
            nanosleep(&pause, NULL);
            s = dp_metrics_flush(run->metrics);
        }
    }
    return dp_comm_agree(run->comm, s);
}

/* On rank 0. */
static dp_status checkpoint(dp_run *run, bool best, dp_why failure_text) {
    dp_status s = files_status(run);
    if (s == DP_OK && rows_first(run, failure_text)) {
        start_metrics(run);
        s = files_status(run);
    }
    return s == DP_OK ? start_checkpoints(run, true, best) : s;
}

dp_status dp_run_checkpoint(dp_run *run, bool best, dp_why failure_text) {
    dp_run_wait_params(run);
    dp_stepper_gather(run->stepper);
    dp_status s =
        dp_comm_agree(run->comm, run->dir ? checkpoint(run, best, failure_text) : DP_OK);
    if (s == DP_OK) {
        run->checkpoint_step = run->progress.step;
    }
    return s;
}

dp_status dp_run_keep_best(dp_run *run) {
    dp_run_wait_params(run);
    dp_stepper_gather(run->stepper);
    return dp_comm_agree(run->comm, run->dir ? dp_run_remember(run) : DP_OK);
}

dp_status dp_run_diverged(dp_run *run, const char *where) {
    char last_good[64] = "no checkpoint was written before";
    if (run->dir) {
        collect_writes(run);
        dp_status s = run->last_good.there ? start_checkpoints(run, false, false) : DP_OK;
        s = s != DP_OK ? s : files_status(run);
        dp_metrics_status(run->metrics, "diverged");
        s = s != DP_OK ? s : dp_metrics_flush(run->metrics);
        if (s != DP_OK) {
            dp_warn("%s", dp_status_message());
        }
    }
    if (run->durable_step >= 0) {
        snprintf(last_good, sizeof last_good, "the checkpoint of step %lld is kept",
                 (long long)run->durable_step);
    }
    return dp_fail(
        DP_EDIVERGED,
        "diverged at step %lld (epoch %lld): loss %g, gradient norm %g, learning rate "
        "%g, %s; %s. Lower optimizer.lr or set optimizer.clip_norm",
        (long long)run->progress.step, (long long)run->step_epoch, fabs(run->loss),
        run->grad_norm, run->progress.lr, where, last_good);
}
