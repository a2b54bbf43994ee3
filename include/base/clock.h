/** The monotonic clock, and that of a thread. */
#ifndef DP_BASE_CLOCK_H
#define DP_BASE_CLOCK_H

#include <time.h>

/** Seconds since some fixed moment. */
static inline double dp_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/** Seconds of a core that the calling thread has had. */
static inline double dp_clock_thread(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
