/* Building a checkpoint file from a snapshot. */
#include "snapshot.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_TENSORS = 512 };

#define FIELD(kind, group, name, member)                                                 \
    {                                                                                    \
        kind, group, name, offsetof(dp_snapshot, member),                                \
            sizeof(((dp_snapshot *)0)->member)                                           \
    }

const dp_field dp_fields[] = {
    FIELD(DP_IS_TEXT, "/", "program", program),
    FIELD(DP_IS_TEXT, "/", "commit", commit),
    FIELD(DP_IS_INT, "/", "ranks", ranks),
    FIELD(DP_IS_INT, "/", "threads", threads),
    FIELD(DP_IS_TEXT, "/model", "layers", layers),
    FIELD(DP_IS_TEXT, "/model", "loss", loss),
    FIELD(DP_IS_TEXT, "/optimizer", "name", optimizer),
    FIELD(DP_IS_COUNT, "/optimizer", "step", step),
    FIELD(DP_IS_REAL, "/optimizer", "lr", lr),
    FIELD(DP_IS_TEXT, "/data", "normalize", normalize),
    FIELD(DP_IS_FLAG, "/data", "bytes", bytes),
    FIELD(DP_IS_TEXT, "/data", "fingerprint", fingerprint),
    FIELD(DP_IS_COUNT, "/data", "train_samples", train_samples),
    FIELD(DP_IS_COUNT, "/data", "val_samples", val_samples),
    FIELD(DP_IS_COUNT, "/data", "test_samples", test_samples),
    FIELD(DP_IS_COUNT, "/state", "epoch", epoch),
    FIELD(DP_IS_COUNT, "/state", "step", step),
    FIELD(DP_IS_COUNT, "/state", "position", position),
    FIELD(DP_IS_REAL, "/state", "loss_sum", loss_sum),
    FIELD(DP_IS_COUNT, "/state", "samples", samples),
    FIELD(DP_IS_SEED, "/state", "seed", seed),
    FIELD(DP_IS_REAL, "/state", "best", best),
    FIELD(DP_IS_COUNT, "/state", "best_step", best_step),
    FIELD(DP_IS_COUNT, "/state", "patience", patience),
    FIELD(DP_IS_FLAG, "/metrics", "regression", regression),
};

const dp_h5_column dp_epoch_columns[] = {
    DP_I64(dp_epoch_row, epoch),
    DP_I64(dp_epoch_row, step),
    DP_F64(dp_epoch_row, train_loss),
    DP_F64(dp_epoch_row, val_loss),
    DP_F64(dp_epoch_row, val_accuracy),
    DP_F64(dp_epoch_row, test_loss),
    DP_F64(dp_epoch_row, test_accuracy),
    DP_F64(dp_epoch_row, seconds),
    DP_F64(dp_epoch_row, samples_per_second),
    DP_F64(dp_epoch_row, val_r2),
    DP_F64(dp_epoch_row, val_mae),
    DP_F64(dp_epoch_row, test_r2),
    DP_F64(dp_epoch_row, test_mae),
};

static dp_status put_field(dp_h5 *f, const dp_field *e, const dp_snapshot *s) {
    const void *p = (const char *)s + e->offset;
    switch (e->kind) {
    case DP_IS_TEXT:
        return dp_h5_attr_text(f, e->group, e->name, p);
    case DP_IS_REAL:
        return dp_h5_attr_f64(f, e->group, e->name, *(const double *)p);
    case DP_IS_INT:
        return dp_h5_attr_i64(f, e->group, e->name, *(const int *)p);
    case DP_IS_FLAG:
        return dp_h5_attr_i64(f, e->group, e->name, *(const bool *)p);
    default:
        return dp_h5_attr_i64(f, e->group, e->name, *(const int64_t *)p);
    }
}

static dp_status put_root(dp_h5 *f, const dp_snapshot *s) {
    char created[40] = "";
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    dp_status status = dp_h5_attr_text(f, "/", "format", DP_FORMAT);
    status = status ? status : dp_h5_attr_i64(f, "/", "version", DP_FORMAT_VERSION);
    status = status ? status : dp_h5_attr_text(f, "/", "created", created);
    return status ? status : dp_h5_put_text(f, "/config", s->config);
}

