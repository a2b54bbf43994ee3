/* The table of optimizers, and the hyperparameters of a step. */
#include "nn/optimizer.h"
#include "base/dmath.h"
#include <math.h>
#include <string.h>

static const dp_optimizer *const table[] = {
    &dp_optimizer_sgd,     &dp_optimizer_adam, &dp_optimizer_adamw, &dp_optimizer_rmsprop,
    &dp_optimizer_adagrad, &dp_optimizer_lion, &dp_optimizer_lars,  &dp_optimizer_lamb,
};

const dp_optimizer *dp_optimizer_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}

dp_update dp_optimizer_prepare(const dp_config *config, dp_rates rates, int64_t t) {
    double lr = rates.lr, b1 = config->optimizer.beta1, b2 = config->optimizer.beta2;
    double wd = config->optimizer.weight_decay;
    return (dp_update){
        .lr = (float)lr,
        .weight_decay = (float)wd,
        .momentum = (float)rates.momentum,
        .nesterov = config->optimizer.nesterov,
        .beta1 = (float)b1,
        .beta2 = (float)b2,
        .one_beta1 = (float)(1 - b1),
        .one_beta2 = (float)(1 - b2),
        .eps = (float)config->optimizer.eps,
        .alpha = (float)config->optimizer.alpha,
        .one_alpha = (float)(1 - config->optimizer.alpha),
        .bias1 = (float)(1 - dp_dpow(b1, (long)t)),
        .step_size = (float)(lr / (1 - dp_dpow(b1, (long)t))),
        .sqrt_bias2 = (float)sqrt(1 - dp_dpow(b2, (long)t)),
        .decay = (float)(1 - lr * wd),
        .trust = config->optimizer.trust,
        .average = t == 1 ? 1.0F : (float)(1 - config->train.ema),
    };
}
