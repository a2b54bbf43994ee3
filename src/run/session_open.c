/* A session from a checkpoint: the model runs without the data that it was trained on. */
#include "base/memory.h"
#include "facts.h"
#include "session_impl.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What all ranks need of the checkpoint that rank 0 has read. */
typedef struct facts {
    dp_config config;
    int nshape, shape[DP_DATA_DIMS];
    int features, outputs, nclasses, ncolumns, nmean;
    bool bytes;
    char fingerprint[72]; /* as dp_dataset has it */
} facts;

static dp_status read_facts(const char *path, int noverrides, char *const *overrides,
                            dp_snapshot **snapshot, facts *f) {
    dp_config own;
    char *file = NULL;
    DP_TRY(dp_checkpoint_find(path, &file));
    dp_status status = dp_checkpoint_read(file, dp_facts_check, snapshot);
    free(file);
    DP_TRY(status);
    const dp_snapshot *from = *snapshot;
    DP_TRY(dp_facts_config(path, from, &own));
    DP_TRY(dp_config_parse(path, from->config, noverrides, overrides, &f->config));
    if (strcmp(f->config.loss.name, own.loss.name) != 0 ||
        strcmp(f->config.model.layers, own.model.layers) != 0) {
        return dp_fail(DP_EUSAGE,
                       "%s: model.layers and loss.name are what it was trained with (%s; "
                       "%s): leave them out",
                       path, from->layers, from->loss);
    }
    snprintf(f->config.data.normalize, sizeof f->config.data.normalize, "%s",
             from->normalize);
    f->nshape = from->nshape;
    f->features = 1;
    for (int d = 0; d < from->nshape; d++) {
        f->shape[d] = from->shape[d];
        f->features *= from->shape[d];
    }
    f->outputs = from->tensors[from->ntensors - 1].dim[0];
    f->nclasses = from->nclasses;
    f->ncolumns = from->ncolumns;
    f->nmean = from->nmean;
    f->bytes = from->bytes;
    memcpy(f->fingerprint, from->fingerprint, sizeof f->fingerprint);
    return DP_OK;
}

/* The n names of rank 0 (NULL elsewhere), in one allocation. MPI: collective. Owner: the
 * caller, who frees with dp_memory_free; NULL where n is 0 */
static char **bcast_names(dp_comm *comm, int n, char *const *from) {
    size_t bytes = 0, head = (size_t)n * sizeof(char *);
    for (int i = 0; from && i < n; i++) {
        bytes += strlen(from[i]) + 1;
    }
    dp_comm_bcast(comm, &bytes, sizeof bytes);
    if (n == 0) {
        return NULL;
    }
    char **names = dp_alloc(head + bytes, 1), *text = (char *)names + head;
    for (int i = 0; from && i < n; i++) {
        text = stpcpy(text, from[i]) + 1;
    }
    text = (char *)names + head;
    dp_comm_bcast(comm, text, bytes);
    for (int i = 0; i < n; i++, text += strlen(text) + 1) {
        names[i] = text;
    }
    return names;
}

/* A data set without samples, of the shape that the model was trained on. */
static dp_status make_data(const facts *f, bool labels, dp_dataset **out) {
    DP_TRY(dp_memory_alloc(1, sizeof **out, (void **)out));
    dp_dataset *data = *out;
    data->train.features = f->features;
    data->train.nshape = f->nshape;
    memcpy(data->train.shape, f->shape, sizeof f->shape);
    data->train.bytes = f->bytes;
    data->train.ncolumns = f->ncolumns;
    data->classes = labels ? f->nclasses : 0;
    data->outputs = f->outputs;
    data->nmean = f->nmean;
    memcpy(data->fingerprint, f->fingerprint, sizeof f->fingerprint);
    size_t n = (size_t)f->nmean;
    DP_TRY(dp_memory_alloc(n, sizeof(double), (void **)&data->mean));
    DP_TRY(dp_memory_alloc(n, sizeof(double), (void **)&data->std));
    DP_TRY(dp_memory_alloc(n, sizeof(float), (void **)&data->mean_f));
    return dp_memory_alloc(n, sizeof(float), (void **)&data->inv_std_f);
}

static dp_status make(dp_session *s, const facts *f) {
    s->config = f->config;
    DP_TRY(dp_session_set_up(s));
    DP_TRY(make_data(f, s->loss->labels, &s->data));
    return dp_session_model(s);
}

static dp_status open_checkpoint(dp_session *s, const char *path, int noverrides,
                                 char *const *overrides, dp_snapshot **snapshot) {
    dp_comm *comm = s->comm;
    facts f = {0};
    bool root = dp_comm_rank(comm) == 0;
    DP_TRY(dp_comm_agree(
        comm, root ? read_facts(path, noverrides, overrides, snapshot, &f) : DP_OK));
    dp_comm_bcast(comm, &f, sizeof f);
    DP_TRY(dp_comm_agree(comm, make(s, &f)));
    const dp_snapshot *from = *snapshot;
    s->data->class_name = bcast_names(comm, f.nclasses, from ? from->classes : NULL);
    s->data->train.column = bcast_names(comm, f.ncolumns, from ? from->columns : NULL);
    DP_TRY(dp_session_load(s, from, path));
    dp_comm_configure(comm, s->threads, s->config.parallel.timeout);
    return DP_OK;
}

