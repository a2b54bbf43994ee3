#include "nn/layer.h"
#include <string.h>

const dp_layer_kind *dp_layer_find(const dp_kernels *set, const char *name) {
    static const dp_layer_kind *const kinds[] = {&dp_layer_dense};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i]->name, name) == 0) {
            return kinds[i];
        }
    }
    return dp_act_find(set, name) ? &dp_layer_activation : NULL;
}

const char *dp_layer_names(void) {
    return "dense:N relu tanh sigmoid gelu leaky_relu softplus";
}
