/* What the files of the step share. */
#ifndef DP_RUN_STEP_IMPL_H
#define DP_RUN_STEP_IMPL_H

#include "run/batch.h"
#include "run/step.h"

struct dp_stepper {
    dp_comm *comm;
    const dp_config *config;
    const dp_dataset *data;
    dp_model *model;
    const dp_loss *loss;
    dp_scale scale;
    int block, threads, most; /* most: blocks in a piece */
    dp_net *net;
    int samples; /* of the last piece */
    dp_batch *batch;

    int ngrads;         /* gradient slabs of the exchange: a stack along the block tree */
    double *piece_loss; /* [ngrads] beside them; owner: this */

    dp_shared
        *shared; /* parameters, optimizer state and squares are in its common memory */
    dp_exchange *exchange;
    int first, last;     /* chunks of the slab that this rank owns */
    size_t *bound;       /* [ranks+1] the floats of the slab that each rank owns */
    size_t *chunk_bound; /* [ranks+1] its chunks */
    double *squares;     /* [nchunks] of the mean gradient */
    const float *
        *chunk_sum; /* [nchunks] where the summed gradient of an owned chunk lies */

    const dp_optimizer *optimizer;
    int nslots;
    const char *slot_name[3];
    float *slot[3];
    float *kept; /* zero_grad = false: the gradients left in; one of the slots */
    dp_times times;
};

#endif
