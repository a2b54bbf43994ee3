/** A count in memory for which threads wait, or ranks that share the memory.
 *
 *  Waiting spins for microseconds, then sleeps until the count changes: whoever is waited
 *  for may need the core, and so may others.
 *  Source: Reed, Kanodia, "Synchronization with eventcounts and sequencers", 1979;
 *  futex(2). */
#ifndef DP_BASE_EVENT_H
#define DP_BASE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

/** Zeroed memory is an event at 0. Best alone in its cache line. */
typedef struct dp_event {
    _Atomic uint32_t count;
    _Atomic uint32_t sleepers;
} dp_event;

/** Sets the count, and wakes who waits. What was written before is seen after the
 *  wait. */
void dp_event_set(dp_event *event, uint32_t count);

/** Waits until the count is not `old`, or for about `seconds` (0: for ever). Returns the
 *  count. `spins` false: sleeps at once, since who is waited for was last seen on this
 *  core. */
uint32_t dp_event_wait(dp_event *event, uint32_t old, bool spins, double seconds);

/** For loops that look at something else than an event: tells the CPU that this is
 *  one. */
static inline void dp_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

#endif
