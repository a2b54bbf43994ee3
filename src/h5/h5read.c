/* Reading datasets and tables. */
#include "base/memory.h"
#include "h5core.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIMS = 8 };

bool dp_h5_has(dp_h5 *file, const char *object) {
    if (file->reader) {
        return dp_h5_ask_has(file, object);
    }
    char prefix[1200];
    size_t length = strlen(object);
    if (length >= sizeof prefix) {
        return false;
    }
    /* H5Lexists fails where a parent is missing, so each is asked for in turn. */
    for (size_t n = 1; n <= length; n++) {
        if (n < length && object[n] != '/') {
            continue;
        }
        memcpy(prefix, object, n);
        prefix[n] = '\0';
        if (strcmp(prefix, "/") != 0 && H5Lexists(file->id, prefix, H5P_DEFAULT) <= 0) {
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
    hsize_t dims[MAX_DIMS];
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
                d->ndim <= MAX_DIMS &&
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

/* Why H5Dread failed. A compression that only h5py or a plugin has comes first: HDF5's
 * own reason speaks of a folder of plugins. */
static dp_status read_failed(const dp_h5 *file, const char *name, const dataset *d) {
    enum { LZF = 32000 };
    dp_status status = dp_h5_fail(file, "read", name);
    hid_t how = H5Dget_create_plist(d->id);
    for (int i = 0; i < H5Pget_nfilters(how); i++) {
        unsigned flags = 0, config = 0;
        size_t none = 0;
        char filter[64] = "";
        H5Z_filter_t id = H5Pget_filter2(how, (unsigned)i, &flags, &none, NULL,
                                         sizeof filter, filter, &config);
        if (id < 0 || H5Zfilter_avail(id) > 0) {
            continue;
        }
        if (id == LZF) {
            dp_fail(status,
                    "%s: %s is compressed with lzf, which h5py has, but not the HDF5 "
                    "library; write it anew: python3 -c \"import h5py; a, b = "
                    "h5py.File('%s'), h5py.File('new.h5', 'w'); a.visititems(lambda n, "
                    "d: None if hasattr(d, 'keys') else b.create_dataset(n, data=d[()]) "
                    "and None)\"",
                    file->path, name, file->path);
        } else {
            dp_fail(status,
                    "%s: %s is stored with filter %d (%s), which the HDF5 library here "
                    "does not have; write it anew with gzip, or set HDF5_PLUGIN_PATH to "
                    "the folder of the filter's plugin",
                    file->path, name, (int)id, filter[0] ? filter : "unnamed");
        }
        break;
    }
    H5Pclose(how);
    return status;
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
    if (file->reader) {
        return dp_h5_ask_shape(file, name, type, ndim, dims);
    }
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

/* Opens a dataset of `count` numbers. */
static dp_status open_numbers(dp_h5 *file, const char *name, int64_t count, dataset *d) {
    dp_status status = open_dataset(file, name, d);
    if (status != DP_OK) {
        return status;
    }
    if (!dp_h5_is_number(d->class)) {
        status = dp_h5_wrong(file, name, "does not hold numbers");
    } else if (d->n != (uint64_t)count) {
        status = dp_fail(file->code, "%s: %s has %llu elements where %lld are expected",
                         file->path, name, (unsigned long long)d->n, (long long)count);
    }
    if (status != DP_OK) {
        close_dataset(d);
    }
    return status;
}

dp_status dp_h5_get(dp_h5 *file, const char *name, dp_h5_type type, int64_t count,
                    void *out) {
    if (file->reader) {
        return dp_h5_ask_get(file, name, type, count, out);
    }
    dataset d;
    dp_status status = open_numbers(file, name, count, &d);
    if (status != DP_OK) {
        return status;
    }
    if (count > 0 &&
        H5Dread(d.id, dp_h5_memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0) {
        status = read_failed(file, name, &d);
    }
    close_dataset(&d);
    return status;
}

/* Rows of a piece: some megabytes, in whole chunks. *bytes: what reading one is worth,
 * with what it takes to find and unpack each chunk. */
static hsize_t piece_rows(const dataset *d, size_t row, uint64_t *bytes) {
    const size_t max = 4 << 20, handling = 10000;
    hsize_t rows = row < max ? max / row : 1, chunk[MAX_DIMS] = {1}, chunks = 0;
    hid_t list = H5Dget_create_plist(d->id);
    if (H5Pget_layout(list) == H5D_CHUNKED &&
        H5Pget_chunk(list, MAX_DIMS, chunk) == d->ndim && chunk[0] > 0) {
        rows = rows < chunk[0] ? chunk[0] : rows / chunk[0] * chunk[0];
        rows = rows < d->dims[0] ? rows : d->dims[0];
        chunks = (rows + chunk[0] - 1) / chunk[0];
        for (int i = 1; i < d->ndim && chunk[i] > 0; i++) {
            chunks *= (d->dims[i] + chunk[i] - 1) / chunk[i];
        }
    }
    H5Pclose(list);
    rows = rows < d->dims[0] ? rows : d->dims[0];
    *bytes = rows * row + chunks * handling;
    return rows;
}

static bool read_rows(const dataset *d, dp_h5_type type, hsize_t first, hsize_t rows,
                      void *out) {
    hsize_t start[MAX_DIMS] = {first}, count[MAX_DIMS] = {rows};
    for (int i = 1; i < d->ndim; i++) {
        count[i] = d->dims[i];
    }
    hid_t disk = H5Dget_space(d->id), memory = H5Screate_simple(d->ndim, count, NULL);
    bool good =
        H5Sselect_hyperslab(disk, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
        H5Dread(d->id, dp_h5_memory_type(type), memory, disk, H5P_DEFAULT, out) >= 0;
    H5Sclose(memory);
    H5Sclose(disk);
    return good;
}

dp_status dp_h5_get_pieces(dp_h5 *file, const char *name, dp_h5_type type, int64_t count,
                           void (*put)(dp_h5 *, const void *, size_t)) {
    dataset d;
    dp_status status = open_numbers(file, name, count, &d);
    if (status != DP_OK) {
        return status;
    }
    if (d.ndim == 0) {
        d.ndim = 1; /* H5Sselect_hyperslab takes no scalar */
        d.dims[0] = 1;
    }
    bool scalar = d.ndim == 1 && d.dims[0] == 1;
    hsize_t n = count > 0 ? d.dims[0] : 0;
    size_t row = n > 0 ? (size_t)count / (size_t)n * dp_h5_type_size(type) : 1;
    uint64_t bytes = 0;
    hsize_t rows = n > 0 ? piece_rows(&d, row, &bytes) : 1;
    void *piece = NULL;
    status = dp_memory_resize(&piece, (size_t)rows * row);
    for (hsize_t at = 0; at < n && status == DP_OK; at += rows) {
        hsize_t now = n - at < rows ? n - at : rows;
        dp_h5_announce(file, bytes);
        bool good = scalar ? H5Dread(d.id, dp_h5_memory_type(type), H5S_ALL, H5S_ALL,
                                     H5P_DEFAULT, piece) >= 0
                           : read_rows(&d, type, at, now, piece);
        if (good) {
            put(file, piece, (size_t)now * row);
        } else {
            status = read_failed(file, name, &d);
        }
    }
    free(piece);
    close_dataset(&d);
    return status;
}

dp_status dp_h5_get_text(dp_h5 *file, const char *name, char **out) {
    if (file->reader) {
        return dp_h5_ask_text(file, name, out);
    }
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

static dp_status open_table(dp_h5 *file, const char *name, dataset *d) {
    dp_status status = open_dataset(file, name, d);
    if (status == DP_OK && (d->class != H5T_COMPOUND || d->ndim != 1)) {
        close_dataset(d);
        status = dp_h5_wrong(file, name, "is not a table");
    }
    return status;
}

dp_status dp_h5_get_rows(dp_h5 *file, const char *name, int64_t *n) {
    if (file->reader) {
        return dp_h5_ask_rows(file, name, n);
    }
    dataset d;
    dp_status status = open_table(file, name, &d);
    if (status == DP_OK) {
        *n = (int64_t)d.n;
        close_dataset(&d);
    }
    return status;
}

static dp_status read_column(dp_h5 *file, const dataset *d, const dp_h5_column *column,
                             void *out, bool *absent) {
    int index = H5Tget_member_index(d->type, column->name);
    *absent = index < 0;
    if (*absent) {
        H5Eclear2(H5E_DEFAULT);
        return DP_OK;
    }
    if (!dp_h5_is_number(H5Tget_member_class(d->type, (unsigned)index))) {
        return dp_h5_wrong(file, column->name, "(column) does not hold numbers");
    }
    hid_t memory = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(memory, column->name, 0,
              dp_h5_memory_type(column->integer ? DP_H5_I64 : DP_H5_F64));
    dp_h5_announce(file, d->n * H5Tget_size(d->type));
    herr_t done = H5Dread(d->id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
    H5Tclose(memory);
    return done < 0 ? read_failed(file, column->name, d) : DP_OK;
}

dp_status dp_h5_get_column(dp_h5 *file, const char *name, const dp_h5_column *column,
                           int64_t n, void *out, bool *absent) {
    if (file->reader) {
        return dp_h5_ask_column(file, name, column, n, out, absent);
    }
    dataset d;
    dp_status status = open_table(file, name, &d);
    if (status == DP_OK) {
        status = d.n == (uint64_t)n ? read_column(file, &d, column, out, absent)
                                    : dp_h5_wrong(file, name, "has another length");
        close_dataset(&d);
    }
    return status;
}

/* `field` has n values of a column, and goes into rows of `size` bytes. */
static void spread(const dp_h5_column *column, size_t size, int64_t n, bool absent,
                   const char *field, char *rows) {
    const double none = column->integer ? 0 : NAN; /* the bits of 0 are those of 0.0 */
    for (int64_t i = 0; i < n; i++) {
        memcpy(rows + (size_t)i * size + column->offset,
               absent ? (const char *)&none : field + (size_t)i * 8, 8);
    }
}

dp_status dp_h5_get_table(dp_h5 *file, const char *name, int ncolumns,
                          const dp_h5_column *columns, size_t size, int64_t *nrows,
                          void **rows) {
    int64_t n = 0;
    dp_status status = dp_h5_get_rows(file, name, &n);
    if (status != DP_OK) {
        return status;
    }
    void *all = NULL, *field = NULL;
    status = dp_memory_alloc((size_t)n, size, &all);
    status = status ? status : dp_memory_alloc((size_t)n, 8, &field);
    for (int i = 0; i < ncolumns && status == DP_OK && n > 0; i++) {
        bool absent = false;
        status = dp_h5_get_column(file, name, &columns[i], n, field, &absent);
        if (status == DP_OK) {
            spread(&columns[i], size, n, absent, field, all);
        }
    }
    free(field);
    if (status == DP_OK) {
        *nrows = n;
        *rows = all;
    } else {
        free(all);
    }
    return status;
}
