/* Waiting that gives the core up; the only place that calls futex(2). */
#include "base/event.h"
#include "base/clock.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Between processes too, so without FUTEX_PRIVATE_FLAG. */
static long futex(dp_event *event, int op, uint32_t value, const struct timespec *time) {
    return syscall(SYS_futex, &event->count, op, value, time, NULL, 0);
}

void dp_event_set(dp_event *event, uint32_t count) {
    atomic_store(&event->count, count);
    /* After the store in the one order of all: a waiter that is not counted here yet
     * finds the new count before it sleeps. */
    if (atomic_load(&event->sleepers) > 0) {
        futex(event, FUTEX_WAKE, INT_MAX, NULL);
    }
}

static uint32_t spin(dp_event *event, uint32_t old, double seconds) {
    enum { LOOKS = 16 }; /* between two at the clock */
    uint32_t now = old;
    for (double end = dp_clock() + seconds; now == old && dp_clock() < end;) {
        for (int k = 0; k < LOOKS && now == old; k++) {
            dp_pause();
            now = atomic_load_explicit(&event->count, memory_order_acquire);
        }
    }
    return now;
}

static uint32_t doze(dp_event *event, uint32_t old, double seconds) {
    struct timespec time = {(time_t)seconds, (long)(1e9 * (seconds - (time_t)seconds))};
    uint32_t now = old;
    bool late = false;
    atomic_fetch_add(&event->sleepers, 1);
    while ((now = atomic_load(&event->count)) == old && !late) {
        late = futex(event, FUTEX_WAIT, old, seconds > 0 ? &time : NULL) != 0 &&
               errno == ETIMEDOUT;
    }
    atomic_fetch_sub(&event->sleepers, 1);
    return now;
}

uint32_t dp_event_wait(dp_event *event, uint32_t old, bool spins, double seconds) {
    const double max = 100e-6; /* about what sleeping and being woken cost at worst */
    uint32_t now = atomic_load_explicit(&event->count, memory_order_acquire);
    now = now == old && spins ? spin(event, old, max) : now;
    return now == old ? doze(event, old, seconds) : now;
}
