#include "base/tree.h"
#include "base/clones.h"
#include <assert.h>

int dp_tree_blocks(int n, int block) {
    assert(n >= 0 && block >= 1);
    return n / block + (n % block != 0);
}

static int split(dp_node node) {
    return node.a + (node.b - node.a + 1) / 2;
}

int dp_tree_merges(int count, int leaf) {
    assert(leaf >= 0 && leaf < count);
    /* Each node whose last leaf this is, and which is more than the leaf, ends with a
     * merge. */
    dp_node node = {0, count};
    int merges = 0;
    while (node.b - node.a > 1) {
        if (node.b == leaf + 1) {
            merges++;
        }
        int mid = split(node);
        if (leaf < mid) {
            node.b = mid;
        } else {
            node.a = mid;
        }
    }
    return merges;
}

double dp_tree_sum(const double *v, int count) {
    double stack[DP_TREE_DEPTH];
    int depth = 0;
    for (int leaf = 0; leaf < count; leaf++) {
        stack[depth++] = v[leaf];
        for (int m = dp_tree_merges(count, leaf); m > 0; m--) {
            stack[depth - 2] += stack[depth - 1];
            depth--;
        }
    }
    assert(depth == (count > 0));
    return count > 0 ? stack[0] : 0.0;
}

typedef struct share {
    int first, last; /* blocks of this rank: [first, last) */
    int most;
    dp_node *out;
    int n;
} share;

/* Emits the largest whole subtrees of at most `most` blocks inside [first, last). */
static void cover(share *s, dp_node node) {
    if (node.a >= s->last || node.b <= s->first || node.a == node.b) {
        return;
    }
    if (node.a >= s->first && node.b <= s->last && node.b - node.a <= s->most) {
        if (s->out) {
            s->out[s->n] = node;
        }
        s->n++;
        return;
    }
    int mid = split(node);
    cover(s, (dp_node){node.a, mid});
    cover(s, (dp_node){mid, node.b});
}

/* Where node `index` of the 2^depth nodes at `depth` begins. */
static int begin_of(int count, int depth, int index) {
    if (index >> depth) {
        return count;
    }
    dp_node node = {0, count};
    for (int d = depth - 1; d >= 0; d--) {
        int mid = split(node);
        if (index >> d & 1) {
            node.a = mid;
        } else {
            node.b = mid;
        }
    }
    return node.a;
}

int dp_tree_share(int count, int ranks, int rank, int most, dp_node *out) {
    assert(count >= 0 && ranks >= 1 && rank >= 0 && rank < ranks && most >= 1);
    int depth = 0;
    while (1L << depth < ranks) {
        depth++;
    }
    if (1L << depth != ranks) {
        depth++;
    }
    long nodes = 1L << depth;
    share s = {.first = begin_of(count, depth, (int)(nodes * rank / ranks)),
               .last = begin_of(count, depth, (int)(nodes * (rank + 1) / ranks)),
               .most = most,
               .out = out};
    cover(&s, (dp_node){0, count});
    return s.n;
}

void dp_tree_begin(dp_tree_walk *walk, int count) {
    walk->count = count;
    walk->depth = 0;
}

/* Whether left and right are the two children of one node of the tree. */
static int siblings(int count, dp_node left, dp_node right) {
    if (left.b != right.a) {
        return 0;
    }
    dp_node node = {0, count};
    while (node.b - node.a > 1) {
        int mid = split(node);
        if (node.a == left.a && node.b == right.b) {
            return mid == left.b;
        }
        if (right.b <= mid) {
            node.b = mid;
        } else if (left.a >= mid) {
            node.a = mid;
        } else {
            return 0;
        }
    }
    return 0;
}

int dp_tree_push(dp_tree_walk *walk, dp_node node) {
    assert(walk->depth < (int)(sizeof walk->node / sizeof walk->node[0]));
    walk->node[walk->depth++] = node;
    int merges = 0;
    while (walk->depth >= 2) {
        dp_node *left = &walk->node[walk->depth - 2], *right = left + 1;
        if (!siblings(walk->count, *left, *right)) {
            break;
        }
        left->b = right->b;
        walk->depth--;
        merges++;
    }
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
