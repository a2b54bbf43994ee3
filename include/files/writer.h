/** A thread that brings finished files to the disk while training goes on: it only
 *  writes, syncs and renames, one job at a time. MPI: local (rank 0 calls). */
#ifndef DP_FILES_WRITER_H
#define DP_FILES_WRITER_H

#include "files/checkpoint.h"
#include "h5/h5file.h"
#include <stdbool.h>

typedef struct dp_writer dp_writer;

/** What a job is to place: either file may be NULL. The best checkpoint comes first: a
 *  later one names it. */
typedef struct dp_job {
    dp_h5 *metrics;
    dp_checkpoint *best, *newest;
    int retries; /* of a checkpoint */
} dp_job;

/** How it went. */
typedef struct dp_written {
    dp_status metrics; /* DP_OK where there was none */
    const char *text;  /* its message; the writer's, until the next job */
    double seconds[2]; /* of a core's time: for metrics, for the checkpoints */
    int64_t bytes[2];
} dp_written;

/** Owner: the caller, who ends it with dp_writer_destroy. Errors: DP_EINTERNAL. */
dp_status dp_writer_create(dp_writer **out);

/** Begins to place the job's files, and takes them over. Until dp_writer_wait no other
 *  file of the run may be changed. Not while busy. */
void dp_writer_start(dp_writer *writer, const dp_job *job);

/** Whether something was started that nobody has waited for. */
bool dp_writer_busy(const dp_writer *writer);

/** Whether dp_writer_wait would return at once. */
bool dp_writer_idle(const dp_writer *writer);

/** Waits for the end, and returns how the checkpoints went (after one that failed none is
 *  tried). DP_OK and zeros if nothing was started. Errors: DP_EFILE */
dp_status dp_writer_wait(dp_writer *writer, dp_written *out);

/** Waits. *writer may be NULL. */
void dp_writer_destroy(dp_writer **writer);

#endif
