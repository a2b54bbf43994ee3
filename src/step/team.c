#include "step/team.h"
#include "base/event.h"
#include "base/memory.h"
#include <assert.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A cache line each: the threads write them at the same time. */
typedef union line {
    dp_event event;
    _Atomic int count;
    char bytes[DP_ALIGN];
} line;

typedef struct call {
    int threads;                           /* that work */
    void (*work)(dp_team team, void *arg); /* NULL: there will be no more */
    void *arg;
} call;

/* One a process: it has one set of cores. */
static struct {
    int threads; /* 0: not open */
    call now;
    line arrived, passed; /* the barrier */
    /* where each was seen last, from 1; not often written */
    _Atomic short cpu[DP_MOST_THREADS];
    /* each but the first waits at its own: not all are called */
    line start[DP_MOST_THREADS];
} crew __attribute__((aligned(DP_ALIGN)));

/* Whether another of the first n threads was last seen on this core: it may need it.
 * Threads that sleep are often woken where the one is that wakes them, if no core is
 * idle. */
static bool shares_core(int id, int n) {
    short here = (short)(sched_getcpu() + 1);
    bool found = false;
    if (atomic_load_explicit(&crew.cpu[id], memory_order_relaxed) != here) {
        atomic_store_explicit(&crew.cpu[id], here, memory_order_relaxed);
    }
    for (int k = 0; k < n; k++) {
        short there = atomic_load_explicit(&crew.cpu[k], memory_order_relaxed);
        found = found || (k != id && there == here);
    }
    return found;
}

void dp_team_barrier(dp_team team) {
    if (team.n == 1) {
        return;
    }
    bool spins = !shares_core(team.id, team.n);
    uint32_t before =
        atomic_load_explicit(&crew.passed.event.count, memory_order_relaxed);
    if (atomic_fetch_add(&crew.arrived.count, 1) + 1 == team.n) {
        atomic_store_explicit(&crew.arrived.count, 0, memory_order_relaxed);
        dp_event_set(&crew.passed.event, before + 1);
    } else {
        dp_event_wait(&crew.passed.event, before, spins, 0);
    }
}

/* A thread other than the first. */
static void serve(int id) {
    for (uint32_t seen = 0;;) {
        seen = dp_event_wait(&crew.start[id].event, seen, !shares_core(id, 1), 0);
        if (!crew.now.work) {
            return;
        }
        dp_team team = {id, crew.now.threads};
        crew.now.work(team, crew.now.arg);
        dp_team_barrier(team);
    }
}

static void start(call next) {
    crew.now = next;
    for (int id = 1; id < next.threads; id++) {
        dp_event *event = &crew.start[id].event;
        dp_event_set(event,
                     atomic_load_explicit(&event->count, memory_order_relaxed) + 1);
    }
}

dp_status dp_team_open(int threads, dp_status (*body)(void *arg), void *arg) {
    dp_status s = DP_OK;
    if (crew.threads > 0 || threads == 1) {
        return body(arg);
    }
    assert(threads <= DP_MOST_THREADS);
    for (int id = 0; id < threads; id++) {
        crew.start[id].event = (dp_event){0};
    }
#pragma omp parallel num_threads(threads)
    if (omp_get_thread_num() == 0) {
        crew.threads = omp_get_num_threads();
        s = body(arg);
        start((call){crew.threads, NULL, NULL});
        crew.threads = 0;
    } else {
        serve(omp_get_thread_num());
    }
    return s;
}

static dp_status alone(void *arg) {
    const call *c = arg;
    dp_team_run(c->threads, c->work, c->arg);
    return DP_OK;
}

void dp_team_run(int threads, void (*work)(dp_team team, void *arg), void *arg) {
    call next = {threads, work, arg};
    if (threads > 1 && crew.threads == 0) {
        dp_team_open(threads, alone, &next);
        return;
    }
    next.threads = threads < crew.threads ? threads : crew.threads;
    if (next.threads <= 1) {
        work((dp_team){0, 1}, arg);
        return;
    }
    dp_team team = {0, next.threads};
    start(next);
    work(team, arg);
    dp_team_barrier(team);
}
