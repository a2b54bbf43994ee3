/** Schedules: the learning rate of a step, and its momentum. A new one is a function and a
 *  row in schedule.c and its name in the table of keys; one that depends on train.epochs
 *  is in dp_schedule_needs_end (config/keys.h) too. */
#ifndef DP_NN_SCHEDULE_H
#define DP_NN_SCHEDULE_H

#include "config/config.h"
#include "nn/optimizer.h"
#include <stdint.h>

/** The rates of step `step` (from 0), at `steps` steps an epoch. Pure; our own cos and
 *  powers, so the same on every machine.
 *    w = ceil(warmup * steps), total = epochs * steps, epoch = floor(step / steps)
 *    t = (step - w) / (total - w)
 *    step < w     start (step + 1) / w; start is lr, or onecycle's lr / div_factor
 *    constant     lr
 *    step         max(min_lr, lr gamma^floor(epoch / step_epochs))
 *    multistep    max(min_lr, lr gamma^(milestones that the epoch has reached))
 *    exponential  max(min_lr, lr gamma^floor((step - w) / steps))
 *    linear       min_lr + (lr - min_lr) (1 - t)
 *    polynomial   min_lr + (lr - min_lr) (1 - t)^power
 *    cosine       min_lr + (lr - min_lr) (1 + cos(pi t)) / 2
 *    onecycle     up to lr and down to min_lr, each half a cosine; momentum from
 *                 final_momentum down to momentum and up again
 *  Source: torch.optim.lr_scheduler; OneCycleLR with final_div_factor = lr / div_factor /
 *  min_lr. PyTorch's take one step an epoch up to exponential, one a batch from linear
 *  on. */
dp_rates dp_schedule_rates(const dp_config *config, int64_t step, int64_t steps);

/** Warns of settings that do not fit the run's length.
 *  MPI: local; rank 0 writes */
void dp_schedule_check(const dp_config *config);

#endif
