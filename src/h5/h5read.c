/* What can be read from a file, in the parent: each function asks the process that reads
 * it, and checks the answer's length. */
#include "base/memory.h"
#include "reader.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dp_h5_request request(int what, const char *object, const char *name) {
    dp_h5_request q;
    memset(&q, 0, sizeof q); /* all of it is sent */
    q.what = what;
    snprintf(q.object, sizeof q.object, "%s", object);
    snprintf(q.name, sizeof q.name, "%s", name);
    return q;
}

/* Asks for exactly `room` bytes. */
static dp_status ask_exactly(dp_h5 *f, const dp_h5_request *q, void *out, size_t room) {
    dp_h5_answer a = {.bytes = out, .room = room};
    DP_TRY(dp_h5_ask(f, q, &a));
    return a.size == room ? DP_OK : dp_h5_bad_answer(f, q->object);
}

bool dp_h5_has(dp_h5 *file, const char *object) {
    return dp_h5_has_attr(file, object, "");
}

bool dp_h5_has_attr(dp_h5 *file, const char *object, const char *name) {
    dp_h5_request q = request(DP_H5_ASK_HAS, object, name);
    bool has = false;
    return ask_exactly(file, &q, &has, sizeof has) != DP_OK || has;
}

/* ---- datasets ---- */

dp_status dp_h5_shape(dp_h5 *file, const char *name, dp_h5_type *type, int *ndim,
                      int64_t dims[8]) {
    dp_h5_request q = request(DP_H5_ASK_SHAPE, name, "");
    dp_h5_extent s;
    DP_TRY(ask_exactly(file, &q, &s, sizeof s));
    if (s.ndim < 0 || s.ndim > DP_H5_DIMS) {
        return dp_h5_bad_answer(file, name);
    }
    *type = s.type;
    *ndim = s.ndim;
    memcpy(dims, s.dims, (size_t)s.ndim * sizeof *dims);
    return DP_OK;
}

dp_status dp_h5_where(dp_h5 *file, const char *name, dp_h5_type type, int64_t *at) {
    dp_h5_request q = request(DP_H5_ASK_WHERE, name, "");
    q.type = type;
    return ask_exactly(file, &q, at, sizeof *at);
}

dp_status dp_h5_get(dp_h5 *file, const char *name, dp_h5_type type, int64_t count,
                    void *out) {
    dp_h5_request q = request(DP_H5_ASK_VALUES, name, "");
    q.type = type;
    q.count = count;
    return ask_exactly(file, &q, out, (size_t)count * dp_h5_type_size(type));
}

/* Asks for texts, each with its end: *n of them in a->bytes. */
static dp_status ask_texts(dp_h5 *file, const dp_h5_request *q, dp_h5_answer *a, int *n) {
    DP_TRY(dp_h5_ask(file, q, a));
    const char *all = a->bytes;
    size_t ends = 0;
    for (size_t i = 0; i < a->size; i++) {
        ends += all[i] == '\0';
    }
    *n = (int)ends;
    bool good = ends <= INT32_MAX && (a->size == 0 || all[a->size - 1] == '\0');
    return good ? DP_OK : dp_h5_bad_answer(file, q->object);
}

dp_status dp_h5_get_text(dp_h5 *file, const char *name, char **out) {
    dp_h5_request q = request(DP_H5_ASK_TEXT, name, "");
    dp_h5_answer a = {0};
    int n = 0;
    q.count = 1;
    dp_status status = ask_texts(file, &q, &a, &n);
    if (status == DP_OK && n != 1) {
        status = dp_h5_bad_answer(file, name);
    }
    if (status != DP_OK) {
        free(a.bytes);
        return status;
    }
    *out = a.bytes;
    return DP_OK;
}

/* ---- attributes ---- */

static dp_status get_numbers(dp_h5 *file, const dp_h5_request *q, dp_h5_answer *a,
                             int *n) {
    DP_TRY(dp_h5_ask(file, q, a));
    size_t count = a->size / dp_h5_type_size(q->type);
    *n = (int)count;
    return count <= INT32_MAX ? DP_OK : dp_h5_bad_answer(file, q->object);
}

/* The texts with pointers to them before them. */
static dp_status get_texts(dp_h5 *file, const dp_h5_request *q, dp_h5_answer *a, int *n) {
    DP_TRY(ask_texts(file, q, a, n));
    size_t head = (size_t)*n * sizeof(char *);
    if (dp_memory_resize(&a->bytes, head + a->size + 1) != DP_OK) {
        return dp_h5_no_memory(file, q->name);
    }
    char **pointer = a->bytes, *text = (char *)a->bytes + head;
    memmove(text, a->bytes, a->size);
    for (int i = 0; i < *n; i++, text += strlen(text) + 1) {
        pointer[i] = text;
    }
    return DP_OK;
}

