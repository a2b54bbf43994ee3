/* In the child process that reads a file: answers from datasets and tables. */
#include "base/memory.h"
#include "reader.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool dp_h5_exists(dp_h5 *f, const char *object) {
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
        if (strcmp(prefix, "/") != 0 && H5Lexists(f->id, prefix, H5P_DEFAULT) <= 0) {
            return false;
        }
    }
    return strcmp(object, "/") == 0 || H5Oexists_by_name(f->id, object, H5P_DEFAULT) > 0;
}

bool dp_h5_is_number(H5T_class_t class) {
    return class == H5T_INTEGER || class == H5T_FLOAT || class == H5T_ENUM;
}

dp_status dp_h5_send_texts(dp_h5 *f, const char *name, hid_t id, hid_t type, uint64_t n,
                           herr_t (*read)(hid_t id, hid_t type, void *out)) {
    bool variable = H5Tis_variable_str(type) > 0;
    size_t stride = variable ? sizeof(char *) : H5Tget_size(type);
    void *raw = NULL;
    DP_TRY(dp_memory_alloc(n, stride, &raw));
    bool good = n == 0 || read(id, type, raw) >= 0;
    dp_strbuf all;
    FILE *out = dp_strbuf_open(&all);
    for (uint64_t i = 0; good && i < n; i++) {
        /* A variable one belongs to this process, and goes with it. */
        const char *text = variable ? ((char **)raw)[i] : (char *)raw + i * stride;
        if (text != NULL) {
            fwrite(text, 1, strnlen(text, variable ? SIZE_MAX : stride), out);
        }
        fputc('\0', out);
    }
    dp_strbuf_close(&all);
    if (good) {
        dp_h5_send(f, all.text, all.size);
    }
    free(all.text);
    dp_memory_free(&raw);
    return good ? DP_OK : dp_h5_fail(f, "read text", name);
}

/* ---- datasets ---- */

/* An open dataset with its shape checked. */
typedef struct dataset {
    hid_t id, type;
    H5T_class_t class;
    int ndim;
    hsize_t dims[DP_H5_DIMS];
    uint64_t n; /* elements */
} dataset;

static void close_dataset(dataset *d) {
    H5Tclose(d->type);
    H5Dclose(d->id);
}

static bool read_shape(dp_h5 *f, dataset *d) {
    hid_t space = H5Dget_space(d->id);
    d->n = 1;
    d->ndim = H5Sget_simple_extent_ndims(space);
    bool good = H5Sget_simple_extent_type(space) != H5S_NULL && d->ndim >= 0 &&
                d->ndim <= DP_H5_DIMS &&
                H5Sget_simple_extent_dims(space, d->dims, NULL) == d->ndim;
    for (int i = 0; good && i < d->ndim; i++) {
        good = d->dims[i] <= INT64_MAX &&
               !__builtin_mul_overflow(d->n, (uint64_t)d->dims[i], &d->n);
    }
    H5Sclose(space);
    return good && dp_h5_plausible(f, d->n, H5Tget_size(d->type));
}

/* On a failure there is nothing to close. */
static dp_status open_dataset(dp_h5 *f, const char *name, dataset *d) {
    if (!dp_h5_exists(f, name)) {
        return dp_h5_wrong(f, "there is no %s in it", name);
    }
    d->id = H5Dopen2(f->id, name, H5P_DEFAULT);
    if (d->id < 0) {
        return dp_h5_fail(f, "open dataset", name);
    }
    d->type = H5Dget_type(d->id);
    d->class = H5Tget_class(d->type);
    if (!read_shape(f, d)) {
        close_dataset(d);
        return dp_h5_wrong(f, "%s has an impossible shape", name);
    }
    return DP_OK;
}

/* Why H5Dread failed. A compression that only h5py or a plugin has comes first: HDF5's
 * own reason names a folder of plugins. */
static dp_status read_failed(const dp_h5 *f, const char *name, const dataset *d) {
    enum { LZF = 32000 };
    dp_status status = dp_h5_fail(f, "read", name);
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
                    f->path, name, f->path);
        } else {
            dp_fail(status,
                    "%s: %s is stored with filter %d (%s), which the HDF5 library here "
                    "does not have; write it anew with gzip, or set HDF5_PLUGIN_PATH to "
                    "the folder of the filter's plugin",
                    f->path, name, (int)id, filter[0] ? filter : "unnamed");
        }
        break;
    }
    H5Pclose(how);
    return status;
}

