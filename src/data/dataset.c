/* Opening data: format, classes, limit, validation split. */
#include "data/dataset.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/rng.h"
#include "reader.h"
#include "statistics.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PATH = DP_TEXT + 64 };

/* ---- what the config asks for ---- */

static dp_target_kind kind_of(const dp_config *config) {
    if (strcmp(config->loss.name, "mse") == 0) {
        return DP_VALUES;
    }
    return strcmp(config->loss.name, "bce") == 0 ? DP_BINARY : DP_CLASSES;
}

/* The public set that the folder's name, or else the run's, speaks of, by
 * scripts/get-data.sh's name for it; NULL: neither does. */
static const char *set_meant(const dp_config *config) {
    const char *said[] = {config->data.dir, config->run.name};
    for (int i = 0; i < 2; i++) {
        if (strcasestr(said[i], "fashion")) {
            return "fashion-mnist";
        }
        if (strcasestr(said[i], "mnist")) {
            return "mnist";
        }
    }
    return NULL;
}

static dp_status no_data(const dp_config *config, const char *name) {
    const char *dir = config->data.dir, *set = set_meant(config);
    return set ? dp_fail(DP_EDATA,
                         "no data in %s: looked for %s and %s.gz; scripts/get-data.sh %s "
                         "%s gets %s",
                         dir, name, name, set, dir, set)
               : dp_fail(DP_EDATA,
                         "no data in %s: looked for %s and %s.gz; scripts/get-data.sh "
                         "--help tells how to get MNIST or Fashion-MNIST",
                         dir, name, name);
}

/* The path of the training or test file; "" where the config names no test set. */
static dp_status find_path(const dp_config *config, bool test, char out[MAX_PATH]) {
    const char *given = test ? config->data.test : config->data.train;
    const char *dir = config->data.dir;
    out[0] = '\0';
    if (given[0]) {
        snprintf(out, MAX_PATH, "%s", given);
        return DP_OK;
    }
    if (dir[0]) {
        const char *name = test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte";
        if (!dp_idx_find(dir, name, out)) {
            return no_data(config, name);
        }
        return DP_OK;
    }
    return test ? DP_OK
                : dp_fail(DP_EUSAGE, "no data named: set data.dir (a folder of the four "
                                     "MNIST files) or data.train (a file)");
}

static dp_status check_class_names(const dp_read_request *request) {
    int n = request->nclass_name;
    if (request->kind == DP_BINARY && n != 0 && n != 2) {
        return dp_fail(DP_EUSAGE,
                       "data.classes names %d classes, but loss.name = bce has two", n);
    }
    for (int i = 1; i < n; i++) {
        const char *name = request->class_name[i];
        if (dp_names_find(i, request->class_name, name, strlen(name)) >= 0) {
            return dp_fail(
                DP_EUSAGE,
                "data.classes names '%s' twice: each class has a name of its own", name);
        }
    }
    return DP_OK;
}

/* Fills *request; *names is the caller's. */
static dp_status make_request(const dp_config *config, const dp_schema *schema,
                              dp_read_request *request, char ***names) {
    *request = (dp_read_request){
        .kind = kind_of(config), .target = config->data.target, .schema = *schema};
    dp_status status = dp_names_split(config->data.classes, &request->nclass_name, names);
    if (status != DP_OK) {
        return status;
    }
    request->class_name = *names;
    if (request->kind == DP_CLASSES && request->nclass_name > 0 && schema->classes == 0) {
        request->schema.classes = request->nclass_name;
    }
    return check_class_names(request);
}

dp_status dp_dataset_read(const dp_config *config, const char *path,
                          const dp_schema *schema, dp_table *out) {
    char test[MAX_PATH] = "";
    if (!path) {
        dp_status status = find_path(config, true, test);
        if (status != DP_OK) {
            return status;
        }
        path = test;
    }
    if (!path[0]) {
        *out = (dp_table){0};
        return DP_OK;
    }
    dp_read_request request;
    char **names = NULL;
    dp_status status = make_request(config, schema, &request, &names);
    if (status == DP_OK) {
        status = dp_format_read(config->data.format, path, &request, out);
    }
    dp_memory_free(&names);
    return status;
}

/* ---- classes ---- */

/* Counts the classes of the training file, and refuses a file of one class. */
static dp_status count_classes(dp_dataset *data, int named, const char *path) {
    const dp_table *t = &data->train;
    int max = 0;
    for (int i = 0; i < t->n; i++) {
        max = t->label[i] > max ? t->label[i] : max;
    }
    data->classes = named > 0 ? named : max + 1;
    data->outputs = data->classes;
    int *count = NULL;
    dp_status status =
        dp_memory_alloc((size_t)data->classes, sizeof *count, (void **)&count);
    if (status != DP_OK) {
        return status;
    }
    for (int i = 0; i < t->n; i++) {
        count[t->label[i]]++;
    }
    int empty = 0, first = 0;
    for (int c = data->classes - 1; c >= 0; c--) {
        empty += count[c] == 0;
        first = count[c] == 0 ? c : first;
    }
    dp_memory_free(&count);
    if (data->classes - empty < 2) {
        return dp_fail(DP_EDATA,
                       "%s: all %d samples are of class %d: nothing to tell apart", path,
                       t->n, max);
    }
    if (empty > 0) {
        dp_warn(
            "%s: %d of %d classes have no sample, class %d first (labels count from 0)",
            path, empty, data->classes, first);
    }
    return DP_OK;
}

