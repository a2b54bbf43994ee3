/* The table of losses. */
#include "nn/loss.h"
#include <string.h>

static void cross_entropy(const dp_kernels *set, dp_team team, const dp_targets *t,
                          const float *zt, float *dzt) {
    set->cross_entropy(team, t->N, t->O, zt, t->label, t->smoothing, t->loss, t->correct,
                       dzt);
}

static void mse(const dp_kernels *set, dp_team team, const dp_targets *t, const float *zt,
                float *dzt) {
    set->mse(team, t->N, t->O, zt, t->target, t->loss, dzt);
}

static void mae(const dp_kernels *set, dp_team team, const dp_targets *t, const float *zt,
                float *dzt) {
    set->mae(team, t->N, t->O, zt, t->target, t->loss, dzt);
}

static void huber(const dp_kernels *set, dp_team team, const dp_targets *t,
                  const float *zt, float *dzt) {
    set->huber(team, t->N, t->O, zt, t->target, t->delta, t->loss, dzt);
}

static void bce(const dp_kernels *set, dp_team team, const dp_targets *t, const float *zt,
                float *dzt) {
    set->bce(team, t->N, t->O, zt, t->target, t->loss, t->correct, dzt);
}

static const dp_loss table[] = {
    {"cross_entropy", true, true, cross_entropy},
    {"mse", false, false, mse},
    {"mae", false, false, mae},
    {"huber", false, false, huber},
    {"bce", false, true, bce},
};

void dp_loss_apply(const dp_loss *loss, const dp_kernels *set, dp_team team,
                   const dp_targets *targets, const float *zt, float *dzt) {
    loss->apply(set, team, targets, zt, dzt);
    if (targets->weight) {
        set->weigh(team, targets->N, targets->O, targets->weight, targets->loss, dzt);
    }
}

const dp_loss *dp_loss_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}
