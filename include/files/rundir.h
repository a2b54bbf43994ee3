/** The run's folder: who owns it, and what a killed writer left.
 *  MPI: local (rank 0 calls).  Errors: DP_EFILE with path and reason. */
#ifndef DP_FILES_RUNDIR_H
#define DP_FILES_RUNDIR_H

#include "base/status.h"
#include <stdbool.h>

typedef struct dp_rundir dp_rundir; /* an owned run folder */

/** Makes `output` and output/checkpoints, takes the flock on output/run.lock, writes
 *  host, pid and the raised generation into it, and removes the leftovers of killed
 *  writers. Waits up to `wait` seconds for a flock that is held; then a holder on this
 *  host refuses us (DP_EFILE names it), and one on another host is overruled by the
 *  generation. A run.lock that is a symlink is refused, one that has other names is
 *  replaced: output and checkpoints may be links to folders, but no file is written
 *  through a link. Until dp_rundir_close, dp_rundir_check guards every dp_file_* and
 *  dp_h5_commit. */
dp_status dp_rundir_open(const char *output, double wait, dp_rundir **out);

/** Whether this process still owns the folder: re-reads run.lock. DP_EFILE if a later
 *  start owns it now, or if it is gone. */
dp_status dp_rundir_check(dp_rundir *dir);

/** Whether a check has found that a later start has taken it over. */
bool dp_rundir_lost(const dp_rundir *dir);

/** Paths inside: valid while the folder is open. */
const char *dp_rundir_metrics(const dp_rundir *dir);     /* output/metrics.h5 */
const char *dp_rundir_config(const dp_rundir *dir);      /* output/config.ini */
const char *dp_rundir_checkpoints(const dp_rundir *dir); /* output/checkpoints */

/** Removes the run's files (checkpoints, metrics.h5, config.ini) for a new start; only
 *  names that we write. */
dp_status dp_rundir_clear(dp_rundir *dir);

/** Releases the lock and frees. *dir may be NULL. */
void dp_rundir_close(dp_rundir **dir);

#endif
