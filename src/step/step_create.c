/* Creating and destroying what a step needs: buffers, shared memory, slices and
 * buckets. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/tree.h"
#include "step_impl.h"
#include <stdlib.h>
#include <string.h>

/* The height of the stack of gradient slabs in a batch of `blocks`. */
static int stack_height(int blocks, int ranks, int rank, int max_blocks) {
    int nmicrobatches = dp_tree_partition(blocks, ranks, rank, max_blocks, NULL),
        height = 1;
    dp_range *range = dp_alloc((size_t)nmicrobatches, sizeof *range);
    dp_tree_partition(blocks, ranks, rank, max_blocks, range);
    dp_tree_walk walk;
    dp_tree_begin(&walk, blocks);
    for (int k = 0; k < nmicrobatches; k++) {
        height = walk.depth + 1 > height ? walk.depth + 1 : height;
        dp_tree_push(&walk, range[k]);
    }
    free(range);
    return height;
}

/* `batch` samples a step, and `rest` in the last one of an epoch: the tree of a short
 * batch can have another shape. */
static void count_gradients(dp_stepper *st, int batch, int rest) {
    int ranks = dp_comm_size(st->comm), rank = dp_comm_rank(st->comm);
    int full =
        stack_height(dp_tree_blocks(batch, st->block), ranks, rank, st->max_blocks);
    int last = stack_height(dp_tree_blocks(rest, st->block), ranks, rank, st->max_blocks);
    st->ngrads = full > last ? full : last;
    /* Its own few subtrees are halved until none is larger than a microbatch. */
    int halves = dp_tree_blocks(batch, st->block) / ((st->max_blocks + 1) / 2);
    st->range = dp_alloc((size_t)halves + DP_MAX_PARTIALS, sizeof *st->range);
    st->partial_loss = dp_alloc((size_t)st->ngrads, sizeof *st->partial_loss);
}

int dp_stepper_slots(const dp_config *config, const char *name[4]) {
    int n = dp_optimizer_find(config->optimizer.name)->slots(config, name);
    if (!config->train.zero_grad) {
        name[n++] = "grad";
    }
    if (config->train.ema > 0) {
        name[n++] = "raw";
    }
    return n;
}

static dp_status find_optimizer(dp_stepper *st) {
    st->optimizer = dp_optimizer_find(st->config->optimizer.name);
    if (!st->optimizer) {
        return dp_fail(DP_EUSAGE, "optimizer.name: unknown optimizer '%s'",
                       st->config->optimizer.name);
    }
    st->nslots = dp_stepper_slots(st->config, st->slot_name);
    return DP_OK;
}

/* Why there is no overlap; NULL: layers permitting, there is. */
static const char *no_overlap(const dp_stepper *st) {
    if (strcmp(st->config->parallel.allreduce, "tree") != 0) {
        return "parallel.allreduce is not tree";
    }
    if (st->shared->domains == 1) {
        return "all ranks share one memory";
    }
    if (st->optimizer->measure) {
        return "the optimizer needs the norms of whole tensors first";
    }
    return dp_comm_thread_serialized(st->comm)
               ? NULL
               : "this MPI takes calls of one thread only";
}

/* The least floats of a bucket; 0: the whole slab is one. */
static size_t bucket_floats(const dp_stepper *st) {
    enum { LARGE = 1 << 16 }; /* a smaller message is mostly latency */
    const char *overlap = st->config->parallel.overlap;
    if (no_overlap(st) || strcmp(overlap, "off") == 0) {
        return 0;
    }
    return strcmp(overlap, "on") == 0 ? 1 : LARGE;
}

/* Chunks [begin, end) of the slab, and which of them each rank owns. */
static void add_bucket(dp_stepper *st, int begin, int end) {
    dp_bucket *bucket = &st->bucket[st->nbuckets++];
    size_t ranks = (size_t)dp_comm_size(st->comm), rank = (size_t)dp_comm_rank(st->comm);
    bucket->chunk_bound = dp_alloc(ranks + 1, sizeof *bucket->chunk_bound);
    bucket->bound = dp_alloc(ranks + 1, sizeof *bucket->bound);
    /* Which rank gets the larger slice rotates from bucket to bucket. */
    size_t turn = (size_t)begin % ranks;
    for (size_t r = 0; r <= ranks; r++) {
        bucket->chunk_bound[r] =
            (size_t)begin + ((size_t)(end - begin) * r + turn) / ranks;
        bucket->bound[r] = st->model->chunk[bucket->chunk_bound[r]];
    }
    bucket->first = (int)bucket->chunk_bound[rank];
    bucket->last = (int)bucket->chunk_bound[rank + 1];
}

