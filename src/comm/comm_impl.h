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
    dp_topology topology;
    int error_rank;          /* the rank whose failure was agreed on, */
    dp_status agreed;        /* and that failure */
    double timeout;          /* of the watchdog, seconds */
    bool shm_warned;         /* the warning on too little shared memory was given */
    bool thread_serialized;  /* MPI_THREAD_SERIALIZED is provided */
    pthread_t mpi_thread;    /* the only one that calls MPI */
    atomic_bool sleep_polls; /* the MPI thread sleeps between polls */
};

/* ---- launch.c ---- */

/* Whether mpirun or srun started this process. */
bool dp_launched(void);

/* ---- cores.c ---- */

/* Fills in the cores of a topology whose node_size is known. MPI: collective over node */
void dp_cores_count(MPI_Comm node, dp_topology *topology);

/* How many cores' worth of time the cgroups of this process allow, theirs and all above
 * them, at least 1; INT_MAX without a limit. Version 2 (cpu.max) and 1
 * (cpu.cfs_quota_us). `root` is put before the paths of /proc and /sys: "" but in
 * tests. */
int dp_cores_quota(const char *root);

/* How many of this host's cores Slurm has given to the job, and how many to this process
 * if it is a task of srun; INT_MAX where it has not said so. It need not bind anybody to
 * them. */
int dp_cores_slurm_node(void);
int dp_cores_slurm_task(void);

/* ---- watchdog.c ---- */

/* A wait for other ranks, in a loop: it ends the job, naming the rank, when one shows no
 * sign of life for comm->timeout seconds in which this process was not suspended. */
typedef struct dp_watchdog {
    dp_comm *comm;
    const char *what;   /* is waited for */
    double begin, last; /* dp_clock at the first and the last check; 0: none yet */
    double deadline;
} dp_watchdog;

/* The caller must be the MPI thread. */
dp_watchdog dp_watchdog_start(dp_comm *comm, const char *what);
/* To be called some times a second at least, by a loop that gives up the core itself. */
void dp_watchdog_check(dp_watchdog *watchdog);
/* dp_watchdog_check, then gives up the core: the longer, the longer the wait has been. */
void dp_watchdog_poll(dp_watchdog *watchdog);

/* MPI_Waitall under the watchdog. */
void dp_comm_wait_all(dp_comm *comm, int n, MPI_Request *request, const char *what);

#endif
