/* The learning rate of a step. */
#include "nn/schedule.h"
#include "base/dmath.h"
#include <math.h>
#include <string.h>

double dp_schedule_lr(const dp_config *config, int64_t step, int64_t steps) {
    double lr = config->optimizer.lr, min_lr = config->optimizer.min_lr;
    int64_t warm = (int64_t)ceil(config->optimizer.warmup * (double)steps);
    if (step < warm) {
        return lr * (double)(step + 1) / (double)warm;
    }
    if (strcmp(config->optimizer.schedule, "step") == 0) {
        int64_t drops = step / steps / config->optimizer.step_epochs;
        double v = lr * dp_dpow(config->optimizer.step_gamma, (long)drops);
        return v > min_lr ? v : min_lr;
    }
    if (strcmp(config->optimizer.schedule, "cosine") == 0) {
        int64_t total = config->train.epochs * steps;
        double t = (double)(step - warm) / (double)(total > warm ? total - warm : 1);
        return min_lr + (lr - min_lr) * (1.0 + dp_dcos2pi(t < 1 ? t / 2 : 0.5)) / 2;
    }
    return lr;
}
