/** The monotonic clock. */
#ifndef DP_BASE_CLOCK_H
#define DP_BASE_CLOCK_H

#include <time.h>

/** Seconds since some fixed moment. */
static inline double dp_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
