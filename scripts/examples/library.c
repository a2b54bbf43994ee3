/* trainer as a library: one epoch in a loop of our own, then predictions.
 *
 *     mpicc -fopenmp library.c $(pkg-config --cflags --libs trainer) -o library
 *     ./library configs/softmax.ini data.dir=data/mnist
 *     mpirun -np 2 ./library configs/softmax.ini data.dir=data/mnist
 */
#include "base/log.h"
#include "data/sampler.h"
#include "nn/schedule.h"
#include "run/evaluate.h"
#include "run/predict.h"
#include "step/step.h"
#include "step/team.h"
#include <stdlib.h>

typedef struct program {
    dp_session *session;
    dp_sampler *sampler;
    dp_stepper *stepper;
    dp_evaluator *evaluator;
} program;

static dp_status create(program *p) {
    dp_session *s = p->session;
    const dp_config *config = &s->config;
    DP_TRY(dp_model_init(s->model,
                         config)); /* a function of the seed: the same on all ranks */
    DP_TRY(dp_sampler_create(s->data->train_row, s->data->train_n, s->batch,
                             config->train.shuffle, config->train.drop_last,
                             config->run.seed, &p->sampler));
    DP_TRY(dp_evaluator_create(s, &p->evaluator));
    return dp_stepper_create(s->comm, config, s->data, s->model, s->loss, &s->scale,
                             s->batch, s->threads, &p->stepper);
}

/* Runs with the team's threads ready. Every rank calls the same functions in the same order. */
static dp_status train(void *arg) {
    program *p = arg;
    dp_session *s = p->session;
    dp_step_result result = {0};
    dp_sampler_epoch(p->sampler, 1);
    for (int k = 0; k < p->sampler->steps; k++) {
        int n = 0;
        const int32_t *rows = dp_sampler_batch(p->sampler, k, &n);
        dp_rates rates = dp_schedule_rates(&s->config, k, p->sampler->steps);
        dp_step(p->stepper, rows, n, rates, k + 1, 1, false, &result);
    }
    dp_stepper_wait_params(p->stepper);
    dp_score score;
    DP_TRY(dp_evaluate(p->evaluator, &s->data->test, NULL, s->data->test.n, &score));
    dp_log("%d steps: loss of the last batch %.4f; test loss %.4f", p->sampler->steps,
           result.loss, score.loss);
    return DP_OK;
}

static dp_status predict(dp_session *s) {
    dp_prediction *found = NULL;
    int n = s->data->test.n < 5 ? s->data->test.n : 5;
    DP_TRY(dp_predict(s, NULL, n, &found));
    for (int i = 0; i < n; i++) {
        dp_log("test sample %d: class %d, %.4g", found->row[i], found->top[i],
               found->value[i * found->outputs + found->top[i]]);
    }
    dp_prediction_destroy(&found);
    return DP_OK;
}

static dp_status run(dp_comm *comm, int argc, char **argv, program *p) {
    dp_config config;
    if (argc < 2) {
        return dp_fail(DP_EUSAGE, "usage: library CONFIG [section.key=value ...]");
    }
    DP_TRY(dp_config_read(argv[1], argc - 2, argv + 2, &config));
    DP_TRY(dp_session_create(comm, &config, &p->session));
    DP_TRY(dp_comm_agree(comm, create(p)));
    DP_TRY(dp_team_open(p->session->threads, train, p));
    return predict(p->session);
}

int main(int argc, char **argv) {
    dp_comm *comm = NULL;
    program p = {0};
    dp_status status = dp_comm_init(&argc, &argv, &comm);
    if (status == DP_OK) {
        dp_log_enable(dp_comm_rank(comm) == 0);
        status = run(comm, argc, argv, &p);
    }
    if (status != DP_OK && (!comm || dp_comm_reports_error(comm))) {
        dp_error_line(dp_status_message());
    }
    dp_stepper_destroy(&p.stepper);
    dp_evaluator_destroy(&p.evaluator);
    dp_sampler_destroy(&p.sampler);
    dp_session_destroy(&p.session);
    dp_comm_finalize(&comm);
    return status;
}
