/* One optimizer step: microbatches, the reduction, the update. With overlap the
 * communication thread does the last two (overlap.c); the team tells it which gradients
 * are complete, and waits for the parameters that it is about to read. */
#include "base/memory.h"
#include "base/tree.h"
#include "step/team.h"
#include "step_impl.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The sum of a microbatch's losses: in order within a block, then along the tree. */
static double sum_losses(const dp_stepper *st, int N) {
    int blocks = dp_tree_blocks(N, st->block);
    double sums[DP_MICROBATCH]; /* a microbatch has no more blocks */
    memset(sums, 0, (size_t)blocks * sizeof *sums);
    for (int n = 0; n < N; n++) {
        sums[n / st->block] += (double)st->batch->loss[n];
    }
    return dp_tree_sum(sums, blocks);
}

static int count_correct(const dp_stepper *st, int N) {
    int count = 0;
    for (int n = 0; st->loss->accuracy && n < N; n++) {
        count += st->batch->correct[n];
    }
    return count;
}

/* Where a microbatch's gradients go: they replace slab `top`, which is then added to the
 * one below it, and so on, `merges` times. plan: they are the rank's last of the step,
 * and their buckets may be exchanged. */
typedef struct grad_target {
    int top, merges;
    const dp_update_plan *plan;
} grad_target;

/* left += right in a bucket, this thread's range. */
static void merge(dp_team team, const dp_bucket *bucket, int ranks, float *left,
                  const float *right) {
    size_t first = bucket->bound[0] / 16, n = bucket->bound[ranks] / 16 - first;
    size_t begin = (first + n * (size_t)team.id / (size_t)team.n) * 16;
    size_t end = (first + n * (size_t)(team.id + 1) / (size_t)team.n) * 16;
    dp_tree_add(left + begin, right + begin, end - begin);
}

/* Bucket b's gradients are in slab `top`. Whole team. */
static void bucket_ready(dp_stepper *st, dp_team team, int b, const grad_target *to) {
    for (int m = 0; m < to->merges; m++) {
        merge(team, &st->bucket[b], dp_comm_size(st->comm),
              dp_exchange_slab(st->exchange, to->top - m - 1),
              dp_exchange_slab(st->exchange, to->top - m));
    }
    if (st->overlap && to->plan && b < st->nbuckets - 1) {
        if (to->merges > 0) {
            dp_team_barrier(team);
        }
        if (team.id == 0) {
            dp_overlap_grads_ready(st->overlap, b, to->plan);
        }
    }
}

/* What a thread's hooks need in a microbatch. */
typedef struct microbatch_context {
    dp_stepper *st;
    const grad_target *to;
    const dp_update_plan *early; /* not NULL: parameters are updated as gradients come */
    dp_times *times;
    double *clock, *busy; /* the part of times that the thread is in */
} microbatch_context;

static void wait_for_team(void *context, dp_team team) {
    microbatch_context *w = context;
    *w->busy += dp_lap(w->clock);
    dp_team_barrier(team);
    w->times->idle += dp_lap(w->clock);
}

static void slice_needed(void *context, dp_team team, const dp_slice *slice) {
    microbatch_context *w = context;
    int b = w->st->completes[slice - w->st->net->slice];
    if (team.id == 0 && b >= 0) {
        *w->busy += dp_lap(w->clock);
        dp_overlap_wait_params(w->st->overlap, b);
        w->times->reduce += dp_lap(w->clock);
    }
}

static void slice_ready(void *context, dp_team team, const dp_slice *slice) {
    microbatch_context *w = context;
    int b = w->st->completes[slice - w->st->net->slice];
    if (w->early) {
        dp_step_update_slice(w->st, team, slice, w->early);
        w->times->update += dp_lap(w->clock);
    } else if (b >= 0) {
        bucket_ready(w->st, team, b, w->to);
    }
}

static void rows_made(void *context, dp_team team, size_t begin, size_t before,
                      size_t end) {
    microbatch_context *w = context;
    *w->busy += dp_lap(w->clock);
    dp_step_update_rows(w->st, begin, before, end, w->early);
    w->times->update += dp_lap(w->clock);
}

