/* What the files of the layers call; the table that lists them is in layer.c. */
#include "nn/layer.h"
#include <assert.h>
#include <stdio.h>

void dp_layer_add_tensor(dp_layer *layer, const char *name, int ndim, const int *dim,
                         dp_initial start) {
    assert(layer->ntensors < DP_LAYER_TENSORS && ndim >= 1 && ndim <= DP_DIMS);
    layer->start[layer->ntensors] = start;
    dp_tensor *t = &layer->tensor[layer->ntensors++];
    *t = (dp_tensor){.ndim = ndim, .count = 1};
    snprintf(t->name, sizeof t->name, "%d.%s", layer->index, name);
    for (int d = 0; d < ndim; d++) {
        t->dim[d] = dim[d];
        t->count *= (size_t)dim[d];
    }
}
