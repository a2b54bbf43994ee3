/* The cores that this process may use, by all that may limit them. */
#ifndef DP_COMM_CORES_H
#define DP_COMM_CORES_H

#include <sched.h>

/* Those that the affinity mask leaves, or where OpenMP binds threads (OMP_PROC_BIND,
 * OMP_PLACES), those of its places: it has bound the first thread to one of them before
 * main begins. */
void dp_cores_mask(cpu_set_t *out);

/* Of these, those of the first thread. */
void dp_cores_first(cpu_set_t *out);

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

#endif
