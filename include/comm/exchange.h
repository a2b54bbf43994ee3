/** The reproducible allreduce of a step: reduce-scatter of block-tree partials to the
 *  owners of the parameter slices, then allgather of the updated parameters.
 *
 *  Rank r owns the floats [bound[r], bound[r+1]) of the slab. It receives every rank's
 *  partials of its slice and adds them in the order of the block tree, so the sum has the
 *  same bits on any number of ranks. Source: DESIGN section 5; cf. Demmel, Nguyen,
 *  "Parallel reproducible summation", 2015. */
#ifndef DP_COMM_EXCHANGE_H
#define DP_COMM_EXCHANGE_H

#include "base/status.h"
#include "base/tree.h"
#include "comm/comm.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct dp_exchange dp_exchange;

enum { DP_PARTS = 64 }; /* most partials that a rank can have */

/** What travels beside a step's gradients. */
typedef struct dp_note {
    double loss[DP_PARTS]; /* in: the loss sum of each of this rank's partials */
    double stop;           /* in: this rank wants to stop; out: how many want to */
} dp_note;

/** bound[ranks+1] cuts the slab of `floats`; tree false: plain MPI allreduce,
 *  reproducible only for a fixed number of ranks. MPI: collective.  Owner: the caller, who
 *  ends it with dp_exchange_destroy. */
dp_status dp_exchange_create(dp_comm *comm, size_t floats, const size_t *bound, bool tree,
                             dp_exchange **out);

/** Brings the partials together. `blocks` is the number of blocks of the global batch;
 *  part[k] is this rank's slab for its k-th node of dp_tree_share(blocks, ranks, rank,
 *  INT_MAX). Returns the loss sum of the whole batch along the tree; note->stop is summed.
 *  part may be overwritten.   MPI: collective, one thread */
double dp_exchange_reduce(dp_exchange *exchange, int blocks, float *const *part,
                          dp_note *note);

/** After dp_exchange_reduce: the sums of floats [begin, end) of this rank's slice, at the
 *  address that is returned. Each range is asked for once a step, by one thread; ranges
 *  don't overlap. MPI: local */
const float *dp_exchange_sum(dp_exchange *exchange, size_t begin, size_t end);

/** slab[bound[r]..bound[r+1]) of each rank r -> the whole slab on every rank; the same
 *  for extra[extra_bound[r]..) doubles (NULL: none).   MPI: collective, one thread */
void dp_exchange_gather(dp_exchange *exchange, float *slab, const int *extra_bound,
                        double *extra);

void dp_exchange_destroy(dp_exchange **exchange);

#endif