dp_status dp_h5_get_texts(dp_h5 *file, const char *name, int count, char ***out) {
    dp_h5_request q = request(DP_H5_ASK_TEXT, name, "");
    dp_h5_answer a = {0};
    int n = 0;
    q.count = count;
    dp_status status = get_texts(file, &q, &a, &n);
    if (status == DP_OK && n != count) {
        status = dp_h5_bad_answer(file, name);
    }
    if (status != DP_OK) {
        free(a.bytes);
        return status;
    }
    *out = a.bytes;
    return DP_OK;
}

dp_status dp_h5_get_attr(dp_h5 *file, const char *object, const char *name,
                         dp_h5_type type, int *n, void *out) {
    bool text = type == DP_H5_TEXT;
    dp_h5_request q = request(text ? DP_H5_ASK_TEXTS : DP_H5_ASK_NUMBERS, object, name);
    dp_h5_answer a = {0};
    int count = 0;
    q.type = type;
    dp_status status = (text ? get_texts : get_numbers)(file, &q, &a, &count);
    if (status != DP_OK) {
        free(a.bytes);
        return status;
    }
    *n = count;
    memcpy(out, &a.bytes, sizeof a.bytes);
    return DP_OK;
}

/* One of n values into out[0..size). */
static dp_status take_one(const dp_h5 *file, const char *name, dp_h5_type type, int n,
                          const void *values, size_t size, void *out) {
    bool text = type == DP_H5_TEXT;
    if (n != 1) {
        return dp_h5_wrong(file, "%s (attribute) is not one %s", name,
                           text ? "text" : "number");
    }
    const void *from = text ? *(char *const *)values : values;
    size_t bytes = text ? strlen(from) + 1 : dp_h5_type_size(type);
    if (bytes > size) {
        return dp_h5_wrong(file, "%s (attribute) is too long", name);
    }
    memcpy(out, from, bytes);
    return DP_OK;
}

dp_status dp_h5_get_attr_one(dp_h5 *file, const char *object, const char *name,
                             dp_h5_type type, size_t size, void *out) {
    int n = 0;
    void *values = NULL;
    DP_TRY(dp_h5_get_attr(file, object, name, type, &n, &values));
    dp_status status = take_one(file, name, type, n, values, size, out);
    free(values);
    return status;
}

/* ---- tables ---- */

/* A column's values through `field` into rows of `size` bytes. */
static dp_status get_column(dp_h5 *file, const char *table, const dp_h5_column *column,
                            int64_t n, char *field, size_t size, char *rows) {
    dp_h5_request q = request(DP_H5_ASK_COLUMN, table, column->name);
    dp_h5_answer a = {.bytes = field, .room = (size_t)n * 8};
    const double none = column->integer ? 0 : NAN; /* the bits of 0 are those of 0.0 */
    q.type = column->integer ? DP_H5_I64 : DP_H5_F64;
    q.count = n;
    DP_TRY(dp_h5_ask(file, &q, &a));
    bool absent = a.size == 0;
    if (!absent && a.size != a.room) {
        return dp_h5_bad_answer(file, table);
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(rows + (size_t)i * size + column->offset,
               absent ? (const char *)&none : field + (size_t)i * 8, 8);
    }
    return DP_OK;
}

dp_status dp_h5_get_table(dp_h5 *file, const char *name, int ncolumns,
                          const dp_h5_column *columns, size_t size, int64_t *nrows,
                          void **rows) {
    dp_h5_request q = request(DP_H5_ASK_ROWS, name, "");
    int64_t n = 0;
    DP_TRY(ask_exactly(file, &q, &n, sizeof n));
    if (n < 0 || !dp_h5_plausible(file, (uint64_t)n, 8)) {
        return dp_h5_bad_answer(file, name);
    }
    void *all = NULL, *field = NULL;
    dp_status status = dp_memory_alloc((size_t)n, size, &all);
    status = status ? status : dp_memory_alloc((size_t)n, 8, &field);
    for (int i = 0; i < ncolumns && status == DP_OK && n > 0; i++) {
        status = get_column(file, name, &columns[i], n, field, size, all);
    }
    dp_memory_free(&field);
    if (status != DP_OK) {
        dp_memory_free(&all);
        return status;
    }
    *nrows = n;
    *rows = all;
    return DP_OK;
}
