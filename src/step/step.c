#include "base/memory.h"
#include "base/tree.h"
#include "step/team.h"
#include "step_impl.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The sum of a piece's losses: in order within a block, then along the tree. */
static double sum_losses(const dp_stepper *st, int N) {
    int blocks = dp_tree_blocks(N, st->block);
    double sums[DP_PIECE]; /* a piece has no more blocks */
    memset(sums, 0, (size_t)blocks * sizeof *sums);
    for (int n = 0; n < N; n++) {
        sums[n / st->block] += (double)st->batch->loss[n];
    }
    return dp_tree_sum(sums, blocks);
}

/* Where a piece's gradients go: they replace slab `top`, which is then added to the one below it, and
 * so on, `merges` times. With an errand they are the rank's last of the step, and may travel. */
typedef struct pile {
    int top, merges;
    const dp_errand *errand;
} pile;

/* left += right in a bucket, this thread's part. */
static void merge(dp_team team, const dp_bucket *bucket, int ranks, float *left,
                  const float *right) {
    size_t first = bucket->bound[0] / 16, n = bucket->bound[ranks] / 16 - first;
    size_t begin = (first + n * (size_t)team.id / (size_t)team.n) * 16;
    size_t end = (first + n * (size_t)(team.id + 1) / (size_t)team.n) * 16;
    dp_tree_add(left + begin, right + begin, end - begin);
}

/* Bucket b's gradients are in slab `top`. Whole team. */
static void bucket_done(dp_stepper *st, dp_team team, int b, const pile *to) {
    for (int m = 0; m < to->merges; m++) {
        merge(team, &st->bucket[b], dp_comm_size(st->comm),
              dp_exchange_slab(st->exchange, to->top - m - 1),
              dp_exchange_slab(st->exchange, to->top - m));
    }
    if (st->overlap && to->errand && b < st->nbuckets - 1) {
        if (to->merges > 0) {
            dp_team_barrier(team);
        }
        if (team.id == 0) {
            dp_overlap_ready(st->overlap, b, to->errand);
        }
    }
}

/* What a thread has with it on its way through a piece. */
typedef struct worker {
    dp_stepper *st;
    const pile *to;
    const dp_errand *now; /* not NULL: parameters are updated as gradients come */
    dp_times *times;
    double *clock, *busy; /* the part of times that the thread is in */
} worker;

static void wait_for_team(void *context, dp_team team) {
    worker *w = context;
    *w->busy += dp_lap(w->clock);
    dp_team_barrier(team);
    w->times->idle += dp_lap(w->clock);
}

static void slice_needed(void *context, dp_team team, const dp_slice *slice) {
    worker *w = context;
    int b = w->st->completes[slice - w->st->net->slice];
    if (team.id == 0 && b >= 0) {
        *w->busy += dp_lap(w->clock);
        dp_overlap_await(w->st->overlap, b);
        w->times->reduce += dp_lap(w->clock);
    }
}

static void slice_ready(void *context, dp_team team, const dp_slice *slice) {
    worker *w = context;
    int b = w->st->completes[slice - w->st->net->slice];
    if (w->now) {
        dp_step_update_slice(w->st, team, slice, w->now);
        w->times->update += dp_lap(w->clock);
    } else if (b >= 0) {
        bucket_done(w->st, team, b, w->to);
    }
}

/* Forward, loss and backward of one piece; a barrier is its end. Whole team. */
static double piece(worker *w, dp_team team, const int32_t *rows, int N,
                    const dp_errand *errand) {
    dp_stepper *st = w->st;
    const dp_net *net = st->net;
    if (team.id == 0) {
        st->samples = N;
    }
    const dp_hooks hooks = {.context = w,
                            .barrier = wait_for_team,
                            .need = st->overlap ? slice_needed : NULL,
                            .ready = st->overlap || w->now ? slice_ready : NULL,
                            .gradients_first = st->overlap != NULL};
    const dp_pass pass = {.set = st->model->set,
                          .team = team,
                          .N = N,
                          .block = st->block,
                          .training = true,
                          .seed = st->config->run.seed,
                          .step = errand->step,
                          .row = rows,
                          .params = st->model->params,
                          .grads = dp_exchange_slab(st->exchange, w->to->top)};
    dp_truth truth =
        dp_batch_truth(st->batch, N, (float)st->config->loss.label_smoothing);
    const dp_signal *logits = dp_net_logits(net);

    w->busy = &w->times->data;
    dp_batch_load(st->batch, team, net, &st->scale, &st->data->train, rows, N);
    w->times->data += dp_lap(w->clock);
    w->busy = &w->times->forward;
    dp_net_forward(net, pass, &hooks);
    wait_for_team(w, team);
    st->loss->apply(pass.set, team, &truth, logits->yt, logits->dzt);
    w->times->forward += dp_lap(w->clock);
    w->busy = &w->times->backward;
    dp_net_backward(net, pass, &hooks);
    if (!st->overlap) {
        bucket_done(st, team, 0, w->to);
    }
    double loss = team.id == 0 ? sum_losses(st, N) : 0;
    w->times->backward += dp_lap(w->clock);
    return loss;
}

