/* ranks: 1 2 3 4 5 8 */
/* The exchange gives each slice owner the tree sum of all partials, to the bit, and
 * everyone the gathered slab, in one piece or in several; notes are summed; agreeing ends with the
 * lowest failing rank's code. */
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

/* bound[b] cuts the b-th of nb parts of the slab among the ranks; the note travels with part 0, the
 * last one. */
static void one_batch(dp_shared *shared, dp_exchange *ex, int nb, size_t bound[][17],
                      int blocks) {
    dp_comm *comm = shared->comm;
    int ranks = dp_comm_size(comm), rank = dp_comm_rank(comm);
    dp_node node[DP_PARTS];
    int n = dp_tree_share(blocks, ranks, rank, INT_MAX, node);
    dp_note note = {.stop = rank == ranks - 1};
    for (int k = 0; k < n; k++) {
        float *part = dp_exchange_slab(ex, k);
        for (int i = 0; i < FLOATS; i++) {
            part[i] = tree(node[k].a, node[k].b, i);
        }
        note.loss[k] = node[k].b - node[k].a;
    }
    float *slab = shared->common;
    double *extra = (double *)(slab + FLOATS), loss = 0;
    for (int b = nb - 1; b >= 0; b--) {
        size_t begin = bound[b][rank], end = bound[b][rank + 1];
        size_t mid = begin + (end - begin) / 3;
        loss = dp_exchange_reduce(ex, bound[b], blocks, b == 0 ? &note : NULL);
        if (end > begin) {
            memcpy(slab + begin, dp_exchange_sum(ex, begin, mid),
                   (mid - begin) * sizeof(float));
            memcpy(slab + mid, dp_exchange_sum(ex, mid, end),
                   (end - mid) * sizeof(float));
        }
    }
    expect(loss == blocks, "loss of all blocks", (int)loss, blocks);
    expect(note.stop == 1, "stop requests are counted", (int)note.stop, 1);
    size_t extra_bound[17];
    for (int r = 0; r <= ranks; r++) {
        extra_bound[r] = (size_t)r;
    }
    extra[rank] = rank + 0.5 + blocks;
    dp_slices all[1 + CUTS] = {{extra, sizeof(double), extra_bound}};
    for (int b = 0; b < nb; b++) {
        all[1 + b] = (dp_slices){slab, sizeof(float), bound[b]};
    }
    dp_exchange_gather(ex, 1 + nb, all);
    for (int i = 0; i < FLOATS; i++) {
        expect(slab[i] == tree(0, blocks, i), "sum has the tree's bits", blocks, i);
    }
    for (int r = 0; r < ranks; r++) {
        expect(extra[r] == r + 0.5 + blocks, "extra values are gathered", blocks, r);
    }
    dp_shared_meet(shared); /* nobody writes the next sums before all have looked */
}

static void agreement(dp_comm *comm) {
    int ranks = dp_comm_size(comm), rank = dp_comm_rank(comm);
    expect(dp_comm_agree(comm, DP_OK) == DP_OK, "all well", 0, 0);
    dp_status mine = rank == ranks - 1 ? DP_EDATA : DP_OK;
    expect(dp_comm_agree(comm, mine) == DP_EDATA, "one failure is everyone's", rank,
           ranks);
    expect(dp_comm_speaks(comm) == (rank == ranks - 1), "the one that failed speaks",
           rank, ranks);
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
    size_t whole[1][17] = {{0}}, parts[CUTS][17];
    for (int r = 1; r <= ranks; r++) { /* uneven, one of them empty */
        whole[0][r] = r == ranks ? FLOATS
                      : r == 2   ? whole[0][1]
                                 : (size_t)(FLOATS * r / ranks - r);
    }
    const size_t cut[CUTS + 1] = {0, 16, 720, FLOATS}; /* 0 and 2 are small */
    for (int b = 0; b < CUTS; b++) {
        for (int r = 0; r <= ranks; r++) {
            parts[b][r] = cut[b] + (cut[b + 1] - cut[b]) * (size_t)r / (size_t)ranks;
        }
    }
    dp_shared *shared = NULL;
    dp_exchange *ex = NULL;
    dp_status made = dp_shared_create(comm, FLOATS * sizeof(float) + 16 * sizeof(double),
                                      dp_exchange_own_bytes(FLOATS, DP_PARTS), &shared);
    expect(made == DP_OK, "shared memory", 0, 0);
    expect(shared->members == dp_comm_node_size(comm), "one domain a host",
           shared->members, 0);
    ex = dp_exchange_create(shared, FLOATS, true);
    for (int blocks = 1; blocks <= 40; blocks++) {
        one_batch(shared, ex, 1, whole, blocks);
        one_batch(shared, ex, CUTS, parts, blocks);
    }
    dp_exchange_destroy(&ex);
    dp_shared_destroy(&shared);
    agreement(comm);
    double all = failures;
    dp_comm_sum(comm, &all, 1);
    dp_comm_finalize(&comm);
    return all > 0;
}
