/* The training loop, and what happens before and after it. */
#include "run/train.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "epoch.h"
#include "lines.h"
#include "nn/schedule.h"
#include "run/launch_check.h"
#include "run/signals.h"
#include "step/team.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* What training needs and a rank makes alone. */
static dp_status prepare(dp_run *run) {
    const dp_session *session = run->session;
    const dp_config *config = run->config;
    DP_TRY(dp_epoch_metric(session, &run->metric));
    DP_TRY(dp_sampler_create(session->data->train_row, session->data->train_n,
                             session->batch, config->train.shuffle,
                             config->train.drop_last, config->run.seed, &run->sampler));
    return dp_evaluator_create(session, &run->evaluator);
}

static dp_status diverged(dp_run *run, int bad) {
    const dp_model *model = run->session->model;
    char where[2200] = "all values of the layers are still finite";
    int layer = dp_stepper_bad_layer(run->stepper);
    if (layer >= 0) {
        snprintf(where, sizeof where, "first layer with a bad value: %d (of %s)", layer,
                 model->text);
    } else if (bad >= 0) {
        snprintf(where, sizeof where, "first layer with a bad gradient: %s",
                 model->tensors[bad].name);
    }
    return dp_saver_diverged(run->saver, where);
}

/* Where the disk had to be waited for lately, asks for the rows of a later batch: those of
 * a rank's share, so that the ranks ask for all of them. */
