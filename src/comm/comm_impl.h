/* What the files of this module share; never included from outside. */
#ifndef DP_COMM_IMPL_H
#define DP_COMM_IMPL_H

#include "comm/comm.h"
#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct dp_comm {
    MPI_Comm world, node;
    int rank, size;
    int nodes, node_rank, node_size, node_cores, my_cores, bound_cores, allowed_cores,
        first_cores;
    int error_rank;      /* the rank whose failure was agreed on, */
    dp_status agreed;    /* and that failure */
    double timeout;      /* of the watchdog, seconds */
    bool shm_warned;     /* the warning on too little shared memory was given */
    bool oversubscribed; /* more threads than cores on this host: yield while waiting */
    bool thread_serialized;  /* MPI_THREAD_SERIALIZED is provided */
    pthread_t mpi_thread;    /* the only one that calls MPI */
    atomic_bool sleep_polls; /* the MPI thread sleeps between polls */
};

/* launch.c: mpirun or srun started this process; no launcher of parallel programs did:
 * neither mpirun, nor srun with any version of PMI, nor aprun. */
bool dp_launched(void);
bool dp_launched_by_nobody(void);

/* Waiting for other ranks: gives way to others on the core, and ends the job, naming the
 * rank, when one shows no sign of life for comm->timeout seconds in which this one was
 * there to see it. */
typedef struct dp_watchdog {
    dp_comm *comm;
    const char *what; /* is waited for */
    double begin, last,
        deadline; /* on dp_clock: the first turn, this one, the last; 0: none yet */
} dp_watchdog;

/* The caller must be the MPI thread. */
dp_watchdog dp_watchdog_start(dp_comm *comm, const char *what);
/* A turn of a waiting that gives way by itself, some times a second at least. */
void dp_patience_check(dp_watchdog *watchdog);
/* A turn that gives way. */
void dp_watchdog_poll(dp_watchdog *watchdog);

/* MPI_Waitall under the watchdog. */
void dp_comm_wait_all(dp_comm *comm, int n, MPI_Request *request, const char *what);

#endif
