/* Adam with L2 weight decay, and AdamW with decoupled weight decay.
 *   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g g
 *   p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 * Source: torch.optim.Adam, AdamW; Kingma, Ba, ICLR 2015; Loshchilov, Hutter, ICLR 2019.
 */
#include "base/clones.h"
#include "nn/optimizer.h"
#include <math.h>

static int slots(const dp_config *config, const char *names[2]) {
    (void)config;
    names[0] = "m";
    names[1] = "v";
    return 2;
}

DP_CLONES static void adam_rule(const dp_update *u, float l2, float decay, size_t n,
                                const float *restrict sum, float *restrict p,
                                float *restrict m, float *restrict v) {
    float scale = u->scale, b1 = u->beta1, b2 = u->beta2, o1 = u->one_beta1,
          o2 = u->one_beta2;
    float eps = u->eps, step = u->step_size, bias2 = u->sqrt_bias2;
    for (size_t i = 0; i < n; i++) {
        float w = p[i] * decay;
        float g = sum[i] * scale + l2 * w;
        m[i] = dp_flush_tiny(b1 * m[i] + o1 * g);
        v[i] = b2 * v[i] + o2 * (g * g);
        p[i] = w - step * (m[i] / (sqrtf(v[i]) / bias2 + eps));
    }
}

static void adam(const dp_update *u, size_t n, const float *sum, float *p,
                 float *const slot[2]) {
    adam_rule(u, u->weight_decay, 1.0F, n, sum, p, slot[0], slot[1]);
}

static void adamw(const dp_update *u, size_t n, const float *sum, float *p,
                  float *const slot[2]) {
    adam_rule(u, 0.0F, u->decay, n, sum, p, slot[0], slot[1]);
}

const dp_optimizer dp_optimizer_adam = {.name = "adam", .slots = slots, .update = adam};
const dp_optimizer dp_optimizer_adamw = {
    .name = "adamw", .slots = slots, .update = adamw};
