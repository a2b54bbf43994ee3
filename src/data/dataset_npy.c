/* NPY, NumPy's array file: samples, and their labels in the file beside them: "images" ->
 * "labels" or x -> y in its name ("x_train.npy", "y_train.npy"), or the file that
 * data.target names. Plain or .gz. uint8 stays bytes, other numbers become floats.
 * Source: numpy.lib.format, versions 1.0 to 3.0 */
#include "array.h"
#include "base/memory.h"
#include "stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char MAGIC[6] = "\x93NUMPY";

static bool named(const char *path) {
    return dp_path_ends(path, ".npy") || dp_path_ends(path, ".npy.gz");
}

static bool begins(const unsigned char *head, size_t n) {
    return n >= sizeof MAGIC && memcmp(head, MAGIC, sizeof MAGIC) == 0;
}

/* ---- the header: {'descr': '<f4', 'fortran_order': False, 'shape': (100, 28), } ---- */

typedef struct element {
    char kind; /* b bool, u unsigned, i integer, f float */
    int size;  /* bytes */
    bool swap; /* big-endian */
} element;

/* What stands behind 'key': in the text, or NULL. */
static const char *value_of(const char *text, const char *key) {
    const char *at = strstr(text, key);
    at = at ? at + strlen(key) : NULL;
    return at && at[0] == '\'' && at[1] == ':' ? at + 2 + strspn(at + 2, " ") : NULL;
}

static dp_status parse_type(const dp_array *a, const char *descr, element *e) {
    char order = 0, kind = 0;
    int size = 0, used = 0;
    if (!descr || sscanf(descr, "'%c%c%d'%n", &order, &kind, &size, &used) != 3 ||
        used == 0) {
        return dp_fail(DP_EDATA,
                       "%s: its values are records or objects, not numbers of one type: "
                       "save x.astype('float32')",
                       a->name);
    }
    bool whole = (kind == 'u' || kind == 'i') &&
                 (size == 1 || size == 2 || size == 4 || size == 8);
    bool real = kind == 'f' && (size == 4 || size == 8);
    if (!(whole || real || (kind == 'b' && size == 1)) || !strchr("<>|", order)) {
        return dp_fail(DP_EDATA,
                       "%s: its values are of type '%c%c%d'; read are integers, bool, "
                       "float32 and float64: save x.astype('float32')",
                       a->name, order, kind, size);
    }
    *e = (element){kind, size, order == '>'};
    return DP_OK;
}

static dp_status parse_shape(dp_array *a, const char *shape) {
    const char *at = shape && *shape == '(' ? shape + 1 : "";
    char *end = NULL;
    a->ndim = 0;
    while (*at >= '0' && *at <= '9' && a->ndim < DP_ARRAY_DIMS) {
        a->dim[a->ndim++] = strtoll(at, &end, 10); /* a huge one is LLONG_MAX: refused */
        at = end + strspn(end, ", ");
    }
    if (*at != ')') {
        return dp_fail(DP_EDATA, "%s: its header names no shape that can be read",
                       a->name);
    }
    return a->ndim > 0 ? DP_OK
                       : dp_fail(DP_EDATA, "%s: is a single value, not one row a sample",
                                 a->name);
}

static dp_status parse_header(dp_array *a, const char *text, element *e) {
    const char *order = value_of(text, "'fortran_order");
    DP_TRY(parse_type(a, value_of(text, "'descr"), e));
    DP_TRY(parse_shape(a, value_of(text, "'shape")));
    if (!order || strncmp(order, "False", 5) != 0) {
        return dp_fail(DP_EDATA,
                       "%s: lies in Fortran's order (columns first): save "
                       "numpy.ascontiguousarray(x)",
                       a->name);
    }
    return DP_OK;
}

static dp_status read_header(dp_stream *s, dp_array *a, element *e) {
    enum { LONGEST = 4096 };
    unsigned char head[8], length[4] = {0};
    char text[LONGEST + 1] = "";
    DP_TRY(dp_stream_read_all(s, head, sizeof head));
    if (memcmp(head, MAGIC, sizeof MAGIC) != 0 || head[6] < 1 || head[6] > 3) {
        return dp_fail(DP_EDATA, "%s: not an NPY file of version 1, 2 or 3", a->name);
    }
    DP_TRY(dp_stream_read_all(s, length, head[6] == 1 ? 2 : 4));
    size_t n = (size_t)length[0] | (size_t)length[1] << 8 | (size_t)length[2] << 16 |
               (size_t)length[3] << 24;
    if (n > LONGEST) {
        return dp_fail(DP_EDATA, "%s: its header has %zu bytes, more than %d", a->name, n,
                       LONGEST);
    }
    DP_TRY(dp_stream_read_all(s, text, n));
    return parse_header(a, text, e);
}

