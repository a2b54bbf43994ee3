/** What every command that runs a model needs: data, kernels, threads, model, loss. */
#ifndef DP_RUN_SESSION_H
#define DP_RUN_SESSION_H

#include "comm/shared.h"
#include "data/dataset.h"
#include "files/checkpoint.h"
#include "nn/loss.h"
#include "nn/model.h"

typedef struct dp_session {
    dp_comm *comm; /* borrowed */
    dp_config config;
    dp_dataset *data;
    dp_shared *memory; /* of the data, where ranks share one copy; else NULL */
    const dp_kernels *set;
    int threads;
    const dp_loss *loss;
    dp_model *model;
    dp_scale scale;
    int batch; /* global batch in samples; the whole split where the config says 0 */
} dp_session;

/** Opens the data and makes the model, its parameters zero.
 *  MPI: collective.  Errors: agreed.  Owner: the caller, who ends it with
 *  dp_session_destroy */
dp_status dp_session_create(dp_comm *comm, const dp_config *config, dp_session **out);
void dp_session_destroy(dp_session **session);

/** The model of a checkpoint, or of a run's folder (its best one, else the last), ready
 *  to run on any data of its kind: the checkpoint's own config with overrides
 *  ("section.key=value"), its parameters and its normalisation. The training files are
 *  not looked at: data->train has no samples, only their shape and columns; batch is 0.
 *  MPI: collective. Errors: agreed. Owner: the caller, who ends it with
 *  dp_session_destroy */
dp_status dp_session_open(dp_comm *comm, const char *path, int noverrides,
                          char *const *overrides, dp_session **out);

/** Reads a file (as data.train, of any format) into data->test of an opened session; path
 *  NULL: the config's test set, data->test.n = 0 if it names none. optional: labels or
 *  targets may be missing. Numbers of a text count as pixels where the model was trained
 *  on bytes.  MPI: collective.  Errors: agreed; DP_EDATA, also for another width than the
 *  model's */
dp_status dp_session_read(dp_session *session, const char *path, bool optional);

/** Reads the file of a split of the run into data->test of an opened session. "test": as
 *  dp_session_read, all *n rows, *rows is NULL; "train", "val": the training file, of which
 *  *rows[*n] are those that the run trained on, or held out.  MPI: collective.  Errors:
 *  agreed; DP_EUSAGE for an unknown split, and val where none was held out; DP_EDATA where
 *  the training file is not the run's.  Owner: the caller frees *rows */
dp_status dp_session_read_split(dp_session *session, const char *split, int32_t **rows,
                                int *n);

/** A snapshot that rank 0 has read (NULL elsewhere) -> the model of all ranks, and the
 *  normalisation that it was trained with.   MPI: collective.  Errors: agreed */
dp_status dp_session_load(dp_session *session, const dp_snapshot *snapshot,
                          const char *path);

/** Threads of a training step: with parallel.threads = auto, fewer where a step is too
 *  small to be worth waking all of them.  MPI: local */
int dp_session_step_threads(const dp_session *session);

/** The lines on data and model that a run begins with.  MPI: local, rank 0 writes */
void dp_session_header(const dp_session *session);

#endif
