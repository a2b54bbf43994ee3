/* trainer show --params, --gradient: the parameters that training would begin with, and the
 * gradient of its first batch. */
#include "base/log.h"
#include "base/memory.h"
#include "cli.h"
#include "data/sampler.h"
#include "step/step.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values of a tensor where not all are shown; numbers on a line. */
enum { VALUES = 64, LINE = 14 };

/* Values [begin, end) on one line. */
static void print_values(const float *v, size_t begin, size_t end, bool more) {
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    for (size_t i = begin; i < end; i++) {
        fprintf(out, " %g", (double)v[i]);
    }
    fputs(more ? " ..." : "", out);
    dp_strbuf_close(&line);
    dp_log("%s", line.text);
    free(line.text);
}

/* "  -0.0357 to 0.0357, mean 4.67e-06, deviation 0.0206" */
static void spread_text(const float *v, size_t n, char *out, size_t size) {
    double low = (double)v[0], high = low, sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)v[i];
        low = x < low ? x : low;
        high = x > high ? x : high;
        sum += x;
        squares += x * x;
    }
    double mean = sum / (double)n, variance = squares / (double)n - mean * mean;
    snprintf(out, size, "  %.3g to %.3g, mean %.3g, deviation %.3g", low, high, mean,
             variance > 0 ? sqrt(variance) : 0.0);
}

/* All values of a small one, a row a line. */
static void print_tensor(const dp_tensor *t, const float *v) {
    char shape[DP_SHAPE_TEXT], spread[128] = "";
    bool small = t->count <= VALUES;
    if (!small) {
        spread_text(v, t->count, spread, sizeof spread);
    }
    dp_log("%s %s%s", t->name, dp_tensor_shape(t, shape), spread);
    size_t row = t->ndim > 1 ? t->count / (size_t)t->dim[0] : t->count;
    for (size_t i = 0; small && i < t->count; i += row) {
        print_values(v, i, i + row, false);
    }
    if (!small) {
        print_values(v, 0, LINE, true);
    }
}

static void print_tensors(const dp_model *model, const float *slab) {
    for (int t = 0; t < model->ntensors; t++) {
        print_tensor(&model->tensors[t], slab + model->tensors[t].offset);
    }
}

static dp_status init(dp_session *s) {
    bool root = dp_comm_rank(s->comm) == 0;
    DP_TRY(dp_comm_agree(s->comm, root ? dp_model_init(s->model, &s->config) : DP_OK));
    dp_comm_bcast(s->comm, s->model->params, s->model->floats * sizeof(float));
    return DP_OK;
}

/* The step adds the mean gradient to what train.zero_grad = false keeps: zeros. */
static void take_step(dp_session *s, dp_stepper *stepper, const dp_sampler *sampler) {
    int n = 0, k = 0;
    const int32_t *rows = dp_sampler_batch(sampler, 0, &n);
    const char *name = "";
    float *grad = NULL;
    dp_step_result r;
    dp_step(stepper, rows, n, (dp_rates){0}, 1, 1, false, &r);
    dp_stepper_wait_params(stepper);
    dp_stepper_gather(stepper);
    while (strcmp(name, "grad") != 0) {
        grad = dp_stepper_slot(stepper, k++, &name);
    }
    dp_log("gradient of the first batch: %d samples, loss %f, norm %g", n, r.loss,
           r.grad_norm);
    print_tensors(s->model, grad);
}

static dp_status print_gradient(dp_session *s) {
    const dp_dataset *data = s->data;
    dp_config config = s->config;
    dp_sampler *sampler = NULL;
    dp_stepper *stepper = NULL;
    config.train.zero_grad = false;
    config.train.ema = 0;
    config.optimizer.clip_norm = 0;
    dp_status status = dp_comm_agree(
        s->comm,
        dp_sampler_create(data->train_row, data->train_n, s->batch, config.train.shuffle,
                          config.train.drop_last, config.run.seed, &sampler));
    if (status == DP_OK) {
        dp_sampler_epoch(sampler, 1);
        status = dp_stepper_create(s->comm, &config, data, s->model, s->loss, &s->scale,
                                   s->batch, dp_session_step_threads(s), &stepper);
    }
    status = status != DP_OK ? status : init(s);
    if (status == DP_OK) {
        take_step(s, stepper, sampler);
    }
    dp_stepper_destroy(&stepper);
    dp_sampler_destroy(&sampler);
    return status;
}

dp_status dp_cli_params(const dp_cli *cli) {
    dp_session *s = cli->session;
    if (cli->params) {
        DP_TRY(init(s));
        print_tensors(s->model, s->model->params);
    }
    return cli->gradient ? print_gradient(s) : DP_OK;
}