/* Assigns the chunks below *end that belong to one layer, of slices [s, s + n), to
 * buckets, and moves *end down. A chunk that spans two slices goes to the later one, the
 * biases to the last, which is the first that the forward pass reads. A layer of less than
 * min_floats is left to the bucket of the layer below. */
static void add_buckets(dp_stepper *st, int s, int n, size_t min_floats, int *end) {
    const dp_slice *slice = &st->net->slice[s];
    const size_t *chunk = st->model->chunk;
    int first = slice->count > 0 ? dp_step_chunk_from(st->model, slice->offset) : *end;
    int from = first;
    for (int k = 0; k < n; k++) {
        bool last = k == n - 1;
        int to =
            last
                ? *end
                : dp_step_chunk_from(st->model, slice[k].offset + slice[k].count + 1) - 1;
        bool large = min_floats > 0 && (n > 1 || chunk[to] - chunk[from] >= min_floats);
        if (from < to && (large || (last && first == 0))) {
            st->completes[s + k] = st->nbuckets;
            add_bucket(st, from, to);
            from = to;
        }
    }
    *end = from == *end ? first : *end;
}

static void find_buckets(dp_stepper *st) {
    size_t min_floats = bucket_floats(st);
    dp_net_cut(st->net, min_floats);
    const dp_slice *slice = st->net->slice;
    int slices = st->net->nslices;
    st->completes = dp_alloc((size_t)slices, sizeof *st->completes);
    st->bucket = dp_alloc((size_t)slices, sizeof *st->bucket);
    st->updated = dp_alloc((size_t)st->model->nchunks, sizeof *st->updated);
    st->chunk_sum = dp_alloc((size_t)st->model->nchunks, sizeof *st->chunk_sum);
    for (int s = 0, n = 0, end = st->model->nchunks; s < slices; s += n) {
        for (n = 0; s + n < slices && slice[s + n].layer == slice[s].layer; n++) {
            st->completes[s + n] = -1;
        }
        add_buckets(st, s, n, min_floats, &end);
    }
}

/* The tensor of each chunk, and which tensors weight decay is for. */
static void find_tensors(dp_stepper *st) {
    const dp_model *model = st->model;
    st->chunk_tensor = dp_alloc((size_t)model->nchunks, sizeof *st->chunk_tensor);
    st->decays = dp_alloc((size_t)model->ntensors, sizeof *st->decays);
    for (int t = 0, c = 0; t < model->ntensors; t++) {
        const dp_tensor *tensor = &model->tensors[t];
        st->decays[t] =
            st->config->optimizer.decay_all || dp_model_is_matrix(model, tensor);
        for (; c < model->nchunks && model->chunk[c] < tensor->offset + tensor->count;
             c++) {
            st->chunk_tensor[c] = t;
        }
    }
}

/* Parameters, optimizer state and squares: one copy for all ranks that share memory. */
static dp_status create_shared(dp_stepper *st) {
    dp_model *model = st->model;
    size_t floats = model->floats;
    size_t row = ((size_t)model->nchunks + 7) / 8 * 8;
    size_t squares = (st->optimizer->measure ? 3 : 1) * row * sizeof(double);
    size_t slabs = 1 + (size_t)st->nslots;
    DP_TRY(dp_shared_create(st->comm, squares + slabs * floats * sizeof(float),
                            dp_exchange_own_bytes(floats, st->ngrads), &st->shared));
    st->squares = st->shared->common;
    for (int k = 0; k < 2 && st->optimizer->measure; k++) {
        st->measure[k] = st->squares + (size_t)(k + 1) * row;
    }
    float *slab = (float *)((char *)st->shared->common + squares);
    dp_model_move_params(model, slab);
    for (int k = 0; k < st->nslots; k++) {
        st->slot[k] = slab + (size_t)(k + 1) * floats;
    }
    int last = st->nslots - 1;
    if (st->config->train.ema > 0) {
        st->average = &st->slot[last--];
        st->averaged = true;
    }
    st->accumulated = st->config->train.zero_grad ? NULL : st->slot[last];
    return DP_OK;
}

static dp_status create_exchange(dp_stepper *st) {
    size_t largest = 0, rank = (size_t)dp_comm_rank(st->comm);
    for (int b = 0; b < st->nbuckets; b++) {
        const size_t *bound = st->bucket[b].bound + rank;
        largest = bound[1] - bound[0] > largest ? bound[1] - bound[0] : largest;
    }
    bool tree = strcmp(st->config->parallel.allreduce, "tree") == 0;
    return dp_exchange_create(st->shared, st->model->floats, largest, tree,
                              &st->exchange);
}

