/* Shapes of tensors. */
#include "base/tensor.h"
#include <stdio.h>
#include <string.h>

bool dp_tensor_same_shape(const dp_tensor *a, const dp_tensor *b) {
    return a->ndim == b->ndim &&
           memcmp(a->dim, b->dim, (size_t)a->ndim * sizeof a->dim[0]) == 0;
}

const char *dp_tensor_shape(const dp_tensor *t, char text[DP_SHAPE_TEXT]) {
    int used = 0;
    for (int d = 0; d < t->ndim && d < DP_DIMS; d++) {
        used += snprintf(text + used, (size_t)(DP_SHAPE_TEXT - used), "%c%d",
                         d > 0 ? ',' : '[', t->dim[d]);
    }
    snprintf(text + used, (size_t)(DP_SHAPE_TEXT - used), "]");
    return text;
}
