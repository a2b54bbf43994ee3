/* The watchdog: waiting for other ranks, with a timeout that names the rank that is
 * missing. */
#include "base/clock.h"
#include "base/event.h"
#include "base/memory.h"
#include "comm_impl.h"
#include <assert.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

dp_watchdog dp_watchdog_start(dp_comm *comm, const char *what) {
    assert(pthread_equal(comm->mpi_thread, pthread_self()));
    return (dp_watchdog){.comm = comm, .what = what};
}

enum { TAG_ALIVE = (1 << 14) - 1 };

/* Seconds that rank 0 collects signs of life: the ranks' timeouts expire at about the
 * same time, not exactly. */
static double answer_timeout(const dp_comm *comm) {
    return fmin(fmax(comm->timeout / 10, 2), 10);
}

/* Rank 0 finds out which ranks are alive: one that hangs keeps all others waiting, their
 * watchdogs expire at about the same time, and each sends a message. `text` names those
 * that did not. */
static void find_missing_ranks(dp_comm *comm, char *text, size_t size) {
    int *alive = dp_alloc((size_t)comm->size, sizeof *alive);
    MPI_Request *request = dp_alloc((size_t)comm->size, sizeof *request);
    int missing = comm->size - 1;
    for (int r = 1; r < comm->size; r++) {
        MPI_Irecv(NULL, 0, MPI_BYTE, r, TAG_ALIVE, comm->world, &request[r]);
    }
    for (double deadline = dp_clock() + answer_timeout(comm);
         missing > 0 && dp_clock() < deadline; usleep(1000)) {
        for (int r = 1; r < comm->size; r++) {
            if (!alive[r]) {
                MPI_Test(&request[r], &alive[r], MPI_STATUS_IGNORE);
                missing -= alive[r];
            }
        }
    }
    size_t used = 0;
    text[0] = '\0';
    for (int r = 1, named = 0; r < comm->size && named < 8; r++) {
        if (!alive[r] && used < size) {
            used += (size_t)snprintf(text + used, size - used, "%s%d",
                                     named++ ? ", " : "rank ", r);
        }
    }
    if (missing == 0) {
        snprintf(text, size, "no rank is missing, but another");
    }
    free(alive);
    free(request);
}

static _Noreturn void abort_waiting(const dp_watchdog *watchdog) {
    dp_comm *comm = watchdog->comm;
    char who[128] = "rank 0";
    if (comm->rank == 0) {
        find_missing_ranks(comm, who, sizeof who);
    } else {
        MPI_Request request;
        int sent = 0;
        MPI_Isend(NULL, 0, MPI_BYTE, 0, TAG_ALIVE, comm->world, &request);
        /* Rank 0 aborts the job in this time, if it can. */
        double deadline = dp_clock() + answer_timeout(comm) + 13 + 0.05 * comm->rank;
        for (; dp_clock() < deadline; usleep(1000)) {
            MPI_Test(&request, &sent, MPI_STATUS_IGNORE);
        }
    }
    dp_fatal(DP_EINTERNAL,
             "%s has not been heard from for %g seconds (in %s): it hangs, or its host "
             "is cut off. The run can go on from its last checkpoint; parallel.timeout "
             "sets how long a silent rank is waited for",
             who, comm->timeout, watchdog->what);
}

void dp_watchdog_check(dp_watchdog *watchdog) {
    /* Between two checks pass milliseconds. Where seconds did, this process was stopped or
     * suspended, and the others most likely too: no sign that one of them hangs. */
    const double stopped = 1;
    /* The clock is read each time: an MPI call in between may yield, which takes
     * milliseconds on a busy machine, and the ranks' watchdogs must expire at about the
     * same time. */
    double now = dp_clock();
    if (watchdog->begin <= 0) {
        watchdog->begin = now;
    }
    if (watchdog->last <= 0 || now - watchdog->last > stopped) {
        watchdog->deadline = now + watchdog->comm->timeout;
    }
    watchdog->last = now;
    if (now > watchdog->deadline) {
        abort_waiting(watchdog);
    }
}

void dp_watchdog_poll(dp_watchdog *watchdog) {
    enum { SLEEP = 50 };         /* microseconds: little beside waits that long */
    const double spins = 100e-6; /* seconds; whoever is waited for may need the core */
    const double yields = 10e-3; /* a step's waits are shorter */
    dp_watchdog_check(watchdog);
    double waited = watchdog->last - watchdog->begin;
    if (atomic_load_explicit(&watchdog->comm->sleep_polls, memory_order_relaxed) ||
        waited > yields) {
        usleep(SLEEP);
    } else if (watchdog->comm->topology.oversubscribed || waited > spins) {
        sched_yield();
    } else {
        dp_pause();
    }
}

void dp_comm_wait_all(dp_comm *comm, int n, MPI_Request *request, const char *what) {
    dp_watchdog watchdog = dp_watchdog_start(comm, what);
    for (int k = 0; k < n; k++) {
        int done = 0;
        for (MPI_Test(&request[k], &done, MPI_STATUS_IGNORE); !done;
             MPI_Test(&request[k], &done, MPI_STATUS_IGNORE)) {
            dp_watchdog_poll(&watchdog);
        }
    }
}
