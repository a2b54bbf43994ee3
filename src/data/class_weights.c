/* data.class_weights: how much a sample of each class counts in training. */
#include "class_weights.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As scikit-learn's "balanced": every class counts as much as any other in all. */
static void balance(const dp_dataset *data, int classes, float *weight) {
    int *count = dp_alloc((size_t)classes, sizeof *count);
    for (int i = 0; i < data->train_n; i++) {
        count[dp_table_class(&data->train, data->train_row[i])]++;
    }
    for (int c = 0; c < classes; c++) {
        double all = (double)classes * count[c];
        weight[c] = count[c] > 0 ? (float)(data->train_n / all) : 0.0F;
    }
    free(count);
}

/* "1 2.5" or "1, 2.5" */
static dp_status read_list(const char *text, int classes, float *weight) {
    int n = 0;
    bool positive = false;
    for (const char *p = text + strspn(text, " ,\t"); *p; p += strspn(p, " ,\t")) {
        char *end = NULL;
        float w = strtof(p, &end);
        if (end == p || (*end && !strchr(" ,\t", *end)) || !isfinite(w) || w < 0) {
            return dp_fail(DP_EUSAGE,
                           "data.class_weights = %s: none, balanced, or a number from 0 "
                           "for each class",
                           text);
        }
        if (n < classes) {
            weight[n] = w;
        }
        positive = positive || w > 0;
        n++;
        p = end;
    }
    if (n != classes) {
        return dp_fail(DP_EUSAGE, "data.class_weights has %d numbers for %d classes", n,
                       classes);
    }
    return positive ? DP_OK : dp_fail(DP_EUSAGE, "data.class_weights: all of them are 0");
}

dp_status dp_class_weights_take(const dp_config *config, dp_dataset *data) {
    const char *text = config->data.class_weights;
    if (strcmp(text, "none") == 0) {
        return DP_OK;
    }
    bool two = strcmp(config->loss.name, "bce") == 0;
    if (data->classes == 0 && !two) {
        return dp_fail(DP_EUSAGE,
                       "data.class_weights is for cross_entropy and bce, not for "
                       "loss.name = %s",
                       config->loss.name);
    }
    if (two && data->train.ntargets > 1) {
        return dp_fail(DP_EUSAGE,
                       "data.class_weights: a sample of %d targets is of no one class",
                       data->train.ntargets);
    }
    if (config->loss.label_smoothing > 0) {
        return dp_fail(DP_EUSAGE,
                       "data.class_weights and loss.label_smoothing don't go together: "
                       "set one of them");
    }
    int classes = two ? 2 : data->classes;
    DP_TRY(dp_memory_alloc((size_t)classes, sizeof *data->class_weight,
                           (void **)&data->class_weight));
    if (strcmp(text, "balanced") == 0) {
        balance(data, classes, data->class_weight);
        return DP_OK;
    }
    return read_list(text, classes, data->class_weight);
}