static dp_h5_type nearest(const dataset *d) {
    size_t size = H5Tget_size(d->type);
    if (d->class == H5T_STRING) {
        return DP_H5_TEXT;
    }
    if (d->class == H5T_FLOAT) {
        return size <= 4 ? DP_H5_F32 : DP_H5_F64;
    }
    bool sign = d->class == H5T_INTEGER && H5Tget_sign(d->type) != H5T_SGN_NONE;
    if (size == 1 && !sign) {
        return DP_H5_U8;
    }
    return size < 4 || (size == 4 && sign) ? DP_H5_I32 : DP_H5_I64;
}

static dp_status send_shape(dp_h5 *f, const dp_h5_request *q, dataset *d) {
    dp_h5_extent s = {.type = nearest(d), .ndim = d->ndim};
    for (int i = 0; i < d->ndim; i++) {
        s.dims[i] = (int64_t)d->dims[i];
    }
    dp_h5_send(f, &s, sizeof s);
    return DP_OK;
}

/* How many bytes of reading one value is worth: HDF5 takes up to some 0.2 us to convert
 * one to another type or byte order. */
static uint64_t value_worth(const dataset *d, hid_t memory) {
    enum { CONVERT = 50 };
    return H5Tget_size(d->type) + (H5Tequal(d->type, memory) > 0 ? 0 : CONVERT);
}

/* How many rows (of dimension 0) are read at once: some megabytes, in whole chunks, so
 * that none is unpacked twice. *bytes: what reading them is worth, with what it takes to
 * find and unpack each chunk. */
static hsize_t rows_at_once(const dataset *d, hid_t memory, size_t row, uint64_t *bytes) {
    const size_t max = 4 << 20, handling = 10000;
    hsize_t rows = row < max ? max / row : 1, chunk[DP_H5_DIMS] = {1}, chunks = 0;
    hid_t list = H5Dget_create_plist(d->id);
    if (H5Pget_layout(list) == H5D_CHUNKED &&
        H5Pget_chunk(list, DP_H5_DIMS, chunk) == d->ndim && chunk[0] > 0) {
        rows = rows < chunk[0] ? chunk[0] : rows / chunk[0] * chunk[0];
        rows = rows < d->dims[0] ? rows : d->dims[0];
        chunks = (rows + chunk[0] - 1) / chunk[0];
        for (int i = 1; i < d->ndim && chunk[i] > 0; i++) {
            chunks *= (d->dims[i] + chunk[i] - 1) / chunk[i];
        }
    }
    H5Pclose(list);
    rows = rows < d->dims[0] ? rows : d->dims[0];
    *bytes = rows * (d->n / d->dims[0]) * value_worth(d, memory) + chunks * handling;
    return rows;
}

