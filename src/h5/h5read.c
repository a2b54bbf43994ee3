#include "base/memory.h"
#include "h5core.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIMS = 8 };

bool dp_h5_has(dp_h5 *file, const char *object) {
    char part[256];
    size_t length = strlen(object);
    if (length >= sizeof part) {
        return false;
    }
    /* H5Lexists fails where a parent is missing, so each is asked for in turn. */
    for (size_t n = 1; n <= length; n++) {
        if (n < length && object[n] != '/') {
            continue;
        }
        memcpy(part, object, n);
        part[n] = '\0';
        if (strcmp(part, "/") != 0 && H5Lexists(file->id, part, H5P_DEFAULT) <= 0) {
            return false;
        }
    }
    return strcmp(object, "/") == 0 ||
           H5Oexists_by_name(file->id, object, H5P_DEFAULT) > 0;
}

/* ---- datasets ---- */

/* An open dataset with its shape checked. */
typedef struct dataset {
    hid_t id, type;
    H5T_class_t class;
    int ndim;
    hsize_t dims[MOST_DIMS];
    uint64_t n; /* elements */
} dataset;

static void close_dataset(dataset *d) {
    H5Tclose(d->type);
    H5Dclose(d->id);
}

static bool read_shape(dp_h5 *file, dataset *d) {
    hid_t space = H5Dget_space(d->id);
    d->n = 1;
    d->ndim = H5Sget_simple_extent_ndims(space);
    bool good = H5Sget_simple_extent_type(space) != H5S_NULL && d->ndim >= 0 &&
                d->ndim <= MOST_DIMS &&
                H5Sget_simple_extent_dims(space, d->dims, NULL) == d->ndim;
    for (int i = 0; good && i < d->ndim; i++) {
        good = d->dims[i] <= INT64_MAX &&
               !__builtin_mul_overflow(d->n, (uint64_t)d->dims[i], &d->n);
    }
    H5Sclose(space);
    return good && dp_h5_plausible(file, d->n, H5Tget_size(d->type));
}

static dp_status open_dataset(dp_h5 *file, const char *name, dataset *d) {
    if (!dp_h5_has(file, name)) {
        return dp_fail(file->code, "%s: there is no %s in it", file->path, name);
    }
    d->id = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (d->id < 0) {
        return dp_h5_fail(file, "open dataset", name);
    }
    d->type = H5Dget_type(d->id);
    d->class = H5Tget_class(d->type);
    if (!read_shape(file, d)) {
        close_dataset(d);
        return dp_h5_wrong(file, name, "has an impossible shape");
    }
    return DP_OK;
}

static dp_h5_type nearest(const dataset *d) {
    size_t size = H5Tget_size(d->type);
    if (d->class == H5T_FLOAT) {
        return size <= 4 ? DP_H5_F32 : DP_H5_F64;
    }
    bool sign = d->class == H5T_INTEGER && H5Tget_sign(d->type) != H5T_SGN_NONE;
    if (size == 1 && !sign) {
        return DP_H5_U8;
    }
    return size < 4 || (size == 4 && sign) ? DP_H5_I32 : DP_H5_I64;
}

dp_status dp_h5_shape(dp_h5 *file, const char *name, dp_h5_type *type, int *ndim,
                      int64_t dims[8]) {
    dataset d;
    dp_status status = open_dataset(file, name, &d);
    if (status != DP_OK) {
        return status;
    }
    if (!dp_h5_is_number(d.class)) {
        status = dp_h5_wrong(file, name, "does not hold numbers");
    } else {
        *type = nearest(&d);
        *ndim = d.ndim;
        for (int i = 0; i < d.ndim; i++) {
            dims[i] = (int64_t)d.dims[i];
        }
    }
    close_dataset(&d);
    return status;
}

dp_status dp_h5_get(dp_h5 *file, const char *name, dp_h5_type type, int64_t count,
                    void *out) {
    dataset d;
    dp_status status = open_dataset(file, name, &d);
    if (status != DP_OK) {
        return status;
    }
    if (!dp_h5_is_number(d.class)) {
        status = dp_h5_wrong(file, name, "does not hold numbers");
    } else if (d.n != (uint64_t)count) {
        status = dp_fail(file->code, "%s: %s has %llu elements where %lld are expected",
                         file->path, name, (unsigned long long)d.n, (long long)count);
    } else if (count > 0 && H5Dread(d.id, dp_h5_memory_type(type), H5S_ALL, H5S_ALL,
                                    H5P_DEFAULT, out) < 0) {
        status = dp_h5_fail(file, "read", name);
    }
    close_dataset(&d);
    return status;
}

dp_status dp_h5_get_text(dp_h5 *file, const char *name, char **out) {
    dataset d;
    dp_status status = open_dataset(file, name, &d);
    if (status != DP_OK) {
        return status;
    }
    char **text = NULL;
    if (d.class != H5T_STRING || d.n != 1) {
        status = dp_h5_wrong(file, name, "is not one text");
    } else {
        dp_h5_source s = {.attr = H5I_INVALID_HID, .set = d.id, .type = d.type};
        status = dp_h5_read_texts(file, name, &s, 1, &text);
    }
    close_dataset(&d);
    if (status != DP_OK) {
        return status;
    }
    *out = dp_strdup(text[0]);
    free(text);
    return DP_OK;
}

/* ---- tables ---- */

/* Reads one column into the rows; `field` is scratch for n values of 8 bytes. */
static dp_status read_column(dp_h5 *file, const dataset *d, const dp_h5_column *column,
                             size_t size, char *rows, void *field) {
    int index = H5Tget_member_index(d->type, column->name);
    if (index < 0) {
        const double none =
            column->integer ? 0 : NAN; /* the bits of 0 are those of 0.0 */
        for (uint64_t i = 0; i < d->n; i++) {
            memcpy(rows + i * size + column->offset, &none, 8);
        }
        return DP_OK;
    }
    if (!dp_h5_is_number(H5Tget_member_class(d->type, (unsigned)index))) {
        return dp_h5_wrong(file, column->name, "(column) does not hold numbers");
    }
    hid_t memory = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(memory, column->name, 0,
              dp_h5_memory_type(column->integer ? DP_H5_I64 : DP_H5_F64));
    herr_t done = H5Dread(d->id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, field);
    H5Tclose(memory);
    if (done < 0) {
        return dp_h5_fail(file, "read column", column->name);
    }
    for (uint64_t i = 0; i < d->n; i++) {
        memcpy(rows + i * size + column->offset, (const char *)field + i * 8, 8);
    }
    return DP_OK;
}

dp_status dp_h5_get_table(dp_h5 *file, const char *name, int ncolumns,
                          const dp_h5_column *columns, size_t size, int64_t *nrows,
                          void **rows) {
    dataset d;
    dp_status status = open_dataset(file, name, &d);
    if (status != DP_OK) {
        return status;
    }
    if (d.class != H5T_COMPOUND || d.ndim != 1) {
        close_dataset(&d);
        return dp_h5_wrong(file, name, "is not a table");
    }
    void *all = NULL, *field = NULL;
    status = dp_memory_alloc(d.n, size, &all);
    status = status ? status : dp_memory_alloc(d.n, 8, &field);
    for (int i = 0; i < ncolumns && status == DP_OK && d.n > 0; i++) {
        status = read_column(file, &d, &columns[i], size, all, field);
    }
    free(field);
    if (status == DP_OK) {
        *nrows = (int64_t)d.n;
        *rows = all;
    } else {
        free(all);
    }
    close_dataset(&d);
    return status;
}
