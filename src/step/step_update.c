/* From a summed gradient to new parameters, chunk by chunk. */
#include "base/clones.h"
#include "step_impl.h"
#include <string.h>

dp_update_plan dp_step_plan(const dp_stepper *st, int n, double total, dp_rates rates,
                            int64_t t) {
    dp_update_plan plan = {.step = t,
                           .blocks = dp_tree_blocks(n, st->block),
                           .u = dp_optimizer_prepare(st->config, rates, t),
                           .scale = total > 0 ? (float)(1.0 / total) : 0.0F};
    plan.u.scale = st->accumulated ? 1.0F : plan.scale; /* what is accumulated is means */
    return plan;
}

double dp_step_norm(const dp_stepper *st) {
    return sqrt(dp_tree_sum(st->squares, st->model->nchunks));
}

/* As PyTorch's clip_grad_norm_. */
void dp_step_clip(const dp_stepper *st, dp_update *u) {
    double f = st->config->optimizer.clip_norm / (dp_step_norm(st) + 1e-6);
    u->scale *= (float)(f < 1 ? f : 1);
}

void dp_step_accumulate_chunk(dp_stepper *st, int c, const float *sum, float scale) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    if (st->accumulated) {
        for (size_t i = 0; i < n; i++) {
            st->accumulated[at + i] += sum[i] * scale;
        }
        sum = st->accumulated + at;
        scale = 1;
    }
    st->chunk_sum[c] = sum;
    st->squares[c] = dp_sum_squares(sum, n, scale);
}

/* u for tensor t: without weight decay where that is not for it. */
static dp_update update_of(const dp_stepper *st, int t, const dp_update *u) {
    dp_update mine = *u;
    if (!st->decays[t]) {
        mine.weight_decay = 0;
        mine.decay = 1;
    }
    return mine;
}

/* The optimizer's state at `at`; NULL: it has none. */
static float *state_at(const dp_stepper *st, int k, size_t at) {
    bool own = st->slot[k] != st->accumulated && &st->slot[k] != st->average;
    return st->slot[k] && own ? st->slot[k] + at : NULL;
}

/* As torch.optim.swa_utils.AveragedModel with an EMA. */
DP_CLONES static void add_to_average(float weight, size_t n, const float *restrict p,
                                     float *restrict average) {
    for (size_t i = 0; i < n; i++) {
        average[i] += weight * (p[i] - average[i]);
    }
}

void dp_step_measure_chunk(dp_stepper *st, int c, const dp_update *u) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    float *const slot[2] = {state_at(st, 0, at), state_at(st, 1, at)};
    double squares[2];
    dp_update mine = update_of(st, st->chunk_tensor[c], u);
    st->optimizer->measure(&mine, n, st->chunk_sum[c], model->params + at, slot, squares);
    st->measure[0][c] = squares[0];
    st->measure[1][c] = squares[1];
}

float dp_step_rate(const dp_stepper *st, int t, const dp_update *u) {
    const dp_tensor *tensor = &st->model->tensors[t];
    int first = dp_step_chunk_from(st->model, tensor->offset);
    int n = (int)((tensor->count + DP_CHUNK - 1) / DP_CHUNK);
    double norm[2] = {sqrt(dp_tree_sum(st->measure[0] + first, n)),
                      sqrt(dp_tree_sum(st->measure[1] + first, n))};
    dp_update mine = update_of(st, t, u);
    return (float)((double)u->lr * st->optimizer->ratio(&mine, norm[0], norm[1]));
}

void dp_step_update_chunk(dp_stepper *st, int c, const dp_update *u) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    float *const slot[2] = {state_at(st, 0, at), state_at(st, 1, at)};
    dp_update mine = update_of(st, st->chunk_tensor[c], u);
    if (st->accumulated) { /* clipped in place, as clip_grad_norm_ does */
        for (size_t i = 0; i < n; i++) {
            st->accumulated[at + i] *= u->scale;
        }
        mine.scale = 1;
    }
    st->optimizer->update(&mine, n, st->chunk_sum[c], model->params + at, slot);
    if (st->average && u->average < 1) {
        add_to_average(u->average, n, model->params + at, *st->average + at);
    } else if (st->average) {
        memcpy(*st->average + at, model->params + at, n * sizeof(float));
    }
}

int dp_step_chunk_from(const dp_model *model, size_t at) {
    int low = 0, high = model->nchunks;
    while (low < high) {
        int middle = (low + high) / 2;
        if (model->chunk[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void update_early(dp_stepper *st, int c, const dp_update_plan *early) {
    const float *grads = dp_exchange_slab(st->exchange, 0);
    dp_step_accumulate_chunk(st, c, grads + st->model->chunk[c], early->scale);
    dp_step_update_chunk(st, c, &early->u);
    st->updated[c] = early->step;
}

void dp_step_update_rows(dp_stepper *st, size_t begin, size_t before, size_t end,
                         const dp_update_plan *early) {
    const size_t *chunk = st->model->chunk;
    int c = dp_step_chunk_from(st->model, begin);
    while (c < st->model->nchunks && chunk[c + 1] <= before) {
        c++;
    }
    for (; c < st->model->nchunks && chunk[c + 1] <= end; c++) {
        update_early(st, c, early);
    }
}

void dp_step_update_slice(dp_stepper *st, dp_team team, const dp_slice *slice,
                          const dp_update_plan *early) {
    const dp_model *model = st->model;
    int first = dp_step_chunk_from(model, slice->offset);
    long n = dp_step_chunk_from(model, slice->offset + slice->count) - first;
    int begin = first + (int)(n * team.id / team.n);
    int end = first + (int)(n * (team.id + 1) / team.n);
    for (int c = begin; c < end; c++) {
        if (st->updated[c] != early->step) {
            update_early(st, c, early);
        }
    }
}
