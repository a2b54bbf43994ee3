/** One optimizer step on a global batch: forward, loss, backward, allreduce, update. */
#ifndef DP_STEP_STEP_H
#define DP_STEP_STEP_H

#include "comm/comm.h"
#include "comm/exchange.h"
#include "data/dataset.h"
#include "nn/loss.h"
#include "nn/model.h"
#include "nn/optimizer.h"

/** Where the time of rank 0, thread 0 went, in seconds; and of the floating-point
 *  operations of the rank's samples those that were left out. */
typedef struct dp_times {
    double data, forward, backward, reduce, update, idle;
    double flops, skipped;
} dp_times;

/** What a step returns. */
typedef struct dp_step_result {
    double loss;      /* batch mean before the update, weighted if classes are */
    double loss_sum;  /* of the batch: its mean times its samples */
    int64_t correct;  /* predictions in it, before the update; 0 where the
                                     loss counts none */
    double grad_norm; /* of the mean gradient, before clipping */
    double seconds, comm_seconds; /* comm: of these, waiting for other ranks */
    bool stop;                    /* some rank wants to stop */
    int bad; /* the first tensor with a gradient that is not finite, or -1 */
} dp_step_result;

typedef struct dp_stepper dp_stepper;

/** Buffers and the exchange for global batches of up to `batch` rows of data->train.
 *  Borrows everything; the optimizer's state is here.
 *  MPI: collective.  Errors: DP_EINTERNAL, DP_EUSAGE; agreed.
 *  Owner: the caller, who frees with dp_stepper_destroy */
dp_status dp_stepper_create(dp_comm *comm, const dp_config *config,
                            const dp_dataset *data, dp_model *model, const dp_loss *loss,
                            const dp_scale *scale, int batch, int threads,
                            dp_stepper **out);
void dp_stepper_destroy(dp_stepper **stepper);

/** Waits for the parameters of the last step. With overlap they may still be in flight
 *  when dp_step returns, and the communication thread is the MPI thread: so this comes
 *  before anything but the next dp_step reads parameters or optimizer state, or calls MPI
 *  (asserted there). The functions below that need it call it. With train.ema it allgathers
 *  the average, and model->params is the average until the next step.
 *  MPI: local; with train.ema collective */
void dp_stepper_wait_params(dp_stepper *stepper);

/** Step t (from 1) at these rates on rows[0..n) of the training table, in an epoch (from
 *  1), the same on every rank; this rank computes its blocks. Afterwards, and after
 *  dp_stepper_wait_params, the parameters are the same on every rank.
 *  MPI: collective */
void dp_step(dp_stepper *stepper, const int32_t *rows, int n, dp_rates rates, int64_t t,
             int64_t epoch, bool stop_requested, dp_step_result *out);

/** The names of the arrays of state that a run of this config keeps, and how many there
 *  are. The config is valid. MPI: local */
int dp_stepper_slots(const dp_config *config, const char *name[4]);

/** The optimizer's state: slab k of model->floats (NULL past the last) and its name. With
 *  train.ema the last one is "raw", the parameters that training goes on from.
 *  Complete on every rank between dp_stepper_gather and the next step.
 *  MPI: local */
float *dp_stepper_slot(const dp_stepper *stepper, int k, const char **name);

/** Allgathers the optimizer's state from its owners.
 *  MPI: collective */
void dp_stepper_gather(dp_stepper *stepper);

/** The index of the first layer whose output was not finite in the last step, or -1.
 *  MPI: collective */
int dp_stepper_bad_layer(const dp_stepper *stepper);

/** Time since the last call.  MPI: local */
dp_times dp_stepper_times(dp_stepper *stepper);

/** Bytes of activations, gradients and optimizer state.  MPI: local */
size_t dp_stepper_bytes(const dp_stepper *stepper);

/** Load imbalance of a batch of n samples: the blocks of the rank with most of them over
 *  the mean; 1 is even. *idle: ranks without a block.
 *  MPI: local */
double dp_step_imbalance(int n, int block, int ranks, int *idle);

#endif
