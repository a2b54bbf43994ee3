/** Named pieces of a flat slab of floats: how the files learn of the parameters. */
#ifndef DP_BASE_TENSOR_H
#define DP_BASE_TENSOR_H

#include <stddef.h>

typedef struct dp_tensor {
    char name[32]; /* "0.weight", "0.bias", as in torch.nn.Sequential's state_dict */
    int ndim;      /* 1 or 2 */
    int dim[2];    /* [O, I] or [O] */
    size_t offset; /* floats from the slab's start; a multiple of 16 */
    size_t count;  /* floats: the product of dim */
} dp_tensor;

#endif
