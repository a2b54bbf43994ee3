/* When files are written, by a clock of the tests' own: what may be lost, what it
 * costs. */
#include "run/budget.h"
#include <criterion/criterion.h>
#include <math.h>

TestSuite(budget, .timeout = 60);

enum { KB = 1000, MB = 1000000 };

/* A run of tables that grow and a state that does not, written as the budget says. */
typedef struct scene {
    double seconds; /* of the run */
    double epoch;   /* seconds of one */
    double rows;    /* bytes of history a second */
    double state;   /* bytes of a checkpoint without rows */
    double speed;   /* bytes a second, of a core that writes */
    double flush;
} scene;

typedef struct outcome {
    double written, final, spent; /* bytes, bytes at the end, seconds */
    double lag, lost; /* oldest metrics.h5, oldest checkpoint: of what is allowed */
    int metrics, checkpoints;
} outcome;

static double allowed(double now) {
    return fmax(60, now / 20);
}

static outcome play(scene s) {
    enum { KEEP = 3 };
    const double head = 20 * KB;
    outcome o = {0};
    dp_budget b;
    dp_budget_begin(&b, 1000, s.flush);
    dp_budget_note(&b, DP_WRITE_METRICS, 1000, head / s.speed, (int64_t)head);
    double metrics = 0, checkpoint = 0, tick = fmin(s.epoch, 1);
    for (int64_t i = 1; (double)i * tick < s.seconds; i++) {
        double now = (double)i * tick, size = head + now * s.rows;
        int files = o.checkpoints + 1 < KEEP ? o.checkpoints + 1 : KEEP;
        int64_t final = (int64_t)(size + (files + 1) * s.state);
        if (dp_budget_due(&b, DP_WRITE_METRICS, 1000 + now, (int64_t)size, final)) {
            dp_budget_note(&b, DP_WRITE_METRICS, 1000 + now, size / s.speed,
                           (int64_t)size);
            metrics = now;
            o.metrics++;
        }
        bool end = fmod(now, s.epoch) < tick;
        double bytes = s.state + (now - metrics) * s.rows;
        if (end &&
            dp_budget_due(&b, DP_WRITE_CHECKPOINT, 1000 + now, (int64_t)bytes, final)) {
            dp_budget_note(&b, DP_WRITE_CHECKPOINT, 1000 + now, bytes / s.speed,
                           (int64_t)bytes);
            checkpoint = now;
            o.checkpoints++;
        }
        o.lag = fmax(o.lag, (now - metrics) / allowed(now));
        o.lost = fmax(o.lost, (now - checkpoint) / allowed(now));
    }
    o.spent = (b.of[0].spent + b.of[1].spent) / s.seconds;
    double last = head + s.seconds * s.rows;
    o.written = (double)(b.of[0].written + b.of[1].written) + 2 * last + 2 * s.state;
    o.final = last + (KEEP + 1) * s.state;
    return o;
}

Test(budget, a_run_of_long_epochs_is_saved_after_each)
{
    outcome o = play((scene){40, 4, 15 * KB, 5 * MB, 300e6, 10});
    cr_assert_eq(o.checkpoints, 9);
    o = play((scene){86400, 600, 15 * KB, 5 * MB, 300e6, 10});
    cr_assert_eq(o.checkpoints, 143);
    cr_assert_leq(o.written, 25 * o.final);
}

Test(budget, it_is_kept_whatever_the_epochs_and_the_time)
{
    const double minutes[] = {1, 10, 30, 120}, epochs[] = {0.05, 1, 30};
    const double rows[] = {100, 15 * KB, 150 * KB},
                 states[] = {10 * KB, 5 * MB, 1000 * MB};
    for (int i = 0; i < 4 * 3 * 3 * 3; i++) {
        scene s = {60 * minutes[i % 4],
                   epochs[i / 4 % 3],
                   rows[i / 12 % 3],
                   states[i / 36],
                   500e6,
                   10};
        outcome o = play(s);
        cr_expect_leq(o.spent, 0.02 + 0.01 / s.seconds, "%g of the time: scene %d",
                      o.spent, i);
        cr_expect_leq(o.written, (s.seconds > 3600 ? 25 : 20) * o.final,
                      "%g times the files: scene %d", o.written / o.final, i);
        cr_expect_leq(o.lag, 1, "a reader is %g too late: scene %d", o.lag, i);
        if (s.state < 100 * MB && s.epoch < 2) { /* else the time does not allow it */
            cr_expect_leq(o.lost, 1, "a kill loses %g too much: scene %d", o.lost, i);
        }
    }
}

Test(budget, the_time_comes_before_a_reader_who_waits)
{
    dp_budget b;
    dp_budget_begin(&b, 0, 10);
    dp_budget_note(&b, DP_WRITE_METRICS, 0, 5, MB);
    dp_budget_note(&b, DP_WRITE_METRICS, 700, 0, MB);
    dp_budget_note(&b, DP_WRITE_METRICS, 700, 0, MB);
    b.of[DP_WRITE_METRICS].seconds = 5;
    cr_assert_not(dp_budget_due(&b, DP_WRITE_METRICS, 999, MB, MB));
    cr_assert(dp_budget_due(&b, DP_WRITE_METRICS, 1001, MB, MB));
    cr_assert_not(dp_budget_affords(&b, DP_WRITE_CHECKPOINT, 499, MB),
                  "the first takes after the other kind");
    cr_assert(dp_budget_affords(&b, DP_WRITE_CHECKPOINT, 501, MB));
    cr_assert_not(dp_budget_affords(&b, DP_WRITE_CHECKPOINT, 501, 201 * MB));
}

Test(budget, rows_too_quick_for_their_share_are_still_seen)
{
    outcome o = play((scene){3600, 0.05, 10 * MB, 10 * KB, 300e6, 10});
    cr_assert_geq(o.metrics, 6);
    cr_assert_leq(o.lag, 10, "a reader is %g times too late", o.lag);
    cr_assert_leq(o.written, 4 * o.final);
}

Test(budget, flush_is_the_least_time_between_two)
{
    dp_budget b;
    dp_budget_begin(&b, 0, 10);
    cr_assert_not(dp_budget_due(&b, DP_WRITE_METRICS, 9.9, KB, MB));
    cr_assert(dp_budget_due(&b, DP_WRITE_METRICS, 10.1, KB, MB));
    cr_assert(dp_budget_due(&b, DP_WRITE_CHECKPOINT, 0.1, KB, MB));
    b.least = 600;
    cr_assert_not(dp_budget_due(&b, DP_WRITE_METRICS, 599, KB, MB));
}

Test(budget, beyond_the_bytes_only_what_is_old_is_written)
{
    dp_budget b;
    dp_budget_begin(&b, 0, 0);
    dp_budget_note(&b, DP_WRITE_CHECKPOINT, 0, 0, 2 * MB);
    cr_assert(dp_budget_due(&b, DP_WRITE_CHECKPOINT, 1, MB, MB));
    dp_budget_note(&b, DP_WRITE_CHECKPOINT, 1, 0, MB);
    cr_assert_not(dp_budget_due(&b, DP_WRITE_CHECKPOINT, 50, MB, MB));
    cr_assert(dp_budget_due(&b, DP_WRITE_CHECKPOINT, 60, MB, MB));
    dp_budget_note(&b, DP_WRITE_CHECKPOINT, 4000, 0, MB);
    cr_assert_not(dp_budget_due(&b, DP_WRITE_CHECKPOINT, 4190, MB, MB));
    cr_assert(dp_budget_due(&b, DP_WRITE_CHECKPOINT, 4210, MB, MB));
}
