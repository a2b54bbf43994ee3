/* The threads of a rank: all of them work, they wait at barriers, and they wait without
 * burning the cores that others may need. */
#include "base/clock.h"
#include "base/event.h"
#include "step/team.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 5, ROUNDS = 2000 };

typedef struct shared {
    int phase[MOST][16]; /* a cache line each; plain: only barriers order them */
    _Atomic int calls, wrong;
} shared;

static void in_step(dp_team team, void *arg) {
    shared *s = arg;
    s->calls++;
    for (int r = 1; r <= ROUNDS; r++) {
        s->phase[team.id][0] = r;
        dp_team_barrier(team);
        for (int k = 0; k < team.n; k++) {
            s->wrong += s->phase[k][0] != r;
        }
        dp_team_barrier(team);
    }
}

Test(team, barriers_order_what_threads_write)
{
    for (int threads = 1; threads <= MOST; threads++) {
        shared s = {0};
        dp_team_run(threads, in_step, &s);
        cr_assert_eq(s.calls, threads);
        cr_assert_eq(s.wrong, 0, "%d threads: %d wrong", threads, s.wrong);
    }
}

static void count(dp_team team, void *arg) {
    int *calls = arg; /* [MOST] */
    calls[team.id] += team.n;
}

static dp_status many_calls(void *arg) {
    int *calls = arg;
    for (int k = 0; k < ROUNDS; k++) {
        dp_team_run(1 + k % MOST, count, calls);
    }
    return DP_EDATA;
}

Test(team, an_open_team_lends_as_many_threads_as_are_asked_for)
{
    int calls[MOST] = {0};
    cr_assert_eq(dp_team_open(MOST, many_calls, calls), DP_EDATA, "the body's status");
    for (int id = 0; id < MOST; id++) {
        int expected = 0;
        for (int k = 0; k < ROUNDS; k++) {
            expected += k % MOST >= id ? 1 + k % MOST : 0;
        }
        cr_assert_eq(calls[id], expected, "thread %d", id);
    }
    dp_team_run(MOST, count, calls);
}

static dp_status few_threads(void *arg) {
    dp_team_run(MOST, count, arg);
    return DP_OK;
}

Test(team, more_threads_than_the_team_has_are_not_waited_for)
{
    int calls[MOST] = {0};
    dp_team_open(2, few_threads, calls);
    cr_assert_eq(calls[0], 2);
    cr_assert_eq(calls[1], 2);
    cr_assert_eq(calls[2], 0);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { WAITS = 100, WAIT = 3000 }; /* microseconds each */

static void wait_at_barriers(dp_team team, void *arg) {
    for (int k = 0; k < WAITS; k++) {
        if (team.id == 0) {
            usleep(WAIT);
        }
        dp_team_barrier(team);
    }
}

static void no_work(dp_team team, void *arg) {
}

static dp_status wait_between_calls(void *arg) {
    for (int k = 0; k < WAITS; k++) {
        usleep(WAIT);
        dp_team_run(2, no_work, NULL);
    }
    return DP_OK;
}

/* Of the time, not of the clock: it does not grow with what else the machine does. */
Test(team, waiting_threads_sleep)
{
    double most = 0.25 * 1e-6 * WAIT * WAITS, before = cpu_seconds();
    dp_team_run(2, wait_at_barriers, NULL);
    double barriers = cpu_seconds() - before;
    cr_assert_lt(barriers, most, "%g s of CPU time at barriers", barriers);
    before = cpu_seconds();
    dp_team_open(2, wait_between_calls, NULL);
    double calls = cpu_seconds() - before;
    cr_assert_lt(calls, most, "%g s of CPU time between calls", calls);
}

static void *set_late(void *arg) {
    usleep(20000);
    dp_event_set(arg, 7);
    return NULL;
}

Test(event, a_wait_ends_with_the_count_or_the_time)
{
    dp_event event = {0};
    cr_assert_eq(dp_event_wait(&event, 1, true, 0), 0, "another count already");
    cr_assert_eq(dp_event_wait(&event, 0, true, 0.01), 0, "nobody sets it");
    pthread_t other;
    pthread_create(&other, NULL, set_late, &event);
    cr_assert_eq(dp_event_wait(&event, 0, true, 0), 7);
    pthread_join(other, NULL);
    cr_assert_eq(event.sleepers, 0);
}
