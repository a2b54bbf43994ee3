/** Losses on the logits of a piece, each fused with its gradient. A new one is a kernel
 *  and a row in loss.c. */
#ifndef DP_NN_LOSS_H
#define DP_NN_LOSS_H

#include "kernels/kernels.h"

/** What a piece is to give, and what the loss makes of it. */
typedef struct dp_truth {
    int N, O;             /* samples, outputs */
    const int32_t *label; /* [N], or NULL */
    const float *target;  /* [N][O], or NULL */
    float smoothing;
    float *loss;      /* out [N] */
    uint8_t *correct; /* out [N], may be NULL */
} dp_truth;

typedef struct dp_loss {
    const char *name;
    bool labels;   /* takes label; else target */
    bool accuracy; /* knows right from wrong */
    /** zt[S][O][64] -> loss, correct, and dzt (NULL in evaluation). Whole team. */
    void (*apply)(const dp_kernels *set, dp_team team, const dp_truth *truth,
                  const float *zt, float *dzt);
} dp_loss;

/** NULL if there is none of that name. */
const dp_loss *dp_loss_find(const char *name);

#endif
