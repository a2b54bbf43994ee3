/** What every command that runs a model needs: data, kernels, threads, model, loss. */
#ifndef DP_RUN_SESSION_H
#define DP_RUN_SESSION_H

#include "comm/comm.h"
#include "data/dataset.h"
#include "files/checkpoint.h"
#include "model/model.h"
#include "nn/loss.h"

typedef struct dp_session {
    dp_comm *comm; /* borrowed */
    dp_config config;
    dp_dataset *data;
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

/** A snapshot that rank 0 has read (NULL elsewhere) -> the model of all ranks, and the
 *  normalisation that it was trained with.   MPI: collective.  Errors: agreed */
dp_status dp_session_load(dp_session *session, const dp_snapshot *snapshot,
                          const char *path);

/** The lines on data, model and launch that a run begins with.  MPI: local, rank 0 writes
 */
void dp_session_header(const dp_session *session);

#endif
