/* This thread of the parallel region that it is called in. */
#ifndef DP_STEP_TEAM_H
#define DP_STEP_TEAM_H

#include "kernels/kernels.h"
#include <omp.h>

static inline dp_team my_team(void) {
    return (dp_team){omp_get_thread_num(), omp_get_num_threads()};
}

#endif
