/* The data set in memory that the ranks of a node share. */
#include "node_data.h"
#include "base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARRAYS = 13, NAMES = 3 };

typedef struct array {
    void **at; /* in a dp_dataset */
    size_t bytes;
} array;

typedef struct names {
    char ***at; /* in a dp_dataset: [n] texts, one allocation */
    int n;
} names;

static void *none; /* in place of what is mapped, which every rank maps itself */

/* Everything that a data set points to. */
static void list_pointers(dp_dataset *d, array a[ARRAYS], names t[NAMES]) {
    int k = 0;
    dp_table *tables[] = {&d->train, &d->test};
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)tables[i]->n, width = tables[i]->bytes ? 1 : sizeof(float);
        bool mapped = tables[i]->map.bytes > 0;
        a[k++] = (array){mapped ? &none : &tables[i]->raw,
                         n * (size_t)tables[i]->features * width};
        a[k++] = (array){(void **)&tables[i]->label, n * sizeof(int32_t)};
        a[k++] = (array){(void **)&tables[i]->target,
                         n * (size_t)tables[i]->ntargets * sizeof(float)};
    }
    size_t means = (size_t)d->nmean;
    a[k++] = (array){(void **)&d->train_row, (size_t)d->train_n * sizeof(int32_t)};
    a[k++] = (array){(void **)&d->val_row, (size_t)d->val_n * sizeof(int32_t)};
    a[k++] = (array){(void **)&d->mean, means * sizeof(double)};
    a[k++] = (array){(void **)&d->std, means * sizeof(double)};
    a[k++] = (array){(void **)&d->mean_f, means * sizeof(float)};
    a[k++] = (array){(void **)&d->inv_std_f, means * sizeof(float)};
    int classes = d->classes > 0 ? d->classes : 2;
    a[k++] = (array){(void **)&d->class_weight, (size_t)classes * sizeof(float)};
    t[0] = (names){&d->class_name, dp_dataset_class_names(d)};
    t[1] = (names){&d->train.column, d->train.ncolumns};
    t[2] = (names){&d->test.column, d->test.ncolumns};
}

/* What the ranks of a host need before they can map the arrays. */
typedef struct header {
    dp_dataset data; /* pointers: NULL or not */
    size_t arrays[ARRAYS], texts[NAMES], bytes;
} header;

static size_t reserve(size_t *used, size_t bytes) {
    size_t at = *used;
    *used += (bytes + DP_ALIGN - 1) / DP_ALIGN * DP_ALIGN;
    return at;
}

static void lay_out(dp_dataset *d, header *h) {
    array a[ARRAYS];
    names t[NAMES];
    list_pointers(d, a, t);
    h->data = *d;
    for (int k = 0; k < ARRAYS; k++) {
        h->arrays[k] = reserve(&h->bytes, *a[k].at ? a[k].bytes : 0);
    }
    for (int k = 0; k < NAMES; k++) {
        size_t bytes = 0;
        for (int i = 0; *t[k].at && i < t[k].n; i++) {
            bytes += strlen((*t[k].at)[i]) + 1;
        }
        h->texts[k] = reserve(&h->bytes, bytes);
    }
}

/* Moves the arrays into the shared memory; texts are copied. */
static void move_in(dp_dataset *d, const header *h, char *memory) {
    array a[ARRAYS];
    names t[NAMES];
    list_pointers(d, a, t);
    for (int k = 0; k < ARRAYS; k++) {
        if (*a[k].at) {
            memcpy(memory + h->arrays[k], *a[k].at, a[k].bytes);
            dp_memory_free(a[k].at);
            *a[k].at = memory + h->arrays[k];
        }
    }
    for (int k = 0; k < NAMES; k++) {
        char *text = memory + h->texts[k];
        for (int i = 0; *t[k].at && i < t[k].n; i++) {
            text = stpcpy(text, (*t[k].at)[i]) + 1;
        }
    }
}

/* What the first rank has mapped. */
static dp_status map_again(dp_table *t) {
    if (t->map.bytes == 0) {
        return DP_OK;
    }
    t->map.memory = t->raw = NULL;
    DP_TRY(dp_map_again(&t->map));
    t->raw = t->map.memory;
    return DP_OK;
}

/* The data set of a rank that has not opened it, on the shared arrays. */
static dp_status attach(const header *h, char *memory, dp_dataset **out) {
    DP_TRY(dp_memory_alloc(1, sizeof **out, (void **)out));
    dp_dataset *d = *out;
    *d = h->data;
    array a[ARRAYS];
    names t[NAMES];
    list_pointers(d, a, t);
    for (int k = 0; k < ARRAYS; k++) {
        *a[k].at = *a[k].at ? memory + h->arrays[k] : NULL;
    }
    for (int k = 0; k < NAMES; k++) {
        char *text = memory + h->texts[k];
        *t[k].at = *t[k].at ? dp_alloc((size_t)t[k].n, sizeof(char *)) : NULL;
        for (int i = 0; *t[k].at && i < t[k].n; i++, text += strlen(text) + 1) {
            (*t[k].at)[i] = text;
        }
    }
    dp_status train = map_again(&d->train), test = map_again(&d->test);
    return train != DP_OK ? train : test;
}

/* Each host has opened its own files. */
static dp_status check_same(dp_comm *comm, const dp_dataset *data) {
    dp_status s = DP_OK;
    char first[sizeof data->fingerprint];
    memcpy(first, data->fingerprint, sizeof first);
    dp_comm_bcast(comm, first, sizeof first);
    if (strcmp(first, data->fingerprint) != 0) {
        s = dp_fail(
            DP_EDATA,
            "the data that rank %d reads (%d training samples, fingerprint %.12s) is not "
            "that of rank 0 (fingerprint %.12s): all hosts must see the same files",
            dp_comm_rank(comm), data->train_n, data->fingerprint, first);
    }
    return dp_comm_agree(comm, s);
}

dp_status dp_node_data_open(dp_comm *comm, const dp_config *config, dp_dataset **data,
                            dp_shared **memory) {
    bool first = dp_comm_topology(comm)->node_rank == 0;
    DP_TRY(dp_comm_agree(comm, first ? dp_dataset_open(config, data) : DP_OK));
    if (dp_comm_size(comm) == 1) {
        return DP_OK;
    }
    header h;
    memset(&h, 0, sizeof h);
    if (first) {
        lay_out(*data, &h);
    }
    dp_comm_node_bcast(comm, &h, sizeof h);
    DP_TRY(dp_shared_create(comm, h.bytes, 0, memory));
    bool no_shm = (*memory)->members < dp_comm_topology(comm)->node_size;
    if (first && !no_shm) {
        move_in(*data, &h, (*memory)->common);
    }
    dp_shared_barrier(*memory);
    dp_status s = DP_OK;
    if (!first) {
        s = no_shm ? dp_dataset_open(config, data) : attach(&h, (*memory)->common, data);
    }
    if (no_shm) {
        dp_shared_destroy(memory);
    }
    DP_TRY(dp_comm_agree(comm, s));
    return check_same(comm, *data);
}

void dp_node_data_close(dp_dataset **data, dp_shared **memory) {
    if (*data && *memory) {
        array a[ARRAYS];
        names t[NAMES];
        list_pointers(*data, a, t);
        for (int k = 0; k < ARRAYS; k++) {
            *a[k].at = NULL;
        }
    }
    dp_dataset_destroy(data);
    dp_shared_destroy(memory);
}
