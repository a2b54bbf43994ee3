/** The launch check: how ranks and threads fit the hosts' cores, and what to change in
 *  the launch line. */
#ifndef DP_RUN_LAUNCH_CHECK_H
#define DP_RUN_LAUNCH_CHECK_H

#include "run/session.h"

/** A line on the layout, and a warning for each thing that makes it slow.
 *  MPI: collective; rank 0 writes */
void dp_launch_check(const dp_session *session);

#endif
