/** The block tree: the one order in which sums over samples are added, on any machine
 *  layout.
 *
 *  A batch of n samples is cut in order into blocks of `block` samples (the last may be
 *  short). Node [a,b) of the tree over the block index splits at a + ceil((b-a)/2). A sum
 *  is evaluated by a stack: push the node, then as long as the two on top are siblings,
 *  replace them by their sum. What lies in one node may be computed anywhere: on another
 *  rank, thread, tile. */
#ifndef DP_BASE_TREE_H
#define DP_BASE_TREE_H

#include <stddef.h>

enum { DP_TREE_DEPTH = 32 }; /* levels of the largest tree: 2^31 blocks */

typedef struct dp_node {
    int a, b; /* blocks [a,b); empty if a == b */
} dp_node;

/** ceil(n / block). */
int dp_tree_blocks(int n, int block);

/** How many merges follow leaf `leaf` (a single block) in the stack evaluation of the
 *  whole tree over `count` leaves. The sum over all leaves is count - 1. O(log count). */
int dp_tree_merges(int count, int leaf);

/** Sum of v[0..count) along the tree over the index. count 0 gives 0. */
double dp_tree_sum(const double *v, int count);

/** left += right, n floats: a merge of two partial sums. The sum may lie in either, since a + b is
 *  b + a. */
void dp_tree_add(float *restrict left, const float *restrict right, size_t n);

/** The nodes that rank `rank` of `ranks` computes in a tree over `count` blocks, in
 *  order, each of at most `most` blocks (>= 1). Returns their number; out may be NULL to
 *  count. 2^k ranks own the nodes at depth k: one partial each. Other counts take
 *  contiguous runs of nodes at depth ceil(log2 ranks) + 1, joined to the largest whole
 *  subtrees. */
int dp_tree_share(int count, int ranks, int rank, int most, dp_node *out);

/** A stack evaluation over any sequence of nodes that are in order and disjoint: tells
 *  after each node how many merges follow. `count` is the tree's number of blocks. */
typedef struct dp_tree_walk {
    int count;                       /* blocks in the tree */
    int depth;                       /* nodes on the stack */
    dp_node node[DP_TREE_DEPTH * 4]; /* the stack, a node each */
} dp_tree_walk;

/** Starts a walk over a tree of `count` blocks with an empty stack. */
void dp_tree_begin(dp_tree_walk *walk, int count);

/** Pushes a node and returns the number of merges of the two on top that follow it;
 *  `depth` is then the number of nodes that are left. */
int dp_tree_push(dp_tree_walk *walk, dp_node node);

#endif
