/* Waiting for other ranks without waiting for ever. */
#include "base/clock.h"
#include "comm_impl.h"
#include <sched.h>
#include <stdio.h>

dp_patience dp_patience_begin(dp_comm *comm, double timeout) {
    return (dp_patience){.comm = comm, .timeout = timeout};
}

/* Ranks that wait for the same one speak one after the other, so that only one is heard. */
static double stagger(const dp_comm *comm) {
    return comm->rank < 40 ? 0.05 * comm->rank : 2.0;
}

void dp_patience_wait(dp_patience *wait, int missing, const char *what) {
    enum { SPINS = 2000 };
    if (!wait->comm->crowded && ++wait->turns < SPINS) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
        return;
    }
    wait->turns = 0;
    sched_yield();
    double now = dp_clock();
    if (wait->end <= 0) {
        wait->end = now + wait->timeout + stagger(wait->comm);
    }
    if (now > wait->end) {
        char text[256];
        snprintf(
            text, sizeof text,
            "rank %d has not been heard from for %g seconds (in %s): it hangs, or its "
            "host is "
            "cut off. The run can go on from its last checkpoint (parallel.timeout = %g)",
            missing, wait->timeout, what, wait->timeout);
        dp_comm_abort(wait->comm, DP_EINTERNAL, text);
    }
}

void dp_comm_wait_all(dp_comm *comm, int n, MPI_Request *request, const int *from,
                      const char *what) {
    /* A rank of the same host is named by that host's own meeting first. */
    dp_patience wait = dp_patience_begin(comm, comm->timeout * 1.1 + 1);
    for (int k = 0; k < n; k++) {
        int done = 0;
        for (MPI_Test(&request[k], &done, MPI_STATUS_IGNORE); !done;
             MPI_Test(&request[k], &done, MPI_STATUS_IGNORE)) {
            dp_patience_wait(&wait, from[k], what);
        }
    }
}
