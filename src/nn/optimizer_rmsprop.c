/* RMSprop with L2 weight decay and, if wanted, momentum; not centred.
 *   g = scale sum + weight_decay p;  v = alpha v + (1 - alpha) g g
 *   d = g / (sqrt(v) + eps);  buf = momentum buf + d;  p -= lr buf  (or lr d)
 * Source: torch.optim.RMSprop; Tieleman, Hinton, Coursera lecture 6.5, 2012. */
#include "base/clones.h"
#include "nn/optimizer.h"

static int slots(const dp_config *config, const char *names[2]) {
    names[0] = "v";
    names[1] = "momentum";
    return 1 + (config->optimizer.momentum > 0);
}

DP_CLONES static void rmsprop_plain(const dp_update *u, size_t n,
                                    const float *restrict sum, float *restrict p,
                                    float *restrict v) {
    float scale = u->scale, lr = u->lr, wd = u->weight_decay, eps = u->eps;
    float alpha = u->alpha, one_alpha = u->one_alpha;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        v[i] = dp_flush_tiny(alpha * v[i] + one_alpha * (g * g));
        p[i] -= lr * (g / (sqrtf(v[i]) + eps));
    }
}

DP_CLONES static void rmsprop_heavy_ball(const dp_update *u, size_t n,
                                         const float *restrict sum, float *restrict p,
                                         float *restrict v, float *restrict buf) {
    float scale = u->scale, lr = u->lr, wd = u->weight_decay, eps = u->eps;
    float alpha = u->alpha, one_alpha = u->one_alpha, mu = u->momentum;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        v[i] = dp_flush_tiny(alpha * v[i] + one_alpha * (g * g));
        buf[i] = dp_flush_tiny(mu * buf[i] + g / (sqrtf(v[i]) + eps));
        p[i] -= lr * buf[i];
    }
}

static void update(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]) {
    if (slot[1]) {
        rmsprop_heavy_ball(u, n, sum, p, slot[0], slot[1]);
    } else {
        rmsprop_plain(u, n, sum, p, slot[0]);
    }
}

const dp_optimizer dp_optimizer_rmsprop = {
    .name = "rmsprop", .slots = slots, .update = update};
