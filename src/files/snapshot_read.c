/* Reading a checkpoint file into a snapshot. */
#include "base/memory.h"
#include "snapshot.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSOR_ALIGN = 16 }; /* floats; as dp_tensor.offset */

static dp_status wrong(const char *path, const char *what) {
    return dp_fail(DP_EFILE, "%s: %s", path, what);
}

static dp_status get_field(dp_h5 *f, const char *path, const dp_field *e,
                           dp_snapshot *s) {
    void *p = (char *)s + e->offset;
    if (e->kind == DP_IS_TEXT) {
        return dp_h5_get_attr_text(f, e->group, e->name, p, e->size);
    }
    if (e->kind == DP_IS_REAL) {
        return dp_h5_get_attr_f64(f, e->group, e->name, p);
    }
    int64_t v = 0;
    dp_status status = dp_h5_get_attr_i64(f, e->group, e->name, &v);
    int64_t max = e->kind == DP_IS_INT ? INT_MAX : e->kind == DP_IS_FLAG ? 1 : INT64_MAX;
    if (status == DP_OK && e->kind != DP_IS_SEED && (v < 0 || v > max)) {
        status = dp_fail(DP_EFILE, "%s: %s: %s = %lld is impossible", path, e->group,
                         e->name, (long long)v);
    }
    if (status != DP_OK) {
        return status;
    }
    if (e->kind == DP_IS_INT) {
        *(int *)p = (int)v;
    } else if (e->kind == DP_IS_FLAG) {
        *(bool *)p = v != 0;
    } else {
        *(int64_t *)p = v;
    }
    return DP_OK;
}

static dp_status get_root(dp_h5 *f, const char *path, dp_snapshot *s) {
    char format[64] = "";
    int64_t version = 0;
    dp_status status = dp_h5_get_attr_text(f, "/", "format", format, sizeof format);
    if (status == DP_OK && strcmp(format, DP_FORMAT) != 0) {
        return wrong(path, "is not a checkpoint: it has another format");
    }
    status = status ? status : dp_h5_get_attr_i64(f, "/", "version", &version);
    if (status == DP_OK && version != DP_FORMAT_VERSION) {
        return dp_fail(DP_EFILE,
                       "%s: has checkpoint format %lld (version), this trainer reads "
                       "format %d: use the trainer that wrote it",
                       path, (long long)version, DP_FORMAT_VERSION);
    }
    status = status
                 ? status
                 : dp_h5_get_attr_text(f, "/", "created", s->created, sizeof s->created);
    return status ? status : dp_h5_get_text(f, "/config", &s->config);
}

/* One tensor's shape; its offset comes after the tensors before it. */
static dp_status get_tensor(dp_h5 *f, const char *path, const char *name, size_t offset,
                            dp_tensor *t) {
    char full[DP_NAME];
    int64_t dims[8] = {0};
    dp_h5_type type = DP_H5_F32;
    if (strlen(name) >= sizeof t->name || strlen(name) == 0) {
        return wrong(path, "/model: impossible parameter name");
    }
    snprintf(full, sizeof full, "/model/%s", name);
    dp_status status = dp_h5_shape(f, full, &type, &t->ndim, dims);
    if (status != DP_OK) {
        return status;
    }
    strcpy(t->name, name);
    t->offset = offset;
    t->count = 1;
    bool good = t->ndim >= 1 && t->ndim <= DP_DIMS;
    for (int i = 0; i < t->ndim && good; i++) {
        good = dims[i] >= 1 && dims[i] <= INT_MAX;
        t->dim[i] = (int)dims[i];
        t->count *= (size_t)dims[i];
    }
    return good ? DP_OK : dp_fail(DP_EFILE, "%s: %s has an impossible shape", path, full);
}

