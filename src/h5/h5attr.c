/* Reading attributes, and strings of attributes and datasets. */
#include "base/memory.h"
#include "h5core.h"
#include <stdlib.h>
#include <string.h>

static void *allocate(uint64_t n, uint64_t size) {
    void *p = NULL;
    return dp_memory_alloc(n, size, &p) == DP_OK ? p : NULL;
}

/* An open attribute: its type's class, and how many values it has. */
typedef struct attribute {
    hid_t id, type;
    H5T_class_t class;
    uint64_t n;
} attribute;

static void close_attribute(attribute *a) {
    H5Tclose(a->type);
    H5Aclose(a->id);
}

static dp_status open_attribute(dp_h5 *file, const char *object, const char *name,
                                bool text, attribute *a) {
    a->id = H5Aopen_by_name(file->id, object, name, H5P_DEFAULT, H5P_DEFAULT);
    if (a->id < 0) {
        return dp_fail(file->code, "%s: %s has no attribute %s", file->path, object,
                       name);
    }
    a->type = H5Aget_type(a->id);
    a->class = H5Tget_class(a->type);
    hid_t space = H5Aget_space(a->id);
    hssize_t n = H5Sget_simple_extent_npoints(space);
    H5Sclose(space);
    dp_status status = DP_OK;
    if (n < 0 || !dp_h5_plausible(file, (uint64_t)n, H5Tget_size(a->type))) {
        status = dp_h5_wrong(file, name, "(attribute) has an impossible size");
    } else if (n == 0) { /* h5py gives an empty list any type */
        status = DP_OK;
    } else if (text ? a->class != H5T_STRING : !dp_h5_is_number(a->class)) {
        status = dp_h5_wrong(
            file, name, text ? "(attribute) is not text" : "(attribute) is not a number");
    }
    a->n = (uint64_t)n;
    if (status != DP_OK) {
        close_attribute(a);
    }
    return status;
}

dp_status dp_h5_get_numbers(dp_h5 *file, const char *object, const char *name,
                            dp_h5_type type, uint64_t *n, void **out) {
    if (file->reader) {
        return dp_h5_ask_numbers(file, object, name, type, n, out);
    }
    attribute a;
    dp_status status = open_attribute(file, object, name, false, &a);
    if (status != DP_OK) {
        return status;
    }
    void *all = allocate(a.n, dp_h5_type_size(type));
    if (all == NULL) {
        status = dp_h5_no_memory(file, name);
    } else if (a.n > 0 && H5Aread(a.id, dp_h5_memory_type(type), all) < 0) {
        status = dp_h5_fail(file, "read attribute", name);
    }
    if (status == DP_OK) {
        *out = all;
        *n = a.n;
    } else {
        free(all);
    }
    close_attribute(&a);
    return status;
}

/* Reads up to `max` numbers; *n: how many there are. */
static dp_status get_numbers(dp_h5 *file, const char *object, const char *name,
                             dp_h5_type type, uint64_t max, void *out, uint64_t *n) {
    void *all = NULL;
    dp_status status = dp_h5_get_numbers(file, object, name, type, n, &all);
    if (status == DP_OK && *n > 0) {
        memcpy(out, all, (*n < max ? *n : max) * dp_h5_type_size(type));
    }
    free(all);
    return status;
}

static dp_status get_number(dp_h5 *file, const char *object, const char *name,
                            dp_h5_type type, void *out) {
    double value = 0; /* room for either type: outputs stay unchanged on an error */
    uint64_t n = 0;
    dp_status status = get_numbers(file, object, name, type, 1, &value, &n);
    if (status == DP_OK && n != 1) {
        status = dp_h5_wrong(file, name, "(attribute) is not one number");
    }
    if (status == DP_OK) {
        memcpy(out, &value, sizeof value);
    }
    return status;
}

dp_status dp_h5_get_attr_i64(dp_h5 *file, const char *object, const char *name,
                             int64_t *out) {
    return get_number(file, object, name, DP_H5_I64, out);
}

dp_status dp_h5_get_attr_f64(dp_h5 *file, const char *object, const char *name,
                             double *out) {
    return get_number(file, object, name, DP_H5_F64, out);
}

