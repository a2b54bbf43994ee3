/* The training loop, and what happens before and after it. */
#include "run/train.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "h5/h5file.h"
#include "nn/schedule.h"
#include "run/launch_check.h"
#include "run/signals.h"
#include "step/team.h"
#include "train_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder's files, on rank 0. */
static dp_status open_files(dp_run *run) {
    const dp_session *session = run->session;
    dp_run_facts facts = {.program = dp_version_program(),
                          .commit = dp_version_commit(),
                          .config = run->text,
                          .kernels = session->set->name,
                          .ranks = dp_comm_size(run->comm),
                          .threads = dp_session_step_threads(session),
                          .nodes = dp_comm_topology(run->comm)->nodes,
                          .parameters = (int64_t)session->model->parameters,
                          .train_samples = session->data->train_n,
                          .val_samples = session->data->val_n,
                          .test_samples = session->data->test.n};
    dp_status s =
        dp_file_replace(dp_rundir_config(run->dir), run->text, strlen(run->text));
    if (s == DP_OK) {
        s = dp_metrics_create(dp_rundir_metrics(run->dir), &facts,
                              !session->loss->accuracy, &run->metrics);
    }
    if (s == DP_OK && run->start == DP_START_RESUME) {
        s = dp_metrics_load(run->metrics, run->progress.step, run->progress.epoch);
        dp_metrics_append(run->metrics, &run->resume_from->rows);
        dp_metrics_checkpoint(run->metrics, run->resume_from->step);
        run->placed = 1;
    }
    dp_snapshot_destroy(&run->resume_from);
    s = s != DP_OK ? s : dp_run_begin_files(run);
    return s == DP_OK ? dp_writer_create(&run->writer) : s;
}

/* Everything that the training loop needs, on every rank. */
static dp_status prepare(dp_run *run) {
    dp_session *session = run->session;
    const dp_config *config = &run->config;
    dp_status s = dp_run_best_metric(session, &run->metric);
    s = s != DP_OK
            ? s
            : dp_sampler_create(session->data->train_row, session->data->train_n,
                                session->batch, config->train.shuffle,
                                config->train.drop_last, config->run.seed, &run->sampler);
    s = s != DP_OK ? s
                   : dp_evaluator_create(run->comm, session->model, session->loss,
                                         &session->scale, (int)config->parallel.block,
                                         session->threads, &run->evaluator);
    s = dp_comm_agree(run->comm, s);
    if (s == DP_OK) {
        s = dp_stepper_create(run->comm, config, session->data, session->model,
                              session->loss, &session->scale, session->batch,
                              dp_session_step_threads(session), &run->stepper);
    }
    if (s != DP_OK) {
        return s;
    }
    run->full_batch = run->sampler->steps == 1;
    run->text = dp_comm_rank(run->comm) == 0 ? dp_config_text(config) : NULL;
    return DP_OK;
}

/* "  w=1.767, b=0.559, loss=0.075" for models that are small enough to watch. */
static void small_model(const dp_run *run, double loss, char *out, size_t size) {
    const dp_model *model = run->session->model;
    char *const *column = run->session->data->train.column;
    out[0] = '\0';
    if (model->parameters > 8) {
        return;
    }
    dp_stepper_wait_params(run->stepper);
    size_t used = (size_t)snprintf(out, size, "  ");
    for (int t = 0; t < model->ntensors; t++) {
        const dp_tensor *tensor = &model->tensors[t];
        for (size_t i = 0; i < tensor->count && used < size; i++) {
            char name[64] = "";
            bool weight = tensor->ndim == 2;
            if (model->parameters == 2) {
                snprintf(name, sizeof name, "%s", weight ? "w" : "b");
            } else if (weight && model->ntensors == 2 && tensor->dim[0] == 1 && column) {
                snprintf(name, sizeof name, "w_%.50s", column[i]);
            } else {
                snprintf(name, sizeof name, tensor->count > 1 ? "%s%zu" : "%s",
                         weight ? "w" : "b", i + 1);
            }
            used += (size_t)snprintf(out + used, size - used, "%s=%.3f, ", name,
                                     (double)model->params[tensor->offset + i]);
        }
    }
    if (used < size) {
        snprintf(out + used, size - used, "loss=%.3f", loss);
    }
}

/* The line of PyTorch's tutorials: after steps 1, 1 + log_every, ... of an epoch; with
 * full batches, of the run. */
static void log_step(const dp_run *run, const dp_step_result *r) {
    const dp_progress_state *progress = &run->progress;
    int64_t every = run->config.train.log_every;
    int64_t count = run->full_batch ? progress->epoch + 1 : progress->position;
    bool last = run->full_batch && count == run->config.train.epochs;
    if ((count - 1) % every == 0 || last) {
        char text[512];
        const dp_sampler *sampler = run->sampler;
        int total =
            run->config.train.drop_last ? sampler->steps * sampler->batch : sampler->n;
        small_model(run, r->loss, text, sizeof text);
        dp_log("loss: %7f  [%5d/%5d]%s", r->loss, (int)progress->samples, total, text);
    }
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
    return dp_run_diverged(run, where);
}

