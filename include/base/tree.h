/** The block tree: the one order in which sums over samples are added, on any layout of
 *  ranks and threads.
 *
 *  A batch of n samples is cut in order into blocks of `block` samples (the last may be
 *  short). The node of blocks [a,b) splits at a + ceil((b-a)/2). A sum is evaluated with
 *  a stack: push a node, then, as long as the two on top are siblings, replace them by
 *  their sum. The blocks of one node may be summed anywhere: on another rank, thread or
 *  tile. */
#ifndef DP_BASE_TREE_H
#define DP_BASE_TREE_H

#include <stddef.h>

enum { DP_TREE_DEPTH = 32 }; /* levels of the largest tree: 2^31 blocks */

typedef struct dp_range {
    int a, b; /* blocks [a,b): a node of the tree, or any range; empty if a == b */
} dp_range;

/** ceil(n / block). */
int dp_tree_blocks(int n, int block);

/** How many merges follow leaf `leaf` (a single block) in the stack evaluation of the
 *  whole tree over `count` leaves. Over all leaves there are count - 1. O(log count). */
int dp_tree_merges(int count, int leaf);

/** Sum of v[0..count) along the tree over the index. count 0 gives 0. */
double dp_tree_sum(const double *v, int count);

/** left += right, n floats: a merge of two partial sums. Which is the left operand does
 *  not matter, since a + b is b + a. */
void dp_tree_add(float *restrict left, const float *restrict right, size_t n);

/** The partition of a tree over `count` blocks among ranks: the nodes of rank `rank` of
 *  `ranks`, in order, each of at most `max_blocks` blocks (>= 1). 2^k ranks own the nodes
 *  at depth k: one partial sum each. Other counts take contiguous runs of nodes at depth
 *  ceil(log2 ranks) + 1, joined to the largest whole subtrees.
 *  Returns their number; out may be NULL to count. */
int dp_tree_partition(int count, int ranks, int rank, int max_blocks, dp_range *out);

/** A stack evaluation over any sequence of nodes that are in order and disjoint: after
 *  each push it says how many merges follow. */
typedef struct dp_tree_walk {
    int count;                         /* blocks in the tree */
    int depth;                         /* nodes on the stack */
    dp_range range[DP_TREE_DEPTH * 4]; /* the stack */
} dp_tree_walk;

/** Starts with an empty stack, for a tree of `count` blocks. */
void dp_tree_begin(dp_tree_walk *walk, int count);

/** Pushes a node; returns how many merges of the two on top follow. `depth` is then the
 *  number of nodes that are left on the stack. */
int dp_tree_push(dp_tree_walk *walk, dp_range range);

/** The merges after a push, for sums on a stack: `merges` times the sum on top is added to
 *  the one below it. top: its index before. */
void dp_tree_merge_sums(double *stack, int top, int merges);

#endif
