/** A thread that brings finished files to the disk while training goes on: it only writes,
 *  syncs and renames, one checkpoint at a time. MPI: local (rank 0 calls). */
#ifndef DP_FILES_WRITER_H
#define DP_FILES_WRITER_H

#include "files/checkpoint.h"
#include "h5/h5file.h"
#include <stdbool.h>

typedef struct dp_writer dp_writer;

/** Owner: the caller, who ends it with dp_writer_destroy. Errors: DP_EINTERNAL. */
dp_status dp_writer_create(dp_writer **out);

/** Begins to place the metrics file (NULL: none) and then the checkpoint, and takes both
 *  over. Until dp_writer_wait no other file of the run may be changed. Not while busy. */
void dp_writer_start(dp_writer *writer, dp_h5 *metrics, dp_checkpoint *checkpoint,
                     int retries);

/** Whether something was started that nobody has waited for. */
bool dp_writer_busy(const dp_writer *writer);

/** Whether dp_writer_wait would return at once. */
bool dp_writer_idle(const dp_writer *writer);

/** Waits for the end, and returns how the checkpoint went; *metrics: the metrics file, with
 *  its message in *text (writer's). DP_OK for both if nothing was started. Errors: DP_EFILE */
dp_status dp_writer_wait(dp_writer *writer, dp_status *metrics, const char **text);

/** Waits. *writer may be NULL. */
void dp_writer_destroy(dp_writer **writer);

#endif