/* One step, its metrics row and its log line. */
static dp_status train_step(dp_run *run, bool *stop) {
    const dp_config *config = &run->config;
    dp_progress_state *progress = &run->progress;
    int n = 0;
    const int32_t *rows = dp_sampler_batch(run->sampler, (int)progress->position, &n);
    double lr = dp_schedule_lr(config, progress->step, run->sampler->steps);
    double max_time = config->train.max_time;
    bool stop_requested = dp_run_poll(run) || dp_signals_pending() ||
                          (max_time > 0 && dp_clock() - run->start_time >= max_time);
    dp_step_result r;
    dp_step(run->stepper, rows, n, lr, progress->step + 1, stop_requested, &r);
    progress->step++;
    progress->position++;
    progress->samples += n;
    progress->loss_sum += r.loss_sum;
    progress->lr = lr;
    run->step_epoch = progress->epoch + 1;
    run->loss = r.loss;
    run->grad_norm = r.grad_norm;
    run->epoch_seconds += r.seconds;
    run->epoch_samples += n;
    run->epoch_steps++;
    dp_run_record_step(run, &r, n, lr);
    if (!isfinite(r.loss) || !isfinite(r.grad_norm)) {
        return diverged(run, r.bad);
    }
    log_step(run, &r);
    *stop = r.stop;
    return DP_OK;
}

/* arg: the run. */
static dp_status train_loop(void *arg) {
    dp_run *run = arg;
    const dp_config *config = &run->config;
    dp_progress_state *progress = &run->progress;
    int64_t first = progress->step, every = config->checkpoint.every_steps;
    int64_t patience = config->train.patience;
    bool finished = progress->epoch >= config->train.epochs ||
                    (patience > 0 && progress->patience >= patience);
    while (!finished) {
        dp_sampler_epoch(run->sampler, progress->epoch + 1);
        bool stop = false;
        dp_status s = train_step(run, &stop);
        if (s != DP_OK) {
            return s;
        }
        dp_progress("epoch", (long)progress->position, run->sampler->steps);
        if (progress->position == run->sampler->steps) {
            s = dp_run_end_epoch(run, &finished);
        } else if (every > 0 && progress->step % every == 0) {
            s = dp_run_checkpoint(run, false, DP_AT_EPOCH);
        }
        if (s != DP_OK) {
            return s;
        }
        stop = stop || (config->train.max_steps > 0 &&
                        progress->step - first >= config->train.max_steps);
        if (stop && !finished) {
            s = run->checkpoint_step == progress->step
                    ? DP_OK
                    : dp_run_checkpoint(run, false, DP_AT_STOP);
            s = s != DP_OK ? s : dp_run_finish(run, "stopped");
            return s == DP_OK ? DP_STOPPED : s;
        }
    }
    dp_status s = dp_run_wait_writer(run);
    s = s != DP_OK ? s : dp_run_final_test(run);
    return s != DP_OK ? s : dp_run_finish(run, "complete");
}

static void log_end(const dp_run *run, dp_status s, int64_t steps) {
    const char *output = run->config.run.output;
    if (s == DP_STOPPED) {
        dp_log("stopped at step %lld, in epoch %lld; run the same command again to go on",
               (long long)run->progress.step, (long long)run->progress.epoch + 1);
    } else if (s == DP_OK) {
        dp_log("done    %lld epochs, %lld steps in %.1f s",
               (long long)run->progress.epoch, (long long)steps,
               dp_clock() - run->start_time);
    }
    if (s == DP_OK || s == DP_STOPPED) {
        dp_log("files   %s/checkpoints/last.h5%s  %s/metrics.h5", output,
               run->progress.best_step > 0 ? " best.h5" : "", output);
    }
}

dp_status dp_train_check(const dp_session *session) {
    const char *metric = NULL, *init = session->config.model.init;
    dp_status s = dp_run_best_metric(session, &metric);
    bool reads = strcmp(init, "file") == 0 || strcmp(init, "constant") == 0;
    if (s == DP_OK && reads && dp_comm_rank(session->comm) == 0) {
        s = dp_model_init(session->model, &session->config);
    }
    return dp_comm_agree(session->comm, s);
}

static dp_status train(dp_run *run) {
    dp_status s = dp_session_create(run->comm, &run->config, &run->session);
    if (s == DP_OK && !run->claimed) {
        s = dp_train_check(run->session);
        s = s != DP_OK ? s : dp_run_claim(run);
    }
    s = s != DP_OK ? s : prepare(run);
    s = s != DP_OK ? s : dp_run_restore(run);
    if (s != DP_OK) {
        return s;
    }
    dp_log("%s (%s), run %s -> %s", dp_version_program(), dp_version_commit(),
           run->config.run.name, run->config.run.output);
    dp_session_header(run->session);
    dp_launch_check(run->session);
    dp_signals_defer(); /* from here on metrics.h5 says how the run is */
    s = dp_comm_agree(run->comm, run->dir ? open_files(run) : DP_OK);
    if (s != DP_OK) {
        return s;
    }
    int64_t first = run->progress.step;
    s = dp_team_open(run->session->threads, train_loop, run);
    log_end(run, s, run->progress.step - first);
    return s;
}

dp_status dp_train(dp_comm *comm, const dp_config *config) {
    dp_signals_install(dp_comm_rank(comm) == 0);
    dp_run *run = dp_alloc(1, sizeof *run);
    run->comm = comm;
    run->config = *config;
    run->start_time = dp_clock();
    /* An existing run is examined before its data; a new one creates its folder only when
     * config and data are valid. */
    bool exists = access(config->run.output, F_OK) == 0;
    dp_comm_bcast(comm, &exists, sizeof exists);
    dp_status s = exists ? dp_run_claim(run) : DP_OK;
    if (s == DP_OK && run->start != DP_START_COMPLETE) {
        s = train(run);
    }
    dp_writer_destroy(&run->writer);
    dp_metrics_destroy(&run->metrics);
    dp_run_forget(run);
    dp_snapshot_destroy(&run->resume_from);
    dp_rundir_close(&run->dir);
    dp_stepper_destroy(&run->stepper);
    dp_evaluator_destroy(&run->evaluator);
    dp_sampler_destroy(&run->sampler);
    dp_session_destroy(&run->session);
    free(run->text);
    free(run);
    return s;
}
