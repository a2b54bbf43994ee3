/* Evaluation and prediction share the net's passes and the threads with the step, but no gradients. */
#include "step/forward.h"
#include "team.h"

static void wait_for_team(void *context, dp_team team) {
    (void)context;
    (void)team;
#pragma omp barrier
}

static void load(const dp_forward *f, dp_team team, const dp_table *table,
                 const int32_t *rows, int N) {
    const dp_signal *input = &f->net->signals[0];
    if (f->loss) {
        dp_batch_load(f->batch, team, f->net, f->scale, table, rows, N);
    } else {
        f->net->model->set->load(team, N, input->F, table->raw, rows, f->scale, input->yt,
                                 input->y);
    }
}

void dp_forward_run(const dp_forward *f, const dp_table *table, const int32_t *rows,
                    int N) {
    const dp_model *model = f->net->model;
    const dp_signal *logits = dp_net_logits(f->net);
    const dp_hooks hooks = {.barrier = wait_for_team};
#pragma omp parallel num_threads(f->threads)
    {
        dp_team team = my_team();
        dp_pass pass = {.set = model->set,
                        .team = team,
                        .N = N,
                        .row = rows,
                        .params = model->params};
        load(f, team, table, rows, N);
        dp_net_forward(f->net, pass, &hooks);
        wait_for_team(NULL, team);
        if (f->loss) {
            dp_truth truth = dp_batch_truth(f->batch, N, 0);
            f->loss->apply(model->set, team, &truth, logits->yt, NULL);
        }
        if (f->probability) {
            model->set->softmax(team, N, logits->F, logits->yt, f->probability);
        }
    }
}
