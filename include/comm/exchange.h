/** The reproducible allreduce of a step: a reduce-scatter of partial sums to the owners
 *  of the parameter slices, then an allgather of the owners' results.
 *
 *  Rank r owns the floats [bound[r], bound[r+1]) of a slab, or of the bucket of it that
 *  is exchanged now, and adds all partials of them in the order of the block tree: the
 *  sum has the same bits on any number of ranks, and however the slab is cut into
 *  buckets. Within a shared-memory domain (comm/shared.h) owners read the partials where
 *  they were written, and arrays in its common memory need no copy back. Between domains
 *  a slice's partials are merged as far as the tree allows and sent once; its result is
 *  sent once to each domain. That is what a reduce-scatter and an allgather among the
 *  hosts would move.
 *
 *  Source: cf. Demmel, Nguyen, "Parallel reproducible summation", 2015. */
#ifndef DP_COMM_EXCHANGE_H
#define DP_COMM_EXCHANGE_H

#include "base/status.h"
#include "base/tree.h"
#include "comm/shared.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct dp_exchange dp_exchange;

enum { DP_MAX_PARTIALS = 8 }; /* more partials than any rank has (dp_tree_partition) */

/** Scalars that are reduced with a step's gradients. */
typedef struct dp_step_scalars {
    double loss[DP_MAX_PARTIALS]; /* in: the loss sum of each of this rank's partials */
    double correct;               /* in: a count of this rank; out: of all */
    double stop;                  /* in: 1 if this rank wants to stop; out: how many do */
} dp_step_scalars;

/** Bytes of a rank's own shared memory that the exchange needs for `slabs` gradient slabs
 *  of `floats`, and for its scalars. */
size_t dp_exchange_own_bytes(size_t floats, int slabs);

/** For slabs of `floats`, of which this rank owns up to `slice` in an exchange;
 *  shared->own holds dp_exchange_own_bytes for each member. tree false: plain MPI
 *  allreduce, reproducible only for a fixed number of ranks.
 *  MPI: local. Errors: DP_EINTERNAL (memory; *out is NULL then). Owner: the caller;
 *  dp_exchange_destroy. Borrows shared. */
dp_status dp_exchange_create(dp_shared *shared, size_t floats, size_t slice, bool tree,
                             dp_exchange **out);

/** This rank's k-th gradient slab, in its own shared memory.
 *  MPI: local */
float *dp_exchange_slab(const dp_exchange *exchange, int k);

/** Reduces the floats [bound[0], bound[ranks]); where tree is false they are the whole
 *  slab. `blocks`: of the global batch; slab k holds the partial sum of this rank's k-th
 *  range of dp_tree_partition(blocks, ranks, rank, INT_MAX). bound is borrowed until the
 *  next call.
 *  Returns the loss sum of the whole batch along the tree; scalars->correct and stop are
 *  summed.
 *  Without scalars (NULL on all ranks) only gradients are reduced, and 0 is returned.
 *  MPI: collective, one thread */
double dp_exchange_reduce(dp_exchange *exchange, const size_t *bound, int blocks,
                          dp_step_scalars *scalars);

/** After dp_exchange_reduce: the address of the sums of floats [begin, end) of this
 *  rank's slice. Each range is computed once a step, by one thread; ranges don't overlap.
 *  MPI: local */
const float *dp_exchange_sum(dp_exchange *exchange, size_t begin, size_t end);

/** An array in the domain's common memory of which rank r has filled
 *  [bound[r], bound[r+1]) elements of `size` bytes. */
typedef struct dp_sliced_array {
    void *base;
    size_t size;
    const size_t *bound; /* [ranks+1] */
} dp_sliced_array;

/** Allgathers the n arrays: every rank's slices are on every rank afterwards.
 *  MPI: collective, one thread */
void dp_exchange_gather(dp_exchange *exchange, int n, const dp_sliced_array *arrays);

void dp_exchange_destroy(dp_exchange **exchange);

#endif
