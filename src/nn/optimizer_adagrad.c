/* Adagrad with L2 weight decay; the sum of squares starts at 0.
 *   g = scale sum + weight_decay p;  s = s + g g;  p -= lr g / (sqrt(s) + eps)
 * Source: torch.optim.Adagrad, lr_decay 0; Duchi, Hazan, Singer, JMLR 2011. */
#include "base/clones.h"
#include "nn/optimizer.h"

static int slots(const dp_config *config, const char *names[2]) {
    (void)config;
    names[0] = "sum";
    return 1;
}

DP_CLONES static void adagrad_rule(const dp_update *u, size_t n,
                                   const float *restrict sum, float *restrict p,
                                   float *restrict squares) {
    float scale = u->scale, lr = u->lr, wd = u->weight_decay, eps = u->eps;
    for (size_t i = 0; i < n; i++) {
        float g = sum[i] * scale + wd * p[i];
        squares[i] += g * g;
        p[i] -= lr * (g / (sqrtf(squares[i]) + eps));
    }
}

static void update(const dp_update *u, size_t n, const float *sum, float *p,
                   float *const slot[2]) {
    adagrad_rule(u, n, sum, p, slot[0]);
}

const dp_optimizer dp_optimizer_adagrad = {
    .name = "adagrad", .slots = slots, .update = update};
