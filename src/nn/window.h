/* What layers with windows share: convolution and pooling. */
#ifndef DP_NN_WINDOW_H
#define DP_NN_WINDOW_H

#include "nn/layer.h"

enum { DP_WIDEST = 1 << 24 }; /* features of a layer's output, at most */

/* Reads "K", "K/S" or, where `padded`, "K/S+P" and "K+P" into layer->arg; S is `stride` if
 * it is not there, 0 meaning K. Sets layer->out, of `channels`.
 * Errors: DP_EUSAGE with layer and `argument`: flat inputs, a window larger than they
 * are */
dp_status dp_layer_read_window(dp_layer *layer, const char *argument, const char *text,
                               bool padded, int channels);

/* The window that was read. */
dp_window dp_layer_window(const dp_layer *layer);

/* "model.layers: 'pool:3' gets [8,24,24] and needs ...": what is wrong with layer->in or
 * the argument. */
dp_status dp_layer_wrong_argument(const dp_layer *layer, const char *argument,
                                  const char *needs);

#endif
