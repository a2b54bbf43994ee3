/** The reproducible allreduce of a step: partial sums of the block tree to the owners of the
 *  parameter slices, then the owners' results to everyone.
 *
 *  Rank r owns the floats [bound[r], bound[r+1]) of a slab, or of the part of it that is exchanged
 *  now, and adds all partials of it in the order of the block tree, so the sum has the same bits on
 *  any number of ranks, and however the slab is cut. Inside a domain
 *  (comm/shared.h) owners read the partials where they were written, and slabs that are in its
 *  common memory need no copying back. Between domains a slice's partials are merged as far as
 *  the tree allows, sent once, and its result is sent once to each domain: what a reduce-scatter
 *  and allgather among the hosts would move.
 *  Source: DESIGN section 5; cf. Demmel, Nguyen, "Parallel reproducible summation", 2015. */
#ifndef DP_COMM_EXCHANGE_H
#define DP_COMM_EXCHANGE_H

#include "base/status.h"
#include "base/tree.h"
#include "comm/shared.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct dp_exchange dp_exchange;

enum { DP_PARTS = 8 }; /* more partials than any rank has (dp_tree_share) */

/** What travels beside a step's gradients. */
typedef struct dp_note {
    double loss[DP_PARTS]; /* in: the loss sum of each of this rank's partials */
    double stop;           /* in: this rank wants to stop; out: how many want to */
} dp_note;

/** Bytes of a member's own shared memory that the exchange needs for `slabs` slabs of `floats`:
 *  the gradients' slabs, and its note. */
size_t dp_exchange_own_bytes(size_t floats, int slabs);

/** For slabs of `floats`; shared->own holds dp_exchange_own_bytes for each member. tree false:
 *  plain MPI allreduce, reproducible only for a fixed number of ranks.
 *  MPI: local.  Owner: the caller; dp_exchange_destroy. Borrows shared. */
dp_exchange *dp_exchange_create(dp_shared *shared, size_t floats, bool tree);

/** This rank's k-th gradient slab, in its part of the shared memory.  MPI: local */
float *dp_exchange_slab(const dp_exchange *exchange, int k);

/** Brings the partials of the floats [bound[0], bound[ranks]) together; where tree is false they
 *  are the whole slab. `blocks` is the number of blocks of the global batch; slab k holds this
 *  rank's k-th node of dp_tree_share(blocks, ranks, rank, INT_MAX). bound is borrowed until the next
 *  call.
 *  Returns the loss sum of the whole batch along the tree; note->stop is summed. Without a note
 *  (NULL on all ranks) none travels, and 0 is returned.
 *  MPI: collective, one thread */
double dp_exchange_reduce(dp_exchange *exchange, const size_t *bound, int blocks,
                          dp_note *note);

/** After dp_exchange_reduce: the sums of floats [begin, end) of this rank's slice, at the address
 *  that is returned. Each range is asked for once a step, by one thread; ranges don't overlap.
 *  MPI: local */
const float *dp_exchange_sum(dp_exchange *exchange, size_t begin, size_t end);

/** An array in the domain's common memory of which rank r has filled
 *  [bound[r], bound[r+1]) elements of `size` bytes. */
typedef struct dp_slices {
    void *base;
    size_t size;
    const size_t *bound; /* [ranks+1] */
} dp_slices;

/** Every rank's slices of the n arrays -> the whole arrays on every rank.
 *  MPI: collective, one thread */
void dp_exchange_gather(dp_exchange *exchange, int n, const dp_slices *arrays);

void dp_exchange_destroy(dp_exchange **exchange);

#endif
