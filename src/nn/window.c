/* Windows on images: reading them, and the shapes they make. */
#include "window.h"
#include <limits.h>
#include <stdlib.h>

dp_status dp_layer_wrong_argument(const dp_layer *layer, const char *argument,
                                  const char *needs) {
    dp_shape in = layer->in;
    dp_tensor input = {.ndim = in.image ? 3 : 1, .dim = {in.C, in.H, in.W}};
    char gets[DP_SHAPE_TEXT];
    return dp_fail(DP_EUSAGE, "model.layers: '%s%s%s' gets %s and %s", layer->name,
                   argument ? ":" : "", argument ? argument : "",
                   dp_tensor_shape(&input, gets), needs);
}

/* The number that follows `mark` (0: nothing), if it does: *p moves past it. False: not a
 * number from `least` on. */
static bool number(const char **p, char mark, int least, double *value) {
    if (mark && **p != mark) {
        return true;
    }
    const char *from = *p + (mark != '\0');
    char *end = NULL;
    long v = strtol(from, &end, 10);
    bool digits = *from >= '0' && *from <= '9';
    if (!digits || v < least || v > DP_WIDEST) {
        return false;
    }
    *value = (double)v;
    *p = end;
    return true;
}

dp_window dp_layer_window(const dp_layer *layer) {
    return (dp_window){.C = layer->in.C,
                       .H = layer->in.H,
                       .W = layer->in.W,
                       .K = (int)layer->arg[0],
                       .S = (int)layer->arg[1],
                       .P = (int)layer->arg[2],
                       .OH = layer->out.H,
                       .OW = layer->out.W};
}

dp_status dp_layer_read_window(dp_layer *layer, const char *argument, const char *text,
                               bool padded, int channels) {
    double *K = &layer->arg[0], *S = &layer->arg[1], *P = &layer->arg[2];
    const char *end = text;
    bool good = end && number(&end, '\0', 1, K) && number(&end, '/', 1, S) &&
                (!padded || number(&end, '+', 0, P)) && *end == '\0';
    if (!good) {
        return dp_layer_wrong_argument(
            layer, argument,
            padded ? "needs C outputs and a window of K x K pixels, as in conv:32@3, "
                     "conv:32@3/2 (stride 2, at least 1) or conv:32@3/2+1 (padding 1)"
                   : "needs a window of K x K pixels, as in maxpool:2, or maxpool:3/2 "
                     "(stride 2, at least 1); avgpool likewise");
    }
    *S = *S > 0 ? *S : padded ? 1 : *K;
    dp_shape in = layer->in;
    if (!in.image) {
        return dp_layer_wrong_argument(
            layer, argument,
            "needs images, [C,H,W]: put it before flatten and dense, and use dense:N for "
            "tables");
    }
    double small = in.H < in.W ? in.H : in.W;
    if (*K > small + 2 * *P) {
        return dp_fail(
            DP_EUSAGE,
            "model.layers: '%s:%s' gets [%d,%d,%d], for which a window of %d x "
            "%d is too large; K may be at most %d%s",
            layer->name, argument, in.C, in.H, in.W, (int)*K, (int)*K,
            (int)(small + 2 * *P), padded ? ", or more with more padding (+P)" : "");
    }
    double height = (double)(int)((in.H + 2 * *P - *K) / *S) + 1;
    double width = (double)(int)((in.W + 2 * *P - *K) / *S) + 1;
    if (channels * height * width > DP_WIDEST) {
        return dp_fail(DP_EUSAGE,
                       "model.layers: '%s:%s' puts out %.0f values a sample; at most %d "
                       "are possible",
                       layer->name, argument, channels * height * width, DP_WIDEST);
    }
    layer->out = (dp_shape){channels, (int)height, (int)width, true};
    return DP_OK;
}
