/** Ranks: who we are, agreeing on errors, small broadcasts and sums; src/comm is the only
 *  place that includes mpi.h. A failure inside MPI itself ends the job (dp_fatal). */
#ifndef DP_COMM_COMM_H
#define DP_COMM_COMM_H

#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct dp_comm dp_comm;

/** Starts MPI, with or without mpirun; the calling thread is the one that calls MPI from
 *  then on, until another one holds it (dp_comm_hold). Under mpirun the process asks the
 *  kernel to die with its parent.
 *  MPI: collective.  Owner: the caller, who ends it with dp_comm_finalize. */
dp_status dp_comm_init(int *argc, char ***argv, dp_comm **out);

/** Whether a launcher of another MPI, or srun without the right --mpi, has started several processes
 *  that this MPI does not know of, so that each is rank 0 of 1. Where a script started this one that is
 *  only warned of: runs side by side are made so. Of several processes, one speaks (dp_comm_speaks).
 *  MPI: local.  Errors: DP_EUSAGE */
dp_status dp_comm_check_launch(dp_comm *comm);

/** MPI: collective. *comm may be NULL. */
void dp_comm_finalize(dp_comm **comm);

/** MPI: local */
int dp_comm_rank(const dp_comm *comm);
int dp_comm_size(const dp_comm *comm);
int dp_comm_nodes(const dp_comm *comm);     /* hosts of the job */
int dp_comm_node_rank(const dp_comm *comm); /* among the ranks of this host */
int dp_comm_node_size(const dp_comm *comm); /* ranks on this host */
int dp_comm_node_cores(
    const dp_comm *comm); /* cores that the ranks of this host may use */
int dp_comm_mask_cores(const dp_comm *comm); /* cores that this rank is bound to */
int dp_comm_allowed_cores(
    const dp_comm *comm); /* that the launcher may use on this host */
/* That the first threads of this host's ranks are bound to now, by whatever binds them. */
int dp_comm_first_cores(const dp_comm *comm);
bool dp_comm_yields(void);         /* MPI gives way to others while it waits */
const char *dp_comm_library(void); /* "Open MPI 4.1.4" */

/** Threads for this rank when none are asked for: OMP_NUM_THREADS if set, else its part
 *  of the cores that it may use (affinity mask, cgroup quota) among the ranks of the host,
 *  at least 1. MPI: local */
int dp_comm_auto_threads(const dp_comm *comm);

/** Tells how this rank is going to use its host: threads a rank (to know whether waiting must give
 *  way to others), and after how many seconds without a sign of life a rank is given up.
 *  MPI: collective */
void dp_comm_settle(dp_comm *comm, int threads, double timeout);

/** Whether this host's ranks have more threads than cores.  MPI: local */
bool dp_comm_crowded(const dp_comm *comm);

/** Whether MPI lets one thread after another call it.  MPI: local */
bool dp_comm_passes(const dp_comm *comm);

/** This thread is the one that calls MPI from now on: asserted wherever ranks wait for each other.
 *  The caller sees to it that the thread that held it before is not in MPI.  MPI: local */
void dp_comm_hold(dp_comm *comm);

/** Whether the holder sleeps between two looks while it waits, because another thread computes on
 *  its core. Any thread may say so at any time.  MPI: local */
void dp_comm_nap(dp_comm *comm, bool naps);

/** Every rank brings its status and leaves with the same one: that of the lowest rank
 *  that failed, or DP_OK. That rank is then the one that speaks.   MPI: collective */
dp_status dp_comm_agree(dp_comm *comm, dp_status mine);

/** Whether this rank prints the job's error message: the one whose failure was agreed on,
 *  or rank 0 where no agreement was made.   MPI: local */
bool dp_comm_speaks(const dp_comm *comm);

/** Copies rank 0's bytes to all.   MPI: collective */
void dp_comm_bcast(dp_comm *comm, void *data, size_t bytes);

/** Copies the bytes of each host's first rank to the host's others.   MPI: collective */
void dp_comm_node_bcast(dp_comm *comm, void *data, size_t bytes);

/** v[k] = the sum over ranks; exact, and the same on any layout, only where for each k at
 *  most one rank brings other than zero, or all are integers.   MPI: collective */
void dp_comm_sum(dp_comm *comm, double *v, int n);

/** v = the largest over ranks.   MPI: collective */
double dp_comm_max(dp_comm *comm, double v);

#endif
