/** Whether what a checkpoint says fits together. */
#ifndef DP_RUN_FACTS_H
#define DP_RUN_FACTS_H

#include "config/config.h"
#include "files/checkpoint.h"

/** Compares all facts of a checkpoint with each other, with its config and with the model
 *  that they describe; the place that makes a file safe to use, whoever wrote it. A
 *  config that this version can't parse is left to the caller (dp_facts_config).
 *  MPI: local.  Errors: DP_EFILE, naming the fact; DP_EDIVERGED, naming the tensor that
 *  has a value which is not finite; DP_EINTERNAL (no memory) */
dp_status dp_facts_check(const char *path, const dp_snapshot *s);

/** A value that is not finite. */
typedef struct dp_bad_value {
    int slot;           /* -1: of the parameters */
    const char *tensor; /* its name, borrowed */
    size_t index;
    double value;
} dp_bad_value;

/** The first one in parameters and optimizer state; false if there is none. MPI: local */
bool dp_facts_bad_value(const dp_snapshot *s, dp_bad_value *out);

/** The checkpoint's own config.  MPI: local.  Errors: DP_EFILE */
dp_status dp_facts_config(const char *path, const dp_snapshot *s, dp_config *out);

#endif