dp_status dp_h5_get_attr_f64s(dp_h5 *file, const char *object, const char *name, int max,
                              double *out, int *n) {
    uint64_t count = 0;
    dp_status status =
        get_numbers(file, object, name, DP_H5_F64, (uint64_t)max, out, &count);
    if (status == DP_OK && count > INT32_MAX) {
        status = dp_h5_wrong(file, name, "(attribute) is too long");
    }
    if (status == DP_OK) {
        *n = (int)count;
    }
    return status;
}

/* An array of n pointers followed by the strings they point to. */
static char **pack(uint64_t n, char *const *text, size_t stride, const char *flat) {
    size_t bytes = n * sizeof(char *) + 1;
    for (uint64_t i = 0; i < n; i++) {
        bytes += flat != NULL ? stride + 1 : text[i] == NULL ? 1 : strlen(text[i]) + 1;
    }
    char **out = allocate(bytes, 1);
    if (out == NULL) {
        return NULL;
    }
    char *end = (char *)(out + n);
    for (uint64_t i = 0; i < n; i++) {
        const char *from = flat != NULL ? flat + i * stride : text[i];
        size_t length = flat != NULL   ? strnlen(from, stride)
                        : from == NULL ? 0
                                       : strlen(from);
        out[i] = end;
        if (length > 0) {
            memcpy(end, from, length);
        }
        end[length] = '\0';
        end += length + 1;
    }
    return out;
}

static herr_t read_source(const dp_h5_source *s, hid_t memory, void *out) {
    return s->attr >= 0 ? H5Aread(s->attr, memory, out)
                        : H5Dread(s->set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out);
}

dp_status dp_h5_read_texts(dp_h5 *file, const char *name, const dp_h5_source *s,
                           uint64_t n, char ***out) {
    bool variable = H5Tis_variable_str(s->type) > 0;
    size_t stride = variable ? sizeof(char *) : H5Tget_size(s->type);
    char *raw = allocate(n, stride);
    if (raw == NULL) {
        return dp_h5_no_memory(file, name);
    }
    dp_status status = DP_OK;
    char **all = NULL;
    if (n > 0 && read_source(s, s->type, raw) < 0) {
        status = dp_h5_fail(file, "read text", name);
    } else {
        all = pack(n, (char **)(void *)raw, stride, variable ? NULL : raw);
        if (all == NULL) {
            status = dp_h5_no_memory(file, name);
        }
        if (variable && n > 0) {
            hsize_t dims = n;
            hid_t space = H5Screate_simple(1, &dims, NULL);
            H5Dvlen_reclaim(s->type, space, H5P_DEFAULT, raw);
            H5Sclose(space);
        }
    }
    free(raw);
    if (status == DP_OK) {
        *out = all;
    }
    return status;
}

dp_status dp_h5_get_attr_texts(dp_h5 *file, const char *object, const char *name, int *n,
                               char ***out) {
    if (file->reader) {
        return dp_h5_ask_texts(file, object, name, n, out);
    }
    attribute a;
    dp_status status = open_attribute(file, object, name, true, &a);
    if (status != DP_OK) {
        return status;
    }
    dp_h5_source s = {.attr = a.id, .set = H5I_INVALID_HID, .type = a.type};
    status = a.n > INT32_MAX ? dp_h5_wrong(file, name, "(attribute) is too long")
                             : dp_h5_read_texts(file, name, &s, a.n, out);
    close_attribute(&a);
    if (status == DP_OK) {
        *n = (int)a.n;
    }
    return status;
}

dp_status dp_h5_get_attr_text(dp_h5 *file, const char *object, const char *name,
                              char *out, size_t size) {
    int n = 0;
    char **text = NULL;
    dp_status status = dp_h5_get_attr_texts(file, object, name, &n, &text);
    if (status != DP_OK) {
        return status;
    }
    if (n != 1 || strlen(text[0]) >= size) {
        status = dp_h5_wrong(file, name,
                             n != 1 ? "(attribute) is not one text"
                                    : "(attribute) is too long");
    } else {
        strcpy(out, text[0]);
    }
    free(text);
    return status;
}
