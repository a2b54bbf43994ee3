/* The table of optimizers, the hyperparameters of a step, and squared norms. */
#include "nn/optimizer.h"
#include "base/clones.h"
#include "base/dmath.h"
#include <math.h>
#include <string.h>

static const dp_optimizer *const table[] = {
    &dp_optimizer_sgd,
    &dp_optimizer_adam,
    &dp_optimizer_adamw,
};

const dp_optimizer *dp_optimizer_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0) {
            return table[i];
        }
    }
    return NULL;
}

dp_update dp_optimizer_prepare(const dp_config *config, double lr, int64_t t) {
    double b1 = config->optimizer.beta1, b2 = config->optimizer.beta2;
    double wd = config->optimizer.weight_decay;
    return (dp_update){
        .lr = (float)lr,
        .weight_decay = (float)wd,
        .momentum = (float)config->optimizer.momentum,
        .nesterov = config->optimizer.nesterov,
        .beta1 = (float)b1,
        .beta2 = (float)b2,
        .one_beta1 = (float)(1 - b1),
        .one_beta2 = (float)(1 - b2),
        .eps = (float)config->optimizer.eps,
        .step_size = (float)(lr / (1 - dp_dpow(b1, (long)t))),
        .sqrt_bias2 = (float)sqrt(1 - dp_dpow(b2, (long)t)),
        .decay = (float)(1 - lr * wd),
    };
}

enum { CHAINS = 64 };

/* The sums are kept in an array of their own, which can be in registers. */
DP_CLONES static void add_squares(const float *v, size_t n, float scale,
                                  float chain[CHAINS]) {
    float sum[CHAINS] = {0};
    for (size_t i = 0; i < n; i += CHAINS) {
        for (int c = 0; c < CHAINS; c++) {
            float g = v[i + (size_t)c] * scale;
            sum[c] += g * g;
        }
    }
    memcpy(chain, sum, sizeof sum);
}

double dp_sum_squares(const float *v, size_t n, float scale) {
    float chain[CHAINS];
    size_t whole = n / CHAINS * CHAINS;
    add_squares(v, whole, scale, chain);
    for (size_t i = whole; i < n; i++) {
        float g = v[i] * scale;
        chain[i - whole] += g * g;
    }
    double sum = 0;
    for (int c = 0; c < CHAINS; c++) {
        sum += (double)chain[c];
    }
    return sum;
}
