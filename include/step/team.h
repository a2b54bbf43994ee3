/** The threads of a rank that work together.
 *
 *  They are those of one OpenMP parallel region, which stays open as long as there is
 *  work: OpenMP makes and places them, but all waiting between them is ours
 *  (base/event.h), since OpenMP's own spins for milliseconds, which on cores that others
 *  use too makes everything tens of times slower. */
#ifndef DP_STEP_TEAM_H
#define DP_STEP_TEAM_H

#include "base/status.h"
#include "kernels/kernels.h"

enum { DP_MOST_THREADS = 1024 }; /* of parallel.threads, too */

/** Calls body(arg) on this thread, with `threads` of them, or fewer where OpenMP gives
 *  fewer, ready for dp_team_run; returns what it returns. Where a team is open already,
 *  body takes that one. */
dp_status dp_team_open(int threads, dp_status (*body)(void *arg), void *arg);

/** Calls work(team, arg) on `threads` threads, this one with team.id = 0, and returns
 *  when all are done. Those that the open team has, at most; without one, they come for
 *  this call. Not from inside work. */
void dp_team_run(int threads, void (*work)(dp_team team, void *arg), void *arg);

/** Inside work: waits until all of the team have come. What they wrote before is seen
 *  afterwards. */
void dp_team_barrier(dp_team team);

#endif
