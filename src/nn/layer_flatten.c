/* Images as plain values, in the order of torch.flatten: features have that order
 * anyway. */
#include "window.h"

static dp_status shape(dp_layer *layer, const char *argument) {
    if (argument) {
        return dp_layer_wrong_argument(layer, argument, "takes no argument");
    }
    layer->out = (dp_shape){dp_shape_size(layer->in), 1, 1, false};
    return DP_OK;
}

const dp_layer_kind dp_layer_flatten = {
    .name = "flatten", .usage = "flatten", .shape = shape};