/* All pieces of this rank: leaves one gradient slab and one loss for each of its nodes.
 */
static void compute(dp_stepper *st, dp_team team, const int32_t *rows, int n, int npieces,
                    const dp_node *node, const dp_errand *now, const dp_errand *errand,
                    double *clock) {
    int blocks = dp_tree_blocks(n, st->block);
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int k = 0; k < npieces; k++) {
        int begin = node[k].a * st->block;
        int end = node[k].b == blocks ? n : node[k].b * st->block;
        int top = walk.depth, merges = dp_tree_push(&walk, node[k]);
        const pile to = {top, merges, k == npieces - 1 ? errand : NULL};
        worker w = {.st = st, .to = &to, .now = now, .clock = clock};
        w.times = team.id == 0 ? &st->times : &(dp_times){0};
        double loss = piece(&w, team, rows + begin, end - begin, errand);
        if (team.id == 0) {
            st->piece_loss[top] = loss;
            for (; merges > 0; merges--, top--) {
                st->piece_loss[top - 1] += st->piece_loss[top];
            }
        }
        if (npieces > 1) {
            dp_team_barrier(team);
            if (team.id == 0) {
                st->times.idle += dp_lap(clock);
            }
        }
    }
}

/* This thread's part of the owned chunks. */
static void my_chunks(const dp_stepper *st, dp_team team, int *begin, int *end) {
    const dp_bucket *bucket = &st->bucket[0];
    long n = bucket->last - bucket->first;
    *begin = bucket->first + (int)(n * team.id / team.n);
    *end = bucket->first + (int)(n * (team.id + 1) / team.n);
}

/* PyTorch's clip_grad_norm_: the factor on the gradient. */
double dp_step_clip(double clip, double norm) {
    double f = clip / (norm + 1e-6);
    return f < 1 ? f : 1;
}

double dp_step_norm(const dp_stepper *st) {
    return sqrt(dp_tree_sum(st->squares, st->model->nchunks));
}

/* Asks for what the update of chunk c changes, before it is needed. Others have read the parameters:
 * each store would wait for them to let go of a line. */
static void want_chunk(const dp_stepper *st, int c) {
    const dp_model *model = st->model;
    for (size_t i = model->chunk[c]; i < model->chunk[c + 1];
         i += DP_ALIGN / sizeof(float)) {
        dp_memory_want(model->params + i);
        for (int k = 0; k < st->nslots; k++) {
            dp_memory_want(st->slot[k] + i);
        }
    }
}

/* The owned slice: sum, norm, update; then everyone's parameters. With clipping the norm
 * must be known first, which takes one more small exchange. Whole team. */
static void update(dp_stepper *st, dp_team team, const dp_errand *how, bool done,
                   double *clock) {
    double clip = st->config->optimizer.clip_norm;
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};
    dp_update u = how->u;
    dp_slices squares = {st->squares, sizeof(double), st->bucket[0].chunk_bound};
    dp_slices params = {st->model->params, sizeof(float), st->bucket[0].bound};
    int begin = 0, end = 0;
    my_chunks(st, team, &begin, &end);
    for (int c = begin; c < end && !done; c++) {
        const size_t *chunk = st->model->chunk;
        want_chunk(st, c + 1 < end ? c + 1 : c);
        dp_step_finish_chunk(st, c, dp_exchange_sum(st->exchange, chunk[c], chunk[c + 1]),
                             how->scale);
        if (!(clip > 0)) {
            dp_step_update_chunk(st, c, &u);
        }
    }
    times->update += dp_lap(clock);
    if (clip > 0) {
        dp_team_barrier(team);
        times->idle += dp_lap(clock);
        if (team.id == 0) {
            dp_exchange_gather(st->exchange, 1, &squares);
            times->reduce += dp_lap(clock);
        }
        dp_team_barrier(team);
        u.scale *= (float)dp_step_clip(clip, dp_step_norm(st));
        for (int c = begin; c < end; c++) {
            dp_step_update_chunk(st, c, &u);
        }
        times->update += dp_lap(clock);
    }
    dp_team_barrier(team);
    times->idle += dp_lap(clock);
    if (team.id == 0) {
        dp_exchange_gather(st->exchange, 2, (dp_slices[]){params, squares});
        times->reduce += dp_lap(clock);
    }
}

