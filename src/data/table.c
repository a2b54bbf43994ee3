/* Tables in memory, and which values may go with a sample. */
#include "base/memory.h"
#include "data/dataset.h"
#include "reader.h"
#include <math.h>
#include <stdio.h>

void dp_table_drop_raw(dp_table *table) {
    if (table->map.bytes > 0) {
        dp_map_close(&table->map);
        table->raw = NULL;
    }
    dp_memory_free(&table->raw);
}

void dp_table_free(dp_table *table) {
    dp_table_drop_raw(table);
    dp_memory_free(&table->label);
    dp_memory_free(&table->target);
    dp_memory_free(&table->column);
    dp_memory_free(&table->class_name);
    *table = (dp_table){0};
}

double dp_table_value(const dp_table *t, int32_t row, int f) {
    size_t i = (size_t)row * (size_t)t->features + (size_t)f;
    return t->bytes ? ((const uint8_t *)t->raw)[i] : (double)((const float *)t->raw)[i];
}

void dp_shape_text(int nshape, const int *shape, char out[DP_SHAPE_TEXT]) {
    size_t used = 0;
    out[0] = '\0';
    for (int d = 0; d < nshape; d++) {
        used += (size_t)snprintf(out + used, DP_SHAPE_TEXT - used, "%s%d",
                                 d > 0 ? "x" : "", shape[d]);
    }
}

int dp_table_stretches(const dp_table *t) {
    const size_t most = (size_t)1 << 30;
    return (size_t)t->n * dp_table_row_bytes(t) <= most ? 1 : 256;
}

void dp_table_stretch(const dp_table *t, int k, int *begin, int *end) {
    int n = dp_table_stretches(t);
    int64_t rows =
        n == 1 ? t->n : (int64_t)(((size_t)1 << 20) / dp_table_row_bytes(t)) + 1;
    int64_t first = (int64_t)t->n * k / n, next = (int64_t)t->n * (k + 1) / n;
    *begin = (int)first;
    *end = (int)(first + rows < next ? first + rows : next);
}

static size_t table_bytes(const dp_table *t) {
    size_t sample = (t->map.bytes > 0 ? 0 : dp_table_row_bytes(t)) +
                    (t->label ? sizeof *t->label : 0) +
                    (size_t)t->ntargets * sizeof *t->target;
    return (size_t)t->n * sample;
}

size_t dp_dataset_bytes(const dp_dataset *data) {
    return table_bytes(&data->train) + table_bytes(&data->test) +
           (size_t)data->train.n * sizeof(int32_t);
}

dp_status dp_table_alloc_targets(const dp_read_request *request, size_t n, int width,
                                 dp_table *out) {
    if (request->kind == DP_CLASSES) {
        return dp_memory_alloc(n, sizeof *out->label, (void **)&out->label);
    }
    out->ntargets = width;
    return dp_memory_alloc(n * (size_t)width, sizeof *out->target, (void **)&out->target);
}

/* A value is judged before it is rounded to a float. */
static const char *fault_of(const dp_read_request *request, double v) {
    enum { MAX_CLASSES = 65536 }; /* beyond that it is hardly a class number */
    static char text[80];
    int classes = request->schema.classes;
    switch (request->kind) {
    case DP_VALUES:
        return isfinite((float)v) ? NULL
               : isnan(v)         ? " is not a number"
                                  : " is too large for a float";
    case DP_BINARY:
        return v == 0 || v == 1 ? NULL
                                : " is neither 0 nor 1, which loss.name = bce takes; for "
                                  "more classes use cross_entropy";
    case DP_CLASSES:
        break;
    }
    if (!(v >= 0 && v < MAX_CLASSES) || v != floor(v)) {
        return " is not a class number (0, 1, 2, ...); for other numbers set loss.name = "
               "mse";
    }
    if (classes == 0 || v < classes) {
        return NULL;
    }
    snprintf(text, sizeof text, " is out of range: there are %d classes, 0 to %d",
             classes, classes - 1);
    return text;
}

const char *dp_table_set_target(const dp_read_request *request, dp_table *out, size_t i,
                                int k, double v) {
    const char *fault = fault_of(request, v);
    if (fault) {
        return fault;
    }
    if (out->label) {
        out->label[i] = (int32_t)v;
    } else {
        out->target[i * (size_t)out->ntargets + (size_t)k] = (float)v;
    }
    return NULL;
}
