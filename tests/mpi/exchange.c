/* ranks: 1 2 3 4 5 8 */
/* The exchange gives each slice owner the tree sum of all partials, to the bit, and
 * everyone the gathered slab, in one bucket or in several; scalars are summed; agreement
 * ends with the code of the lowest rank that failed. */
#include "comm/exchange.h"
#include "base/tree.h"
#include "comm/comm.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOATS = 992, CUTS = 3 };

static int failures = 0;

static void expect(bool ok, const char *what, int a, int b) {
    if (!ok) {
        failures++;
        fprintf(stderr, "FAILED: %s (%d, %d)\n", what, a, b);
    }
}

/* What block `b` contributes to float `i`: of very different sizes, so that order shows.
 */
static float value(int b, int i) {
    unsigned h = (unsigned)(b * 7919 + i * 104729) * 2654435761U;
    return ((float)(h >> 8) / 1e6F - 8.0F) * (h & 64 ? 1e4F : 1e-3F);
}

static float tree(int a, int b, int i) {
    if (b - a == 1) {
        return value(a, i);
    }
    int mid = a + (b - a + 1) / 2;
    return tree(a, mid, i) + tree(mid, b, i);
}

/* bound[b] cuts bucket b of nb of the slab among the ranks; the scalars are reduced with
 * bucket 0, the last one. */
static void one_batch(dp_shared *shared, dp_exchange *ex, int nb, size_t bound[][17],
                      int blocks) {
    dp_comm *comm = shared->comm;
    int ranks = dp_comm_size(comm), rank = dp_comm_rank(comm);
    dp_range range[DP_MAX_PARTIALS];
    int n = dp_tree_partition(blocks, ranks, rank, INT_MAX, range);
    dp_step_scalars scalars = {.correct = rank + 1, .stop = rank == ranks - 1};
    for (int k = 0; k < n; k++) {
        float *partial = dp_exchange_slab(ex, k);
        for (int i = 0; i < FLOATS; i++) {
            partial[i] = tree(range[k].a, range[k].b, i);
        }
        scalars.loss[k] = range[k].b - range[k].a;
    }
    float *slab = shared->common;
    double *extra = (double *)(slab + FLOATS), loss = 0;
    for (int b = nb - 1; b >= 0; b--) {
        size_t begin = bound[b][rank], end = bound[b][rank + 1];
        size_t mid = begin + (end - begin) / 3;
        loss = dp_exchange_reduce(ex, bound[b], blocks, b == 0 ? &scalars : NULL);
        if (end > begin) {
            memcpy(slab + begin, dp_exchange_sum(ex, begin, mid),
                   (mid - begin) * sizeof(float));
            memcpy(slab + mid, dp_exchange_sum(ex, mid, end),
                   (end - mid) * sizeof(float));
        }
    }
    expect(loss == blocks, "loss of all blocks", (int)loss, blocks);
    int correct = ranks * (ranks + 1) / 2;
    expect(scalars.correct == correct, "correct predictions are counted",
           (int)scalars.correct, correct);
    expect(scalars.stop == 1, "stop requests are counted", (int)scalars.stop, 1);
    size_t extra_bound[17];
    for (int r = 0; r <= ranks; r++) {
        extra_bound[r] = (size_t)r;
    }
    extra[rank] = rank + 0.5 + blocks;
    dp_sliced_array all[1 + CUTS] = {{extra, sizeof(double), extra_bound}};
    for (int b = 0; b < nb; b++) {
        all[1 + b] = (dp_sliced_array){slab, sizeof(float), bound[b]};
    }
    dp_exchange_gather(ex, 1 + nb, all);
    for (int i = 0; i < FLOATS; i++) {
        expect(slab[i] == tree(0, blocks, i), "sum has the tree's bits", blocks, i);
    }
    for (int r = 0; r < ranks; r++) {
        expect(extra[r] == r + 0.5 + blocks, "extra values are gathered", blocks, r);
    }
    dp_shared_barrier(
        shared); /* the next sums are not written before all have read these */
}

static void agreement(dp_comm *comm) {
    int ranks = dp_comm_size(comm), rank = dp_comm_rank(comm);
    expect(dp_comm_agree(comm, DP_OK) == DP_OK, "all well", 0, 0);
    dp_status mine = rank == ranks - 1 ? DP_EDATA : DP_OK;
    expect(dp_comm_agree(comm, mine) == DP_EDATA, "one failure is everyone's", rank,
           ranks);
    expect(dp_comm_reports_error(comm) == (rank == ranks - 1),
           "the one that failed reports it", rank, ranks);
    mine = rank == 0 ? DP_EFILE : DP_EUSAGE;
    expect(dp_comm_agree(comm, mine) == DP_EFILE, "the lowest rank wins", rank, ranks);
    mine = rank == ranks - 1 ? DP_EFILE : DP_OK;
    expect(dp_comm_agree(comm, mine) == DP_EFILE, "the same failure again, of another",
           rank, ranks);
}

int main(int argc, char **argv) {
    dp_comm *comm = NULL;
    if (dp_comm_init(&argc, &argv, &comm) != DP_OK) {
        return 1;
    }
    int ranks = dp_comm_size(comm);
    size_t whole[1][17] = {{0}}, buckets[CUTS][17];
    for (int r = 1; r <= ranks; r++) { /* uneven, one of them empty */
        whole[0][r] = r == ranks ? FLOATS
                      : r == 2   ? whole[0][1]
                                 : (size_t)(FLOATS * r / ranks - r);
    }
    const size_t cut[CUTS + 1] = {0, 16, 720, FLOATS}; /* 0 and 2 are small */
    for (int b = 0; b < CUTS; b++) {
        for (int r = 0; r <= ranks; r++) {
            buckets[b][r] = cut[b] + (cut[b + 1] - cut[b]) * (size_t)r / (size_t)ranks;
        }
    }
    dp_shared *shared = NULL;
    dp_exchange *ex = NULL;
    dp_status made =
        dp_shared_create(comm, FLOATS * sizeof(float) + 16 * sizeof(double),
                         dp_exchange_own_bytes(FLOATS, DP_MAX_PARTIALS), &shared);
    expect(made == DP_OK, "shared memory", 0, 0);
    expect(shared->members == dp_comm_topology(comm)->node_size, "one domain a host",
           shared->members, 0);
    made = dp_exchange_create(shared, FLOATS, FLOATS, true, &ex);
    expect(made == DP_OK, "the exchange", 0, 0);
    for (int blocks = 1; blocks <= 40; blocks++) {
        one_batch(shared, ex, 1, whole, blocks);
        one_batch(shared, ex, CUTS, buckets, blocks);
    }
    dp_exchange_destroy(&ex);
    dp_shared_destroy(&shared);
    agreement(comm);
    double all = failures;
    dp_comm_sum(comm, &all, 1);
    dp_comm_finalize(&comm);
    return all > 0;
}
