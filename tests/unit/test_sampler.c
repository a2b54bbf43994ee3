#include "data/sampler.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { N = 103 };

static int32_t row[N];

static void fill_rows(void) {
    for (int i = 0; i < N; i++) {
        row[i] = 3 * i + 1;
    }
}

TestSuite(sampler, .init = fill_rows);

static dp_sampler *make(int n, int batch, bool shuffle, bool drop_last, uint64_t seed) {
    dp_sampler *s = NULL;
    cr_assert_eq(dp_sampler_create(row, n, batch, shuffle, drop_last, seed, &s), DP_OK);
    return s;
}

Test(sampler, an_epoch_takes_every_row_once_and_the_last_batch_is_short)
{
    dp_sampler *s = make(N, 10, true, false, 1);
    cr_assert_eq(s->steps, 11);
    for (int64_t epoch = 1; epoch <= 3; epoch++) {
        int seen[N] = {0};
        dp_sampler_epoch(s, epoch);
        for (int step = 0; step < s->steps; step++) {
            int n = 0;
            const int32_t *batch = dp_sampler_batch(s, step, &n);
            cr_assert_eq(n, step < 10 ? 10 : 3);
            for (int i = 0; i < n; i++) {
                cr_assert_eq(batch[i] % 3, 1);
                seen[batch[i] / 3]++;
            }
        }
        for (int i = 0; i < N; i++) {
            cr_assert_eq(seen[i], 1);
        }
    }
    dp_sampler_destroy(&s);
    cr_assert_null(s);
}

Test(sampler, drop_last_drops_the_short_batch_only)
{
    dp_sampler *s = make(N, 10, false, true, 1);
    cr_assert_eq(s->steps, 10);
    dp_sampler_destroy(&s);
    s = make(100, 10, false, true, 1);
    cr_assert_eq(s->steps, 10);
    dp_sampler_destroy(&s);
    s = make(N, N, false, true, 1);
    cr_assert_eq(s->steps, 1);
    dp_sampler_destroy(&s);
}

Test(sampler, without_shuffle_the_order_is_the_files)
{
    dp_sampler *s = make(N, 64, false, false, 1);
    for (int64_t epoch = 1; epoch <= 2; epoch++) {
        dp_sampler_epoch(s, epoch);
        cr_assert_arr_eq(s->order, row, sizeof row);
    }
    dp_sampler_destroy(&s);
}

Test(sampler, the_order_is_a_function_of_seed_and_epoch)
{
    dp_sampler *a = make(N, 64, true, false, 7);
    dp_sampler *b = make(N, 13, true, false, 7);
    dp_sampler *c = make(N, 64, true, false, 8);
    int32_t first[N];
    dp_sampler_epoch(a, 1);
    memcpy(first, a->order, sizeof first);
    dp_sampler_epoch(a, 2);
    cr_assert_arr_neq(a->order, first, sizeof first, "epochs differ");
    dp_sampler_epoch(b, 2); /* not through epoch 1: as after a resume */
    cr_assert_arr_eq(a->order, b->order, sizeof first);
    dp_sampler_epoch(c, 2);
    cr_assert_arr_neq(a->order, c->order, sizeof first, "seeds differ");
    dp_sampler_epoch(a, 1);
    cr_assert_arr_eq(a->order, first, sizeof first);
    dp_sampler_destroy(&a);
    dp_sampler_destroy(&b);
    dp_sampler_destroy(&c);
}

Test(sampler, refuses_a_batch_larger_than_the_split)
{
    dp_sampler *s = NULL;
    cr_assert_eq(dp_sampler_create(row, 5, 6, true, false, 1, &s), DP_EUSAGE);
    cr_assert_null(s);
    cr_assert(strstr(dp_status_message(), "train.batch_size = 6"));
}
