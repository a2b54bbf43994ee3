/** The training loop. */
#ifndef DP_RUN_TRAIN_H
#define DP_RUN_TRAIN_H

#include "comm/comm.h"
#include "config/config.h"
#include "run/session.h"

/** Trains as the config says, from the newest checkpoint in run.output if there is one.
 *  DP_OK: the last epoch is done (now or before). DP_STOPPED: stopped after a checkpoint.
 *  MPI: collective. Errors: agreed; DP_EDIVERGED, DP_EFILE after the last good
 *  checkpoint */
dp_status dp_train(dp_comm *comm, const dp_config *config);

/** What dp_train would refuse before its first step, for `trainer check`.
 *  MPI: collective.  Errors: agreed */
dp_status dp_train_check(const dp_session *session);

#endif
