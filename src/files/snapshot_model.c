/* The model and the optimizer in a checkpoint: what writes them beside what reads them. */
#include "base/memory.h"
#include "files_impl.h"
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 128, GROUP = 64, MAX_TENSORS = 512 };
enum { TENSOR_ALIGN = 16 }; /* floats; as dp_tensor.offset */

/* ---- tensors ---- */

/* Every tensor of `slab` as a dataset of its own in `group`. */
static dp_status put_slab(dp_h5 *f, const char *group, const dp_snapshot *s,
                          const float *slab) {
    DP_TRY(dp_h5_group(f, group));
    for (int i = 0; i < s->ntensors; i++) {
        const dp_tensor *t = &s->tensors[i];
        char name[NAME];
        snprintf(name, sizeof name, "%s/%s", group, t->name);
        int64_t dims[DP_DIMS] = {0};
        for (int d = 0; d < t->ndim; d++) {
            dims[d] = t->dim[d];
        }
        DP_TRY(dp_h5_put(f, name, DP_H5_F32, t->ndim, dims, slab + t->offset));
    }
    return DP_OK;
}

/* The names of the tensors in their order: a group lists them by the alphabet. */
static dp_status put_names(dp_h5 *f, const dp_snapshot *s) {
    const char *name[MAX_TENSORS];
    assert(s->ntensors <= MAX_TENSORS);
    for (int i = 0; i < s->ntensors; i++) {
        name[i] = s->tensors[i].name;
    }
    return dp_h5_put_attr(f, "/model", "parameters", DP_H5_TEXT, s->ntensors, name);
}

/* The shape of a dataset. */
static dp_status get_shape(dp_h5 *f, const char *name, dp_tensor *t) {
    int64_t dims[8] = {0};
    dp_h5_type type;
    DP_TRY(dp_h5_shape(f, name, &type, &t->ndim, dims));
    t->count = 1;
    bool good = t->ndim >= 1 && t->ndim <= DP_DIMS;
    for (int i = 0; i < t->ndim && good; i++) {
        good = dims[i] >= 1 && dims[i] <= INT_MAX;
        t->dim[i] = (int)dims[i];
        t->count *= (size_t)dims[i];
    }
    return good ? DP_OK : dp_h5_wrong(f, "%s has an impossible shape", name);
}

