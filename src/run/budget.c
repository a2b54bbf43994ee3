/* When a run writes its files; a file of its own, because it knows neither files nor
 * runs. */
#include "run/budget.h"
#include <math.h>

static const double SHARE = 0.01;             /* of the time, for each kind */
static const double MINUTE = 60, PART = 0.05; /* how old what is on the disk may be */
static const double HALF = 0.5;               /* of the run: where no share is kept */
static const double EARLY = 0.98;  /* of that, so that it is on the disk by then */
static const double CHEAP = 3;     /* times the final bytes */
static const double SPEED = 200e6; /* bytes a second, where nothing was measured yet */

void dp_budget_begin(dp_budget *budget, double now, double least) {
    *budget = (dp_budget){.began = now, .least = least};
    for (int k = 0; k < DP_WRITES; k++) {
        budget->of[k].last = now;
    }
}

void dp_budget_note(dp_budget *budget, dp_write kind, double now, double seconds,
                    int64_t bytes) {
    budget->of[kind].written += bytes;
    budget->of[kind].last = now;
    budget->of[kind].seconds = seconds;
    budget->of[kind].bytes = bytes;
    budget->of[kind].spent += seconds;
}

/* Estimated seconds: those of the last write of this kind (if none, of the other kind),
 * and for what it has more bytes those at SPEED. */
static double cost(const dp_budget *budget, dp_write kind, int64_t bytes) {
    int like = kind;
    for (int k = 0; k < DP_WRITES && budget->of[like].bytes == 0; k++) {
        like = k;
    }
    double more = fmax(0, (double)(bytes - budget->of[like].bytes));
    return budget->of[like].seconds + more / SPEED;
}

bool dp_budget_affords(const dp_budget *budget, dp_write kind, double now,
                       int64_t bytes) {
    double elapsed = now - budget->began;
    return budget->of[kind].spent + cost(budget, kind, bytes) <= SHARE * elapsed;
}

bool dp_budget_due(const dp_budget *budget, dp_write kind, double now, int64_t bytes,
                   int64_t final) {
    double age = now - budget->of[kind].last, elapsed = now - budget->began;
    double least = kind == DP_WRITE_METRICS ? budget->least : 0;
    bool old = age >= EARLY * fmax(MINUTE, PART * elapsed);
    bool cheap = (double)(budget->of[kind].written + bytes) <= CHEAP * (double) final;
    bool stale = kind == DP_WRITE_METRICS && age >= fmax(MINUTE, HALF * elapsed);
    return age >= least &&
           (stale || ((old || cheap) && dp_budget_affords(budget, kind, now, bytes)));
}
