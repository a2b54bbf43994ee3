/* What a run writes, and when.
 *
 * Training waits for the disk as little as possible. What is due is built in memory, a
 * checkpoint or metrics.h5, and is handed to the writer's thread (hand_over); how that went
 * is known when the next thing is due, or when somebody must know (collect_writes). A
 * checkpoint that could not be written ends the run, by the stop request that the next
 * step reduces over the ranks; metrics.h5 ends none, since its rows stay in memory. The
 * best state is copied at first, and written when there is time or before any later
 * checkpoint. */
#include "base/clock.h"
#include "base/log.h"
#include "facts.h"
#include "saver_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- how writes went ---- */

/* Records why the run must end; all ranks learn of it by the next step's stop request. */
static void fail_run(dp_saver *saver, dp_status s) {
    if (saver->failure == DP_OK) {
        saver->failure = s;
        snprintf(saver->failure_text, sizeof saver->failure_text, "%s",
                 dp_status_message());
    }
}

/* metrics.h5 could not be written, which by itself ends no run. */
static void note_flush_failure(dp_saver *saver, dp_status s, const char *text) {
    if (dp_rundir_lost(saver->dir)) {
        fail_run(saver, s);
    } else if (!saver->flush_failed) {
        dp_warn("%s; training goes on, the rows are kept in memory and written later",
                text);
    }
    saver->flush_failed = true;
}

/* Waits for the writer and records how its writes went. */
static void collect_writes(dp_saver *saver) {
    if (!dp_writer_busy(saver->writer)) {
        return;
    }
    dp_written w;
    dp_status s = dp_writer_wait(saver->writer, &w);
    for (int k = 0; k < DP_WRITES; k++) {
        if (w.bytes[k] > 0) {
            dp_budget_note(&saver->budget, k, saver->handed_at,
                           saver->build_seconds + w.seconds[k], w.bytes[k]);
        }
    }
    if (w.bytes[DP_WRITE_METRICS] > 0) {
        dp_metrics_placed(saver->metrics, w.metrics == DP_OK);
        if (w.metrics != DP_OK) {
            note_flush_failure(saver, w.metrics, w.text);
        } else {
            saver->flush_failed = false;
            saver->carried = 0;
        }
    } else if (s == DP_OK) {
        saver->durable = saver->writing_step;
        dp_metrics_checkpoint(saver->metrics, saver->durable);
    } else {
        fail_run(saver, s);
    }
}

bool dp_saver_failed(dp_saver *saver) {
    if (saver->dir && dp_writer_idle(saver->writer)) {
        collect_writes(saver);
    }
    return saver->failure != DP_OK;
}

/* The status of the files, on rank 0. */
static dp_status files_status(dp_saver *saver) {
    collect_writes(saver);
    return saver->failure == DP_OK ? DP_OK
                                   : dp_fail(saver->failure, "%s", saver->failure_text);
}

dp_status dp_saver_wait(dp_saver *saver) {
    return dp_comm_agree(saver->comm, saver->dir ? files_status(saver) : DP_OK);
}

/* ---- what is written ---- */

/* The writer gets a job that was begun to be built at `begin` of the thread's clock. */
static void hand_over(dp_saver *saver, double begin, const dp_job *job) {
    saver->handed_at = dp_clock();
    saver->build_seconds = dp_clock_thread() - begin;
    dp_writer_start(saver->writer, job);
}

/* The writer gets metrics.h5. That alone ends no run. */
static void start_metrics(dp_saver *saver) {
    dp_job job = {0};
    double begin = dp_clock_thread();
    dp_status s = dp_metrics_build(saver->metrics, &job.metrics);
    if (s != DP_OK) {
        note_flush_failure(saver, s, dp_status_message());
    } else if (job.metrics) {
        hand_over(saver, begin, &job);
    }
}

/* Whether training can go on from the state that the run is in; a checkpoint of any other
 * must not take the place of a good one. If not, `bad` says where. */
static bool state_is_finite(const dp_saver *saver, char bad[100]) {
    dp_bad_value value;
    if (!dp_facts_bad_value(&saver->snapshot, &value)) {
        return true;
    }
    snprintf(bad, 100, "first layer with bad %s: %s",
             value.slot < 0 ? "parameters" : saver->snapshot.slot_name[value.slot],
             value.tensor);
    return false;
}

static dp_status build(dp_saver *saver, dp_snapshot *s, const dp_progress_state *progress,
                       bool is_best, dp_checkpoint **out) {
    dp_state_set_progress(progress, s);
    s->rows = dp_metrics_unsaved(saver->metrics, progress->step, progress->epoch);
    return dp_checkpoint_build(dp_rundir_checkpoints(saver->dir), s, is_best,
                               (int)saver->config->checkpoint.keep, out);
}

/* The checkpoint of the state that the run is in. */
static dp_status build_current(dp_saver *saver, bool is_best, dp_checkpoint **out) {
    dp_snapshot s = saver->snapshot;
    return build(saver, &s, saver->progress, is_best, out);
}

