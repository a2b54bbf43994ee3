/* The lines that a run prints while it trains: a table of them, as PyTorch's tutorials have
 * it, is what people compare. */
#include "lines.h"
#include "base/clock.h"
#include "base/log.h"
#include <math.h>
#include <stdio.h>

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

/* No lines now: an epoch has just had some, and hundreds end in a second. */
static bool passes_by(const dp_run *run) {
    return run->sampler->steps <= run->config->train.log_every && dp_log_passes_by() &&
           dp_clock() - run->line_time < 1;
}

void dp_lines_step(const dp_run *run, double loss) {
    const dp_progress_state *progress = &run->progress;
    const dp_sampler *sampler = run->sampler;
    const dp_config *config = run->config;
    if (config->train.quiet || dp_run_full_batch(run) || passes_by(run) ||
        (progress->position - 1) % config->train.log_every != 0) {
        return;
    }
    if (dp_log_is_json()) {
        dp_log_event("step", 5,
                     (dp_fact[]){{"step", NULL, (double)progress->step},
                                 {"epoch", NULL, (double)progress->epoch + 1},
                                 {"samples", NULL, (double)progress->samples},
                                 {"loss", NULL, loss},
                                 {"seconds", NULL, dp_clock() - run->start_time}});
        return;
    }
    char text[512];
    int total = config->train.drop_last ? sampler->steps * sampler->batch : sampler->n;
    small_model(run, loss, text, sizeof text);
    dp_log("loss: %7f  [%5d/%5d]%s", loss, (int)progress->samples, total, text);
}

void dp_lines_progress(const dp_run *run, double loss) {
    if (run->config->train.quiet) {
        return;
    }
    const dp_progress_state *progress = &run->progress;
    int64_t steps = run->sampler->steps, all = run->config->train.epochs * steps;
    double pace = run->epoch_seconds / (double)run->epoch_steps;
    long long left = (long long)((double)(all - progress->step) * pace);
    char more[128];
    snprintf(more, sizeof more, "loss %.4g  %.0f samples/s  %lld:%02lld:%02lld left",
             loss, (double)run->epoch_samples / run->epoch_seconds, left / 3600,
             left / 60 % 60, left % 60);
    dp_progress("epoch", (long)progress->position, (long)steps, more);
}

/* "  test accuracy 97.52%  loss 0.0831"; empty if nothing was scored. */
static void put_score(const dp_run *run, const dp_score *score, const char *split,
                      char *out, size_t size) {
    if (score->n == 0) {
        out[0] = '\0';
    } else if (run->session->loss->accuracy) {
        snprintf(out, size, "  %s accuracy %.2f%%  loss %.4f", split,
                 100 * score->accuracy, score->loss);
    } else {
        snprintf(out, size, "  %s loss %.6g  R2 %.4f  MAE %.4g", split, score->loss,
                 score->r2, score->mae);
    }
}

void dp_lines_test(const dp_run *run, const dp_score *score, bool best) {
    long long step = (long long)(best ? run->progress.best_step : run->progress.step);
    if (dp_log_is_json()) {
        bool classes = run->session->loss->accuracy;
        dp_log_event("test", classes ? 5 : 6,
                     (dp_fact[]){{"checkpoint", best ? "best" : "last", 0},
                                 {"step", NULL, (double)step},
                                 {"samples", NULL, score->n},
                                 {"test_loss", NULL, score->loss},
                                 {classes ? "test_accuracy" : "test_r2", NULL,
                                  classes ? score->accuracy : score->r2},
                                 {"test_mae", NULL, score->mae}});
        return;
    }
    char text[128];
    put_score(run, score, "test", text, sizeof text);
    dp_log("%s    step %lld:%s  (%d samples)", best ? "best" : "last", step, text,
           score->n);
}

/* Whether an epoch of one step has a line. */
static bool is_logged(const dp_run *run, int64_t epoch) {
    int64_t after = epoch - run->config->train.log_from;
    return dp_run_finished(run) ||
           (after >= 0 && after % run->config->train.log_every == 0);
}

/* The figures that this run has. */
static void json_epoch(const dp_run *run, const dp_epoch_row *row) {
    const dp_fact all[] = {{"epoch", NULL, (double)row->epoch},
                           {"epochs", NULL, (double)run->config->train.epochs},
                           {"step", NULL, (double)row->step},
                           {"train_loss", NULL, row->train_loss},
                           {"train_accuracy", NULL, row->train_accuracy},
                           {"val_loss", NULL, row->val_loss},
                           {"val_accuracy", NULL, row->val_accuracy},
                           {"val_r2", NULL, row->val_r2},
                           {"val_mae", NULL, row->val_mae},
                           {"test_loss", NULL, row->test_loss},
                           {"test_accuracy", NULL, row->test_accuracy},
                           {"test_r2", NULL, row->test_r2},
                           {"test_mae", NULL, row->test_mae},
                           {"seconds", NULL, row->seconds},
                           {"samples_per_second", NULL, row->samples_per_second}};
    enum { ALL = sizeof all / sizeof all[0], ALWAYS = 4 };
    dp_fact facts[ALL];
    int n = 0;
    for (int k = 0; k < ALL; k++) {
        if (k < ALWAYS || !isnan(all[k].value)) {
            facts[n++] = all[k];
        }
    }
    dp_log_event("epoch", n, facts);
}

void dp_lines_epoch(dp_run *run, const dp_epoch_row *row, const dp_score *score) {
    bool full = dp_run_full_batch(run);
    bool logged =
        full ? is_logged(run, row->epoch) : dp_run_finished(run) || !passes_by(run);
    if (run->config->train.quiet || !logged) {
        return;
    }
    run->line_time = dp_clock();
    if (dp_log_is_json()) {
        json_epoch(run, row);
        return;
    }
    char head[64], accuracy[32] = "", text[512];
    snprintf(head, sizeof head, "epoch %lld/%lld", (long long)row->epoch,
             (long long)run->config->train.epochs);
    if (full) {
        small_model(run, row->train_loss, text, sizeof text);
        dp_log("%s  loss: %f%s", head, row->train_loss, text);
    }
    if (full && score->n == 0) {
        return;
    }
    if (!isnan(row->train_accuracy)) {
        snprintf(accuracy, sizeof accuracy, " accuracy %.2f%%",
                 100 * row->train_accuracy);
    }
    put_score(run, score, run->session->data->val_n > 0 ? "validation" : "test", text,
              sizeof text);
    dp_log("%s  train loss %.*f%s%s  %.2f s  %.0f samples/s", head, full ? 6 : 4,
           row->train_loss, accuracy, text, row->seconds, row->samples_per_second);
}
