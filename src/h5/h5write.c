/* Writing groups, attributes, datasets and tables. */
#include "h5core.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIMS = 8, MAX_CHUNK = 1024, MIN_CHUNK = 16 };

/* Two runs of one config give the same bytes: no object carries its time of birth. */
static hid_t without_times(hid_t class) {
    hid_t list = H5Pcreate(class);
    H5Pset_obj_track_times(list, false);
    return list;
}

/* Makes the groups of path[0..length), the last included. */
static dp_status make_groups(dp_h5 *file, const char *path, size_t length) {
    char prefix[256];
    assert(length < sizeof prefix);
    hid_t list = without_times(H5P_GROUP_CREATE);
    dp_status status = DP_OK;
    for (size_t n = 1; n <= length && status == DP_OK; n++) {
        if (n < length && path[n] != '/') {
            continue;
        }
        memcpy(prefix, path, n);
        prefix[n] = '\0';
        if (strcmp(prefix, "/") == 0 || H5Lexists(file->id, prefix, H5P_DEFAULT) > 0) {
            continue;
        }
        hid_t group = H5Gcreate2(file->id, prefix, H5P_DEFAULT, list, H5P_DEFAULT);
        if (group < 0 || H5Gclose(group) < 0) {
            status = dp_h5_fail(file, "make", prefix);
        }
    }
    H5Pclose(list);
    return status;
}

dp_status dp_h5_group(dp_h5 *file, const char *group) {
    return make_groups(file, group, strlen(group));
}

/* ---- attributes ---- */

static dp_status put_attr(dp_h5 *file, const char *object, const char *name, hid_t disk,
                          hid_t memory, hid_t space, const void *v) {
    hid_t attr = H5Acreate_by_name(file->id, object, name, disk, space, H5P_DEFAULT,
                                   H5P_DEFAULT, H5P_DEFAULT);
    bool good = attr >= 0 && H5Awrite(attr, memory, v) >= 0;
    good = attr >= 0 && H5Aclose(attr) >= 0 && good;
    H5Sclose(space);
    return good ? DP_OK : dp_h5_fail(file, "write attribute", name);
}

static dp_status put_number(dp_h5 *file, const char *object, const char *name,
                            dp_h5_type type, const void *v) {
    return put_attr(file, object, name, dp_h5_disk_type(type), dp_h5_memory_type(type),
                    H5Screate(H5S_SCALAR), v);
}

/* n may be 0, but HDF5 wants an address all the same. */
static dp_status put_list(dp_h5 *file, const char *object, const char *name, hid_t disk,
                          hid_t memory, int n, const void *v) {
    hsize_t dims = (hsize_t)n;
    return put_attr(file, object, name, disk, memory, H5Screate_simple(1, &dims, NULL),
                    n > 0 ? v : &dims);
}

dp_status dp_h5_attr_i64(dp_h5 *file, const char *object, const char *name, int64_t v) {
    return put_number(file, object, name, DP_H5_I64, &v);
}

dp_status dp_h5_attr_f64(dp_h5 *file, const char *object, const char *name, double v) {
    return put_number(file, object, name, DP_H5_F64, &v);
}

dp_status dp_h5_attr_text(dp_h5 *file, const char *object, const char *name,
                          const char *v) {
    hid_t type = dp_h5_text_type(H5T_VARIABLE);
    dp_status status =
        put_attr(file, object, name, type, type, H5Screate(H5S_SCALAR), &v);
    H5Tclose(type);
    return status;
}

dp_status dp_h5_attr_i64s(dp_h5 *file, const char *object, const char *name, int n,
                          const int64_t *v) {
    return put_list(file, object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, n, v);
}

dp_status dp_h5_attr_f64s(dp_h5 *file, const char *object, const char *name, int n,
                          const double *v) {
    return put_list(file, object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, n, v);
}

dp_status dp_h5_attr_texts(dp_h5 *file, const char *object, const char *name, int n,
                           const char *const *v) {
    hid_t type = dp_h5_text_type(H5T_VARIABLE);
    dp_status status = put_list(file, object, name, type, type, n, v);
    H5Tclose(type);
    return status;
}

/* ---- datasets ---- */

/* Makes and fills a dataset; closes `space`. */
static dp_status put_dataset(dp_h5 *file, const char *name, hid_t disk, hid_t memory,
                             hid_t space, hid_t list, bool empty, const void *data) {
    const char *slash = strrchr(name, '/');
    dp_status status = DP_OK;
    if (slash != NULL && slash > name) {
        status = make_groups(file, name, (size_t)(slash - name));
    }
    if (status == DP_OK) {
        hid_t set =
            H5Dcreate2(file->id, name, disk, space, H5P_DEFAULT, list, H5P_DEFAULT);
        bool good = set >= 0;
        if (good && !empty) {
            good = H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
        }
        good = set >= 0 && H5Dclose(set) >= 0 && good;
        status = good ? DP_OK : dp_h5_fail(file, "write", name);
    }
    H5Sclose(space);
    return status;
}

dp_status dp_h5_put(dp_h5 *file, const char *dataset, dp_h5_type type, int ndim,
                    const int64_t *dims, const void *data) {
    assert(ndim >= 0 && ndim <= MAX_DIMS);
    hsize_t size[MAX_DIMS] = {0};
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        assert(dims[i] >= 0);
        size[i] = (hsize_t)dims[i];
        empty = empty || dims[i] == 0;
    }
    hid_t list = without_times(H5P_DATASET_CREATE);
    dp_status status =
        put_dataset(file, dataset, dp_h5_disk_type(type), dp_h5_memory_type(type),
                    H5Screate_simple(ndim, size, NULL), list, empty, data);
    H5Pclose(list);
    return status;
}

dp_status dp_h5_put_text(dp_h5 *file, const char *dataset, const char *text) {
    size_t length = strlen(text);
    hid_t type = dp_h5_text_type(length > 0 ? length : 1);
    hid_t list = without_times(H5P_DATASET_CREATE);
    dp_status status =
        put_dataset(file, dataset, type, type, H5Screate(H5S_SCALAR), list, false, text);
    H5Pclose(list);
    H5Tclose(type);
    return status;
}

static hid_t row_type(int ncolumns, const dp_h5_column *columns, size_t size, bool disk) {
    hid_t type = H5Tcreate(H5T_COMPOUND, size);
    for (int i = 0; i < ncolumns; i++) {
        dp_h5_type field = columns[i].integer ? DP_H5_I64 : DP_H5_F64;
        H5Tinsert(type, columns[i].name, disk ? (size_t)i * 8 : columns[i].offset,
                  disk ? dp_h5_disk_type(field) : dp_h5_memory_type(field));
    }
    return type;
}

dp_status dp_h5_put_table(dp_h5 *file, const char *dataset, int ncolumns,
                          const dp_h5_column *columns, size_t size, int64_t nrows,
                          const void *rows) {
    assert(ncolumns > 0 && nrows >= 0);
    hsize_t dims = (hsize_t)nrows, max = H5S_UNLIMITED, chunk = MIN_CHUNK;
    while (chunk < dims && chunk < MAX_CHUNK) {
        chunk *= 2;
    }
    hid_t disk = row_type(ncolumns, columns, (size_t)ncolumns * 8, true);
    hid_t memory = row_type(ncolumns, columns, size, false);
    hid_t list = without_times(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 1, &chunk);
    dp_status status =
        put_dataset(file, dataset, disk, memory, H5Screate_simple(1, &dims, &max), list,
                    nrows == 0, rows);
    H5Pclose(list);
    H5Tclose(memory);
    H5Tclose(disk);
    return status;
}
