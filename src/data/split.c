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

dp_status dp_split(const dp_config *config, dp_dataset *data) {
    int64_t limit = config->data.limit;
    if (limit > 0 && limit < data->train.n) {
        data->train.n = (int)limit;
    }
    int n = data->train.n, held = 0;
    DP_TRY(validation_count(config->data.validation, n, &held));
    DP_TRY(
        dp_memory_alloc((size_t)n, sizeof *data->train_row, (void **)&data->train_row));
    DP_TRY(dp_memory_alloc((size_t)held, sizeof *data->val_row, (void **)&data->val_row));
    if (held > 0) {
        int32_t *order = data->train_row;
        dp_rng_permutation(config->run.seed, DP_FOR_SPLIT, 0, n, order);
        memcpy(data->val_row, order, (size_t)held * sizeof *order);
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