static void ask_ahead(dp_run *run) {
    enum { BATCHES = 4, STEPS = 1000 };
    const dp_table *t = &run->session->data->train;
    int64_t later = run->progress.position + BATCHES;
    if (t->map.bytes == 0 || later >= run->sampler->steps) {
        return;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (usage.ru_majflt != run->major_faults) {
        run->major_faults = usage.ru_majflt;
        run->ask_until = run->progress.step + STEPS;
    }
    if (run->progress.step >= run->ask_until) {
        return;
    }
    int n = 0, ranks = dp_comm_size(run->comm), rank = dp_comm_rank(run->comm);
    const int32_t *rows = dp_sampler_batch(run->sampler, (int)later, &n);
    size_t bytes = dp_table_row_bytes(t);
    for (int64_t i = (int64_t)n * rank / ranks; i < (int64_t)n * (rank + 1) / ranks;
         i++) {
        dp_map_ask(&t->map, (size_t)rows[i] * bytes, bytes);
    }
}

/* A file that is mapped is the same still. */
static dp_status check_data(const dp_run *run) {
    const dp_dataset *data = run->session->data;
    bool mapped = data->train.map.bytes > 0 || data->test.map.bytes > 0;
    return mapped ? dp_comm_agree(run->comm, dp_dataset_check(data)) : DP_OK;
}

/* One step, its metrics row and its log line. */
static dp_status train_step(dp_run *run, bool *stop) {
    const dp_config *config = run->config;
    dp_progress_state *progress = &run->progress;
    int n = 0;
    const int32_t *rows = dp_sampler_batch(run->sampler, (int)progress->position, &n);
    dp_rates rates = dp_schedule_rates(config, progress->step, run->sampler->steps);
    double max_time = config->train.max_time;
    int64_t max_steps = config->train.max_steps;
    bool stop_requested = dp_saver_failed(run->saver) || dp_signals_pending() ||
                          (max_time > 0 && dp_clock() - run->start_time >= max_time);
    ask_ahead(run);
    dp_step_result r;
    dp_step(run->stepper, rows, n, rates, progress->step + 1, progress->epoch + 1,
            stop_requested, &r);
    progress->step++;
    progress->position++;
    progress->samples += n;
    progress->loss_sum += r.loss_sum;
    progress->correct += progress->correct >= 0 ? r.correct : 0;
    progress->lr = rates.lr;
    run->epoch_seconds += r.seconds;
    run->epoch_samples += n;
    run->epoch_steps++;
    dp_saver_step(run->saver, &r, n);
    if (!isfinite(r.loss) || !isfinite(r.grad_norm)) {
        return diverged(run, r.bad);
    }
    dp_lines_step(run, r.loss);
    if (dp_progress_due()) {
        dp_lines_progress(run, r.loss);
    }
    *stop = r.stop || (max_steps > 0 && progress->step - run->first_step >= max_steps);
    return DP_OK;
}

/* The parameters of the last step are there; waiting for them is training time. */
static void wait_params(dp_run *run) {
    double begin = dp_clock();
    dp_stepper_wait_params(run->stepper);
    run->epoch_seconds += dp_clock() - begin;
}

/* arg: the run, perhaps in the middle of an epoch. */
static dp_status train_loop(void *arg) {
    dp_run *run = arg;
    dp_saver *saver = run->saver;
    dp_progress_state *progress = &run->progress;
    int steps = run->sampler->steps;
    while (!dp_run_finished(run)) {
        bool stop = false, best = false;
        dp_sampler_epoch(run->sampler, progress->epoch + 1);
        while (progress->position < steps && !stop) {
            DP_TRY(train_step(run, &stop));
            if (progress->position < steps && dp_saver_due(saver, false)) {
                wait_params(run);
                DP_TRY(dp_saver_checkpoint(saver, false, DP_WHILE_RUNNING));
            }
        }
        if (progress->position == steps) {
            dp_score score;
            wait_params(run);
            DP_TRY(check_data(run));
            progress->epoch++;
            progress->position = 0;
            DP_TRY(dp_epoch_evaluate(run, &score));
            dp_epoch_record(run, &score, &best);
            bool finished = dp_run_finished(run);
            if (finished || dp_saver_due(saver, true)) {
                dp_why why = finished ? DP_AT_END : DP_WHILE_RUNNING;
                DP_TRY(dp_saver_checkpoint(saver, best, why));
            } else if (best) {
                DP_TRY(dp_saver_keep_best(saver));
            }
        }
        if (stop && !dp_run_finished(run)) {
            DP_TRY(dp_saver_checkpoint(saver, false, DP_AT_STOP));
            DP_TRY(dp_saver_finish(saver, "stopped", NULL));
            return DP_STOPPED;
        }
    }
    dp_score test;
    DP_TRY(dp_saver_wait(saver));
    DP_TRY(dp_epoch_final_test(run, &test));
    return dp_saver_finish(saver, "complete", &test);
}

/* Why the run ends before its last epoch. */
static void log_patience(const dp_run *run) {
    const dp_progress_state *progress = &run->progress;
    int64_t patience = run->config->train.patience;
    if (patience > 0 && progress->patience >= patience &&
        progress->epoch < run->config->train.epochs) {
        dp_log(
            "stopped after epoch %lld of %lld by train.patience = %lld: %s was best in "
            "epoch %lld (%.6g)",
            (long long)progress->epoch, (long long)run->config->train.epochs,
            (long long)patience, run->metric,
            (long long)(progress->epoch - patience * run->config->train.eval_every),
            progress->best);
    }
}

static void log_end(const dp_run *run, dp_status s) {
    const char *output = run->config->run.output;
    if (dp_log_is_json() && (s == DP_OK || s == DP_STOPPED)) {
        log_patience(run);
        dp_log_event("end", 5,
                     (dp_fact[]){{"status", s == DP_OK ? "complete" : "stopped", 0},
                                 {"epochs", NULL, (double)run->progress.epoch},
                                 {"step", NULL, (double)run->progress.step},
                                 {"seconds", NULL, dp_clock() - run->start_time},
                                 {"folder", output, 0}});
        return;
    }
    if (s == DP_STOPPED) {
        dp_log("stopped at step %lld, in epoch %lld; run the same command again to go on",
               (long long)run->progress.step, (long long)run->progress.epoch + 1);
    } else if (s == DP_OK) {
        log_patience(run);
        dp_log("done    %lld epochs, %lld steps in %.1f s",
               (long long)run->progress.epoch,
               (long long)(run->progress.step - run->first_step),
               dp_clock() - run->start_time);
    }
    if (s == DP_OK || s == DP_STOPPED) {
        dp_log("files   %s/checkpoints/last.h5%s  %s/metrics.h5", output,
               run->progress.best_step > 0 ? " best.h5" : "", output);
    }
}

dp_status dp_train_check(const dp_session *session) {
    const char *metric = NULL;
    const dp_config *config = &session->config;
    dp_status s = dp_epoch_metric(session, &metric);
    bool reads =
        dp_model_reads_file(config) || strcmp(config->model.init, "constant") == 0;
    if (s == DP_OK && reads && dp_comm_rank(session->comm) == 0) {
        s = dp_model_init(session->model, config);
    }
    return dp_comm_agree(session->comm, s);
}

/* run.log: the lines from here on, in the run's folder too. */
static dp_status open_log(const dp_run *run) {
    bool root = dp_comm_rank(run->comm) == 0;
    char *path = dp_printed("%s/log.txt", run->config->run.output);
    dp_status s = DP_OK;
    if (run->config->run.log && root &&
        !dp_log_open(path, run->start.how == DP_START_NEW)) {
        s = dp_fail(DP_EFILE, "cannot write %s: %s", path, strerror(errno));
    }
    free(path);
    return dp_comm_agree(run->comm, s);
}

static dp_status train(dp_run *run) {
    /* An existing run is examined before its data; a new one creates its folder only when
     * config and data are valid. */
    bool exists = access(run->config->run.output, F_OK) == 0;
    dp_comm_bcast(run->comm, &exists, sizeof exists);
    if (exists) {
        DP_TRY(dp_start_claim(run->comm, run->config, &run->start));
        if (run->start.how == DP_START_COMPLETE) {
            return DP_OK;
        }
    }
    DP_TRY(dp_session_create(run->comm, run->config, &run->session));
    dp_session *session = run->session;
    if (!exists) {
        DP_TRY(dp_train_check(session));
        DP_TRY(dp_start_claim(run->comm, run->config, &run->start));
    }
    if (run->start.how == DP_START_COMPLETE) {
        return DP_OK; /* another start created the run and finished it meanwhile */
    }
    DP_TRY(open_log(run));
    DP_TRY(dp_comm_agree(run->comm, prepare(run)));
    DP_TRY(dp_stepper_create(run->comm, run->config, session->data, session->model,
                             session->loss, &session->scale, session->batch,
                             dp_session_step_threads(session), &run->stepper));
    DP_TRY(
        run->start.how == DP_START_NEW
            ? dp_state_init(session, run->stepper, &run->progress)
            : dp_state_restore(run->start.from, session, run->stepper, &run->progress));
    run->first_step = run->progress.step;
    dp_log("%s (%s), run %s -> %s", dp_version_program(), dp_version_commit(),
           run->config->run.name, run->config->run.output);
    dp_session_header(session);
    dp_model_log_start(session->model, run->config->model.init_file);
    dp_launch_check(session);
    dp_schedule_check(run->config);
    dp_signals_defer(); /* from here on metrics.h5 says how the run is */
    DP_TRY(dp_saver_create(session, run->stepper, &run->progress, run->sampler->steps,
                           &run->start, &run->saver));
    dp_status s = dp_team_open(session->threads, train_loop, run);
    log_end(run, s);
    return s;
}

dp_status dp_train(dp_comm *comm, const dp_config *config) {
    dp_signals_install(dp_comm_rank(comm) == 0);
    dp_run run = {.comm = comm, .config = config, .start_time = dp_clock()};
    dp_status s = train(&run);
    dp_saver_destroy(&run.saver);
    dp_start_close(&run.start);
    dp_stepper_destroy(&run.stepper);
    dp_evaluator_destroy(&run.evaluator);
    dp_sampler_destroy(&run.sampler);
    dp_session_destroy(&run.session);
    return s;
}
