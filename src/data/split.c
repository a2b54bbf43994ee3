/* The validation split. */
#include "split.h"
#include "base/memory.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How many of n samples are held out. */
static dp_status validation_count(double validation, int n, int *out) {
    double count = validation < 1 ? floor(validation * n) : validation;
    if (count != floor(count) || count < 0) {
        return dp_fail(DP_EUSAGE,
                       "data.validation = %g: a count of samples, or a fraction below 1",
                       validation);
    }
    if (validation > 0 && (count < 1 || count >= n)) {
        return dp_fail(DP_EUSAGE, "data.validation = %g of %d training samples %s",
                       validation, n,
                       count < 1 ? "holds out none" : "leaves none to train on");
    }
    *out = (int)count;
    return DP_OK;
}

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* How many samples of each class are held out: its share of `held`, rounded down, and the
 * largest remainders up. */
static void class_quotas(const dp_table *t, int held, int classes, int *quota) {
    int *count = dp_alloc((size_t)classes, sizeof *count), left = held;
    for (int i = 0; i < t->n; i++) {
        count[dp_table_class(t, i)]++;
    }
    for (int c = 0; c < classes; c++) {
        quota[c] = (int)((int64_t)held * count[c] / t->n);
        left -= quota[c];
    }
    for (; left > 0; left--) {
        int largest = 0;
        int64_t most = -1;
        for (int c = 0; c < classes; c++) {
            int64_t rest = (int64_t)held * count[c] - (int64_t)quota[c] * t->n;
            largest = rest > most ? c : largest;
            most = rest > most ? rest : most;
        }
        quota[largest]++;
    }
    free(count);
}

/* The first of order[0..n) that the quotas of their classes have room for. */
static void take_by_class(const dp_table *t, int held, int classes, const int32_t *order,
                          int32_t *out) {
    int *quota = dp_alloc((size_t)classes, sizeof *quota), n = 0;
    class_quotas(t, held, classes, quota);
    for (int i = 0; i < t->n; i++) {
        int c = dp_table_class(t, order[i]);
        if (quota[c] > 0) {
            quota[c]--;
            out[n++] = order[i];
        }
    }
    free(quota);
}

dp_status dp_split(const dp_config *config, dp_dataset *data) {
    int64_t limit = config->data.limit;
    if (limit > 0 && limit < data->train.n) {
        data->train.n = (int)limit;
    }
    int n = data->train.n, held = 0;
    DP_TRY(validation_count(config->data.validation, n, &held));
    bool of_one_class = data->classes > 0 || (strcmp(config->loss.name, "bce") == 0 &&
                                              data->train.ntargets == 1);
    if (config->data.stratify && held == 0) {
        return dp_fail(DP_EUSAGE, "data.stratify = true needs data.validation above 0");
    }
    if (config->data.stratify && !of_one_class) {
        return dp_fail(DP_EUSAGE,
                       "data.stratify needs samples of one class each, which "
                       "loss.name = %s with these targets has not",
                       config->loss.name);
    }
    DP_TRY(
        dp_memory_alloc((size_t)n, sizeof *data->train_row, (void **)&data->train_row));
    DP_TRY(dp_memory_alloc((size_t)held, sizeof *data->val_row, (void **)&data->val_row));
    if (held > 0) {
        int32_t *order = data->train_row;
        dp_rng_permutation(config->run.seed, DP_FOR_SPLIT, 0, n, order);
        if (config->data.stratify) {
            int classes = data->classes > 0 ? data->classes : 2;
            take_by_class(&data->train, held, classes, order, data->val_row);
        } else {
            memcpy(data->val_row, order, (size_t)held * sizeof *order);
        }
        qsort(data->val_row, (size_t)held, sizeof *data->val_row, ascending);
    }
    for (int i = 0; i < n; i++) {
        if (data->val_n < held && data->val_row[data->val_n] == i) {
            data->val_n++;
        } else {
            data->train_row[data->train_n++] = i;
        }
    }
    return DP_OK;
}
