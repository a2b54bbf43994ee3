/** The forward pass outside training, for evaluation and prediction. */
#ifndef DP_STEP_FORWARD_H
#define DP_STEP_FORWARD_H

#include "step/batch.h"

typedef struct dp_forward {
    const dp_net *net;
    const dp_scale *scale;
    int threads;
    /* with `batch`, which gets labels or targets, losses and correct; or NULL */
    const dp_loss *loss;
    dp_batch *batch;
    float delta;        /* loss.delta */
    float *probability; /* out [N][O], the softmax of the logits; or NULL */
} dp_forward;

/** Takes rows[0..N) of a table, N <= net->capacity, through the net: leaves the logits in
 *  dp_net_logits(net).  Par: dp_team_run.  MPI: local */
void dp_forward_run(const dp_forward *f, const dp_table *table, const int32_t *rows,
                    int N);

#endif
