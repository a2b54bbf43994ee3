/* The tables of metrics.h5 and of checkpoints: their names, columns and types. */
#include "files_impl.h"
#include <stdio.h>

#define I64(row, field)                                                                  \
    { #field, true, offsetof(row, field) }
#define F64(row, field)                                                                  \
    { #field, false, offsetof(row, field) }

static const dp_h5_column step_columns[] = {
    I64(dp_step_row, step),    I64(dp_step_row, epoch),
    I64(dp_step_row, samples), F64(dp_step_row, loss),
    F64(dp_step_row, lr),      F64(dp_step_row, grad_norm),
    F64(dp_step_row, seconds), F64(dp_step_row, comm_seconds),
};

/* The last four are those of regression. */
static const dp_h5_column epoch_columns[] = {
    I64(dp_epoch_row, epoch),      I64(dp_epoch_row, step),
    F64(dp_epoch_row, train_loss), F64(dp_epoch_row, train_accuracy),
    F64(dp_epoch_row, val_loss),   F64(dp_epoch_row, val_accuracy),
    F64(dp_epoch_row, test_loss),  F64(dp_epoch_row, test_accuracy),
    F64(dp_epoch_row, seconds),    F64(dp_epoch_row, samples_per_second),
    F64(dp_epoch_row, val_r2),     F64(dp_epoch_row, val_mae),
    F64(dp_epoch_row, test_r2),    F64(dp_epoch_row, test_mae),
};

static const dp_h5_column profile_columns[] = {
    I64(dp_profile_row, epoch),
    F64(dp_profile_row, data_seconds),
    F64(dp_profile_row, forward_seconds),
    F64(dp_profile_row, backward_seconds),
    F64(dp_profile_row, reduce_seconds),
    F64(dp_profile_row, update_seconds),
    F64(dp_profile_row, idle_seconds),
    F64(dp_profile_row, compute_min_seconds),
    F64(dp_profile_row, compute_mean_seconds),
    F64(dp_profile_row, compute_max_seconds),
    F64(dp_profile_row, wait_min_seconds),
    F64(dp_profile_row, wait_mean_seconds),
    F64(dp_profile_row, wait_max_seconds),
    F64(dp_profile_row, flops_per_second),
    F64(dp_profile_row, skipped_flops_per_second),
};

const dp_table dp_tables[] = {
    [DP_STEPS] = {"/steps", step_columns, {8, 8}, sizeof(dp_step_row)},
    [DP_EPOCHS] = {"/epochs", epoch_columns, {10, 14}, sizeof(dp_epoch_row)},
    [DP_PROFILE] = {"/profile", profile_columns, {15, 15}, sizeof(dp_profile_row)},
};

enum { NAME = 64 };

dp_status dp_table_put(dp_h5 *file, const char *group, int table, bool regression,
                       int64_t n, const void *rows) {
    const dp_table *t = &dp_tables[table];
    char name[NAME];
    snprintf(name, sizeof name, "%s%s", group, t->name);
    return dp_h5_put_table(file, name, t->ncolumns[regression], t->columns, t->size, n,
                           rows);
}

dp_status dp_table_get(dp_h5 *file, const char *group, int table, int64_t *n,
                       void **rows) {
    const dp_table *t = &dp_tables[table];
    char name[NAME];
    snprintf(name, sizeof name, "%s%s", group, t->name);
    return dp_h5_get_table(file, name, t->ncolumns[true], t->columns, t->size, n, rows);
}
