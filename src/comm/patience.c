/* Waiting for other ranks without waiting for ever. */
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

dp_patience dp_patience_begin(dp_comm *comm, const char *what) {
    assert(pthread_equal(comm->holder, pthread_self()));
    return (dp_patience){.comm = comm, .what = what};
}

enum { TAG_HERE = (1 << 14) - 1 };

/* Seconds that rank 0 waits for answers: ranks do not begin to wait, and so to come here, at the same
 * time. */
static double answer_time(const dp_comm *comm) {
    return fmin(fmax(comm->timeout / 10, 2), 10);
}

/* Rank 0 hears who is still there: a rank that hangs keeps all others waiting somewhere, and they
 * come here at about the same time. The text names those that did not come. */
static void call_roll(dp_comm *comm, char *text, size_t size) {
    int *here = dp_alloc((size_t)comm->size, sizeof *here);
    MPI_Request *request = dp_alloc((size_t)comm->size, sizeof *request);
    int missing = comm->size - 1;
    for (int r = 1; r < comm->size; r++) {
        MPI_Irecv(NULL, 0, MPI_BYTE, r, TAG_HERE, comm->world, &request[r]);
    }
    for (double end = dp_clock() + answer_time(comm); missing > 0 && dp_clock() < end;
         usleep(1000)) {
        for (int r = 1; r < comm->size; r++) {
            if (!here[r]) {
                MPI_Test(&request[r], &here[r], MPI_STATUS_IGNORE);
                missing -= here[r];
            }
        }
    }
    size_t used = 0;
    text[0] = '\0';
    for (int r = 1, named = 0; r < comm->size && named < 8; r++) {
        if (!here[r] && used < size) {
            used += (size_t)snprintf(text + used, size - used, "%s%d",
                                     named++ ? ", " : "rank ", r);
        }
    }
    if (missing == 0) {
        snprintf(text, size, "no rank is missing, but another");
    }
    free(here);
    free(request);
}

static void give_up(const dp_patience *wait) __attribute__((noreturn));
static void give_up(const dp_patience *wait) {
    dp_comm *comm = wait->comm;
    char who[128] = "rank 0";
    if (comm->rank == 0) {
        call_roll(comm, who, sizeof who);
    } else {
        MPI_Request request;
        int sent = 0;
        MPI_Isend(NULL, 0, MPI_BYTE, 0, TAG_HERE, comm->world, &request);
        /* Rank 0 ends the job meanwhile, if it can. */
        double end = dp_clock() + answer_time(comm) + 13 + 0.05 * comm->rank;
        for (; dp_clock() < end; usleep(1000)) {
            MPI_Test(&request, &sent, MPI_STATUS_IGNORE);
        }
    }
    dp_fatal(
        DP_EINTERNAL,
        "%s has not been heard from for %g seconds (in %s): it hangs, or its host is cut "
        "off. "
        "The run can go on from its last checkpoint; parallel.timeout sets the patience",
        who, comm->timeout, wait->what);
}

void dp_patience_check(dp_patience *wait) {
    /* Between two turns of a waiting process pass milliseconds. Where seconds did, it was stopped or
     * suspended, and the others most likely too: that is no sign that one of them hangs. */
    const double stopped = 1;
    /* Asked at each turn: the MPI call between two of them may yield, and on a busy machine that
     * takes milliseconds. The ranks' patience must end at about the same time. */
    double now = dp_clock();
    if (wait->begin <= 0) {
        wait->begin = now;
    }
    if (wait->last <= 0 || now - wait->last > stopped) {
        wait->end = now + wait->comm->timeout;
    }
    wait->last = now;
    if (now > wait->end) {
        give_up(wait);
    }
}

void dp_patience_wait(dp_patience *wait) {
    enum { NAP = 50 };           /* microseconds */
    const double spins = 100e-6; /* whoever is waited for may need the core */
    const double yields =
        10e-3; /* longer ones are not a step's, and a nap is small beside them */
    dp_patience_check(wait);
    double waited = wait->last - wait->begin;
    if (atomic_load_explicit(&wait->comm->naps, memory_order_relaxed) ||
        waited > yields) {
        usleep(NAP);
    } else if (wait->comm->crowded || waited > spins) {
        sched_yield();
    } else {
        dp_pause();
    }
}

void dp_comm_wait_all(dp_comm *comm, int n, MPI_Request *request, const char *what) {
    dp_patience wait = dp_patience_begin(comm, what);
    for (int k = 0; k < n; k++) {
        int done = 0;
        for (MPI_Test(&request[k], &done, MPI_STATUS_IGNORE); !done;
             MPI_Test(&request[k], &done, MPI_STATUS_IGNORE)) {
            dp_patience_wait(&wait);
        }
    }
}
