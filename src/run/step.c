#include "base/clock.h"
#include "base/tree.h"
#include "step_impl.h"
#include "team.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Seconds since *from, which moves to now. */
static double lap(double *from) {
    double now = dp_clock(), t = now - *from;
    *from = now;
    return t;
}

/* The sum of a piece's losses: in order within a block, then along the tree. */
static double sum_losses(const dp_stepper *st, int N) {
    int blocks = dp_tree_blocks(N, st->block);
    double sums[blocks];
    memset(sums, 0, sizeof sums);
    for (int n = 0; n < N; n++) {
        sums[n / st->block] += (double)st->batch->loss[n];
    }
    return dp_tree_sum(sums, blocks);
}

/* The summed gradient of an owned chunk: scaled, kept if it is to be, and its square. */
static void finish_chunk(dp_stepper *st, int c, const float *sum, float scale) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    if (st->kept) {
        for (size_t i = 0; i < n; i++) {
            st->kept[at + i] += sum[i] * scale;
        }
        sum = st->kept + at;
        scale = 1;
    }
    st->chunk_sum[c] = sum;
    st->squares[c] = dp_sum_squares(sum, n, scale);
}

static void update_chunk(dp_stepper *st, int c, const dp_update *u) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    float *const slot[2] = {
        st->slot[0] && st->slot[0] != st->kept ? st->slot[0] + at : NULL,
        st->slot[1] && st->slot[1] != st->kept ? st->slot[1] + at : NULL};
    dp_update mine = *u;
    if (st->kept) { /* clipped in place, as clip_grad_norm_ does */
        for (size_t i = 0; i < n; i++) {
            st->kept[at + i] *= u->scale;
        }
        mine.scale = 1;
    }
    st->optimizer->update(&mine, n, st->chunk_sum[c], model->params + at, slot);
}

/* A rank alone with its whole batch in one piece need not wait for anybody: parameters are updated
 * while their gradient is still in the cache. */
typedef struct at_once {
    dp_update u;
    float scale;
} at_once;

static void update_now(dp_stepper *st, int c, const at_once *now) {
    finish_chunk(st, c, dp_exchange_slab(st->exchange, 0) + st->model->chunk[c],
                 now->scale);
    update_chunk(st, c, &now->u);
}

enum { TALL = 14 }; /* rows of a gradient that are made about as fast as one */

/* Whether each thread makes the gradients of its own rows of a layer alone. */
static bool by_rows(const dp_layer *layer, int threads) {
    return threads == 1 || layer->O >= TALL * threads;
}

/* Where the rows of thread `id` begin in the slab. */
static size_t rows_from(const dp_layer *layer, int id, int threads) {
    const dp_tensor *w = &layer->tensor[0];
    size_t row = w->count / (size_t)layer->O;
    return w->offset + row * (size_t)((long)layer->O * id / threads);
}

/* The first chunk of the slab that begins at or after `at`. */
static int chunk_from(const dp_model *model, size_t at) {
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

/* This thread's rows of a layer, some at a time: their gradient, then the update of the chunks that
 * are complete. */
static void gradient_and_update(dp_stepper *st, dp_team team, const dp_layer *layer,
                                int N, float *grads, const at_once *now, double *clock) {
    enum {
        NEAR = 1 << 15
    }; /* floats of a gradient that stay in the cache; with many samples,
                              * more: looking at all of them costs more than that */
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};
    const size_t *chunk = st->model->chunk;
    size_t first = layer->tensor[0].offset;
    size_t row = layer->tensor[0].count / (size_t)layer->O;
    size_t at = rows_from(layer, team.id, team.n);
    size_t end = rows_from(layer, team.id + 1, team.n);
    size_t near = (size_t)NEAR * (size_t)((N + DP_STRIP - 1) / DP_STRIP);
    size_t some = row * (1 + near / TALL / row) * TALL;
    dp_soon soon = {{st->model->params, st->slot[0]}};
    for (int c = chunk_from(st->model, at); at < end;) {
        size_t next = end - at > some ? at + some : end;
        layer->kind->gradient(st->model->set, (dp_team){0, 1}, layer, N, st->block,
                              (int)((at - first) / row), (int)((next - first) / row),
                              grads, &soon);
        times->backward += lap(clock);
        for (; chunk[c + 1] <= next; c++) {
            update_now(st, c, now);
        }
        times->update += lap(clock);
        at = next;
    }
}

