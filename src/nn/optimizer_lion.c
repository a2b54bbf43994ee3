/* Lion: steps of equal size along the sign of a running mean, and decoupled decay.
 *   c = beta1 m + (1 - beta1) g;  p -= lr (sign(c) + weight_decay p)
 *   m = beta2 m + (1 - beta2) g
 * Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023. */
#include "base/clones.h"
#include "nn/optimizer.h"

static int slots(const dp_config *config, const char *names[2]) {
    (void)config;
    names[0] = "m";
    return 1;
}

DP_CLONES static void lion_rule(const dp_update *u, size_t n, const float *restrict sum,
                                float *restrict p, float *restrict m) {
    float scale = u->scale, lr = u->lr, decay = u->decay;
    float b1 = u->beta1, o1 = u->one_beta1, b2 = u->beta2, o2 = u->one_beta2;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale;
        float c = b1 * m[i] + o1 * g;
        float up = c > 0 ? lr : 0.0F, down = c < 0 ? lr : 0.0F;
        p[i] = p[i] * decay - (up - down);
        m[i] = dp_flush_tiny(b2 * m[i] + o2 * g);
    }
}

static void update(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]) {
    lion_rule(u, n, sum, p, slot[0]);
}

const dp_optimizer dp_optimizer_lion = {.name = "lion", .slots = slots, .update = update};