/* Forward, loss and backward of one microbatch; a barrier is its end. Whole team. */
static double microbatch(microbatch_context *w, dp_team team, const int32_t *rows, int N,
                         const dp_update_plan *plan) {
    dp_stepper *st = w->st;
    const dp_net *net = st->net;
    const dp_hooks hooks = {.context = w,
                            .barrier = wait_for_team,
                            .need = st->overlap ? slice_needed : NULL,
                            .ready = st->overlap || w->early ? slice_ready : NULL,
                            .made = w->early ? rows_made : NULL,
                            .gradients_first = st->overlap != NULL};
    dp_pass pass = {.set = st->model->set,
                    .team = team,
                    .N = N,
                    .block = st->block,
                    .training = true,
                    .seed = st->config->run.seed,
                    .step = plan->step,
                    .row = rows,
                    .params = st->model->params,
                    .grads = dp_exchange_slab(st->exchange, w->to->top)};
    if (w->early) {
        pass.updated[0] = st->model->params;
        for (int k = 0; k < st->nslots && k + 1 < DP_UPDATED; k++) {
            pass.updated[k + 1] = st->slot[k];
        }
    }
    dp_targets targets =
        dp_batch_targets(st->batch, N, (float)st->config->loss.label_smoothing,
                         (float)st->config->loss.delta);
    const dp_activation *logits = dp_net_logits(net);

    w->busy = &w->times->data;
    dp_batch_load(st->batch, team, net, &st->scale, &st->data->train, rows, N);
    w->times->data += dp_lap(w->clock);
    w->busy = &w->times->forward;
    if (team.id == 0) {
        st->samples = N;
        st->times.flops += N * dp_model_flops(st->model);
        st->times.skipped += dp_net_skipped(net, N);
    }
    dp_net_forward(net, pass, &hooks);
    wait_for_team(w, team);
    dp_loss_apply(st->loss, pass.set, team, &targets, logits->yt, logits->dzt);
    w->times->forward += dp_lap(w->clock);
    w->busy = &w->times->backward;
    dp_net_backward(net, pass, &hooks);
    if (!st->overlap) {
        bucket_ready(st, team, 0, w->to);
    }
    double loss = 0;
    if (team.id == 0) {
        loss = sum_losses(st, N);
        st->correct += count_correct(st, N);
    }
    w->times->backward += dp_lap(w->clock);
    return loss;
}

/* One step, for its threads. */
typedef struct job {
    dp_stepper *st;
    const int32_t *rows;
    int n, blocks, nmicrobatches;
    const dp_range *range; /* [nmicrobatches] */
    const dp_update_plan *plan;
    bool early_update; /* nobody is waited for: see dp_step_update_slice */
    dp_step_scalars scalars;
    double start, end, loss_sum; /* end: of thread 0's last lap */
} job;

/* All microbatches of this rank: leaves one gradient slab and one loss for each of its
 * ranges. */
static void compute(dp_team team, const job *j, double *clock) {
    dp_stepper *st = j->st;
    dp_tree_walk walk;
    dp_tree_begin(&walk, j->blocks);
    for (int k = 0; k < j->nmicrobatches; k++) {
        dp_range range = j->range[k];
        int begin = range.a * st->block;
        int end = range.b == j->blocks ? j->n : range.b * st->block;
        int top = walk.depth, merges = dp_tree_push(&walk, range);
        bool last = k == j->nmicrobatches - 1;
        const grad_target to = {top, merges, last ? j->plan : NULL};
        microbatch_context w = {.st = st,
                                .to = &to,
                                .early = j->early_update ? j->plan : NULL,
                                .clock = clock};
        w.times = team.id == 0 ? &st->times : &(dp_times){0};
        double loss = microbatch(&w, team, j->rows + begin, end - begin, j->plan);
        if (team.id == 0) {
            st->partial_loss[top] = loss;
            dp_tree_merge_sums(st->partial_loss, top, merges);
        }
        if (j->nmicrobatches > 1) {
            dp_team_barrier(team);
            if (team.id == 0) {
                st->times.idle += dp_lap(clock);
            }
        }
    }
}