/* The chunks of a layer that no thread has updated alone: biases, and those that span the rows of
 * two threads. */
static void update_rest(dp_stepper *st, dp_team team, const dp_layer *layer,
                        const at_once *now) {
    if (layer->ntensors == 0) {
        return;
    }
    const size_t *chunk = st->model->chunk;
    const dp_tensor *last = &layer->tensor[layer->ntensors - 1];
    int c = chunk_from(st->model, layer->tensor[0].offset), rest = 0;
    for (int id = 0; c < st->model->nchunks && chunk[c] < last->offset + last->count;
         c++) {
        while (id < team.n && rows_from(layer, id + 1, team.n) <= chunk[c]) {
            id++;
        }
        bool done = by_rows(layer, team.n) && id < team.n &&
                    chunk[c + 1] <= rows_from(layer, id + 1, team.n);
        if (!done && rest++ % team.n == team.id) {
            update_now(st, c, now);
        }
    }
}

/* Forward, loss and backward of one piece; its gradients replace `grads`. With `now` (or NULL) the
 * parameters are updated too. Whole team. */
static double piece(dp_stepper *st, dp_team team, const int32_t *rows, int N,
                    float *grads, const at_once *now, double *clock) {
    const dp_kernels *set = st->model->set;
    const float *params = st->model->params;
    dp_net *net = st->net;
    if (team.id == 0) {
        st->samples = N;
    }
    dp_truth truth =
        dp_batch_truth(st->batch, N, (float)st->config->loss.label_smoothing);
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};

    dp_batch_load(st->batch, team, net, &st->scale, &st->data->train, rows, N);
    times->data += lap(clock);
    for (int l = 0; l < net->nlayers; l++) {
#pragma omp barrier
        times->idle += lap(clock);
        net->layers[l].kind->forward(set, team, &net->layers[l], N, params);
        times->forward += lap(clock);
    }
#pragma omp barrier
    times->idle += lap(clock);
    const dp_signal *top = &net->signals[net->nlayers];
    st->loss->apply(set, team, &truth, top->yt, top->dzt);
    times->forward += lap(clock);
    for (int l = net->nlayers - 1; l >= 0; l--) {
#pragma omp barrier
        times->idle += lap(clock);
        const dp_layer *layer = &net->layers[l];
        if (now && l + 1 < net->nlayers) {
            update_rest(st, team, layer + 1, now);
            times->update += lap(clock);
        }
        if (l > 0) {
            layer->kind->backward(set, team, layer, N, params);
        }
        bool both = now && layer->kind->gradient && by_rows(layer, team.n);
        if (layer->kind->gradient && !both) {
            layer->kind->gradient(set, team, layer, N, st->block, 0, layer->O, grads,
                                  NULL);
        }
        times->backward += lap(clock);
        if (both) {
#pragma omp barrier
            times->idle += lap(clock);
            gradient_and_update(st, team, layer, N, grads, now, clock);
        }
    }
    double loss = team.id == 0 ? sum_losses(st, N) : 0;
    times->backward += lap(clock);
#pragma omp barrier
    times->idle += lap(clock);
    if (now) {
        update_rest(st, team, &net->layers[0], now);
        times->update += lap(clock);
    }
    return loss;
}

/* left += right, this thread's part. */
static void merge(dp_stepper *st, dp_team team, float *left, const float *right) {
    size_t n = st->model->floats / 16;
    size_t begin = n * (size_t)team.id / (size_t)team.n * 16;
    size_t end = n * (size_t)(team.id + 1) / (size_t)team.n * 16;
    for (size_t i = begin; i < end; i++) {
        left[i] += right[i];
    }
}

/* All pieces of this rank: leaves one gradient slab and one loss for each of its nodes.
 */
static void compute(dp_stepper *st, dp_team team, const int32_t *rows, int n, int npieces,
                    const dp_node *node, const at_once *now, double *clock) {
    int blocks = dp_tree_blocks(n, st->block);
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int k = 0; k < npieces; k++) {
        int begin = node[k].a * st->block;
        int end = node[k].b == blocks ? n : node[k].b * st->block;
        int top = walk.depth;
        double loss = piece(st, team, rows + begin, end - begin,
                            dp_exchange_slab(st->exchange, top), now, clock);
        if (team.id == 0) {
            st->piece_loss[top] = loss;
        }
        int merges = dp_tree_push(&walk, node[k]);
        for (; merges > 0; merges--, top--) {
            merge(st, team, dp_exchange_slab(st->exchange, top - 1),
                  dp_exchange_slab(st->exchange, top));
            if (team.id == 0) {
                st->piece_loss[top - 1] += st->piece_loss[top];
            }
        }
        if (npieces > 1) {
#pragma omp barrier
        }
    }
}

