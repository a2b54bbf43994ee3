/** Named tensors in a flat slab of floats: what the files and the optimizer know of the
 *  parameters. */
#ifndef DP_BASE_TENSOR_H
#define DP_BASE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

enum { DP_DIMS = 4, DP_SHAPE_TEXT = 64 };

typedef struct dp_tensor {
    char name[32];    /* "0.weight", "0.bias", as in torch.nn.Sequential's state_dict */
    int ndim;         /* 1 to DP_DIMS */
    int dim[DP_DIMS]; /* [O,I], [O], [O,I,K,K]; 0 past ndim */
    size_t offset;    /* floats from the slab's start; a multiple of 16 */
    size_t count;     /* floats: the product of dim */
} dp_tensor;

/** Whether a and b have the same dimensions. */
bool dp_tensor_same_shape(const dp_tensor *a, const dp_tensor *b);

/** The dimensions as "[512,784]", in text. */
const char *dp_tensor_shape(const dp_tensor *t, char text[DP_SHAPE_TEXT]);

#endif