/* ---- values ---- */

static double number(const unsigned char *p, const element *e) {
    unsigned char b[8];
    for (int i = 0; i < e->size; i++) {
        b[i] = p[e->swap ? e->size - 1 - i : i];
    }
    uint64_t u = 0;
    for (int i = e->size - 1; i >= 0; i--) {
        u = u << 8 | b[i];
    }
    if (e->kind == 'f') {
        float f = 0;
        double d = 0;
        uint32_t half = (uint32_t)u;
        memcpy(&f, &half, sizeof f);
        memcpy(&d, &u, sizeof d);
        return e->size == 4 ? (double)f : d;
    }
    int unused = 64 - 8 * e->size;
    return e->kind == 'i' ? (double)((int64_t)(u << unused) >> unused) : (double)u;
}

static dp_status read_values(dp_stream *s, const element *e, dp_array *a) {
    enum { AT_ONCE = 4096 };
    unsigned char part[AT_ONCE * 8];
    for (size_t i = 0; i < a->count; i += AT_ONCE) {
        size_t n = a->count - i < AT_ONCE ? a->count - i : AT_ONCE;
        DP_TRY(dp_stream_read_all(s, part, n * (size_t)e->size));
        for (size_t k = 0; k < n; k++) {
            double v = number(part + k * (size_t)e->size, e);
            if (a->type == DP_FLOATS) {
                ((float *)a->value)[i + k] = (float)v;
            } else {
                ((double *)a->value)[i + k] = v;
            }
        }
    }
    return DP_OK;
}

/* Why values can't be taken as they are, or NULL. */
static const char *unlike_memory(const dp_array *a, const element *e) {
    bool ours = e->swap == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    bool floats = e->kind == 'f' && e->size == 4 && ours;
    return a->type == DP_BYTES || floats
               ? NULL
               : "its values must be converted: save x.astype('<f4')";
}

static dp_status read_stream(dp_stream *s, const dp_read_request *request, bool samples,
                             dp_array *a) {
    element e;
    DP_TRY(read_header(s, a, &e));
    bool bytes = e.size == 1 && e.kind != 'i';
    a->type = bytes ? DP_BYTES : samples ? DP_FLOATS : DP_DOUBLES;
    DP_TRY(dp_array_count(a, dp_stream_size(s)));
    if (samples) {
        DP_TRY(dp_array_map(request, s, unlike_memory(a, &e), a));
    }
    if (a->map.bytes > 0) {
        return dp_stream_read_end(s);
    }
    DP_TRY(dp_array_alloc(a));
    DP_TRY(bytes ? dp_stream_read_all(s, a->value, a->count) : read_values(s, &e, a));
    return dp_stream_read_end(s);
}

static dp_status read_array(const char *path, const dp_read_request *request,
                            bool samples, dp_array *a) {
    dp_stream *s = NULL;
    a->name = dp_strdup(path);
    DP_TRY(dp_stream_open(path, NULL, &s));
    dp_status status = read_stream(s, request, samples, a);
    dp_stream_close(&s);
    return status;
}

static dp_status read_both(const char *path, const dp_read_request *request,
                           dp_array *samples, dp_array *labels, dp_table *out) {
    char beside[DP_MAX_PATH];
    bool found = false;
    DP_TRY(read_array(path, request, true, samples));
    DP_TRY(dp_array_find_labels(path, request, beside, &found));
    if (found) {
        DP_TRY(read_array(beside, request, false, labels));
    }
    return dp_array_table(request, samples, found ? labels : NULL, out);
}

static dp_status read_npy(const char *path, const dp_read_request *request,
                          dp_table *out) {
    dp_array samples = {0}, labels = {0};
    dp_status status = read_both(path, request, &samples, &labels, out);
    dp_array_free(&samples);
    dp_array_free(&labels);
    return status;
}

const dp_format dp_format_npy = {"npy", named, begins, read_npy};
