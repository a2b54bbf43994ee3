/* The table of layer kinds. */
#include "nn/layer.h"
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* One row a kind: dp_layer_<kind> of layer_<kind>.c. */
#define KINDS_(ROW)                                                                      \
    ROW(dense)                                                                           \
    ROW(conv)                                                                            \
    ROW(maxpool)                                                                         \
    ROW(avgpool)                                                                         \
    ROW(flatten)                                                                         \
    ROW(dropout)                                                                         \
    ROW(layernorm)                                                                       \
    ROW(activation)

#define DECLARED(kind) extern const dp_layer_kind dp_layer_##kind;
#define LISTED(kind) &dp_layer_##kind,
KINDS_(DECLARED)
static const dp_layer_kind *const kinds[] = {KINDS_(LISTED)};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* Activations share a kind, of no name of its own, and are called by their functions'
 * names. */
static const dp_layer_kind *find(const char *name, const dp_act *act) {
    for (int k = 0; k < KINDS; k++) {
        if (kinds[k]->name ? strcmp(kinds[k]->name, name) == 0 : act != NULL) {
            return kinds[k];
        }
    }
    return NULL;
}

/* How all layers are written, separated by blanks. */
static const char *usage(const dp_kernels *set, char *text, size_t size) {
    size_t used = 0;
    for (int k = 0; k < KINDS; k++) {
        if (kinds[k]->usage) {
            used += (size_t)snprintf(text + used, size - used, "%s ", kinds[k]->usage);
        }
    }
    for (const dp_act *act = set->acts; act->name; act++) {
        used += (size_t)snprintf(text + used, size - used, "%s%s", act->name,
                                 act[1].name ? " " : "");
    }
    assert(used < size);
    return text;
}

dp_status dp_layer_parse(const dp_kernels *set, const char *word, int index, dp_shape in,
                         dp_layer *out) {
    char name[32] = "", known[256];
    if (word[strcspn(word, ",;")] != '\0') {
        return dp_fail(
            DP_EUSAGE,
            "model.layers: '%s': blanks alone separate layers, as in: dense:512 "
            "relu dense:10",
            word);
    }
    const char *colon = strchr(word, ':');
    int length = colon ? (int)(colon - word) : (int)strlen(word);
    snprintf(name, sizeof name, "%.*s", length, word);
    const dp_act *act = dp_act_find(set, name);
    const dp_layer_kind *kind = find(name, act);
    if (!kind) {
        for (char *c = name; *c; c++) {
            *c = (char)tolower((unsigned char)*c);
        }
        bool capital = find(name, dp_act_find(set, name)) != NULL;
        return dp_fail(DP_EUSAGE,
                       "model.layers: unknown layer '%.*s'; %s%s%sthere are: %s", length,
                       word, capital ? "did you mean " : "", capital ? name : "",
                       capital ? "? " : "", usage(set, known, sizeof known));
    }
    *out = (dp_layer){.kind = kind, .index = index, .in = in, .act = act};
    out->name = act ? act->name : kind->name;
    return kind->shape(out, colon ? colon + 1 : NULL);
}