/* This thread's part of the owned chunks. */
static void thread_chunks(const dp_stepper *st, dp_team team, int *begin, int *end) {
    const dp_bucket *bucket = &st->bucket[0];
    long n = bucket->last - bucket->first;
    *begin = bucket->first + (int)(n * team.id / team.n);
    *end = bucket->first + (int)(n * (team.id + 1) / team.n);
}

/* Prefetches for writing what the update of chunk c changes. Other cores have read the
 * parameters: each store would wait for their copies of the line to be invalidated. */
static void prefetch_chunk(const dp_stepper *st, int c) {
    const dp_model *model = st->model;
    for (size_t i = model->chunk[c]; i < model->chunk[c + 1];
         i += DP_ALIGN / sizeof(float)) {
        dp_memory_prefetch_write(model->params + i);
        for (int k = 0; k < st->nslots; k++) {
            dp_memory_prefetch_write(st->slot[k] + i);
        }
    }
}

/* Allgathers what the team has computed, in the middle of an update. Whole team. */
static void exchange(dp_stepper *st, dp_team team, int n, const dp_sliced_array *arrays,
                     dp_times *times, double *clock) {
    times->update += dp_lap(clock);
    dp_team_barrier(team);
    times->idle += dp_lap(clock);
    if (team.id == 0) {
        dp_exchange_gather(st->exchange, n, arrays);
        times->reduce += dp_lap(clock);
    }
    dp_team_barrier(team);
}

/* Chunks [begin, end), each tensor at a rate of its own. */
static void update_layerwise(dp_stepper *st, dp_team team, int begin, int end,
                             dp_update u, dp_times *times, double *clock) {
    const size_t *bound = st->bucket[0].chunk_bound;
    dp_sliced_array measured[2] = {{st->measure[0], sizeof(double), bound},
                                   {st->measure[1], sizeof(double), bound}};
    for (int c = begin; c < end; c++) {
        dp_step_measure_chunk(st, c, &u);
    }
    exchange(st, team, 2, measured, times, clock);
    for (int c = begin; c < end; c++) {
        int t = st->chunk_tensor[c];
        if (c == begin || t != st->chunk_tensor[c - 1]) {
            u.rate = dp_step_rate(st, t, &u);
        }
        dp_step_update_chunk(st, c, &u);
    }
}

/* The owned slice: sum, norm, update; then an allgather of the parameters. With clipping
 * the norm comes first, and with layer-wise rates those of the tensors: each takes one
 * more small exchange. Whole team. */
static void update(dp_stepper *st, dp_team team, const dp_update_plan *plan, bool done,
                   double *clock) {
    bool clip = st->config->optimizer.clip_norm > 0;
    bool layerwise = st->optimizer->measure != NULL;
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};
    dp_update u = plan->u;
    dp_sliced_array squares = {st->squares, sizeof(double), st->bucket[0].chunk_bound};
    dp_sliced_array params = {st->model->params, sizeof(float), st->bucket[0].bound};
    int begin = 0, end = 0;
    thread_chunks(st, team, &begin, &end);
    for (int c = begin; c < end && !done; c++) {
        const size_t *chunk = st->model->chunk;
        prefetch_chunk(st, c + 1 < end ? c + 1 : c);
        dp_step_accumulate_chunk(
            st, c, dp_exchange_sum(st->exchange, chunk[c], chunk[c + 1]), plan->scale);
        if (!clip && !layerwise) {
            dp_step_update_chunk(st, c, &u);
        }
    }
    if (clip) {
        exchange(st, team, 1, &squares, times, clock);
        dp_step_clip(st, &u);
    }
    if (layerwise) {
        update_layerwise(st, team, begin, end, u, times, clock);
    }
    for (int c = begin; c < end && clip && !layerwise; c++) {
        dp_step_update_chunk(st, c, &u);
    }
    times->update += dp_lap(clock);
    dp_team_barrier(team);
    times->idle += dp_lap(clock);
    if (team.id == 0) {
        dp_exchange_gather(st->exchange, 2, (dp_sliced_array[]){params, squares});
        times->reduce += dp_lap(clock);
    }
}

