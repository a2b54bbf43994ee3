#include "run/step.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/tree.h"
#include "run/batch.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct dp_stepper {
    dp_comm *comm;
    const dp_config *config;
    const dp_dataset *data;
    dp_model *model;
    const dp_loss *loss;
    dp_scale scale;
    int block, threads, most; /* most: blocks in a piece */
    dp_net *net;
    dp_batch *batch;

    int ngrads;   /* gradient slabs: a stack along the block tree */
    float **grad; /* [ngrads][model->floats] */
    double piece_loss[DP_PARTS];

    dp_exchange *exchange;
    int first, last;  /* chunks of the slab that this rank owns */
    int *chunk_bound; /* [ranks+1] the same of all ranks */
    double *squares;  /* [nchunks] of the mean gradient */
    const float *
        *chunk_sum; /* [nchunks] where the summed gradient of an owned chunk lies */

    const dp_optimizer *optimizer;
    int nslots;
    const char *slot_name[3];
    float *slot[3];
    float *kept; /* zero_grad = false: the gradients left in; one of the slots */
    dp_times times;
};

/* The gradient slabs that the largest batch needs on the stack at once. */
static int stack_height(int blocks, int ranks, int rank, int most) {
    int pieces = dp_tree_share(blocks, ranks, rank, most, NULL), height = 1;
    dp_node *node = calloc((size_t)pieces + 1, sizeof *node);
    if (!node) {
        return 1;
    }
    dp_tree_share(blocks, ranks, rank, most, node);
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int k = 0; k < pieces; k++) {
        height = walk.depth + 1 > height ? walk.depth + 1 : height;
        dp_tree_push(&walk, node[k]);
    }
    free(node);
    return height;
}

static dp_status slab(size_t floats, float **out) {
    void *p = NULL;
    dp_status s = dp_memory_alloc(floats, sizeof(float), &p);
    *out = p;
    return s;
}

/* `batch` samples a step, and `rest` in the last one of an epoch: the tree of a short
 * batch can have another shape. */
static dp_status make_gradients(dp_stepper *st, int batch, int rest) {
    int ranks = dp_comm_size(st->comm), rank = dp_comm_rank(st->comm);
    int full = stack_height(dp_tree_blocks(batch, st->block), ranks, rank, st->most);
    int last = stack_height(dp_tree_blocks(rest, st->block), ranks, rank, st->most);
    st->ngrads = full > last ? full : last;
    st->grad = calloc((size_t)st->ngrads, sizeof *st->grad);
    dp_status s = st->grad ? DP_OK : dp_fail(DP_EINTERNAL, "out of memory for gradients");
    for (int k = 0; s == DP_OK && k < st->ngrads; k++) {
        s = slab(st->model->floats, &st->grad[k]);
    }
    return s;
}

static dp_status make_optimizer(dp_stepper *st) {
    st->optimizer = dp_optimizer_find(st->config->optimizer.name);
    if (!st->optimizer) {
        return dp_fail(DP_EUSAGE, "optimizer.name: unknown optimizer '%s'",
                       st->config->optimizer.name);
    }
    dp_status s = DP_OK;
    st->nslots = st->optimizer->slots(st->config, st->slot_name);
    for (int k = 0; s == DP_OK && k < st->nslots; k++) {
        s = slab(st->model->floats, &st->slot[k]);
    }
    if (s == DP_OK && !st->config->train.zero_grad) {
        st->slot_name[st->nslots] = "grad";
        s = slab(st->model->floats, &st->kept);
        st->slot[st->nslots++] = st->kept;
    }
    return s;
}

static dp_status make_exchange(dp_stepper *st) {
    const dp_model *model = st->model;
    int ranks = dp_comm_size(st->comm), rank = dp_comm_rank(st->comm);
    st->squares = calloc((size_t)model->nchunks, sizeof *st->squares);
    st->chunk_sum = calloc((size_t)model->nchunks, sizeof *st->chunk_sum);
    st->chunk_bound = calloc((size_t)ranks + 1, sizeof *st->chunk_bound);
    size_t *bound = calloc((size_t)ranks + 1, sizeof *bound);
    dp_status s = dp_fail(DP_EINTERNAL, "out of memory for the exchange");
    if (st->squares && st->chunk_sum && st->chunk_bound && bound) {
        for (int r = 0; r <= ranks; r++) {
            st->chunk_bound[r] = dp_model_slice(model, ranks, r);
            bound[r] = model->chunk[st->chunk_bound[r]];
        }
        st->first = st->chunk_bound[rank];
        st->last = st->chunk_bound[rank + 1];
        s = dp_exchange_create(st->comm, model->floats, bound,
                               strcmp(st->config->parallel.allreduce, "tree") == 0,
                               &st->exchange);
    }
    free(bound);
    return s;
}

