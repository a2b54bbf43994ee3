/** Learning rate schedules with linear warmup. */
#ifndef DP_NN_SCHEDULE_H
#define DP_NN_SCHEDULE_H

#include "config/config.h"
#include <stdint.h>

/** The learning rate of step `step` (from 0), at `steps` steps an epoch. Pure; our own
 *  cos and power, so the same on every machine.
 *    w = ceil(warmup * steps), total = epochs * steps
 *    step < w   lr (step + 1) / w
 *    constant   lr
 *    step       max(min_lr, lr gamma^floor(epoch / step_epochs))
 *    cosine     min_lr + (lr - min_lr) (1 + cos(pi (step - w) / (total - w))) / 2 */
double dp_schedule_lr(const dp_config *config, int64_t step, int64_t steps);

#endif
