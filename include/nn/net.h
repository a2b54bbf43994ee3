/** A net: a model's layers with room for the activations of a microbatch of samples, and
 *  its passes. */
#ifndef DP_NN_NET_H
#define DP_NN_NET_H

#include "nn/model.h"

/** Output channels of a layer that one call computes, and the floats of the slab that
 *  belong to them: parameters that it reads, gradients that are complete with it. The
 *  last slice of a layer has its biases. Slices without parameters have no floats. */
typedef struct dp_slice {
    int layer;            /* in net->layers */
    int begin, end;       /* channels */
    size_t offset, count; /* floats of the slab */
} dp_slice;

/** What the owner of the threads adds to the passes, as DDP does with hooks. All are
 *  called by each thread of the team with its own context; any may be NULL but barrier,
 *  which may be if there is one thread only. */
typedef struct dp_hooks {
    void *context;
    void (*barrier)(void *context, dp_team team);
    /** Forward is going to read the parameters of a slice, after the next barrier. */
    void (*need)(void *context, dp_team team, const dp_slice *slice);
    /** After a barrier: the gradients [offset, offset + count) of a slice are complete.
     *  Called for every slice, in the order of net->slice. */
    void (*ready)(void *context, dp_team team, const dp_slice *slice);
    /** This thread has made the gradients [begin, end) of the rows of a tensor that are its
     *  own in this pass, and reported them up to `before`. It may change their parameters:
     *  nobody reads them any more in the backward pass. `ready` follows. Not with
     *  gradients_first. */
    void (*made)(void *context, dp_team team, size_t begin, size_t before, size_t end);
    /** A layer's gradients are made before its input gradient, and are reported at once,
     *  to travel meanwhile. Else they come after it, and `ready` may change the slice's
     *  parameters. */
    bool gradients_first;
} dp_hooks;

typedef struct dp_net {
    const dp_model *model;
    int capacity; /* samples */
    int nlayers;  /* activations behind a layer that fuses are part of it */
    dp_layer *layers;
    int nactivations; /* nlayers + 1; the first is the input, the last the logits */
    dp_activation *activations;
    int nslices; /* in the order of the backward pass: from the last layer down, channels up */
    dp_slice *slice;
    dp_lit lit;  /* of the input, if the first layer skips zeros */
    float *slab; /* of all activations, and what layers keep */
    size_t bytes;
} dp_net;

enum { DP_NET_SLICES = 4 }; /* of a layer, at most */

/** training: with gradients, and what they are made of. Each layer is one slice.
 *  Owner: the caller; dp_net_destroy. */
dp_status dp_net_create(const dp_model *model, int capacity, bool training, dp_net **out);
void dp_net_destroy(dp_net **net);

/** Cuts large layers into slices of `least` floats or more, so that they need not wait
 *  for all of a layer; 0: each layer is one. */
void dp_net_cut(dp_net *net, size_t least);

/** The input, activations[0] -> the logits. pass.begin and end are the net's own. The barrier
 *  before is the net's, the one after it the caller's. */
void dp_net_forward(const dp_net *net, dp_pass pass, const dp_hooks *hooks);

/** The logits' dzt -> pass.grads, overwritten. Barriers before and after are the net's:
 *  all gradients are complete then, and reported. */
void dp_net_backward(const dp_net *net, dp_pass pass, const dp_hooks *hooks);

/** Floating-point operations of the loaded microbatch of N samples that its forward pass
 *  and gradients leave out, since they are products of zeros of the input. */
double dp_net_skipped(const dp_net *net, int N);

/** The logits of the last forward pass. */
static inline const dp_activation *dp_net_logits(const dp_net *net) {
    return &net->activations[net->nlayers];
}

/** The first layer that put out a value that is not finite for any of N samples, or
 *  nlayers. */
int dp_net_bad_layer(const dp_net *net, int N);

#endif
