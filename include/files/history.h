/** What a run's folder tells of its past, beside the checkpoints that can be read.
 *  MPI: local (rank 0 calls). */
#ifndef DP_FILES_HISTORY_H
#define DP_FILES_HISTORY_H

#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dp_history {
    bool metrics, readable; /* metrics.h5 is there; and a file of ours that is whole */
    char status[16];        /* as dp_metrics_status; "" where it isn't readable */
    int64_t steps, last;    /* rows of /steps, and the step of the last */
    bool
        checkpoints; /* there have been some: metrics.h5 or a link says so, or metrics.h5 has
                               rows and is of a version that didn't say */
    int damaged;     /* files that were set aside, metrics.h5 among them */
    char names[256]; /* of the first few, separated by ", " */
} dp_history;

/** Looks at a metrics file and a folder of checkpoints; what can't be read counts as not there.
 *  Where metrics.h5 is not readable, dp_status_message says why. Errors: DP_EINTERNAL (no memory, no
 *  process that reads): then nothing is known. */
dp_status dp_history_read(const char *metrics, const char *checkpoints, dp_history *out);

#endif
