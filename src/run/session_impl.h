/* What the two ways to create a session share: session.c from a config, session_open.c
 * from a checkpoint. */
#ifndef DP_RUN_SESSION_IMPL_H
#define DP_RUN_SESSION_IMPL_H

#include "run/session.h"

/* Kernels, threads and loss of session->config. MPI: local. Errors: DP_EUSAGE */
dp_status dp_session_set_up(dp_session *session);

/* The model for session->data, its parameters zero, and how features are scaled.
 * MPI: local. Errors: DP_EUSAGE */
dp_status dp_session_model(dp_session *session);

#endif
