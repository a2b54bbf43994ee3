/* The block tree: its shape, its partition among ranks, and the stack that evaluates
 * it. */
#include "base/tree.h"
#include "base/clones.h"
#include <assert.h>
#include <stdbool.h>

int dp_tree_blocks(int n, int block) {
    assert(n >= 0 && block >= 1);
    return n / block + (n % block != 0);
}

static int split(dp_range range) {
    return range.a + (range.b - range.a + 1) / 2;
}

int dp_tree_merges(int count, int leaf) {
    assert(leaf >= 0 && leaf < count);
    /* Each node whose last leaf this is, and which is more than the leaf, ends with a
     * merge. */
    dp_range range = {0, count};
    int merges = 0;
    while (range.b - range.a > 1) {
        int mid = split(range);
        merges += range.b == leaf + 1;
        range = leaf < mid ? (dp_range){range.a, mid} : (dp_range){mid, range.b};
    }
    return merges;
}

void dp_tree_merge_sums(double *stack, int top, int merges) {
    for (; merges > 0; merges--, top--) {
        stack[top - 1] += stack[top];
    }
}

double dp_tree_sum(const double *v, int count) {
    double stack[DP_TREE_DEPTH];
    int depth = 0;
    for (int leaf = 0; leaf < count; leaf++) {
        int merges = dp_tree_merges(count, leaf);
        stack[depth] = v[leaf];
        dp_tree_merge_sums(stack, depth, merges);
        depth += 1 - merges;
    }
    assert(depth == (count > 0));
    return count > 0 ? stack[0] : 0.0;
}

typedef struct partition {
    int first, last; /* blocks of this rank: [first, last) */
    int max_blocks;
    dp_range *out;
    int n;
} partition;

/* Emits the largest whole subtrees of at most `max_blocks` blocks inside [first,
 * last). */
static void emit(partition *s, dp_range range) {
    if (range.a >= s->last || range.b <= s->first || range.a == range.b) {
        return;
    }
    if (range.a >= s->first && range.b <= s->last && range.b - range.a <= s->max_blocks) {
        if (s->out) {
            s->out[s->n] = range;
        }
        s->n++;
        return;
    }
    int mid = split(range);
    emit(s, (dp_range){range.a, mid});
    emit(s, (dp_range){mid, range.b});
}

/* Where node `index` of the 2^depth nodes at `depth` begins. */
static int begin_of(int count, int depth, int index) {
    if (index >> depth) {
        return count;
    }
    dp_range range = {0, count};
    for (int d = depth - 1; d >= 0; d--) {
        int mid = split(range);
        range = index >> d & 1 ? (dp_range){mid, range.b} : (dp_range){range.a, mid};
    }
    return range.a;
}

int dp_tree_partition(int count, int ranks, int rank, int max_blocks, dp_range *out) {
    assert(count >= 0 && ranks >= 1 && rank >= 0 && rank < ranks && max_blocks >= 1);
    int depth = 0;
    while (1L << depth < ranks) {
        depth++;
    }
    depth += 1L << depth != ranks;
    long nodes = 1L << depth;
    partition s = {.first = begin_of(count, depth, (int)(nodes * rank / ranks)),
                   .last = begin_of(count, depth, (int)(nodes * (rank + 1) / ranks)),
                   .max_blocks = max_blocks,
                   .out = out};
    emit(&s, (dp_range){0, count});
    return s.n;
}

void dp_tree_begin(dp_tree_walk *walk, int count) {
    walk->count = count;
    walk->depth = 0;
}

/* Whether left and right are the two children of one node of the tree. */
static bool siblings(int count, dp_range left, dp_range right) {
    dp_range range = {0, count}; /* goes down to the node that would be their parent */
    while (range.b - range.a > 1) {
        int mid = split(range);
        if (range.a == left.a && range.b == right.b) {
            return mid == left.b && mid == right.a;
        }
        if (right.b <= mid) {
            range.b = mid;
        } else if (left.a >= mid) {
            range.a = mid;
        } else {
            return false;
        }
    }
    return false;
}

int dp_tree_push(dp_tree_walk *walk, dp_range range) {
    assert(walk->depth < (int)(sizeof walk->range / sizeof walk->range[0]));
    dp_range *top = &walk->range[walk->depth++];
    int merges = 0;
    *top = range;
    while (top > walk->range && siblings(walk->count, top[-1], top[0])) {
        top--;
        top->b = top[1].b;
        merges++;
    }
    walk->depth -= merges;
    return merges;
}

DP_CLONES static void add(float *restrict left, const float *restrict right, size_t n) {
    for (size_t i = 0; i < n; i++) {
        left[i] += right[i];
    }
}

void dp_tree_add(float *restrict left, const float *restrict right, size_t n) {
    add(left, right, n);
}
