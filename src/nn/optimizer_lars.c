/* LARS: momentum whose learning rate each tensor has of its own.
 *   r = trust |p| / (|g| + weight_decay |p|)  (1 where |p| or |g| is 0)
 *   buf = momentum buf + lr r (g + weight_decay p);  p -= buf
 * Source: You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017,
 * algorithm 1. */
#include "base/clones.h"
#include "nn/optimizer.h"

static int slots(const dp_config *config, const char *names[2]) {
    names[0] = "momentum";
    return config->optimizer.momentum > 0;
}

static void measure(const dp_update *u, size_t n, const float *sum, const float *p,
                    float *const slot[2], double squares[2]) {
    (void)slot;
    squares[0] = dp_sum_squares(p, n, 1);
    squares[1] = dp_sum_squares(sum, n, u->scale);
}

static double ratio(const dp_update *u, double p, double g) {
    double wd = (double)u->weight_decay;
    return p > 0 && g > 0 ? u->trust * p / (g + wd * p) : 1;
}

DP_CLONES static void lars_plain(const dp_update *u, size_t n, const float *restrict sum,
                                 float *restrict p) {
    float scale = u->scale, rate = u->rate, wd = u->weight_decay;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        p[i] -= rate * g;
    }
}

DP_CLONES static void lars_heavy_ball(const dp_update *u, size_t n,
                                      const float *restrict sum, float *restrict p,
                                      float *restrict buf) {
    float scale = u->scale, rate = u->rate, wd = u->weight_decay, mu = u->momentum;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        buf[i] = dp_flush_tiny(mu * buf[i] + rate * g);
        p[i] -= buf[i];
    }
}

static void update(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]) {
    if (slot[0]) {
        lars_heavy_ball(u, n, sum, p, slot[0]);
    } else {
        lars_plain(u, n, sum, p);
    }
}

const dp_optimizer dp_optimizer_lars = {
    .name = "lars", .slots = slots, .measure = measure, .ratio = ratio, .update = update};
