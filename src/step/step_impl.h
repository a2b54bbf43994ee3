/* What the files of the step share. */
#ifndef DP_STEP_IMPL_H
#define DP_STEP_IMPL_H

#include "base/clock.h"
#include "base/tree.h"
#include "step/batch.h"
#include "step/step.h"

/* Gradients that travel together, whole chunks of the slab, which is cut among the ranks. */
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
    int block, threads, most; /* most: blocks in a piece */
    dp_net *net;
    int samples;   /* of the last piece */
    dp_node *node; /* this rank's pieces of a batch; owner: this */
    dp_batch *batch;

    int ngrads;         /* gradient slabs of the exchange: a stack along the block tree */
    double *piece_loss; /* [ngrads] beside them; owner: this */

    dp_shared
        *shared; /* parameters, optimizer state and squares are in its common memory */
    dp_exchange *exchange;
    int nbuckets;      /* in the order of the backward pass */
    dp_bucket *bucket; /* [nbuckets]; owner: this */
    int *
        completes; /* [net->nslices] the bucket that is complete with a slice's gradients, and
                            whose parameters are first read in it; or -1. Owner: this */
    dp_overlap *overlap; /* NULL: the exchange waits for the whole gradient */
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

/* Seconds since *from, which moves to now. */
static inline double dp_lap(double *from) {
    double now = dp_clock(), t = now - *from;
    *from = now;
    return t;
}

/* What is needed for an update beside the gradients. */
typedef struct dp_errand {
    int64_t step; /* from 1 */
    int blocks;   /* of the global batch */
    dp_update u;
    float scale; /* of a sum, that makes it the mean */
} dp_errand;

/* step_update.c: the summed gradient of an owned chunk: scaled, kept if it is to be, and its square;
 * and the chunk's update. */
void dp_step_finish_chunk(dp_stepper *st, int c, const float *sum, float scale);
void dp_step_update_chunk(dp_stepper *st, int c, const dp_update *u);

/* step_update.c: a rank alone with its whole batch in one piece need not wait for anybody: it updates
 * a slice's parameters while its gradients are still in the cache. Whole team, after a barrier. */
void dp_step_update_slice(dp_stepper *st, dp_team team, const dp_slice *slice,
                          const dp_errand *now);

/* step_update.c: the first chunk of the slab that begins at or after `at`. */
int dp_step_chunk_from(const dp_model *model, size_t at);

/* step.c: the norm of the mean gradient, and what clipping to `clip` makes of its scale. */
double dp_step_norm(const dp_stepper *st);
double dp_step_clip(double clip, double norm);

/* overlap.c: a second thread, the courier, exchanges a bucket's gradients as soon as they are there,
 * while the team computes those of the layers below, and brings the new parameters while the next
 * step has begun. It updates the owned chunks too. From a step's begin until dp_overlap_settle it
 * holds MPI. All but create and destroy are called by one thread of the team. */
dp_status dp_overlap_create(dp_stepper *st, dp_overlap **out);
void dp_overlap_destroy(dp_overlap **overlap);
/* Before the team reads bucket b's parameters: waits until they have come. */
void dp_overlap_await(dp_overlap *ov, int b);
/* The last piece's gradients of bucket b are in their slabs; in order, but for the last bucket. */
void dp_overlap_ready(dp_overlap *ov, int b, const dp_errand *errand);
/* The buckets that are left; waits until loss and squares are known. As dp_exchange_reduce. */
double dp_overlap_finish(dp_overlap *ov, const dp_errand *errand, dp_note *note);
/* Waits until all is done, and holds MPI again.  MPI: local */
void dp_overlap_settle(dp_overlap *ov);

#endif