static bool read_rows(const dataset *d, hid_t type, hsize_t first, hsize_t rows,
                      void *out) {
    if (rows == d->dims[0]) { /* also of a scalar, which H5Sselect_hyperslab refuses */
        return H5Dread(d->id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0;
    }
    hsize_t start[DP_H5_DIMS] = {first}, count[DP_H5_DIMS] = {rows};
    for (int i = 1; i < d->ndim; i++) {
        count[i] = d->dims[i];
    }
    hid_t disk = H5Dget_space(d->id), memory = H5Screate_simple(d->ndim, count, NULL);
    bool good =
        H5Sselect_hyperslab(disk, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
        H5Dread(d->id, type, memory, disk, H5P_DEFAULT, out) >= 0;
    H5Sclose(memory);
    H5Sclose(disk);
    return good;
}

static dp_status send_values(dp_h5 *f, const dp_h5_request *q, dataset *d) {
    if (d->n != (uint64_t)q->count) {
        return dp_h5_wrong(f, "%s has %llu elements where %lld are expected", q->object,
                           (unsigned long long)d->n, (long long)q->count);
    }
    if (d->n == 0) {
        return DP_OK;
    }
    if (d->ndim == 0) {
        d->ndim = 1;
        d->dims[0] = 1;
    }
    size_t row = (size_t)(d->n / d->dims[0]) * dp_h5_type_size(q->type);
    uint64_t bytes = 0;
    hid_t memory = dp_h5_type_ids(q->type).memory;
    hsize_t rows = rows_at_once(d, memory, row, &bytes);
    void *values = NULL;
    DP_TRY(dp_memory_resize(&values, (size_t)rows * row));
    bool good = true;
    for (hsize_t at = 0; good && at < d->dims[0]; at += rows) {
        hsize_t now = d->dims[0] - at < rows ? d->dims[0] - at : rows;
        dp_h5_allow(bytes);
        good = read_rows(d, memory, at, now, values);
        if (good) {
            dp_h5_send(f, values, (size_t)now * row);
        }
    }
    dp_memory_free(&values);
    return good ? DP_OK : read_failed(f, q->object, d);
}

static dp_status send_where(dp_h5 *f, const dp_h5_request *q, dataset *d) {
    hid_t list = H5Dget_create_plist(d->id);
    bool plain = H5Pget_layout(list) == H5D_CONTIGUOUS &&
                 H5Pget_external_count(list) == 0 &&
                 H5Tequal(d->type, dp_h5_type_ids(q->type).memory) > 0;
    haddr_t place = plain ? H5Dget_offset(d->id) : HADDR_UNDEF;
    int64_t at = place == HADDR_UNDEF ? -1 : (int64_t)place;
    H5Pclose(list);
    dp_h5_send(f, &at, sizeof at);
    return DP_OK;
}

static herr_t read_dataset(hid_t id, hid_t type, void *out) {
    return H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
}

static dp_status send_text(dp_h5 *f, const dp_h5_request *q, dataset *d) {
    return dp_h5_send_texts(f, q->object, d->id, d->type, d->n, read_dataset);
}

/* ---- tables ---- */

static dp_status send_rows(dp_h5 *f, const dp_h5_request *q, dataset *d) {
    int64_t rows = (int64_t)d->n;
    dp_h5_send(f, &rows, sizeof rows);
    return DP_OK;
}

static dp_status send_column(dp_h5 *f, const dp_h5_request *q, dataset *d) {
    int index = H5Tget_member_index(d->type, q->name);
    if (index < 0) {
        return DP_OK;
    }
    if (!dp_h5_is_number(H5Tget_member_class(d->type, (unsigned)index))) {
        return dp_h5_wrong(f, "%s (column) does not hold numbers", q->name);
    }
    if (d->n != (uint64_t)q->count) {
        return dp_h5_wrong(f, "%s has another length", q->object);
    }
    void *values = NULL;
    DP_TRY(dp_memory_alloc(d->n, 8, &values));
    hid_t memory = H5Tcreate(H5T_COMPOUND, 8);
    H5Tinsert(memory, q->name, 0, dp_h5_type_ids(q->type).memory);
    dp_h5_allow(d->n * value_worth(d, memory));
    bool good = read_dataset(d->id, memory, values) >= 0;
    H5Tclose(memory);
    if (good) {
        dp_h5_send(f, values, d->n * 8);
    }
    dp_memory_free(&values);
    return good ? DP_OK : read_failed(f, q->name, d);
}

/* ---- all of them ---- */

static dp_status check_class(dp_h5 *f, const dp_h5_request *q, const dataset *d) {
    switch (q->what) {
    case DP_H5_ASK_TEXT:
        return d->class == H5T_STRING && d->n == (uint64_t)q->count
                   ? DP_OK
                   : dp_h5_wrong(f, "%s is not %s", q->object,
                                 q->count == 1 ? "one text" : "of texts");
    case DP_H5_ASK_SHAPE:
        return d->class == H5T_STRING || dp_h5_is_number(d->class)
                   ? DP_OK
                   : dp_h5_wrong(f, "%s does not hold numbers", q->object);
    case DP_H5_ASK_ROWS:
    case DP_H5_ASK_COLUMN:
        return d->class == H5T_COMPOUND && d->ndim == 1
                   ? DP_OK
                   : dp_h5_wrong(f, "%s is not a table", q->object);
    default:
        return dp_h5_is_number(d->class)
                   ? DP_OK
                   : dp_h5_wrong(f, "%s does not hold numbers", q->object);
    }
}

dp_status dp_h5_send_dataset(dp_h5 *f, const dp_h5_request *q) {
    static dp_status (*const answers[])(dp_h5 *, const dp_h5_request *, dataset *) = {
        [DP_H5_ASK_SHAPE] = send_shape,   [DP_H5_ASK_ROWS] = send_rows,
        [DP_H5_ASK_VALUES] = send_values, [DP_H5_ASK_WHERE] = send_where,
        [DP_H5_ASK_COLUMN] = send_column, [DP_H5_ASK_TEXT] = send_text,
    };
    dataset d;
    DP_TRY(open_dataset(f, q->object, &d));
    dp_status status = check_class(f, q, &d);
    status = status ? status : answers[q->what](f, q, &d);
    close_dataset(&d);
    return status;
}
