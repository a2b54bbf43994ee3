/* Evaluation: per-sample values summed along the block tree. */
#include "run/evaluate.h"
#include "base/memory.h"
#include "base/tree.h"
#include "step/forward.h"
#include <math.h>
#include <stdlib.h>

struct dp_evaluator {
    const dp_session *session; /* borrowed */
    int block;
    dp_net *net;
    dp_batch *batch;
    int32_t *row; /* [capacity] for splits given as "all rows" */
};

/* Sums of a block: loss, correct predictions, absolute error, then the squared error of
 * each output. */
enum { LOSS, CORRECT, ABS, SQUARE };

static dp_status create(dp_evaluator *ev) {
    const dp_model *model = ev->session->model;
    int samples = dp_net_samples(model, false);
    int capacity = ev->block > samples ? ev->block : samples / ev->block * ev->block;
    ev->row = dp_alloc((size_t)capacity, sizeof *ev->row);
    DP_TRY(dp_net_create(model, capacity, false, &ev->net));
    return dp_batch_create(capacity, model->outputs, &ev->batch);
}

dp_status dp_evaluator_create(const dp_session *session, dp_evaluator **out) {
    dp_evaluator *ev = dp_alloc(1, sizeof *ev);
    ev->session = session;
    ev->block = (int)session->config.parallel.block;
    dp_status s = create(ev);
    if (s != DP_OK) {
        dp_evaluator_destroy(&ev);
        return s;
    }
    *out = ev;
    return DP_OK;
}

void dp_evaluator_destroy(dp_evaluator **evaluator) {
    if (*evaluator) {
        dp_net_destroy(&(*evaluator)->net);
        dp_batch_destroy(&(*evaluator)->batch);
        free((*evaluator)->row);
        free(*evaluator);
    }
    *evaluator = NULL;
}

/* Adds a microbatch's per-sample values to its blocks' sums; sums[k] is an array over
 * blocks. */
static void sum_blocks(const dp_evaluator *ev, int N, int first, int blocks,
                       double *sums) {
    const dp_batch *b = ev->batch;
    int O = ev->session->model->outputs;
    const dp_activation *logits = dp_net_logits(ev->net);
    for (int n = 0; n < N; n++) {
        double *at = sums + first + n / ev->block;
        at[LOSS * (size_t)blocks] += (double)b->loss[n];
        if (ev->session->loss->accuracy) {
            at[CORRECT * (size_t)blocks] += b->correct[n];
            continue;
        }
        for (int o = 0; o < O; o++) {
            double e = (double)dp_activation_at(logits, n, o) -
                       (double)b->target[(size_t)n * (size_t)O + (size_t)o];
            at[ABS * (size_t)blocks] += fabs(e) / O;
            at[(size_t)(SQUARE + o) * (size_t)blocks] += e * e;
        }
    }
}

/* The total sum of squares of target o around its mean, over the split. */
static double total_squares(const dp_evaluator *ev, const dp_table *table,
                            const int32_t *rows, int n, int o, double *blocks) {
    int O = ev->session->model->outputs, nblocks = dp_tree_blocks(n, ev->block);
    double mean = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int b = 0; b < nblocks; b++) {
            blocks[b] = 0;
        }
        for (int i = 0; i < n; i++) {
            size_t row = (size_t)(rows ? rows[i] : i);
            double y = (double)table->target[row * (size_t)O + (size_t)o];
            blocks[i / ev->block] += pass == 0 ? y : (y - mean) * (y - mean);
        }
        double sum = dp_tree_sum(blocks, nblocks);
        if (pass == 1) {
            return sum;
        }
        mean = sum / n;
    }
    return 0;
}

static void regression(const dp_evaluator *ev, const dp_table *table, const int32_t *rows,
                       int n, double *sums, dp_score *score) {
    int O = ev->session->model->outputs, blocks = dp_tree_blocks(n, ev->block);
    score->mae = dp_tree_sum(sums + (size_t)ABS * (size_t)blocks, blocks) / n;
    score->r2 = 0;
    for (int o = 0; o < O; o++) {
        double *square = sums + (size_t)(SQUARE + o) * (size_t)blocks;
        double residual = dp_tree_sum(square, blocks);
        double total = total_squares(ev, table, rows, n, o, square);
        score->r2 += (total > 0 ? 1 - residual / total : NAN) / O;
    }
}

/* This rank's blocks, a microbatch at a time. */
static void forward_blocks(const dp_evaluator *ev, const dp_table *table,
                           const int32_t *rows, int n, double *sums) {
    const dp_session *s = ev->session;
    const dp_forward forward = {.net = ev->net,
                                .scale = &s->scale,
                                .threads = s->threads,
                                .loss = s->loss,
                                .batch = ev->batch,
                                .delta = (float)s->config.loss.delta};
    int blocks = dp_tree_blocks(n, ev->block), max_blocks = ev->net->capacity / ev->block;
    int ranks = dp_comm_size(s->comm), rank = dp_comm_rank(s->comm);
    int count = dp_tree_partition(blocks, ranks, rank, max_blocks, NULL);
    dp_range *range = dp_alloc((size_t)count, sizeof *range);
    dp_tree_partition(blocks, ranks, rank, max_blocks, range);
    for (int k = 0; k < count; k++) {
        int begin = range[k].a * ev->block;
        int end = range[k].b == blocks ? n : range[k].b * ev->block;
        for (int i = begin; !rows && i < end; i++) {
            ev->row[i - begin] = i;
        }
        dp_forward_run(&forward, table, rows ? rows + begin : ev->row, end - begin);
        sum_blocks(ev, end - begin, range[k].a, blocks, sums);
    }
    free(range);
}

dp_status dp_evaluate(dp_evaluator *ev, const dp_table *table, const int32_t *rows, int n,
                      dp_score *out) {
    const dp_session *s = ev->session;
    int blocks = dp_tree_blocks(n, ev->block);
    int kinds = SQUARE + (s->loss->accuracy ? 0 : s->model->outputs);
    double *sums = NULL;
    DP_TRY(dp_comm_agree(s->comm, dp_memory_alloc((size_t)kinds * (size_t)blocks,
                                                  sizeof *sums, (void **)&sums)));
    forward_blocks(ev, table, rows, n, sums);
    dp_comm_sum(s->comm, sums, (size_t)kinds * (size_t)blocks);
    *out = (dp_score){n, dp_tree_sum(sums, blocks) / n, NAN, NAN, NAN};
    if (s->loss->accuracy) {
        double *correct = sums + (size_t)CORRECT * (size_t)blocks;
        out->accuracy = dp_tree_sum(correct, blocks) / n;
    } else {
        regression(ev, table, rows, n, sums, out);
    }
    dp_memory_free(&sums);
    return DP_OK;
}