/* This thread's part of the owned chunks. */
static void my_chunks(const dp_stepper *st, dp_team team, int *begin, int *end) {
    long n = st->last - st->first;
    *begin = st->first + (int)(n * team.id / team.n);
    *end = st->first + (int)(n * (team.id + 1) / team.n);
}

/* PyTorch's clip_grad_norm_: the factor on the gradient. */
static double clip_factor(double clip, double norm) {
    double f = clip / (norm + 1e-6);
    return f < 1 ? f : 1;
}

static double norm_of(const dp_stepper *st) {
    return sqrt(dp_tree_sum(st->squares, st->model->nchunks));
}

/* The owned slice: sum, norm, update; then everyone's parameters. With clipping the norm
 * must be known first, which takes one more small exchange. Whole team. */
static void update(dp_stepper *st, dp_team team, const at_once *how, bool done,
                   double *comm, double *clock) {
    double clip = st->config->optimizer.clip_norm;
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};
    dp_update u = how->u;
    dp_slices squares = {st->squares, sizeof(double), st->chunk_bound};
    dp_slices params = {st->model->params, sizeof(float), st->bound};
    int begin = 0, end = 0;
    my_chunks(st, team, &begin, &end);
    for (int c = begin; c < end && !done; c++) {
        const size_t *chunk = st->model->chunk;
        finish_chunk(st, c, dp_exchange_sum(st->exchange, chunk[c], chunk[c + 1]),
                     how->scale);
        if (!(clip > 0)) {
            update_chunk(st, c, &u);
        }
    }
    times->update += lap(clock);
    if (clip > 0) {
#pragma omp barrier
        times->idle += lap(clock);
        if (team.id == 0) {
            dp_exchange_gather(st->exchange, 1, &squares);
            double s = lap(clock);
            times->reduce += s;
            *comm += s;
        }
#pragma omp barrier
        u.scale *= (float)clip_factor(clip, norm_of(st));
        for (int c = begin; c < end; c++) {
            update_chunk(st, c, &u);
        }
        times->update += lap(clock);
    }
#pragma omp barrier
    times->idle += lap(clock);
    if (team.id == 0) {
        dp_exchange_gather(st->exchange, 2, (dp_slices[]){params, squares});
        double s = lap(clock);
        times->reduce += s;
        *comm += s;
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

void dp_step(dp_stepper *st, const int32_t *rows, int n, double lr, int64_t t,
             bool want_stop, dp_step_result *out) {
    double start = dp_clock(), comm = 0, loss_sum = 0;
    int ranks = dp_comm_size(st->comm), rank = dp_comm_rank(st->comm);
    int blocks = dp_tree_blocks(n, st->block);
    int npieces = dp_tree_share(blocks, ranks, rank, st->most, NULL);
    dp_node node[npieces + 1];
    dp_tree_share(blocks, ranks, rank, st->most, node);
    dp_note note = {.stop = want_stop};
    at_once how = {dp_optimizer_prepare(st->config, lr, t), (float)(1.0 / n)};
    how.u.scale = st->kept ? 1.0F : how.scale;
    bool alone = ranks == 1 && npieces == 1 && !(st->config->optimizer.clip_norm > 0);
#pragma omp parallel num_threads(st->threads)
    {
        dp_team team = my_team();
        double clock = start;
        compute(st, team, rows, n, npieces, node, alone ? &how : NULL, &clock);
        if (team.id == 0) {
            for (int k = 0; k < DP_PARTS && k < st->ngrads; k++) {
                note.loss[k] = st->piece_loss[k];
            }
            clock = dp_clock();
            loss_sum = dp_exchange_reduce(st->exchange, blocks, &note);
            comm = lap(&clock);
            st->times.reduce += comm;
        }
#pragma omp barrier
        update(st, team, &how, alone, &comm, &clock);
    }
    double now = dp_clock();
    *out = (dp_step_result){.loss = loss_sum / n,
                            .loss_sum = loss_sum,
                            .grad_norm = norm_of(st),
                            .seconds = now - start,
                            .comm_seconds = comm,
                            .stop = note.stop > 0,
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