/* Of tensors with these names; *floats: the length of a slab that holds them all. */
static dp_status get_shapes(dp_h5 *f, dp_snapshot *s, char *const *name, size_t *floats) {
    void *tensors = NULL;
    DP_TRY(dp_memory_alloc((size_t)s->ntensors, sizeof(dp_tensor), &tensors));
    s->tensors = tensors;
    for (int i = 0; i < s->ntensors; i++) {
        dp_tensor *t = &s->tensors[i];
        char full[NAME];
        if (strlen(name[i]) >= sizeof t->name || strlen(name[i]) == 0) {
            return dp_h5_wrong(f, "/model: impossible parameter name");
        }
        snprintf(full, sizeof full, "/model/%s", name[i]);
        DP_TRY(get_shape(f, full, t));
        strcpy(t->name, name[i]);
        t->offset = *floats;
        *floats += (t->count + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    }
    return DP_OK;
}

static dp_status get_tensors(dp_h5 *f, dp_snapshot *s, size_t *floats) {
    char **name = NULL;
    DP_TRY(dp_h5_get_attr(f, "/model", "parameters", DP_H5_TEXT, &s->ntensors, &name));
    dp_status status = get_shapes(f, s, name, floats);
    free(name);
    return status;
}

/* A dataset for each tensor; of any type of numbers, as other programs write them. */
static dp_status get_slab(dp_h5 *f, const char *group, const dp_snapshot *s,
                          size_t floats, float **out) {
    void *slab = NULL;
    DP_TRY(dp_memory_alloc(floats, sizeof(float), &slab));
    *out = slab;
    for (int i = 0; i < s->ntensors; i++) {
        const dp_tensor *t = &s->tensors[i];
        dp_tensor has = {0};
        char name[NAME];
        snprintf(name, sizeof name, "%s/%s", group, t->name);
        DP_TRY(get_shape(f, name, &has));
        if (!dp_tensor_same_shape(&has, t)) {
            return dp_h5_wrong(f, "%s has another shape than /model/%s", name, t->name);
        }
        DP_TRY(dp_h5_get(f, name, DP_H5_F32, (int64_t)t->count, *out + t->offset));
    }
    return DP_OK;
}

/* ---- the model ---- */

static dp_status put_model(dp_h5 *f, const dp_snapshot *s) {
    int64_t shape[4] = {0};
    for (int i = 0; i < s->nshape; i++) {
        shape[i] = s->shape[i];
    }
    DP_TRY(put_slab(f, "/model", s, s->params));
    DP_TRY(put_names(f, s));
    DP_TRY(dp_h5_put_attr(f, "/model", "input_shape", DP_H5_I64, s->nshape, shape));
    DP_TRY(dp_h5_put_attr(f, "/model", "classes", DP_H5_TEXT, s->nclasses, s->classes));
    DP_TRY(dp_h5_put_attr(f, "/model", "columns", DP_H5_TEXT, s->ncolumns, s->columns));
    return dp_h5_put_attr(f, "/model", "targets", DP_H5_TEXT, s->ntargets,
                          s->columns + s->ncolumns - s->ntargets);
}

static dp_status check_targets(const dp_h5 *f, const dp_snapshot *s,
                               char *const *targets) {
    if (s->ntargets > s->ncolumns) {
        return dp_h5_wrong(f, "/model: more targets than columns");
    }
    for (int i = 0; i < s->ntargets; i++) {
        if (strcmp(targets[i], s->columns[s->ncolumns - s->ntargets + i]) != 0) {
            return dp_h5_wrong(f, "/model: targets are not the last of its columns");
        }
    }
    return DP_OK;
}

/* Numbers of any type, as other programs write them. */
static dp_status check_input(const dp_h5 *f, dp_snapshot *s, const double *shape) {
    if (s->nshape < 1 || s->nshape > 4) {
        return dp_h5_wrong(f, "/model: input_shape has an impossible length");
    }
    for (int i = 0; i < s->nshape; i++) {
        if (!(shape[i] >= 1 && shape[i] <= INT_MAX) || shape[i] != floor(shape[i])) {
            return dp_h5_wrong(f, "/model: input_shape is impossible");
        }
        s->shape[i] = (int)shape[i];
    }
    return DP_OK;
}

static dp_status get_model(dp_h5 *f, dp_snapshot *s, size_t *floats) {
    double *shape = NULL;
    char **targets = NULL;
    DP_TRY(get_tensors(f, s, floats));
    DP_TRY(get_slab(f, "/model", s, *floats, &s->params));
    DP_TRY(dp_h5_get_attr(f, "/model", "input_shape", DP_H5_F64, &s->nshape, &shape));
    dp_status status = check_input(f, s, shape);
    free(shape);
    DP_TRY(status);
    DP_TRY(dp_h5_get_attr(f, "/model", "classes", DP_H5_TEXT, &s->nclasses, &s->classes));
    DP_TRY(dp_h5_get_attr(f, "/model", "columns", DP_H5_TEXT, &s->ncolumns, &s->columns));
    DP_TRY(dp_h5_get_attr(f, "/model", "targets", DP_H5_TEXT, &s->ntargets, &targets));
    status = check_targets(f, s, targets);
    free(targets);
    return status;
}

/* ---- the optimizer ---- */

static dp_status put_optimizer(dp_h5 *f, const dp_snapshot *s) {
    const char *slots[DP_SLOTS];
    DP_TRY(dp_h5_group(f, "/optimizer"));
    for (int k = 0; k < s->nslots; k++) {
        char group[GROUP];
        slots[k] = s->slot_name[k];
        snprintf(group, sizeof group, "/optimizer/%s", s->slot_name[k]);
        DP_TRY(put_slab(f, group, s, s->slot[k]));
    }
    return dp_h5_put_attr(f, "/optimizer", "slots", DP_H5_TEXT, s->nslots, slots);
}

static dp_status get_slots(dp_h5 *f, dp_snapshot *s, char *const *name, size_t floats) {
    if (s->nslots > DP_SLOTS) {
        return dp_h5_wrong(f, "/optimizer: too many slots");
    }
    for (int k = 0; k < s->nslots; k++) {
        char group[GROUP];
        if (strlen(name[k]) >= sizeof s->slot_name[k]) {
            return dp_h5_wrong(f, "/optimizer: impossible slot name");
        }
        strcpy(s->slot_name[k], name[k]);
        snprintf(group, sizeof group, "/optimizer/%s", s->slot_name[k]);
        DP_TRY(get_slab(f, group, s, floats, &s->slot[k]));
    }
    return DP_OK;
}

static dp_status get_optimizer(dp_h5 *f, dp_snapshot *s, size_t floats) {
    char **name = NULL;
    DP_TRY(dp_h5_get_attr(f, "/optimizer", "slots", DP_H5_TEXT, &s->nslots, &name));
    dp_status status = get_slots(f, s, name, floats);
    free(name);
    return status;
}

/* ---- both ---- */

dp_status dp_snapshot_put_model(dp_h5 *f, const dp_snapshot *s) {
    DP_TRY(put_model(f, s));
    return put_optimizer(f, s);
}

dp_status dp_snapshot_get_model(dp_h5 *f, dp_snapshot *s) {
    size_t floats = 0;
    DP_TRY(get_model(f, s, &floats));
    return get_optimizer(f, s, floats);
}
