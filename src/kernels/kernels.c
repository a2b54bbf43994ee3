/* Choosing the kernel set of this CPU. */
#include "kernels/kernels.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

extern const dp_kernels dp_kernels_portable;
#if defined __x86_64__ && !defined DP_PORTABLE_ONLY
extern const dp_kernels dp_kernels_avx512, dp_kernels_avx2;
#endif

/* Best first. */
static const dp_kernels *const sets[] = {
#if defined __x86_64__ && !defined DP_PORTABLE_ONLY
    &dp_kernels_avx512,
    &dp_kernels_avx2,
#endif
    &dp_kernels_portable,
};
enum { SETS = sizeof sets / sizeof *sets };

const dp_kernels *dp_kernels_find(const char *name) {
    for (int i = 0; i < SETS; i++) {
        if ((strcmp(name, "auto") == 0 || strcmp(name, sets[i]->name) == 0) &&
            sets[i]->supported()) {
            return sets[i];
        }
    }
    return NULL;
}

const char *dp_kernels_available(void) {
    static _Thread_local char names[64];
    size_t used = 0;
    for (int i = 0; i < SETS; i++) {
        if (sets[i]->supported()) {
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s",
                                     used ? " " : "", sets[i]->name);
            assert(used < sizeof names);
        }
    }
    return names;
}

const dp_act *dp_act_find(const dp_kernels *set, const char *name) {
    for (const dp_act *act = set->acts; act->name; act++) {
        if (strcmp(act->name, name) == 0) {
            return act;
        }
    }
    return NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double dp_kernels_peak(const dp_kernels *set, double seconds) {
    /* The best of short runs: an interruption affects one of them only. */
    enum { ROUNDS = 20000 };
    double best = 0, start = now(), before = start;
    do {
        double flop = set->fma_chains(ROUNDS), after = now();
        double rate = flop / (after - before) * 1e-9;
        best = rate > best ? rate : best;
        before = after;
    } while (before - start < seconds);
    return best;
}
