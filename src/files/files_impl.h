/** What the files of this module share. */
#ifndef DP_FILES_FILES_IMPL_H
#define DP_FILES_FILES_IMPL_H

#include "files/checkpoint.h"
#include "h5/h5file.h"
#include <stddef.h>

/* ---- tables ---- */

/** A table of metrics.h5 and of checkpoints. */
typedef struct dp_table {
    const char *name; /* "/steps" */
    const dp_h5_column *columns;
    int ncolumns[2]; /* [regression] */
    size_t size;     /* bytes of a row */
} dp_table;

extern const dp_table dp_tables[DP_TABLES];

/** Writes n rows of a table as group/name ("" is the root), with or without the columns
 *  of regression. */
dp_status dp_table_put(dp_h5 *file, const char *group, int table, bool regression,
                       int64_t n, const void *rows);

/** Reads them, with all columns. Owner: the caller, who frees *rows. */
dp_status dp_table_get(dp_h5 *file, const char *group, int table, int64_t *n,
                       void **rows);

/* ---- a checkpoint's content ---- */

/** One checkpoint file, finished in memory. Owner: the caller, who ends it with
 *  dp_h5_close. */
dp_status dp_snapshot_build(const char *path, const dp_snapshot *snapshot, dp_h5 **out);

/** Its groups /model and /optimizer, but for the facts that are one value. Reading
 *  allocates what the snapshot's owner frees, also on a failure. */
dp_status dp_snapshot_put_model(dp_h5 *file, const dp_snapshot *snapshot);
dp_status dp_snapshot_get_model(dp_h5 *file, dp_snapshot *snapshot);

/* ---- names ---- */

enum { DP_STEP_NAME = 40 };

/** The file name of a step's checkpoint, and back: -1 if `name` is none. */
void dp_step_name(int64_t step, char out[DP_STEP_NAME]);
int64_t dp_step_of_name(const char *name);

/** The links, and whether a name is one of them. */
#define DP_LAST "last.h5"
#define DP_BEST "best.h5"
bool dp_is_link(const char *name);

/** What a damaged file's name ends in when it is set aside; the length of the name before
 *  it, 0 if `name` doesn't end so. */
#define DP_DAMAGED ".damaged"
size_t dp_damaged_stem(const char *name);

/** Whether a file of ours that could not be read, or contradicts itself (`status`), is to
 *  be passed over: its bytes are not those that were written. Anything else (no
 *  permission, an error of the disk, another version's format) is for people to decide:
 *  going on without the file would lose work. */
bool dp_damaged(dp_status status, const char *path);

/** Warns with the last failure's message, and renames the file to <path>.damaged. */
dp_status dp_set_aside(const char *path);

#endif