/* The checkpoint of the best state, from its copy. */
static dp_status build_best(dp_saver *saver, dp_checkpoint **out) {
    dp_snapshot s = saver->snapshot;
    s.params = saver->best.params;
    memcpy(s.slot, saver->best.slot, sizeof s.slot);
    return build(saver, &s, &saver->best.progress, true, out);
}

/* The writer gets checkpoints, the newest of them that of `step`. */
static void start_checkpoints(dp_saver *saver, double begin, int64_t step, dp_job *job) {
    job->retries = (int)saver->config->checkpoint.retries;
    saver->writing_step = step;
    saver->carried += dp_metrics_unsaved_bytes(saver->metrics);
    saver->checkpoints_handed += (job->best != NULL) + (job->newest != NULL);
    saver->best.there = false;
    hand_over(saver, begin, job);
}

/* The writer gets the best state, which is not on the disk yet. */
static dp_status start_best(dp_saver *saver) {
    dp_job job = {0};
    double begin = dp_clock_thread();
    DP_TRY(build_best(saver, &job.best));
    start_checkpoints(saver, begin, saver->best.progress.step, &job);
    return DP_OK;
}

/* The writer gets the state that the run is in; before it the best one, where that is
 * another one and not on the disk yet. */
static dp_status start_current(dp_saver *saver, bool is_best) {
    dp_job job = {0};
    double begin = dp_clock_thread();
    if (saver->best.there && !is_best) {
        DP_TRY(build_best(saver, &job.best));
    }
    dp_status s = build_current(saver, is_best, &job.newest);
    if (s != DP_OK) {
        dp_checkpoint_destroy(&job.best);
        return s;
    }
    start_checkpoints(saver, begin, saver->progress->step, &job);
    return DP_OK;
}

/* ---- when ---- */

/* A checkpoint without rows, about. */
static int64_t state_bytes(const dp_saver *saver) {
    enum { HEAD = 16384 }; /* what is not numbers */
    return HEAD + (1 + saver->snapshot.nslots) * (int64_t)(saver->floats * sizeof(float));
}

/* What the run would leave if it ended now. */
static int64_t final_bytes(const dp_saver *saver) {
    int64_t keep = saver->config->checkpoint.keep, files = saver->checkpoints_handed + 1;
    return dp_metrics_bytes(saver->metrics) +
           ((files < keep ? files : keep) + 1) * state_bytes(saver);
}

static bool checkpoint_due(const dp_saver *saver, double now) {
    return dp_budget_due(&saver->budget, DP_WRITE_CHECKPOINT, now,
                         state_bytes(saver) + dp_metrics_unsaved_bytes(saver->metrics),
                         final_bytes(saver));
}

static bool metrics_due(const dp_saver *saver, double now) {
    int64_t bytes = dp_metrics_bytes(saver->metrics);
    return dp_metrics_dirty(saver->metrics) &&
           (dp_budget_due(&saver->budget, DP_WRITE_METRICS, now, bytes,
                          final_bytes(saver)) ||
            (dp_metrics_hides_checkpoint(saver->metrics) &&
             dp_budget_affords(&saver->budget, DP_WRITE_METRICS, now, bytes)));
}

/* Whether metrics.h5 is to be written before a checkpoint that else carries its rows:
 * where they outweigh the state, and were carried so often that the file costs no more,
 * or where they would stay. A stop may have little time. A file that can't be written
 * keeps no checkpoint waiting. */
static bool rows_first(const dp_saver *saver, dp_why why) {
    int64_t rows = dp_metrics_unsaved_bytes(saver->metrics);
    int64_t carried = why == DP_AT_STOP ? rows : saver->carried + rows;
    return rows > state_bytes(saver) &&
           (why == DP_AT_END || carried * 2 > dp_metrics_bytes(saver->metrics));
}

/* Whether the budget has room for a checkpoint; the clock decides, on rank 0. Where its
 * rows come first, they are begun to be written instead. */
static bool budget_allows(dp_saver *saver) {
    double now = dp_clock();
    if (!dp_writer_idle(saver->writer)) {
        return false;
    }
    collect_writes(saver);
    if (!checkpoint_due(saver, now)) {
        return false;
    }
    bool rows = !saver->flush_failed && rows_first(saver, DP_WHILE_RUNNING) &&
                dp_budget_affords(&saver->budget, DP_WRITE_METRICS, now,
                                  dp_metrics_bytes(saver->metrics));
    if (rows) {
        start_metrics(saver);
    }
    return !rows;
}

bool dp_saver_due(dp_saver *saver, bool epoch_end) {
    int64_t steps = saver->config->checkpoint.every_steps;
    bool due = steps > 0 && saver->progress->step % steps == 0;
    if (due || !epoch_end) {
        return due;
    }
    if (saver->autosaves) {
        due = saver->dir && budget_allows(saver);
        dp_comm_bcast(saver->comm, &due, sizeof due);
        return due;
    }
    long epochs = atol(saver->config->checkpoint.every); /* 0: auto, with full batches */
    return epochs > 0 && saver->progress->epoch % epochs == 0;
}

