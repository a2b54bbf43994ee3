/** The buffers of a microbatch: labels or targets of rows of a table, and the losses of
 *  its samples. */
#ifndef DP_STEP_BATCH_H
#define DP_STEP_BATCH_H

#include "data/augment.h"
#include "nn/loss.h"
#include "nn/net.h"

typedef struct dp_batch {
    int capacity, outputs;
    int32_t *label; /* [capacity]; owner: this */
    float *target;  /* [capacity][outputs]; owner: this */
    /* of the classes, or NULL: samples have no weights; owner: who sets it */
    const float *class_weight;
    float *weight; /* [capacity]; owner: this */
    float *loss;   /* [capacity]; owner: this */
    uint8_t *correct;
    /* NULL, or what changes the samples on their way in; owner: this */
    dp_augment *augment;
    int64_t epoch;    /* of the augmentation, from 1 */
    void *augmented;  /* [capacity][features]; owner: this */
    int32_t *own_row; /* [capacity] 0, 1, ...: the rows of `augmented`; owner: this */
} dp_batch;

/** Buffers for up to `capacity` samples with `outputs` values as targets. Errors: DP_EINTERNAL
 *  (no memory). Owner: the caller, who ends it with dp_batch_destroy */
dp_status dp_batch_create(int capacity, int outputs, dp_batch **out);
void dp_batch_destroy(dp_batch **batch);

/** What dp_batch_load loads from now on are augmented samples, if the config asks for
 *  that. `table` has their shape. Borrows the config. */
dp_status dp_batch_augment(dp_batch *batch, const dp_config *config,
                           const dp_table *table, int threads);

/** Loads rows[0..N) into the net's input. Whole team; barrier afterwards. */
void dp_batch_load_input(dp_team team, const dp_net *net, const dp_scale *scale,
                         const dp_table *table, const int32_t *rows, int N);

/** Loads rows[0..N) into the net's input, and their labels or targets, of which each
 *  thread copies a range. Whole team; barrier afterwards. */
void dp_batch_load(dp_batch *batch, dp_team team, const dp_net *net,
                   const dp_scale *scale, const dp_table *table, const int32_t *rows,
                   int N);

/** The targets of the loaded microbatch, for the loss. */
dp_targets dp_batch_targets(const dp_batch *batch, int N, float smoothing, float delta);

#endif
