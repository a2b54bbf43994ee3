/* What the files of the engine share. */
#ifndef DP_STEP_IMPL_H
#define DP_STEP_IMPL_H

#include "base/clock.h"
#include "base/tree.h"
#include "step/batch.h"
#include "step/step.h"

/* Gradients that are exchanged together: whole chunks of the slab, cut among the
 * ranks. */
typedef struct dp_bucket {
    int first, last;     /* its chunks that this rank owns */
    size_t *bound;       /* [ranks+1] its floats that each rank owns */
    size_t *chunk_bound; /* [ranks+1] its chunks; owner: this, of both */
} dp_bucket;

typedef struct dp_overlap dp_overlap;

struct dp_stepper {
    dp_comm *comm;
    const dp_config *config;
    const dp_dataset *data;
    dp_model *model;
    const dp_loss *loss;
    dp_scale scale;
    int block, threads, max_blocks; /* max_blocks: of a microbatch */
    dp_net *net;
    int samples;     /* of the last microbatch */
    dp_range *range; /* this rank's microbatches of a batch; owner: this */
    dp_batch *batch;

    int ngrads; /* gradient slabs of the exchange: a stack along the block tree */
    double *partial_loss; /* [ngrads] their loss sums; owner: this */
    int correct;          /* predictions of this rank in the step */

    /* parameters, optimizer state and squares are in its common memory */
    dp_shared *shared;
    dp_exchange *exchange;
    int nbuckets;      /* in the order of the backward pass */
    dp_bucket *bucket; /* [nbuckets]; owner: this */
    /* [net->nslices] the bucket that is complete with a slice's gradients, and whose
     * parameters are first read in it; or -1. Owner: this */
    int *completes;
    dp_overlap *overlap; /* NULL: the exchange waits for the whole gradient */
    double *squares;     /* [nchunks] of the mean gradient */
    /* [nchunks] where the summed gradient of an owned chunk lies */
    const float **chunk_sum;
    int64_t *updated; /* [nchunks] the last step of an early update; owner: this */

    const dp_optimizer *optimizer;
    int *chunk_tensor;  /* [nchunks] the tensor of each chunk; owner: this */
    bool *decays;       /* [ntensors] whether weight decay is for it; owner: this */
    double *measure[2]; /* [nchunks] squares of optimizer->measure; NULL without it */
    int nslots;
    const char *slot_name[4];
    float *slot[4];
    /* zero_grad = false: the accumulated gradient; one of the slots */
    float *accumulated;
    /* train.ema, else NULL: the last slot and model->params are the two slabs of the raw
     * parameters and of their average. A step trains on the raw ones; between
     * dp_stepper_wait_params and the next step they have changed places (`averaged`). */
    float **average;
    bool averaged;
    dp_times times;
};

/* Seconds since *from, which moves to now. */
static inline double dp_lap(double *from) {
    double now = dp_clock(), t = now - *from;
    *from = now;
    return t;
}

/* The plan of an update: what it needs beside the gradients. */
typedef struct dp_update_plan {
    int64_t step; /* from 1 */
    int blocks;   /* of the global batch */
    dp_update u;
    float scale; /* makes a sum the mean: 1 / batch, or 1 / the sum of its weights */
} dp_update_plan;

/* step_update.c: the plan of step t's update on a batch of n samples whose weights are
 * `total` together. */
dp_update_plan dp_step_plan(const dp_stepper *st, int n, double total, dp_rates rates,
                            int64_t t);

/* step_update.c: the summed gradient of an owned chunk: accumulated where it is to be,
 * and its squared norm; and the chunk's update. */
void dp_step_accumulate_chunk(dp_stepper *st, int c, const float *sum, float scale);
void dp_step_update_chunk(dp_stepper *st, int c, const dp_update *u);

/* step_update.c: layer-wise rates: the owned chunk's squared norms into st->measure; and
 * the rate of tensor t, when those of all its chunks are there. */
void dp_step_measure_chunk(dp_stepper *st, int c, const dp_update *u);
float dp_step_rate(const dp_stepper *st, int t, const dp_update *u);

/* step_update.c: a rank alone with its whole batch in one microbatch need not wait for
 * anybody. A thread updates the chunks of its rows [begin, end) while their gradients are
 * still in its cache, but for those that end up to `before`; the whole team, after a
 * barrier, what is left of a slice. */
void dp_step_update_rows(dp_stepper *st, size_t begin, size_t before, size_t end,
                         const dp_update_plan *early);
void dp_step_update_slice(dp_stepper *st, dp_team team, const dp_slice *slice,
                          const dp_update_plan *early);

/* step_update.c: the first chunk of the slab that begins at or after `at`. */
int dp_step_chunk_from(const dp_model *model, size_t at);

/* step_create.c: the raw parameters and their average change places. */
void dp_step_exchange_average(dp_stepper *st);

/* step_update.c: the norm of the mean gradient, and clipping to optimizer.clip_norm. */
double dp_step_norm(const dp_stepper *st);
void dp_step_clip(const dp_stepper *st, dp_update *u);

/* overlap.c: the communication thread exchanges a bucket's gradients as soon as they are
 * computed, while the team computes those of the layers below, updates the owned slice,
 * and gathers the new parameters while the next step has begun. From a step's first
 * bucket until dp_overlap_wait_all it is the MPI thread. All but create and destroy are
 * called by one thread of the team. */
dp_status dp_overlap_create(dp_stepper *st, dp_overlap **out);
void dp_overlap_destroy(dp_overlap **overlap);
/* Before the team reads bucket b's parameters: waits until they are there. */
void dp_overlap_wait_params(dp_overlap *ov, int b);
/* The gradients of bucket b, of the last microbatch, are in their slabs; buckets in
 * order, the last one through dp_overlap_reduce. */
void dp_overlap_grads_ready(dp_overlap *ov, int b, const dp_update_plan *plan);
/* The last bucket; waits until loss and squares are known. As dp_exchange_reduce. */
double dp_overlap_reduce(dp_overlap *ov, const dp_update_plan *plan,
                         dp_step_scalars *scalars);
/* Waits until all is done, and is the MPI thread again.
 * MPI: local */
void dp_overlap_wait_all(dp_overlap *ov);

#endif
