/* The block tree: shape, order, and that any cut of the work gives the same sum. */
#include "base/tree.h"
#include <criterion/criterion.h>
#include <limits.h>

/* The definition, literally: node [a,b) splits at a + ceil((b-a)/2). */
static double definition(const double *v, int a, int b) {
    if (b - a == 1) {
        return v[a];
    }
    int mid = a + (b - a + 1) / 2;
    return definition(v, a, mid) + definition(v, mid, b);
}

static double hash(int i) {
    return (double)((i * 2654435761U) >> 8) / 1e5 - 80.0 * (i % 7);
}

Test(tree, sum_follows_the_definition_to_the_bit)
{
    double v[300];
    for (int i = 0; i < 300; i++) {
        v[i] = hash(i);
    }
    for (int n = 1; n <= 300; n++) {
        cr_assert_eq(dp_tree_sum(v, n), definition(v, 0, n), "n = %d", n);
    }
    cr_assert_eq(dp_tree_sum(v, 0), 0);
}

Test(tree, blocks_rounds_up)
{
    cr_assert_eq(dp_tree_blocks(0, 16), 0);
    cr_assert_eq(dp_tree_blocks(1, 16), 1);
    cr_assert_eq(dp_tree_blocks(16, 16), 1);
    cr_assert_eq(dp_tree_blocks(17, 16), 2);
    cr_assert_eq(dp_tree_blocks(INT_MAX, 1), INT_MAX);
}

/* Sums as the ranks do: each microbatch by itself, then merged by the stack. */
static double in_microbatches(const double *v, int count, int ranks, int max_blocks) {
    dp_tree_walk walk;
    dp_tree_begin(&walk, count);
    double stack[DP_TREE_DEPTH * 4];
    int covered = 0;
    for (int r = 0; r < ranks; r++) {
        dp_range range[512];
        int n = dp_tree_partition(count, ranks, r, max_blocks, range);
        cr_assert_leq(n, 512);
        for (int k = 0; k < n; k++) {
            cr_assert_eq(range[k].a, covered, "nodes are in order and leave nothing out");
            cr_assert_gt(range[k].b, range[k].a);
            cr_assert_leq(range[k].b - range[k].a, max_blocks);
            covered = range[k].b;
            int top = walk.depth;
            stack[top] = dp_tree_sum(v + range[k].a, range[k].b - range[k].a);
            for (int m = dp_tree_push(&walk, range[k]); m > 0; m--, top--) {
                stack[top - 1] += stack[top];
            }
        }
    }
    cr_assert_eq(covered, count);
    cr_assert_eq(walk.depth, count > 0);
    return count > 0 ? stack[0] : 0;
}

Test(tree, any_ranks_and_microbatch_give_the_same_bits)
{
    double v[257];
    for (int i = 0; i < 257; i++) {
        v[i] = hash(i);
    }
    for (int count = 1; count <= 257; count += count < 40 ? 1 : 31) {
        for (int ranks = 1; ranks <= 17; ranks++) {
            for (int max_blocks = 1; max_blocks <= count;
                 max_blocks = max_blocks * 2 + 1) {
                cr_assert_eq(
                    in_microbatches(v, count, ranks, max_blocks), definition(v, 0, count),
                    "%d blocks, %d ranks, microbatches of %d", count, ranks, max_blocks);
            }
        }
    }
}

Test(tree, powers_of_two_own_one_node_each_and_others_few)
{
    for (int count = 1; count <= 100; count++) {
        for (int ranks = 1; ranks <= 16; ranks++) {
            int power = (ranks & (ranks - 1)) == 0;
            for (int r = 0; r < ranks; r++) {
                int n = dp_tree_partition(count, ranks, r, INT_MAX, NULL);
                cr_assert_leq(n, power ? 1 : 3, "%d blocks, rank %d of %d", count, r,
                              ranks);
            }
        }
    }
}

Test(tree, powers_of_two_are_even_to_one_block)
{
    for (int count = 1; count <= 200; count++) {
        for (int ranks = 1; ranks <= 16; ranks *= 2) {
            int least = INT_MAX, max_blocks = 0;
            for (int r = 0; r < ranks; r++) {
                dp_range range = {0, 0};
                dp_tree_partition(count, ranks, r, INT_MAX, &range);
                int n = range.b - range.a;
                least = n < least ? n : least;
                max_blocks = n > max_blocks ? n : max_blocks;
            }
            cr_assert_leq(max_blocks - least, 1, "%d blocks, %d ranks", count, ranks);
        }
    }
}

Test(tree, merges_of_all_leaves_join_everything)
{
    for (int count = 1; count <= 130; count++) {
        int merges = 0;
        for (int leaf = 0; leaf < count; leaf++) {
            merges += dp_tree_merges(count, leaf);
            cr_assert_leq(merges, leaf);
        }
        cr_assert_eq(merges, count - 1);
    }
}