/* The first tensor whose gradient is not finite, or -1. */
static int bad_tensor(const dp_stepper *st) {
    const dp_model *model = st->model;
    int c = 0, t = 0;
    while (c < model->nchunks && isfinite(st->squares[c])) {
        c++;
    }
    if (c == model->nchunks) {
        return -1;
    }
    while (model->chunk[c] - model->tensors[t].offset >= model->tensors[t].count) {
        t++; /* an offset above the chunk makes a huge difference */
    }
    return t;
}

static void step_thread(dp_team team, void *arg) {
    job *j = arg;
    dp_stepper *st = j->st;
    double clock = j->start;
    if (team.id == 0) {
        st->times.idle += dp_lap(&clock);
    }
    compute(team, j, &clock);
    if (team.id == 0) {
        for (int k = 0; k < DP_MAX_PARTIALS && k < st->ngrads; k++) {
            j->scalars.loss[k] = st->partial_loss[k];
        }
        j->scalars.correct = st->correct;
        st->times.idle += dp_lap(&clock);
        j->loss_sum = st->overlap ? dp_overlap_reduce(st->overlap, j->plan, &j->scalars)
                                  : dp_exchange_reduce(st->exchange, st->bucket[0].bound,
                                                       j->blocks, &j->scalars);
        st->times.reduce += dp_lap(&clock);
    }
    if (!st->overlap) {
        dp_team_barrier(team);
        update(st, team, j->plan, j->early_update, &clock);
    }
    if (team.id == 0) {
        j->end = clock;
    }
}

/* What the batch's sums are divided by: each rank adds the weights in the same order. */
static double total_weight(const dp_stepper *st, const int32_t *rows, int n) {
    if (!st->data->class_weight) {
        return n;
    }
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += (double)st->data->class_weight[dp_table_class(&st->data->train, rows[i])];
    }
    return sum;
}

void dp_step(dp_stepper *st, const int32_t *rows, int n, dp_rates rates, int64_t t,
             int64_t epoch, bool stop_requested, dp_step_result *out) {
    double start = dp_clock(), reduce_before = st->times.reduce;
    int ranks = dp_comm_size(st->comm), rank = dp_comm_rank(st->comm);
    int blocks = dp_tree_blocks(n, st->block);
    int nmicrobatches = dp_tree_partition(blocks, ranks, rank, st->max_blocks, NULL);
    dp_range *range = st->range;
    dp_tree_partition(blocks, ranks, rank, st->max_blocks, range);
    double total = total_weight(st, rows, n);
    dp_update_plan plan = dp_step_plan(st, n, total, rates, t);
    st->correct = 0;
    st->batch->epoch = epoch;
    if (st->averaged) {
        dp_step_exchange_average(st);
    }
    job j = {.st = st,
             .rows = rows,
             .n = n,
             .blocks = blocks,
             .nmicrobatches = nmicrobatches,
             .range = range,
             .plan = &plan,
             .early_update = ranks == 1 && nmicrobatches == 1 &&
                             !(st->config->optimizer.clip_norm > 0) &&
                             !st->optimizer->measure,
             .scalars = {.stop = stop_requested},
             .start = start};
    dp_team_run(st->threads, step_thread, &j);
    double now = dp_clock();
    st->times.idle += now - j.end;
    double loss = total > 0 ? j.loss_sum / total : 0;
    *out = (dp_step_result){.loss = loss,
                            .loss_sum = st->data->class_weight ? loss * n : j.loss_sum,
                            .correct = (int64_t)j.scalars.correct,
                            .grad_norm = dp_step_norm(st),
                            .seconds = now - start,
                            .comm_seconds = st->times.reduce - reduce_before,
                            .stop = j.scalars.stop > 0,
                            .bad = bad_tensor(st)};
}

double dp_step_imbalance(int n, int block, int ranks, int *idle) {
    int blocks = dp_tree_blocks(n, block), max_blocks = 0;
    *idle = 0;
    for (int r = 0; r < ranks; r++) {
        dp_range range[DP_MAX_PARTIALS];
        int k = dp_tree_partition(blocks, ranks, r, INT_MAX, range), mine = 0;
        for (int i = 0; i < k; i++) {
            mine += range[i].b - range[i].a;
        }
        max_blocks = mine > max_blocks ? mine : max_blocks;
        *idle += mine == 0;
    }
    return (double)max_blocks * ranks / blocks;
}