dp_status dp_session_open(dp_comm *comm, const char *path, int noverrides,
                          char *const *overrides, dp_session **out) {
    dp_snapshot *snapshot = NULL;
    dp_session *s = dp_alloc(1, sizeof *s);
    s->comm = comm;
    dp_status status = open_checkpoint(s, path, noverrides, overrides, &snapshot);
    dp_snapshot_destroy(&snapshot);
    if (status != DP_OK) {
        dp_session_destroy(&s);
        return status;
    }
    *out = s;
    return DP_OK;
}

/* Pixels that come as numbers in a text: the same bytes as in an image file. */
static dp_status to_bytes(dp_table *table, const char *path) {
    size_t n = (size_t)table->n * (size_t)table->features;
    const float *from = table->raw;
    for (size_t i = 0; i < n; i++) {
        if (!(from[i] >= 0 && from[i] <= 255 && from[i] == floorf(from[i]))) {
            return dp_fail(
                DP_EDATA,
                "%s: sample %zu has the value %g, but the model was trained on "
                "bytes, 0 to 255",
                path, i / (size_t)table->features, (double)from[i]);
        }
    }
    uint8_t *bytes = NULL;
    DP_TRY(dp_memory_alloc(n, 1, (void **)&bytes));
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)from[i];
    }
    dp_table_drop_raw(table);
    table->raw = bytes;
    table->bytes = true;
    return DP_OK;
}

static dp_status read_table(dp_session *s, const char *path, bool optional) {
    dp_dataset *data = s->data;
    const dp_table *t = &data->train;
    const dp_schema schema = {.features = t->features,
                              .nshape = t->nshape,
                              .shape = t->shape,
                              .classes = data->classes,
                              .nclass_name = dp_dataset_class_names(data),
                              .class_name = data->class_name,
                              .ncolumns = t->ncolumns,
                              .column = t->column,
                              .optional = optional};
    dp_config config = s->config;
    if (path) { /* of another kind than the training file, perhaps */
        strcpy(config.data.format, "auto");
    }
    DP_TRY(dp_dataset_read(&config, path, &schema, &data->test));
    if (data->test.n == 0) {
        return DP_OK;
    }
    const char *name = path ? path : "the test set";
    if (data->test.target && data->test.ntargets != data->outputs) {
        return dp_fail(DP_EDATA, "%s: %d targets, but the model has %d outputs", name,
                       data->test.ntargets, data->outputs);
    }
    if (data->test.bytes && !t->bytes) {
        return dp_fail(DP_EDATA, "%s: holds bytes, but the model was trained on numbers",
                       name);
    }
    return t->bytes && !data->test.bytes ? to_bytes(&data->test, name) : DP_OK;
}

dp_status dp_session_read(dp_session *session, const char *path, bool optional) {
    dp_comm *comm = session->comm;
    DP_TRY(dp_comm_agree(comm, read_table(session, path, optional)));
    dp_status s = DP_OK;
    int own = session->data->test.n, first = own;
    dp_comm_bcast(comm, &first, sizeof first);
    if (own != first) {
        s = dp_fail(DP_EDATA,
                    "%s: %d samples on rank %d, but %d on rank 0: all hosts must see the "
                    "same file",
                    path ? path : "the test set", own, dp_comm_rank(comm), first);
    }
    return dp_comm_agree(comm, s);
}

/* The training file again, with the splits of the run. */
static dp_status read_again(const dp_session *s, dp_dataset **out) {
    enum { TRAIN = 16 }; /* digits of the fingerprint that are of the training table */
    DP_TRY(dp_dataset_open(&s->config, out));
    return strncmp((*out)->fingerprint, s->data->fingerprint, TRAIN) == 0
               ? DP_OK
               : dp_fail(DP_EDATA,
                         "the training data are not those of the run (fingerprint "
                         "%.12s, was %.12s): which samples it took is not known",
                         (*out)->fingerprint, s->data->fingerprint);
}

static dp_status read_own(dp_session *session, bool val, int32_t **rows, int *n) {
    dp_dataset *d = NULL;
    dp_status s = dp_comm_agree(session->comm, read_again(session, &d));
    if (s == DP_OK && val && d->val_n == 0) {
        s = dp_fail(DP_EUSAGE, "--split val: the run held nothing out: its config has "
                               "data.validation = 0");
    }
    if (s == DP_OK) {
        *n = val ? d->val_n : d->train_n;
        *rows = dp_alloc((size_t)*n, sizeof **rows);
        memcpy(*rows, val ? d->val_row : d->train_row, (size_t)*n * sizeof **rows);
        session->data->test = d->train;
        d->train = (dp_table){0};
    }
    dp_dataset_destroy(&d);
    return s;
}

dp_status dp_session_read_split(dp_session *session, const char *split, int32_t **rows,
                                int *n) {
    *rows = NULL;
    if (strcmp(split, "test") == 0) {
        DP_TRY(dp_session_read(session, NULL, false));
        *n = session->data->test.n;
        return DP_OK;
    }
    bool val = strcmp(split, "val") == 0;
    return val || strcmp(split, "train") == 0
               ? read_own(session, val, rows, n)
               : dp_fail(DP_EUSAGE, "--split %s: must be train, val or test", split);
}
