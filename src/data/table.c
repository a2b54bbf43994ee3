/* Tables in memory, and lists of names. */
#include "base/memory.h"
#include "data/dataset.h"
#include "reader.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dp_table_free(dp_table *table) {
    dp_memory_free(&table->raw);
    dp_memory_free(&table->label);
    dp_memory_free(&table->target);
    dp_memory_free(&table->column);
    *table = (dp_table){0};
}

void dp_shape_text(int nshape, const int *shape, char out[DP_SHAPE_TEXT]) {
    size_t used = 0;
    out[0] = '\0';
    for (int d = 0; d < nshape; d++) {
        used += (size_t)snprintf(out + used, DP_SHAPE_TEXT - used, "%s%d",
                                 d > 0 ? "x" : "", shape[d]);
    }
}

static size_t table_bytes(const dp_table *t) {
    size_t sample = (size_t)t->features * (t->bytes ? 1 : sizeof(float)) +
                    (t->label ? sizeof *t->label : 0) +
                    (size_t)t->ntargets * sizeof *t->target;
    return (size_t)t->n * sample;
}

size_t dp_dataset_bytes(const dp_dataset *data) {
    return table_bytes(&data->train) + table_bytes(&data->test) +
           (size_t)data->train.n * sizeof(int32_t);
}

/* One allocation: the pointers, then `bytes` of text. */
static dp_status allocate_names(int n, size_t bytes, char ***out, char **text) {
    size_t pointers = (size_t)n * sizeof(char *);
    dp_status status = dp_memory_alloc(pointers + bytes, 1, (void **)out);
    if (status == DP_OK) {
        *text = (char *)*out + pointers;
    }
    return status;
}

dp_status dp_names_copy(int n, char *const *names, char ***out) {
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        bytes += strlen(names[i]) + 1;
    }
    char *text = NULL, **copy = NULL;
    dp_status status = allocate_names(n, bytes, &copy, &text);
    if (status != DP_OK) {
        return status;
    }
    for (int i = 0; i < n; i++) {
        copy[i] = strcpy(text, names[i]);
        text += strlen(text) + 1;
    }
    *out = copy;
    return DP_OK;
}

dp_status dp_names_split(const char *text, int *n, char ***out) {
    int max = 1;
    for (const char *p = text; *p; p++) {
        max += *p == ',';
    }
    char *to = NULL, **names = NULL;
    dp_status status = allocate_names(max, strlen(text) + (size_t)max, &names, &to);
    if (status != DP_OK) {
        return status;
    }
    int count = 0; /* "" gives none, "a,b" two */
    for (const char *p = text; *text && count < max; count++) {
        p += strspn(p, " \t");
        size_t length = strcspn(p, ",");
        const char *next = p + length;
        while (length > 0 && (p[length - 1] == ' ' || p[length - 1] == '\t')) {
            length--;
        }
        if (length == 0) {
            dp_memory_free(&names);
            return dp_fail(DP_EUSAGE, "an empty name in the list '%s'", text);
        }
        names[count] = memcpy(to, p, length); /* zeroed: the end is there already */
        to += length + 1;
        p = next + 1;
    }
    *n = count;
    *out = names;
    return DP_OK;
}

int dp_names_find(int n, char *const *names, const char *name, size_t length) {
    for (int i = 0; i < n; i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) {
            return i;
        }
    }
    return -1;
}