static dp_status check_binary(const dp_dataset *data, const char *path) {
    const dp_table *t = &data->train;
    for (int k = 0; k < t->ntargets; k++) {
        int ones = 0;
        for (int i = 0; i < t->n; i++) {
            ones += t->target[(size_t)i * t->ntargets + k] != 0;
        }
        if (ones == 0 || ones == t->n) {
            const char *name = t->column ? t->column[t->features + k] : "the label";
            return dp_fail(DP_EDATA,
                           "%s: %s is %d in all %d samples: nothing to tell apart", path,
                           name, ones > 0, t->n);
        }
    }
    return DP_OK;
}

static dp_status find_outputs(dp_dataset *data, const dp_read_request *request,
                              const char *path) {
    data->outputs = data->train.ntargets;
    if (request->kind == DP_VALUES) {
        return DP_OK;
    }
    return request->kind == DP_BINARY ? check_binary(data, path)
                                      : count_classes(data, request->nclass_name, path);
}

/* ---- opening ---- */

static dp_status read_test(dp_dataset *data, const dp_config *config) {
    const dp_table *t = &data->train;
    const dp_schema schema = {.features = t->features,
                              .nshape = t->nshape,
                              .shape = t->shape,
                              .classes = data->classes,
                              .ncolumns = t->ncolumns,
                              .column = t->column};
    dp_status status = dp_dataset_read(config, NULL, &schema, &data->test);
    if (status != DP_OK || data->test.n == 0) {
        return status;
    }
    if (data->test.bytes != t->bytes) {
        return dp_fail(DP_EDATA, "the training set holds %s, but the test set holds %s",
                       t->bytes ? "bytes" : "floats", t->bytes ? "floats" : "bytes");
    }
    if (data->test.ntargets != t->ntargets) {
        return dp_fail(DP_EDATA,
                       "the training set has %d targets, but the test set has %d",
                       t->ntargets, data->test.ntargets);
    }
    return DP_OK;
}

/* How many of n samples are held out. */
static dp_status validation_count(double validation, int n, int *out) {
    double count = validation < 1 ? floor(validation * n) : validation;
    if (count != floor(count) || count < 0) {
        return dp_fail(DP_EUSAGE,
                       "data.validation = %g: a count of samples, or a fraction below 1",
                       validation);
    }
    if (validation > 0 && (count < 1 || count >= n)) {
        return dp_fail(DP_EUSAGE, "data.validation = %g of %d training samples %s",
                       validation, n,
                       count < 1 ? "holds out none" : "leaves none to train on");
    }
    *out = (int)count;
    return DP_OK;
}

static dp_status split(dp_dataset *data, const dp_config *config) {
    int n = data->train.n, held = 0;
    dp_status status = validation_count(config->data.validation, n, &held);
    int32_t *order = NULL;
    uint8_t *is_held = NULL;
    if (status == DP_OK) {
        status = dp_memory_alloc((size_t)n, sizeof *order, (void **)&order);
    }
    if (status == DP_OK) {
        status = dp_memory_alloc((size_t)n, 1, (void **)&is_held);
    }
    if (status == DP_OK) {
        status = dp_memory_alloc((size_t)(n - held), sizeof *data->train_row,
                                 (void **)&data->train_row);
    }
    if (status == DP_OK) {
        status =
            dp_memory_alloc((size_t)held, sizeof *data->val_row, (void **)&data->val_row);
    }
    if (status == DP_OK) {
        if (held > 0) {
            dp_rng_permutation(config->run.seed, DP_FOR_SPLIT, 0, n, order);
        }
        for (int i = 0; i < held; i++) {
            is_held[order[i]] = 1;
        }
        for (int i = 0; i < n; i++) {
            if (is_held[i]) {
                data->val_row[data->val_n++] = i;
            } else {
                data->train_row[data->train_n++] = i;
            }
        }
    }
    dp_memory_free(&order);
    dp_memory_free(&is_held);
    return status;
}

static dp_status open_all(const dp_config *config, dp_dataset *data) {
    const dp_schema any = {0};
    char path[MAX_PATH];
    dp_read_request request = {0};
    dp_status status = find_path(config, false, path);
    if (status == DP_OK) {
        status = make_request(config, &any, &request, &data->class_name);
    }
    if (status == DP_OK) {
        status = dp_format_read(config->data.format, path, &request, &data->train);
    }
    if (request.nclass_name == 0 || request.kind == DP_VALUES) {
        dp_memory_free(&data->class_name);
    }
    if (status == DP_OK) {
        status = find_outputs(data, &request, path);
    }
    if (status == DP_OK) {
        status = read_test(data, config);
    }
    if (status != DP_OK) {
        return status;
    }
    if (config->data.limit > 0 && config->data.limit < data->train.n) {
        data->train.n = (int)config->data.limit;
    }
    status = split(data, config);
    if (status == DP_OK && strcmp(config->data.normalize, "standardize") == 0) {
        status = dp_statistics_take(data, (int)config->parallel.block);
    }
    dp_statistics_fingerprint(data);
    return status;
}

dp_status dp_dataset_open(const dp_config *config, dp_dataset **out) {
    dp_dataset *data = NULL;
    dp_status status = dp_memory_alloc(1, sizeof *data, (void **)&data);
    if (status != DP_OK) {
        return status;
    }
    status = open_all(config, data);
    if (status != DP_OK) {
        dp_dataset_destroy(&data);
        return status;
    }
    *out = data;
    return DP_OK;
}

void dp_dataset_destroy(dp_dataset **data) {
    dp_dataset *d = *data;
    if (!d) {
        return;
    }
    dp_table_free(&d->train);
    dp_table_free(&d->test);
    void *arrays[] = {&d->class_name, &d->train_row, &d->val_row,  &d->mean,
                      &d->std,        &d->mean_f,    &d->inv_std_f};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        dp_memory_free(arrays[i]);
    }
    dp_memory_free(data);
}