/* What needs no other rank. */
static dp_status create_own(dp_stepper *st, int batch) {
    st->block = (int)st->config->parallel.block;
    int samples = dp_net_samples(st->model, true);
    st->max_blocks = st->block >= samples ? 1 : samples / st->block;
    int capacity = st->max_blocks * st->block;
    capacity = capacity < batch ? capacity : batch;
    count_gradients(st, batch, st->data->train_n % batch);
    DP_TRY(dp_net_create(st->model, capacity, true, &st->net));
    DP_TRY(dp_batch_create(capacity, st->model->outputs, &st->batch));
    st->batch->class_weight = st->data->class_weight;
    DP_TRY(dp_batch_augment(st->batch, st->config, &st->data->train, st->threads));
    return find_optimizer(st);
}

static dp_status create_overlap(dp_stepper *st) {
    if (st->nbuckets > 1) {
        return dp_overlap_create(st, &st->overlap);
    }
    if (dp_comm_size(st->comm) > 1 && strcmp(st->config->parallel.overlap, "on") == 0) {
        const char *why = no_overlap(st);
        dp_warn("parallel.overlap=on has no effect: %s",
                why ? why : "only one layer has parameters");
    }
    return DP_OK;
}

/* Each function fails on all ranks, or on some of them and they agree on it. */
static dp_status create(dp_stepper *st, int batch) {
    DP_TRY(dp_comm_agree(st->comm, create_own(st, batch)));
    DP_TRY(create_shared(st));
    find_buckets(st);
    find_tensors(st);
    DP_TRY(dp_comm_agree(st->comm, create_exchange(st)));
    return dp_comm_agree(st->comm, create_overlap(st));
}

dp_status dp_stepper_create(dp_comm *comm, const dp_config *config,
                            const dp_dataset *data, dp_model *model, const dp_loss *loss,
                            const dp_scale *scale, int batch, int threads,
                            dp_stepper **out) {
    dp_stepper *st = dp_alloc(1, sizeof *st);
    st->comm = comm;
    st->config = config;
    st->data = data;
    st->model = model;
    st->loss = loss;
    st->scale = *scale;
    st->threads = threads;
    dp_status s = create(st, batch);
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
        dp_overlap_destroy(&st->overlap);
        dp_net_destroy(&st->net);
        dp_batch_destroy(&st->batch);
        dp_exchange_destroy(&st->exchange);
        if (st->shared) {
            dp_model_move_params(st->model, NULL);
        }
        dp_shared_destroy(&st->shared);
        free(st->partial_loss);
        free(st->range);
        for (int b = 0; b < st->nbuckets; b++) {
            free(st->bucket[b].bound);
            free(st->bucket[b].chunk_bound);
        }
        free(st->bucket);
        free(st->completes);
        free(st->chunk_sum);
        free(st->updated);
        free(st->chunk_tensor);
        free(st->decays);
        free(st);
    }
    *stepper = NULL;
}

float *dp_stepper_slot(const dp_stepper *st, int k, const char **name) {
    if (k >= st->nslots) {
        return NULL;
    }
    *name = st->slot_name[k];
    return st->slot[k];
}

static void gather(dp_stepper *st, float *slab) {
    for (int b = 0; b < st->nbuckets; b++) {
        dp_sliced_array array = {slab, sizeof(float), st->bucket[b].bound};
        dp_exchange_gather(st->exchange, 1, &array);
    }
}

void dp_step_exchange_average(dp_stepper *st) {
    float *other = *st->average;
    *st->average = st->model->params;
    st->model->params = other;
    st->averaged = !st->averaged;
}

void dp_stepper_wait_params(dp_stepper *st) {
    double begin = dp_clock();
    if (st->overlap) {
        dp_overlap_wait_all(st->overlap);
    }
    if (st->average && !st->averaged) {
        gather(st, *st->average);
        dp_step_exchange_average(st);
    }
    st->times.reduce += dp_clock() - begin;
}

void dp_stepper_gather(dp_stepper *st) {
    dp_stepper_wait_params(st);
    for (int k = 0; k < st->nslots; k++) {
        if (&st->slot[k] != st->average) { /* every step gathers the parameters */
            gather(st, st->slot[k]);
        }
    }
}

int dp_stepper_bad_layer(const dp_stepper *st) {
    const dp_net *net = st->net;
    if (st->overlap) {
        dp_overlap_wait_all(st->overlap);
    }
    int l = (int)-dp_comm_max(st->comm, -dp_net_bad_layer(net, st->samples));
    return l < net->nlayers ? net->layers[l].index : -1;
}

dp_times dp_stepper_times(dp_stepper *st) {
    dp_times t = st->times;
    st->times = (dp_times){0};
    return t;
}

size_t dp_stepper_bytes(const dp_stepper *st) {
    size_t slab = st->model->floats * sizeof(float);
    return st->net->bytes + (size_t)(st->ngrads + st->nslots) * slab;
}
