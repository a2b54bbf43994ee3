/** Ranks: who we are, agreeing on errors, small broadcasts and sums; src/comm is the only
 *  place that includes mpi.h. A failure inside MPI itself ends the job (dp_fatal). */
#ifndef DP_COMM_COMM_H
#define DP_COMM_COMM_H

#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct dp_comm dp_comm;

/** Whether no launcher of parallel programs has started this process (neither mpirun, nor
 *  srun with any version of PMI, nor aprun), so that it is the only rank. Before
 *  dp_comm_init too.
 *  MPI: local */
bool dp_comm_alone(void);

/** Starts MPI, with or without mpirun. The calling thread is the MPI thread, until
 *  another one takes over with dp_comm_set_mpi_thread. Under mpirun the process asks the
 *  kernel to be killed when its parent dies.
 *  MPI: collective. Owner: the caller, who ends it with dp_comm_finalize. */
dp_status dp_comm_init(int *argc, char ***argv, dp_comm **out);

/** Whether a launcher of another MPI, or srun without the right --mpi, has started
 *  several processes that this MPI does not know of, so that each is rank 0 of 1. Where a
 *  script started this one that is only warned of: runs side by side are made so. Of
 *  several processes, the first reports it (dp_comm_reports_error).
 *  MPI: local. Errors: DP_EUSAGE */
dp_status dp_comm_check_launch(dp_comm *comm);

/** MPI: collective. *comm may be NULL. */
void dp_comm_finalize(dp_comm **comm);

/** MPI: local */
int dp_comm_rank(const dp_comm *comm);
int dp_comm_size(const dp_comm *comm);

/** This rank's host, and what its ranks may use of it. */
typedef struct dp_topology {
    int nodes;         /* hosts of the job */
    int node_rank;     /* of this rank among those of its host */
    int node_size;     /* ranks on this host */
    int node_cores;    /* that the ranks of this host may use (affinity, quota) */
    int own_cores;     /* of these, this rank's; at least 1 */
    int bound_cores;   /* of this rank's affinity mask */
    int allowed_cores; /* that the launcher may use on this host */
    int first_cores; /* cores that the first threads of this host's ranks are bound to */
    bool oversubscribed; /* more threads than cores: set by dp_comm_configure */
} dp_topology;

/** MPI: local. Owner: comm. */
const dp_topology *dp_comm_topology(const dp_comm *comm);

/** MPI: local */
bool dp_comm_yields_when_idle(void); /* mpi_yield_when_idle */
const char *dp_comm_library(void);   /* "Open MPI 4.1.4" */

/** Threads for this rank when none are asked for: OMP_NUM_THREADS if set, else its
 *  own_cores.
 *  MPI: local */
int dp_comm_auto_threads(const dp_comm *comm);

/** Sets how this rank is going to run: its number of threads and the watchdog's timeout
 *  in seconds.
 *  MPI: collective */
void dp_comm_configure(dp_comm *comm, int threads, double timeout);

/** Whether several threads may call MPI, one at a time (MPI_THREAD_SERIALIZED).
 *  MPI: local */
bool dp_comm_thread_serialized(const dp_comm *comm);

/** Makes the calling thread the MPI thread, the only one that calls MPI from now on:
 *  asserted wherever ranks wait for each other. The caller ensures that the MPI thread so
 *  far is not in MPI.
 *  MPI: local */
void dp_comm_set_mpi_thread(dp_comm *comm);

/** Whether the MPI thread sleeps between polls while it waits, because another thread
 *  computes on its core. Any thread may set it at any time.
 *  MPI: local */
void dp_comm_sleep_while_polling(dp_comm *comm, bool sleeps);

/** An allreduce of status: every rank leaves with that of the lowest rank that failed, or
 *  DP_OK. That rank then reports the error.
 *  MPI: collective */
dp_status dp_comm_agree(dp_comm *comm, dp_status mine);

/** Whether this rank prints the job's error message: the one whose failure was agreed on,
 *  or rank 0 where no agreement was made.
 *  MPI: local */
bool dp_comm_reports_error(const dp_comm *comm);

/** Broadcasts rank 0's bytes.
 *  MPI: collective */
void dp_comm_bcast(dp_comm *comm, void *data, size_t bytes);

/** Broadcasts the bytes of each host's first rank within the host.
 *  MPI: collective */
void dp_comm_node_bcast(dp_comm *comm, void *data, size_t bytes);

/** v[k] = the sum over ranks. Exact, and the same on any layout, only where for each k at
 *  most one rank has a value other than zero, or all are integers.
 *  MPI: collective */
void dp_comm_sum(dp_comm *comm, double *v, size_t n);

/** The largest v over the ranks.
 *  MPI: collective */
double dp_comm_max(dp_comm *comm, double v);

#endif
