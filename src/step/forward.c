/* Evaluation and prediction share the net's passes and the threads with the step, but no
 * gradients. */
#include "step/forward.h"
#include "step/team.h"

static void wait_for_team(void *context, dp_team team) {
    (void)context;
    dp_team_barrier(team);
}

/* A call, for its threads. */
typedef struct job {
    const dp_forward *forward;
    const dp_table *table;
    const int32_t *rows;
    int N;
} job;

static void work(dp_team team, void *arg) {
    const job *j = arg;
    const dp_forward *f = j->forward;
    const dp_model *model = f->net->model;
    const dp_activation *logits = dp_net_logits(f->net);
    const dp_hooks hooks = {.barrier = wait_for_team};
    const dp_pass pass = {.set = model->set,
                          .team = team,
                          .N = j->N,
                          .row = j->rows,
                          .params = model->params};
    if (f->loss) {
        dp_batch_load(f->batch, team, f->net, f->scale, j->table, j->rows, j->N);
    } else {
        dp_batch_load_input(team, f->net, f->scale, j->table, j->rows, j->N);
    }
    dp_net_forward(f->net, pass, &hooks);
    dp_team_barrier(team);
    if (f->loss) {
        dp_targets targets = dp_batch_targets(f->batch, j->N, 0, f->delta);
        dp_loss_apply(f->loss, model->set, team, &targets, logits->yt, NULL);
    }
    if (f->probability) {
        model->set->softmax(team, j->N, logits->F, logits->yt, f->probability);
    }
}

void dp_forward_run(const dp_forward *f, const dp_table *table, const int32_t *rows,
                    int N) {
    job j = {f, table, rows, N};
    dp_team_run(f->threads, work, &j);
}