/* Every tensor of `slab` as a dataset of its own in `group`. */
static dp_status put_slab(dp_h5 *f, const char *group, const dp_snapshot *s,
                          const float *slab) {
    dp_status status = dp_h5_group(f, group);
    for (int i = 0; i < s->ntensors && status == DP_OK; i++) {
        const dp_tensor *t = &s->tensors[i];
        char name[DP_NAME];
        snprintf(name, sizeof name, "%s/%s", group, t->name);
        int64_t dims[DP_DIMS] = {0};
        for (int d = 0; d < t->ndim; d++) {
            dims[d] = t->dim[d];
        }
        status = dp_h5_put(f, name, DP_H5_F32, t->ndim, dims, slab + t->offset);
    }
    return status;
}

/* The names of the tensors in their order: a group lists them by the alphabet. */
static dp_status put_names(dp_h5 *f, const dp_snapshot *s) {
    const char *name[MAX_TENSORS];
    assert(s->ntensors <= MAX_TENSORS);
    for (int i = 0; i < s->ntensors; i++) {
        name[i] = s->tensors[i].name;
    }
    return dp_h5_attr_texts(f, "/model", "parameters", s->ntensors, name);
}

static dp_status put_model(dp_h5 *f, const dp_snapshot *s) {
    int64_t shape[4] = {0};
    for (int i = 0; i < s->nshape; i++) {
        shape[i] = s->shape[i];
    }
    const char *const *classes = (const char *const *)s->classes;
    const char *const *columns = (const char *const *)s->columns;
    dp_status status = put_slab(f, "/model", s, s->params);
    status = status ? status : put_names(f, s);
    status =
        status ? status : dp_h5_attr_i64s(f, "/model", "input_shape", s->nshape, shape);
    status =
        status ? status : dp_h5_attr_texts(f, "/model", "classes", s->nclasses, classes);
    status =
        status ? status : dp_h5_attr_texts(f, "/model", "columns", s->ncolumns, columns);
    columns += s->ncolumns - s->ntargets;
    return status ? status
                  : dp_h5_attr_texts(f, "/model", "targets", s->ntargets, columns);
}

static dp_status put_optimizer(dp_h5 *f, const dp_snapshot *s) {
    const char *slots[DP_SLOTS];
    dp_status status = dp_h5_group(f, "/optimizer");
    for (int k = 0; k < s->nslots && status == DP_OK; k++) {
        char group[DP_NAME];
        slots[k] = s->slot_name[k];
        snprintf(group, sizeof group, "/optimizer/%s", s->slot_name[k]);
        status = put_slab(f, group, s, s->slot[k]);
    }
    return status ? status : dp_h5_attr_texts(f, "/optimizer", "slots", s->nslots, slots);
}

/* /metrics/epochs is there even if it is empty; the others only with rows. */
static dp_status put_rows(dp_h5 *f, const dp_snapshot *s) {
    const dp_rows *r = &s->rows;
    int ncolumns = s->regression ? DP_EPOCH_ALL : DP_EPOCH_PLAIN;
    dp_status status = dp_h5_put_table(f, "/metrics/epochs", ncolumns, dp_epoch_columns,
                                       sizeof *r->epochs, r->nepochs, r->epochs);
    if (status == DP_OK && r->nsteps > 0) {
        status = dp_h5_put_table(f, "/metrics/steps", DP_STEP_COLUMNS, dp_step_columns,
                                 sizeof *r->steps, r->nsteps, r->steps);
    }
    if (status == DP_OK && r->nprofiles > 0) {
        status =
            dp_h5_put_table(f, "/metrics/profile", DP_PROFILE_COLUMNS, dp_profile_columns,
                            sizeof *r->profiles, r->nprofiles, r->profiles);
    }
    return status;
}

static dp_status put_rest(dp_h5 *f, const dp_snapshot *s) {
    dp_status status = dp_h5_group(f, "/data");
    status = status ? status : dp_h5_attr_f64s(f, "/data", "mean", s->nmean, s->mean);
    status = status ? status : dp_h5_attr_f64s(f, "/data", "std", s->nmean, s->std);
    status = status ? status : dp_h5_group(f, "/state");
    status = status ? status : put_rows(f, s);
    for (int i = 0; i < DP_FIELDS && status == DP_OK; i++) {
        status = put_field(f, &dp_fields[i], s);
    }
    return status;
}

dp_status dp_snapshot_build(const char *path, const dp_snapshot *s, dp_h5 **out) {
    dp_h5 *f = NULL;
    dp_status status = dp_h5_create(path, &f);
    status = status ? status : put_root(f, s);
    status = status ? status : put_model(f, s);
    status = status ? status : put_optimizer(f, s);
    status = status ? status : put_rest(f, s);
    status = status ? status : dp_h5_finish(f);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    *out = f;
    return DP_OK;
}
