/** When a run writes its files: often enough for people who look on and for a start after
 *  a kill, seldom enough to stay cheap. A write is due
 *    - not while it would make writing take more than 1% of the time (metrics.h5 and
 *      checkpoints each, so 2% in all);
 *    - else, where the last one of its kind is a minute or 5% of the run old, whichever is
 *      more;
 *    - or sooner, while what was written of its kind stays below three times what the run
 *      would leave if it ended now.
 *
 *  Steps may be so quick that their rows can't be written for 1% of the time (millions of
 *  bytes a second): then metrics.h5 is due where it is a minute and half of the run old,
 *  whatever it costs.
 *
 *  A table that grows with the time and is written whole each time that it is 5% longer
 *  comes to 20 times its size. So all that is written stays below 20 times the final
 *  files for an hour or so, and below 25 for a day; checkpoints of a state that is large
 *  beside the history, one in 5% of the run, go on to grow by the logarithm of the time.
 *  The first and the last writes of a start are nobody's choice: they count, but aren't
 *  asked for. The clock is the caller's, so that tests have theirs.
 *
 *  MPI: local (rank 0) */
#ifndef DP_RUN_BUDGET_H
#define DP_RUN_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

typedef enum dp_write { DP_WRITE_METRICS, DP_WRITE_CHECKPOINT, DP_WRITES } dp_write;

typedef struct dp_budget {
    double began; /* clock */
    double least; /* seconds between two writes of metrics.h5, at least */
    struct {
        double last;     /* clock at the last write; at the begin, if none */
        double seconds;  /* that it took of a core */
        int64_t bytes;   /* of it, 0 if none */
        double spent;    /* seconds of all */
        int64_t written; /* bytes of all */
    } of[DP_WRITES];
} dp_budget;

/** The run begins now, on the caller's clock; `least`: see above. */
void dp_budget_begin(dp_budget *budget, double now, double least);

/** Something of that kind was written: seconds of a core's time, not of waiting for the
 *  disk, so that neither a stopped job nor busy neighbours count. */
void dp_budget_note(dp_budget *budget, dp_write kind, double now, double seconds,
                    int64_t bytes);

/** Whether the time is there for one more, of about `bytes`. */
bool dp_budget_affords(const dp_budget *budget, dp_write kind, double now, int64_t bytes);

/** Whether one of about `bytes` is due; the run would leave files of `final` bytes with
 *  it. */
bool dp_budget_due(const dp_budget *budget, dp_write kind, double now, int64_t bytes,
                   int64_t final);

#endif
