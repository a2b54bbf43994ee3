/* trainer check: config, data, launch, model, schedule, memory and speed; trains
 * nothing. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cli.h"
#include "run/launch_check.h"
#include "run/train.h"
#include "step/step.h"
#include "step/team.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "[64,512]" or "[64,24,12,12]": N samples of a shape. */
static void shape_text(int N, dp_shape s, char text[DP_SHAPE_TEXT]) {
    dp_tensor t = {.ndim = s.H * s.W > 1 ? 4 : 2, .dim = {N, s.C, s.H, s.W}};
    dp_tensor_shape(&t, text);
}

enum { COLUMNS = 7, CELL = DP_LAYER_TENSORS * 100 };

typedef struct row {
    char cell[COLUMNS][CELL];
} row;

/* Columns as wide as they must be, two blanks between; numbers and shapes to the right. */
static void print_rows(const row *rows, int n) {
    static const bool right[COLUMNS] = {false, false, true, true, true, true, false};
    int width[COLUMNS] = {0};
    for (int r = 0; r < n; r++) {
        for (int c = 0; c < COLUMNS; c++) {
            int length = (int)strlen(rows[r].cell[c]);
            width[c] = length > width[c] ? length : width[c];
        }
    }
    for (int r = 0; r < n; r++) {
        char line[COLUMNS * CELL];
        size_t used = 0;
        for (int c = 0; c < COLUMNS - 1; c++) {
            used += (size_t)snprintf(line + used, sizeof line - used, "%*s  ",
                                     right[c] ? width[c] : -width[c], rows[r].cell[c]);
        }
        used += (size_t)snprintf(line + used, sizeof line - used, "%s",
                                 rows[r].cell[COLUMNS - 1]);
        while (line[used - 1] == ' ') {
            line[--used] = '\0';
        }
        dp_log("%s", line);
    }
}

static void fill_row(const dp_layer *layer, int batch, row *r) {
    size_t count = 0, used = 0;
    char *tensors = r->cell[6], shape[DP_SHAPE_TEXT];
    for (int k = 0; k < layer->ntensors; k++) {
        const dp_tensor *t = &layer->tensor[k];
        count += t->count;
        used += (size_t)snprintf(tensors + used, CELL - used, "%s%s %s",
                                 k > 0 ? ", " : "", t->name, dp_tensor_shape(t, shape));
    }
    snprintf(tensors + used, CELL - used, "%s", layer->frozen ? "  frozen" : "");
    snprintf(r->cell[0], CELL, "%d", layer->index);
    snprintf(r->cell[1], CELL, "%s", layer->name);
    shape_text(batch, layer->in, r->cell[2]);
    shape_text(batch, layer->out, r->cell[3]);
    snprintf(r->cell[4], CELL, "%zu", count);
    snprintf(r->cell[5], CELL, "%.0f", layer->flops);
}

/* Each layer's input and output shape at the global batch as PyTorch would have them, its
 * parameters and their tensors, and the floating-point operations of its forward pass, a
 * sample; what all layers have; and of that what is trained. */
static void print_layers(const dp_session *session) {
    const dp_model *model = session->model;
    int n = model->nlayers;
    double flops = 0;
    row *rows = dp_alloc((size_t)n + 3, sizeof *rows);
    rows[0] = (row){{"", "layer", "input", "output", "parameters", "FLOPs", "tensors"}};
    for (int l = 0; l < n; l++) {
        fill_row(&model->layers[l], session->batch, &rows[l + 1]);
        flops += model->layers[l].flops;
    }
    row *all = &rows[n + 1], *trained = all + 1;
    *all = (row){{"", "in all"}};
    snprintf(all->cell[4], CELL, "%zu", model->parameters);
    snprintf(all->cell[5], CELL, "%.0f", flops);
    *trained = (row){{"", "trained"}};
    snprintf(trained->cell[4], CELL, "%zu", model->trained);
    print_rows(rows, n + 2 + (model->trained < model->parameters));
    free(rows);
}

/* Steps at a learning rate of 0 on the first batch, or as much of it as gives a rank 1024
 * samples, until 0.2 s are over on some rank: seconds a sample, without the first step.
 * The parameters are zeros: speed does not depend on their values. */
static double sample_seconds(const dp_session *session, dp_stepper *stepper) {
    const double enough = 0.2;
    const int32_t *rows = session->data->train_row;
    int64_t max = 1024 * (int64_t)dp_comm_size(session->comm);
    int n = session->batch < max ? session->batch : (int)max, steps = 0;
    dp_step_result step = {0};
    dp_step(stepper, rows, n, (dp_rates){0}, 1, 1, false, &step);
    dp_stepper_wait_params(stepper);
    double start = dp_clock(), first = step.seconds;
    for (; !step.stop; steps++) {
        bool last = first + dp_clock() - start > enough;
        dp_step(stepper, rows, n, (dp_rates){0}, steps + 2, 1, last, &step);
    }
    dp_stepper_wait_params(stepper);
    return (dp_clock() - start) / steps / n;
}

/* The time of an epoch, estimated from a few steps, beside its floor at the FMA peak. The
 * peak is measured here, on all ranks at once. */
static void print_speed(const dp_session *session, double sample) {
    double flop = dp_model_flops(session->model) * session->data->train_n;
    const dp_topology *node = dp_comm_topology(session->comm);
    int threads = session->threads * node->node_size;
    double busy = threads > node->node_cores ? (double)node->node_cores / node->node_size
                                             : (double)session->threads;
    double peak = busy * dp_kernels_peak(session->set, 0.1);
    dp_comm_sum(session->comm, &peak, 1);
    double floor = flop * 1e-9 / peak, epoch = sample * session->data->train_n;
    dp_log("speed   %.3g GFLOP an epoch; FMA peak %.0f GFLOP/s on all ranks: at least "
           "%.3g s. By steps tried here: about %.3g s an epoch, %.2g%% of the peak",
           flop * 1e-9, peak, floor, epoch, 100 * floor / epoch);
}

/* Memory and speed of the steps as they would be. arg: the session. */
static dp_status print_cost(void *arg) {
    const dp_session *session = arg;
    dp_stepper *stepper = NULL;
    dp_status s = dp_stepper_create(
        session->comm, &session->config, session->data, session->model, session->loss,
        &session->scale, session->batch, dp_session_step_threads(session), &stepper);
    if (s == DP_OK) {
        double mib = 1024.0 * 1024.0;
        dp_log("memory  a rank: data %.1f MiB, parameters %.1f MiB, activations, "
               "gradients and optimizer %.1f MiB",
               (double)dp_dataset_bytes(session->data) / mib,
               (double)(session->model->floats * sizeof(float)) / mib,
               (double)dp_stepper_bytes(stepper) / mib);
        print_speed(session, sample_seconds(session, stepper));
    }
    dp_stepper_destroy(&stepper);
    return s;
}

static void print_config(const dp_config *config) {
    char *text = dp_config_text(config);
    for (char *rest = text, *line; (line = strsep(&rest, "\n"));) {
        dp_log("%s", line);
    }
    free(text);
}

dp_status dp_cli_check(const dp_cli *cli) {
    dp_session *session = cli->session;
    print_config(&cli->config);
    dp_session_header(session);
    dp_launch_check(session);
    print_layers(session);
    dp_cli_schedule(session);
    DP_TRY(dp_train_check(session));
    dp_model_log_start(session->model, cli->config.model.init_file);
    DP_TRY(dp_team_open(session->threads, print_cost, session));
    dp_log("ok: nothing was trained");
    return DP_OK;
}
