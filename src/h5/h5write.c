/* Writing groups, attributes, datasets and tables. */
#include "h5core.h"
#include <assert.h>
#include <string.h>

enum { MAX_CHUNK = 1024, MIN_CHUNK = 16 };

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

/* A new string type, UTF-8, of `size` bytes or H5T_VARIABLE. The caller closes it. */
static hid_t text_type(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_cset(type, H5T_CSET_UTF8);
    if (size != H5T_VARIABLE) {
        H5Tset_strpad(type, H5T_STR_NULLPAD);
    }
    return type;
}

/* ---- attributes ---- */

static bool put_attr(hid_t file, const char *object, const char *name, dp_h5_ids type,
                     hid_t space, const void *v) {
    hid_t attr = H5Acreate_by_name(file, object, name, type.disk, space, H5P_DEFAULT,
                                   H5P_DEFAULT, H5P_DEFAULT);
    bool good = attr >= 0 && H5Awrite(attr, type.memory, v) >= 0;
    return attr >= 0 && H5Aclose(attr) >= 0 && good;
}

dp_status dp_h5_put_attr(dp_h5 *file, const char *object, const char *name,
                         dp_h5_type type, int n, const void *v) {
    bool text = type == DP_H5_TEXT;
    hid_t texts = text ? text_type(H5T_VARIABLE) : H5I_INVALID_HID;
    dp_h5_ids ids = text ? (dp_h5_ids){texts, texts} : dp_h5_type_ids(type);
    hsize_t dims = n > 0 ? (hsize_t)n : 0;
    hid_t space =
        n == DP_H5_ONE ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dims, NULL);
    /* n may be 0, but HDF5 wants an address all the same. */
    bool good = put_attr(file->id, object, name, ids, space, n == 0 ? &dims : v);
    dp_status status = good ? DP_OK : dp_h5_fail(file, "write attribute", name);
    H5Sclose(space);
    if (text) {
        H5Tclose(texts);
    }
    return status;
}

dp_status dp_h5_put_attr_text(dp_h5 *file, const char *object, const char *name,
                              const char *text) {
    return dp_h5_put_attr(file, object, name, DP_H5_TEXT, DP_H5_ONE, &text);
}

/* ---- datasets ---- */

/* Makes and fills a dataset, and closes space and list; data NULL: it has no elements. */
static dp_status put_dataset(dp_h5 *file, const char *name, dp_h5_ids type, hid_t space,
                             hid_t list, const void *data) {
    const char *slash = strrchr(name, '/');
    size_t group = slash != NULL ? (size_t)(slash - name) : 0;
    dp_status status = make_groups(file, name, group);
    if (status == DP_OK) {
        hid_t set =
            H5Dcreate2(file->id, name, type.disk, space, H5P_DEFAULT, list, H5P_DEFAULT);
        bool good = set >= 0;
        if (good && data != NULL) {
            good = H5Dwrite(set, type.memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
        }
        good = set >= 0 && H5Dclose(set) >= 0 && good;
        status = good ? DP_OK : dp_h5_fail(file, "write", name);
    }
    H5Pclose(list);
    H5Sclose(space);
    return status;
}

dp_status dp_h5_put(dp_h5 *file, const char *dataset, dp_h5_type type, int ndim,
                    const int64_t *dims, const void *data) {
    assert(ndim >= 0 && ndim <= DP_H5_DIMS);
    hsize_t size[DP_H5_DIMS] = {0};
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        assert(dims[i] >= 0);
        size[i] = (hsize_t)dims[i];
        empty = empty || dims[i] == 0;
    }
    return put_dataset(file, dataset, dp_h5_type_ids(type),
                       H5Screate_simple(ndim, size, NULL),
                       without_times(H5P_DATASET_CREATE), empty ? NULL : data);
}

dp_status dp_h5_put_text(dp_h5 *file, const char *dataset, const char *text) {
    size_t length = strlen(text);
    hid_t type = text_type(length > 0 ? length : 1);
    dp_status status =
        put_dataset(file, dataset, (dp_h5_ids){type, type}, H5Screate(H5S_SCALAR),
                    without_times(H5P_DATASET_CREATE), text);
    H5Tclose(type);
    return status;
}

static hid_t row_type(int ncolumns, const dp_h5_column *columns, size_t size, bool disk) {
    hid_t type = H5Tcreate(H5T_COMPOUND, size);
    for (int i = 0; i < ncolumns; i++) {
        dp_h5_ids field = dp_h5_type_ids(columns[i].integer ? DP_H5_I64 : DP_H5_F64);
        H5Tinsert(type, columns[i].name, disk ? (size_t)i * 8 : columns[i].offset,
                  disk ? field.disk : field.memory);
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
    dp_h5_ids type = {.disk = row_type(ncolumns, columns, (size_t)ncolumns * 8, true),
                      .memory = row_type(ncolumns, columns, size, false)};
    hid_t list = without_times(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 1, &chunk);
    dp_status status = put_dataset(file, dataset, type, H5Screate_simple(1, &dims, &max),
                                   list, nrows == 0 ? NULL : rows);
    H5Tclose(type.memory);
    H5Tclose(type.disk);
    return status;
}
