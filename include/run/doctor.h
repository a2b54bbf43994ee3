/** What is wrong with the launch, and the words that mend it. */
#ifndef DP_RUN_DOCTOR_H
#define DP_RUN_DOCTOR_H

#include "run/session.h"

/** A line on the layout, and one for each thing that makes it slow.
 *  MPI: collective; rank 0 writes */
void dp_doctor(const dp_session *session);

#endif
