/** Loss and accuracy of a model on a split, the same bits on any layout. */
#ifndef DP_RUN_EVALUATE_H
#define DP_RUN_EVALUATE_H

#include "run/session.h"

/** NaN where a figure doesn't apply. */
typedef struct dp_score {
    int n;                 /* samples */
    double loss, accuracy; /* mean; fraction correct */
    double r2, mae;        /* regression: mean over the outputs */
} dp_score;

typedef struct dp_evaluator dp_evaluator;

/** Buffers for evaluations with the current parameters of the session's model; borrows the
 *  session.  Owner: the caller, who frees with dp_evaluator_destroy.  MPI: local.
 *  Errors: DP_EINTERNAL (no memory) */
dp_status dp_evaluator_create(const dp_session *session, dp_evaluator **out);
void dp_evaluator_destroy(dp_evaluator **evaluator);

/** Scores the n rows of `table` (rows NULL: 0..n-1). Per-sample values are summed in
 *  double along the block tree over the split's index, whatever the batch, ranks or
 *  threads. MPI: collective.  Errors: DP_EINTERNAL (no memory), agreed */
dp_status dp_evaluate(dp_evaluator *evaluator, const dp_table *table, const int32_t *rows,
                      int n, dp_score *out);

#endif
