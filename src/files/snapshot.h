/** What the writer and the reader of checkpoint files share. */
#ifndef DP_FILES_SNAPSHOT_H
#define DP_FILES_SNAPSHOT_H

#include "files_impl.h"

#define DP_FORMAT "trainer-checkpoint"

enum { DP_FORMAT_VERSION = 1, DP_NAME = 128, DP_FIELDS = 25 };

/** An attribute that is one value, and the snapshot's member that it is. */
typedef struct dp_field {
    enum {
        DP_IS_TEXT,
        DP_IS_INT,   /* int >= 0 */
        DP_IS_COUNT, /* int64 >= 0 */
        DP_IS_SEED,  /* uint64, kept as an int64 of the same bits */
        DP_IS_REAL,
        DP_IS_FLAG
    } kind;
    const char *group, *name;
    size_t offset, size;
} dp_field;

extern const dp_field dp_fields[DP_FIELDS];

#endif
