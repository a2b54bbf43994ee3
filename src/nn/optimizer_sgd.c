/* Stochastic gradient descent with momentum, Nesterov momentum and L2 weight decay.
 *   g = scale sum + weight_decay p;  buf = momentum buf + g  (0 before the first step)
 *   p -= lr (nesterov ? g + momentum buf : buf)
 * Source: torch.optim.SGD, dampening 0; Sutskever, Martens, Dahl, Hinton, ICML 2013. */
#include "base/clones.h"
#include "nn/optimizer.h"

static int slots(const dp_config *config, const char *names[2]) {
    names[0] = "momentum";
    return config->optimizer.momentum > 0;
}

DP_CLONES static void sgd_plain(const dp_update *u, size_t n, const float *restrict sum,
                                float *restrict p) {
    float scale = u->scale, lr = u->lr, wd = u->weight_decay;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        p[i] -= lr * g;
    }
}

DP_CLONES static void sgd_heavy_ball(const dp_update *u, size_t n,
                                     const float *restrict sum, float *restrict p,
                                     float *restrict buf) {
    float scale = u->scale, lr = u->lr, wd = u->weight_decay, mu = u->momentum;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        buf[i] = dp_flush_tiny(mu * buf[i] + g);
        p[i] -= lr * buf[i];
    }
}

DP_CLONES static void sgd_nesterov(const dp_update *u, size_t n,
                                   const float *restrict sum, float *restrict p,
                                   float *restrict buf) {
    float scale = u->scale, lr = u->lr, wd = u->weight_decay, mu = u->momentum;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        buf[i] = dp_flush_tiny(mu * buf[i] + g);
        p[i] -= lr * (g + mu * buf[i]);
    }
}

static void update(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]) {
    if (!slot[0]) {
        sgd_plain(u, n, sum, p);
    } else if (u->nesterov) {
        sgd_nesterov(u, n, sum, p, slot[0]);
    } else {
        sgd_heavy_ball(u, n, sum, p, slot[0]);
    }
}

const dp_optimizer dp_optimizer_sgd = {.name = "sgd", .slots = slots, .update = update};