dp_status dp_stepper_create(dp_comm *comm, const dp_config *config,
                            const dp_dataset *data, dp_model *model, const dp_loss *loss,
                            const dp_scale *scale, int batch, int threads,
                            dp_stepper **out) {
    dp_stepper *st = calloc(1, sizeof *st);
    if (!st) {
        return dp_fail(DP_EINTERNAL, "out of memory for the training step");
    }
    st->comm = comm;
    st->config = config;
    st->data = data;
    st->model = model;
    st->loss = loss;
    st->scale = *scale;
    st->threads = threads;
    st->block = (int)config->parallel.block;
    st->most = st->block >= DP_PIECE ? 1 : DP_PIECE / st->block;
    long capacity = (long)st->most * st->block;
    capacity = capacity < batch ? capacity : batch;
    dp_status s = dp_net_create(model, (int)capacity, true, &st->net);
    s = s != DP_OK ? s : dp_batch_create((int)capacity, model->outputs, &st->batch);
    s = s != DP_OK ? s : make_gradients(st, batch, data->train_n % batch);
    s = s != DP_OK ? s : make_optimizer(st);
    s = s != DP_OK ? s : make_exchange(st);
    if (s != DP_OK) {
        dp_stepper_destroy(&st);
        return s;
    }
    *out = st;
    return DP_OK;
}

void dp_stepper_destroy(dp_stepper **stepper) {
    dp_stepper *st = *stepper;
    if (st) {
        dp_net_destroy(&st->net);
        dp_batch_destroy(&st->batch);
        for (int k = 0; st->grad && k < st->ngrads; k++) {
            dp_memory_free(&st->grad[k]);
        }
        free(st->grad);
        for (int k = 0; k < st->nslots; k++) {
            dp_memory_free(&st->slot[k]);
        }
        dp_exchange_destroy(&st->exchange);
        free(st->chunk_bound);
        free(st->squares);
        free(st->chunk_sum);
        free(st);
    }
    *stepper = NULL;
}

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

/* Forward, loss and backward of one piece; its gradients replace `grads`. Whole team. */
static double piece(dp_stepper *st, dp_team team, const int32_t *rows, int N,
                    float *grads, double *clock) {
    const dp_kernels *set = st->model->set;
    const float *params = st->model->params;
    dp_net *net = st->net;
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
        net->layers[l].kind->backward(set, team, &net->layers[l], N, st->block, params,
                                      grads, l > 0);
        times->backward += lap(clock);
    }
    double loss = team.id == 0 ? sum_losses(st, N) : 0;
    times->backward += lap(clock);
#pragma omp barrier
    times->idle += lap(clock);
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
                    const dp_node *node, double *clock) {
    int blocks = dp_tree_blocks(n, st->block);
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int k = 0; k < npieces; k++) {
        int begin = node[k].a * st->block;
        int end = node[k].b == blocks ? n : node[k].b * st->block;
        int top = walk.depth;
        double loss = piece(st, team, rows + begin, end - begin, st->grad[top], clock);
        if (team.id == 0) {
            st->piece_loss[top] = loss;
        }
        int merges = dp_tree_push(&walk, node[k]);
        for (; merges > 0; merges--, top--) {
            merge(st, team, st->grad[top - 1], st->grad[top]);
            if (team.id == 0) {
                st->piece_loss[top - 1] += st->piece_loss[top];
            }
        }
        if (npieces > 1) {
#pragma omp barrier
        }
    }
}

/* The summed gradient of an owned chunk: scaled, kept if it is to be, and its square. */
static void finish_chunk(dp_stepper *st, int c, float scale) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    const float *sum = dp_exchange_sum(st->exchange, at, at + n);
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
    st->optimizer->update(u, n, st->chunk_sum[c], model->params + at, slot);
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
static void update(dp_stepper *st, dp_team team, int n, double lr, int64_t t,
                   double *comm, double *clock) {
    double clip = st->config->optimizer.clip_norm;
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};
    float scale = (float)(1.0 / n);
    dp_update u = dp_optimizer_prepare(st->config, lr, t);
    u.scale = st->kept ? 1.0F : scale;
    int begin = 0, end = 0;
    my_chunks(st, team, &begin, &end);
    for (int c = begin; c < end; c++) {
        finish_chunk(st, c, scale);
        if (!(clip > 0)) {
            update_chunk(st, c, &u);
        }
    }
    times->update += lap(clock);
    if (clip > 0) {
#pragma omp barrier
        times->idle += lap(clock);
        if (team.id == 0) {
            dp_exchange_gather(st->exchange, NULL, st->chunk_bound, st->squares);
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
        dp_exchange_gather(st->exchange, st->model->params, st->chunk_bound, st->squares);
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
#pragma omp parallel num_threads(st->threads)
    {
        dp_team team = DP_TEAM();
        double clock = start;
        compute(st, team, rows, n, npieces, node, &clock);
        if (team.id == 0) {
            memcpy(note.loss, st->piece_loss, sizeof note.loss);
            clock = dp_clock();
            loss_sum = dp_exchange_reduce(st->exchange, blocks, st->grad, &note);
            comm = lap(&clock);
            st->times.reduce += comm;
        }
#pragma omp barrier
        update(st, team, n, lr, t, &comm, &clock);
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

float *dp_stepper_slot(const dp_stepper *st, int k, const char **name) {
    if (k >= st->nslots) {
        return NULL;
    }
    *name = st->slot_name[k];
    return st->slot[k];
}

void dp_stepper_gather(dp_stepper *st) {
    for (int k = 0; k < st->nslots; k++) {
        dp_exchange_gather(st->exchange, st->slot[k], NULL, NULL);
    }
}

dp_times dp_stepper_times(dp_stepper *st) {
    dp_times t = st->times;
    st->times = (dp_times){0};
    return t;
}

size_t dp_stepper_bytes(const dp_stepper *st) {
    return st->net->bytes +
           (size_t)(st->ngrads + st->nslots) * st->model->floats * sizeof(float);
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
