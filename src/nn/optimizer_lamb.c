/* LAMB: Adam's direction with decoupled decay, as long as the tensor's parameters.
 *   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g g
 *   d = m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + weight_decay p
 *   p -= lr |p| / |d| d  (lr d where |p| or |d| is 0)
 * Source: You et al., "Large Batch Optimization for Deep Learning", ICLR 2020, with phi
 * the identity. */
#include "base/clones.h"
#include "nn/model.h"
#include "nn/optimizer.h"

static int slots(const dp_config *config, const char *names[2]) {
    (void)config;
    names[0] = "m";
    names[1] = "v";
    return 2;
}

DP_CLONES static void lamb_average(const dp_update *u, size_t n,
                                   const float *restrict sum, float *restrict m,
                                   float *restrict v) {
    float scale = u->scale, b1 = u->beta1, b2 = u->beta2, o1 = u->one_beta1,
          o2 = u->one_beta2;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale;
        m[i] = dp_flush_tiny(b1 * m[i] + o1 * g);
        v[i] = b2 * v[i] + o2 * (g * g);
    }
}

/* Computed for its norm, and again for the step: it is not stored. */
DP_CLONES static void lamb_direction(const dp_update *u, size_t n,
                                     const float *restrict p, const float *restrict m,
                                     const float *restrict v, float *restrict d) {
    float eps = u->eps, bias1 = u->bias1, bias2 = u->sqrt_bias2, wd = u->weight_decay;
    for (size_t i = 0; i < n; i++) {
        d[i] = m[i] / bias1 / (sqrtf(v[i]) / bias2 + eps) + wd * p[i];
    }
}

DP_CLONES static void lamb_step(float rate, size_t n, const float *restrict d,
                                float *restrict p) {
    for (size_t i = 0; i < n; i++) {
        p[i] -= rate * d[i];
    }
}

static void measure(const dp_update *u, size_t n, const float *sum, const float *p,
                    float *const slot[2], double squares[2]) {
    float d[DP_CHUNK];
    lamb_average(u, n, sum, slot[0], slot[1]);
    lamb_direction(u, n, p, slot[0], slot[1], d);
    squares[0] = dp_sum_squares(p, n, 1);
    squares[1] = dp_sum_squares(d, n, 1);
}

static double ratio(const dp_update *u, double p, double d) {
    (void)u;
    return p > 0 && d > 0 ? p / d : 1;
}

static void update(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]) {
    (void)sum; /* it is in m and v */
    float d[DP_CHUNK];
    lamb_direction(u, n, p, slot[0], slot[1], d);
    lamb_step(u->rate, n, d, p);
}

const dp_optimizer dp_optimizer_lamb = {
    .name = "lamb", .slots = slots, .measure = measure, .ratio = ratio, .update = update};