/* The first tensor whose gradient is not finite, or -1. */
static int bad_tensor(const dp_stepper *st) {
    const dp_model *model = st->model;
    int t = 0;
    for (int c = 0; c < model->nchunks; c++) {
        while (model->chunk[c] >= model->tensors[t].offset + model->tensors[t].count) {
            t++;
        }
        if (!isfinite(st->squares[c])) {
            return t;
        }
    }
    return -1;
}

/* One step, for its threads. */
typedef struct job {
    dp_stepper *st;
    const int32_t *rows;
    int n, blocks, npieces;
    const dp_node *node; /* [npieces] */
    const dp_errand *errand;
    bool alone; /* nobody is waited for: see dp_step_gradient_and_update */
    dp_note note;
    double start, end, loss_sum; /* end: of thread 0's last lap */
} job;

static void work(dp_team team, void *arg) {
    job *j = arg;
    dp_stepper *st = j->st;
    double clock = j->start;
    if (team.id == 0) {
        st->times.idle += dp_lap(&clock);
    }
    compute(st, team, j->rows, j->n, j->npieces, j->node, j->alone ? j->errand : NULL,
            j->errand, &clock);
    if (team.id == 0) {
        for (int k = 0; k < DP_PARTS && k < st->ngrads; k++) {
            j->note.loss[k] = st->piece_loss[k];
        }
        st->times.idle += dp_lap(&clock);
        j->loss_sum = st->overlap ? dp_overlap_finish(st->overlap, j->errand, &j->note)
                                  : dp_exchange_reduce(st->exchange, st->bucket[0].bound,
                                                       j->blocks, &j->note);
        st->times.reduce += dp_lap(&clock);
    }
    if (!st->overlap) {
        dp_team_barrier(team);
        update(st, team, j->errand, j->alone, &clock);
    }
    if (team.id == 0) {
        j->end = clock;
    }
}

void dp_step(dp_stepper *st, const int32_t *rows, int n, double lr, int64_t t,
             bool want_stop, dp_step_result *out) {
    double start = dp_clock(), waited = st->times.reduce;
    int ranks = dp_comm_size(st->comm), rank = dp_comm_rank(st->comm);
    int blocks = dp_tree_blocks(n, st->block);
    int npieces = dp_tree_share(blocks, ranks, rank, st->most, NULL);
    dp_node *node = st->node;
    dp_tree_share(blocks, ranks, rank, st->most, node);
    dp_errand errand = {t, blocks, dp_optimizer_prepare(st->config, lr, t),
                        (float)(1.0 / n)};
    errand.u.scale = st->kept ? 1.0F : errand.scale;
    job j = {.st = st,
             .rows = rows,
             .n = n,
             .blocks = blocks,
             .npieces = npieces,
             .node = node,
             .errand = &errand,
             .alone =
                 ranks == 1 && npieces == 1 && !(st->config->optimizer.clip_norm > 0),
             .note = {.stop = want_stop},
             .start = start};
    dp_team_run(st->threads, work, &j);
    double now = dp_clock();
    st->times.idle += now - j.end;
    *out = (dp_step_result){.loss = j.loss_sum / n,
                            .loss_sum = j.loss_sum,
                            .grad_norm = dp_step_norm(st),
                            .seconds = now - start,
                            .comm_seconds = st->times.reduce - waited,
                            .stop = j.note.stop > 0,
                            .bad = bad_tensor(st)};
}

double dp_step_unevenness(int n, int block, int ranks, int *idle) {
    int blocks = dp_tree_blocks(n, block), most = 0;
    *idle = 0;
    for (int r = 0; r < ranks; r++) {
        dp_node node[DP_PARTS];
        int k = dp_tree_share(blocks, ranks, r, INT_MAX, node), mine = 0;
        for (int i = 0; i < k; i++) {
            mine += node[i].b - node[i].a;
        }
        most = mine > most ? mine : most;
        *idle += mine == 0;
    }
    return (double)most * ranks / blocks;
}
