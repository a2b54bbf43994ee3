/** The model: a list of layers over one flat slab of parameters.
 *  The allreduce, the optimizer and the files see the slab and its tensors, never a
 *  layer. */
#ifndef DP_NN_MODEL_H
#define DP_NN_MODEL_H

#include "config/config.h"
#include "nn/layer.h"

enum { DP_CHUNK = 4096 }; /* floats: sums over parameters go by chunks of a tensor */

typedef struct dp_model {
    const dp_kernels *set;
    char text[2 * DP_TEXT]; /* layers with the output layer: "dense:512 relu dense:10" */
    dp_shape input;
    int outputs; /* width of the last layer */
    int nlayers;
    dp_layer *layers; /* as written, without buffers; owner: this */
    int ntensors;
    dp_tensor *tensors; /* in the layers' order; owner: this */
    size_t parameters;  /* floats in tensors */
    size_t trained;     /* of these, what is not frozen */
    size_t floats;      /* of the slab: tensors padded to 16 floats, padding stays 0 */
    float *params;      /* [floats]; owner: this, unless borrowed */
    bool params_borrowed;
    /** Chunks of the tensors that are trained, which are first in the slab: what has no
     *  chunk has no update, no share of the norm and is not exchanged. */
    int nchunks;
    size_t *chunk; /* [nchunks+1] where each chunk begins in the slab; owner: this */
} dp_model;

/** The shape of samples of `features` values as layers see it: three dimensions as they
 *  are, else flat. */
dp_shape dp_model_input(int nshape, const int *shape, int features);

/** Layers from config->model.layers, then dense:outputs. Parameters are zero.
 *  Errors: DP_EUSAGE for what the text has wrong.  Owner: the caller; dp_model_destroy.
 *  MPI: local */
dp_status dp_model_create(const dp_kernels *set, const char *layers, dp_shape input,
                          int outputs, dp_model **out);
void dp_model_destroy(dp_model **model);

/** Freezes layers: `text` has their indices, separated by blanks. Parameters are still
 *  zero; no net has been made of the model.
 *  Errors: DP_EUSAGE for one without parameters, or where nothing is left to train */
dp_status dp_model_freeze(dp_model *model, const char *text);

/** The first of n layers, a model's or a net's, that is trained: below it no gradient is
 *  needed. */
int dp_model_lowest_trained(const dp_layer *layers, int n);

/** Floating-point operations of a training step, a sample: forward, gradients of what is
 *  trained and, above the lowest layer that is, input gradients, each of which costs a
 *  layer about the same. MPI: local */
double dp_model_flops(const dp_model *model);

/** Whether a tensor holds the weights of sums over inputs, and not a bias or a norm's
 *  factors.  MPI: local */
bool dp_model_is_matrix(const dp_model *model, const dp_tensor *tensor);

/** Moves the parameters into memory of the caller's (model->floats, shared with other
 *  ranks), which the model borrows. NULL takes them away: the model then has none.
 *  MPI: local */
void dp_model_move_params(dp_model *model, float *params);

/** Initial parameters as config->model.init says; with init_partial those that init_file
 *  has with the same name and shape come from it.
 *  Numbers are a function of (seed, tensor, element).  Errors: DP_EUSAGE (init_weight of another length), DP_EFILE
 *  (init_file), DP_EDIVERGED (values in it are not finite). MPI: local */
dp_status dp_model_init(dp_model *model, const dp_config *config);

/** Whether some tensors come from config->model.init_file. */
bool dp_model_reads_file(const dp_config *config);

/** Where dp_model_init has taken tensors from init_file: a line of the log with them and
 *  those that are new. */
void dp_model_log_start(const dp_model *model, const char *init_file);

/** Copies the tensors of a checkpoint into the slab. Names and shapes must be the
 *  model's. params is laid out by its own tensors.  Errors: DP_EFILE naming the tensor */
dp_status dp_model_load(dp_model *model, const char *path, int ntensors,
                        const dp_tensor *tensors, const float *params);

#endif