/* Names and shapes; *floats: the length of a slab that holds them all. */
static dp_status get_tensors(dp_h5 *f, const char *path, dp_snapshot *s, size_t *floats) {
    char **name = NULL;
    dp_status status =
        dp_h5_get_attr_texts(f, "/model", "parameters", &s->ntensors, &name);
    if (status != DP_OK) {
        return status;
    }
    void *tensors = NULL;
    status = dp_memory_alloc((size_t)s->ntensors, sizeof(dp_tensor), &tensors);
    s->tensors = tensors;
    *floats = 0;
    for (int i = 0; i < s->ntensors && status == DP_OK; i++) {
        status = get_tensor(f, path, name[i], *floats, &s->tensors[i]);
        *floats += (s->tensors[i].count + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    }
    free(name);
    return status;
}

/* A dataset for each tensor; of any type of numbers, as other programs write them. */
static dp_status get_slab(dp_h5 *f, const char *path, const char *group,
                          const dp_snapshot *s, size_t floats, float **out) {
    void *slab = NULL;
    dp_status status = dp_memory_alloc(floats, sizeof(float), &slab);
    *out = slab;
    for (int i = 0; i < s->ntensors && status == DP_OK; i++) {
        const dp_tensor *t = &s->tensors[i];
        char name[DP_NAME];
        snprintf(name, sizeof name, "%s/%s", group, t->name);
        int64_t dims[8] = {0};
        dp_h5_type type;
        int ndim = 0;
        status = dp_h5_shape(f, name, &type, &ndim, dims);
        if (status == DP_OK && (ndim != t->ndim || dims[0] != t->dim[0] ||
                                (ndim == 2 && dims[1] != t->dim[1]))) {
            status = dp_fail(DP_EFILE, "%s: %s has another shape than /model/%s", path,
                             name, t->name);
        }
        status = status
                     ? status
                     : dp_h5_get(f, name, DP_H5_F32, (int64_t)t->count, *out + t->offset);
    }
    return status;
}

/* All column names, and how many of them, at the end, are targets. */
static dp_status get_columns(dp_h5 *f, const char *path, dp_snapshot *s) {
    char **targets = NULL;
    dp_status status =
        dp_h5_get_attr_texts(f, "/model", "columns", &s->ncolumns, &s->columns);
    status = status
                 ? status
                 : dp_h5_get_attr_texts(f, "/model", "targets", &s->ntargets, &targets);
    if (status == DP_OK && s->ntargets > s->ncolumns) {
        status = wrong(path, "/model: more targets than columns");
    }
    for (int i = 0; status == DP_OK && i < s->ntargets; i++) {
        if (strcmp(targets[i], s->columns[s->ncolumns - s->ntargets + i]) != 0) {
            status = wrong(path, "/model: targets are not the last of its columns");
        }
    }
    free(targets);
    return status;
}

static dp_status get_model(dp_h5 *f, const char *path, dp_snapshot *s, size_t *floats) {
    double shape[4] = {0};
    dp_status status = get_tensors(f, path, s, floats);
    status = status ? status : get_slab(f, path, "/model", s, *floats, &s->params);
    status = status
                 ? status
                 : dp_h5_get_attr_f64s(f, "/model", "input_shape", 4, shape, &s->nshape);
    if (status == DP_OK && (s->nshape < 1 || s->nshape > 4)) {
        status = wrong(path, "/model: input_shape has an impossible length");
    }
    for (int i = 0; i < s->nshape && status == DP_OK; i++) {
        if (!(shape[i] >= 1 && shape[i] <= INT_MAX) || shape[i] != floor(shape[i])) {
            status = wrong(path, "/model: input_shape is impossible");
        } else {
            s->shape[i] = (int)shape[i];
        }
    }
    status =
        status ? status
               : dp_h5_get_attr_texts(f, "/model", "classes", &s->nclasses, &s->classes);
    return status ? status : get_columns(f, path, s);
}

static dp_status get_optimizer(dp_h5 *f, const char *path, dp_snapshot *s,
                               size_t floats) {
    char **name = NULL;
    int n = 0;
    dp_status status = dp_h5_get_attr_texts(f, "/optimizer", "slots", &n, &name);
    if (status != DP_OK) {
        return status;
    }
    if (n > DP_SLOTS) {
        status = wrong(path, "/optimizer: too many slots");
    }
    for (int k = 0; k < n && status == DP_OK; k++) {
        char group[DP_NAME];
        if (strlen(name[k]) >= sizeof s->slot_name[k]) {
            status = wrong(path, "/optimizer: impossible slot name");
            break;
        }
        strcpy(s->slot_name[k], name[k]);
        snprintf(group, sizeof group, "/optimizer/%s", s->slot_name[k]);
        s->nslots = k + 1;
        status = get_slab(f, path, group, s, floats, &s->slot[k]);
    }
    free(name);
    return status;
}

static dp_status get_statistics(dp_h5 *f, const char *path, dp_snapshot *s) {
    double none = 0;
    int nstd = 0;
    dp_status status = dp_h5_get_attr_f64s(f, "/data", "mean", 0, &none, &s->nmean);
    status = status ? status : dp_h5_get_attr_f64s(f, "/data", "std", 0, &none, &nstd);
    if (status == DP_OK && nstd != s->nmean) {
        status = wrong(path, "/data: mean and std differ in length");
    }
    if (status != DP_OK) {
        return status;
    }
    s->mean = dp_alloc((size_t)s->nmean, sizeof *s->mean);
    s->std = dp_alloc((size_t)s->nmean, sizeof *s->std);
    status = dp_h5_get_attr_f64s(f, "/data", "mean", s->nmean, s->mean, &nstd);
    return status ? status
                  : dp_h5_get_attr_f64s(f, "/data", "std", s->nmean, s->std, &nstd);
}

static dp_status get_table(dp_h5 *f, const char *name, int ncolumns,
                           const dp_h5_column *columns, size_t size, int64_t *n,
                           void *rows) {
    void *found = NULL;
    dp_status status = dp_h5_get_table(f, name, ncolumns, columns, size, n, &found);
    memcpy(rows, &found, sizeof found);
    return status;
}

static dp_status get_rows(dp_h5 *f, dp_rows *r) {
    dp_status status = get_table(f, "/metrics/epochs", DP_EPOCH_ALL, dp_epoch_columns,
                                 sizeof *r->epochs, &r->nepochs, &r->epochs);
    if (status == DP_OK && dp_h5_has(f, "/metrics/steps")) {
        status = get_table(f, "/metrics/steps", DP_STEP_COLUMNS, dp_step_columns,
                           sizeof *r->steps, &r->nsteps, &r->steps);
    }
    if (status == DP_OK && dp_h5_has(f, "/metrics/profile")) {
        status = get_table(f, "/metrics/profile", DP_PROFILE_COLUMNS, dp_profile_columns,
                           sizeof *r->profiles, &r->nprofiles, &r->profiles);
    }
    return status;
}

static dp_status get_rest(dp_h5 *f, const char *path, dp_snapshot *s) {
    dp_status status = get_statistics(f, path, s);
    for (int i = 0; i < DP_FIELDS && status == DP_OK; i++) {
        status = get_field(f, path, &dp_fields[i], s);
    }
    int64_t step = 0; /* it is there twice */
    status = status ? status : dp_h5_get_attr_i64(f, "/optimizer", "step", &step);
    if (status == DP_OK && step != s->step) {
        status = dp_fail(DP_EFILE, "%s: /optimizer: step = %lld, but /state: step = %lld",
                         path, (long long)step, (long long)s->step);
    }
    return status ? status : get_rows(f, &s->rows);
}

dp_status dp_checkpoint_read(const char *path, dp_checkpoint_check *check,
                             dp_snapshot **out) {
    dp_h5 *f = NULL;
    dp_status status = dp_h5_open(path, &f);
    if (status != DP_OK) {
        return status;
    }
    size_t floats = 0;
    dp_snapshot *s = dp_alloc(1, sizeof *s);
    status = get_root(f, path, s);
    status = status ? status : get_model(f, path, s, &floats);
    status = status ? status : get_optimizer(f, path, s, floats);
    status = status ? status : get_rest(f, path, s);
    status = status ? status : check(path, s);
    if (status == DP_OK) {
        dp_h5_note(f);
    }
    dp_h5_close(&f);
    if (status != DP_OK) {
        dp_snapshot_destroy(&s);
        return status;
    }
    *out = s;
    return DP_OK;
}

void dp_snapshot_destroy(dp_snapshot **snapshot) {
    dp_snapshot *s = *snapshot;
    if (s == NULL) {
        return;
    }
    dp_memory_free(&s->tensors);
    dp_memory_free(&s->params);
    for (int k = 0; k < DP_SLOTS; k++) {
        dp_memory_free(&s->slot[k]);
    }
    free(s->config);
    free(s->classes);
    free(s->columns);
    free(s->mean);
    free(s->std);
    free(s->rows.epochs);
    free(s->rows.steps);
    free(s->rows.profiles);
    free(s);
    *snapshot = NULL;
}
