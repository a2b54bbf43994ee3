/** What the files of this module share. */
#ifndef DP_FILES_FILES_IMPL_H
#define DP_FILES_FILES_IMPL_H

#include "files/checkpoint.h"
#include "h5/h5file.h"
#include <stddef.h>

/** A table's column from its row's field. */
#define DP_I64(row, field)                                                               \
    { #field, true, offsetof(row, field) }
#define DP_F64(row, field)                                                               \
    { #field, false, offsetof(row, field) }

enum { DP_EPOCH_PLAIN = 9, DP_EPOCH_ALL = 13 };

/** Columns of an epoch table: the first DP_EPOCH_PLAIN, or all for regression. */
extern const dp_h5_column dp_epoch_columns[DP_EPOCH_ALL];

/** Columns of the step table. */
enum { DP_STEP_COLUMNS = 8 };
extern const dp_h5_column dp_step_columns[DP_STEP_COLUMNS];

/** Columns of the table of profiles. */
enum { DP_PROFILE_COLUMNS = 14 };
extern const dp_h5_column dp_profile_columns[DP_PROFILE_COLUMNS];

/** One checkpoint file, finished in memory. Owner: the caller, who ends it with
 *  dp_h5_close. */
dp_status dp_snapshot_build(const char *path, const dp_snapshot *snapshot, dp_h5 **out);

enum { DP_STEP_NAME = 40 };

/** The file name of a step's checkpoint, and back: -1 if `name` is none. */
void dp_step_name(int64_t step, char out[DP_STEP_NAME]);
int64_t dp_step_of_name(const char *name);

/** What a damaged file's name ends in when it is set aside. */
#define DP_DAMAGED ".damaged"

/** Whether a file of ours that could not be read, or contradicts itself (`status`), is to
 *  be passed over: its bytes are not those that were written. Anything else (no
 *  permission, an error of the disk, another version's format) is for people to decide:
 *  going on without the file would lose work. */
bool dp_damaged(dp_status status, const char *path);

/** Warns with the last failure's message, and renames the file to <path>.damaged. */
dp_status dp_set_aside(const char *path);

#endif