/* ---- what happens in a run ---- */

void dp_saver_step(dp_saver *saver, const dp_step_result *r, int n) {
    const dp_progress_state *progress = saver->progress;
    saver->last = (dp_step_row){.step = progress->step,
                                .epoch = progress->epoch + 1,
                                .samples = n,
                                .loss = r->loss,
                                .lr = progress->lr,
                                .grad_norm = r->grad_norm,
                                .seconds = r->seconds,
                                .comm_seconds = r->comm_seconds};
    if (!saver->metrics) {
        return;
    }
    if ((progress->step - 1) % saver->config->metrics.every == 0) {
        dp_metrics_add(saver->metrics, DP_STEPS, &saver->last);
    }
    double now = dp_clock();
    if (dp_writer_busy(saver->writer)) {
        return;
    }
    if (metrics_due(saver, now)) {
        start_metrics(saver);
    } else if (saver->best.there && !saver->autosaves && checkpoint_due(saver, now)) {
        dp_status s = start_best(saver);
        if (s != DP_OK) {
            fail_run(saver, s);
        }
    }
}

void dp_saver_epoch(dp_saver *saver, const dp_epoch_row *row,
                    const dp_profile_row *profile) {
    if (saver->metrics) {
        dp_metrics_add(saver->metrics, DP_EPOCHS, row);
        dp_metrics_add(saver->metrics, DP_PROFILE, profile);
    }
}

/* On rank 0. */
static dp_status checkpoint(dp_saver *saver, bool is_best, dp_why why) {
    DP_TRY(files_status(saver));
    if (rows_first(saver, why)) {
        start_metrics(saver);
        DP_TRY(files_status(saver));
    }
    char bad[100];
    return state_is_finite(saver, bad) ? start_current(saver, is_best)
                                       : dp_saver_diverged(saver, bad);
}

dp_status dp_saver_checkpoint(dp_saver *saver, bool is_best, dp_why why) {
    if (saver->newest == saver->progress->step) {
        return DP_OK;
    }
    dp_stepper_gather(saver->stepper);
    DP_TRY(
        dp_comm_agree(saver->comm, saver->dir ? checkpoint(saver, is_best, why) : DP_OK));
    saver->newest = saver->progress->step;
    return DP_OK;
}

/* On rank 0. */
static dp_status keep_best(dp_saver *saver) {
    char bad[100];
    if (!state_is_finite(saver, bad)) {
        return dp_saver_diverged(saver, bad);
    }
    return dp_state_copy_from(&saver->best, &saver->snapshot, saver->floats,
                              saver->progress);
}

dp_status dp_saver_keep_best(dp_saver *saver) {
    dp_stepper_gather(saver->stepper);
    return dp_comm_agree(saver->comm, saver->dir ? keep_best(saver) : DP_OK);
}

/* On rank 0. */
static dp_status finish(dp_saver *saver, const char *status, const dp_score *test) {
    DP_TRY(files_status(saver));
    if (test && test->n > 0) {
        dp_metrics_final_test(saver->metrics, test->loss, test->accuracy);
    }
    dp_metrics_status(saver->metrics, status);
    dp_status s = dp_metrics_flush(saver->metrics);
    for (int64_t i = 0; i < saver->config->checkpoint.retries && s != DP_OK; i++) {
        struct timespec pause = {.tv_nsec = 100000000};
        nanosleep(&pause, NULL);
        s = dp_metrics_flush(saver->metrics);
    }
    return s;
}

dp_status dp_saver_finish(dp_saver *saver, const char *status, const dp_score *test) {
    return dp_comm_agree(saver->comm, saver->dir ? finish(saver, status, test) : DP_OK);
}

/* The best checkpoint and the status, on rank 0. */
static dp_status write_last_good(dp_saver *saver) {
    collect_writes(saver);
    dp_status s = saver->best.there ? start_best(saver) : DP_OK;
    s = s != DP_OK ? s : files_status(saver);
    dp_metrics_status(saver->metrics, "diverged");
    return s != DP_OK ? s : dp_metrics_flush(saver->metrics);
}

dp_status dp_saver_diverged(dp_saver *saver, const char *where) {
    char last_good[64] = "no checkpoint was written before";
    if (saver->dir && write_last_good(saver) != DP_OK) {
        dp_warn("%s", dp_status_message());
    }
    if (saver->durable >= 0) {
        snprintf(last_good, sizeof last_good, "the checkpoint of step %lld is kept",
                 (long long)saver->durable);
    }
    return dp_fail(
        DP_EDIVERGED,
        "diverged at step %lld (epoch %lld): loss %g, gradient norm %g, learning rate "
        "%g, %s; %s. Lower optimizer.lr or set optimizer.clip_norm",
        (long long)saver->last.step, (long long)saver->last.epoch, fabs(saver->last.loss),
        saver->last.grad_norm, saver->last.lr, where, last_good);
}
