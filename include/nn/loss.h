/** Losses on the logits of a microbatch, each fused with its gradient. A new one is a
 *  kernel and a row in loss.c. */
#ifndef DP_NN_LOSS_H
#define DP_NN_LOSS_H

#include "kernels/kernels.h"

/** The targets of a microbatch, and where the loss of each sample goes. */
typedef struct dp_targets {
    int N, O;               /* samples, outputs */
    const int32_t *label;   /* [N], or NULL */
    const float *target;    /* [N][O], or NULL */
    const float *weight;    /* [N] of each sample in the loss, or NULL: all are 1 */
    float smoothing, delta; /* of cross_entropy, of huber */
    float *loss;            /* out [N] */
    uint8_t *correct;       /* out [N], may be NULL */
} dp_targets;

typedef struct dp_loss {
    const char *name;
    bool labels;   /* takes label; else target */
    bool accuracy; /* counts correct predictions */
    /** zt[S][O][64] -> loss, correct, and dzt (NULL in evaluation), without weights.
     *  Whole team. */
    void (*apply)(const dp_kernels *set, dp_team team, const dp_targets *targets,
                  const float *zt, float *dzt);
} dp_loss;

/** Applies the loss, and the samples' weights to what it gives (then dzt is not NULL).
 *  Whole team. */
void dp_loss_apply(const dp_loss *loss, const dp_kernels *set, dp_team team,
                   const dp_targets *targets, const float *zt, float *dzt);

/** NULL if there is none of that name. */
const dp_loss *dp_loss_find(const char *name);

#endif
