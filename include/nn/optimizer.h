/** Optimizers: elementwise update rules on a range of the flat slab, PyTorch's where it
 *  has them, else the papers'. A new one is a new file, a row in optimizer.c and its name
 *  in the table of keys. */
#ifndef DP_NN_OPTIMIZER_H
#define DP_NN_OPTIMIZER_H

#include "config/config.h"
#include <math.h>
#include <stddef.h>
#include <stdint.h>

/** What a schedule decides for a step. */
typedef struct dp_rates {
    double lr, momentum;
} dp_rates;

/** The hyperparameters of one step, the same for all elements and all ranks. */
typedef struct dp_update {
    float scale; /* gradient = scale * sum: 1/batch, and the clipping factor */
    float lr, weight_decay, momentum;
    bool nesterov;
    float beta1, beta2, one_beta1, one_beta2; /* one_beta = 1 - beta, rounded once */
    float eps;
    float alpha, one_alpha; /* rmsprop; one_alpha = 1 - alpha */
    float bias1;            /* 1 - beta1^t */
    float step_size;        /* lr / (1 - beta1^t) */
    float sqrt_bias2;       /* sqrt(1 - beta2^t) */
    float decay;            /* decoupled: 1 - lr * weight_decay */
    double trust;           /* lars */
    float rate;             /* lr * ratio of the tensor, where `measure` is not NULL */
    float average; /* the new parameters' weight in their average; 1: they replace it */
} dp_update;

typedef struct dp_optimizer {
    const char *name;
    int (*slots)(const dp_config *config, const char *names[2]); /* state arrays in use */
    /** Layer-wise rates, else both are NULL. The squared norms of p[n] and of what its
     *  step is made of, which may advance the state: a call for each chunk of a tensor,
     *  before `update` changes any. */
    void (*measure)(const dp_update *u, size_t n, const float *sum, const float *p,
                    float *const slot[2], double squares[2]);
    /** From the two norms of a whole tensor: the factor of its learning rate. */
    double (*ratio)(const dp_update *u, double p, double step);
    /** p[n], slot[k][n] updated from the gradient sums sum[n].  Elementwise, no FMA: the
     *  same bits for any vector width. */
    void (*update)(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]);
} dp_optimizer;

/** NULL if there is none of that name. */
const dp_optimizer *dp_optimizer_find(const char *name);

/** The hyperparameters of step t (from 1) at these rates, without `scale`. Pure. */
dp_update dp_optimizer_prepare(const dp_config *config, dp_rates rates, int64_t t);

/** Sum of squares of scale * v[k], k < n: 64 interleaved chains in float, then in double
 *  in the order of the chains. The same bits for any vector width. */
double dp_sum_squares(const float *v, size_t n, float scale);

extern const dp_optimizer dp_optimizer_sgd, dp_optimizer_adam, dp_optimizer_adamw,
    dp_optimizer_rmsprop, dp_optimizer_adagrad, dp_optimizer_lion, dp_optimizer_lars,
    dp_optimizer_lamb;

/** A decaying average below 2^-100 is set to 0, by all optimizers and in plain
 *  arithmetic: that of a weight whose input is almost always 0 would otherwise become
 *  subnormal and stay so, at a hundred cycles an operation. */
static inline float dp_flush_tiny(float v) {
    const float least = 7.88860905e-31F; /* 2^-100 */
    return fabsf(v) < least ? 0.0F : v;
}

#endif
