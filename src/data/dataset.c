/* A data set in four stages: its files are read, its classes counted, the training file is
 * split, statistics are taken. */
#include "data/dataset.h"
#include "base/log.h"
#include "base/memory.h"
#include "class_weights.h"
#include "data/augment.h"
#include "names.h"
#include "reader.h"
#include "split.h"
#include "statistics.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the config asks for ---- */

static dp_target_kind kind_of(const dp_config *config) {
    const char *loss = config->loss.name;
    return strcmp(loss, "cross_entropy") == 0 ? DP_CLASSES
           : strcmp(loss, "bce") == 0         ? DP_BINARY
                                              : DP_VALUES;
}

/* The public set that the folder's name, or else the run's, contains, by
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
static dp_status find_path(const dp_config *config, bool test, char out[DP_MAX_PATH]) {
    const char *given = test ? config->data.test : config->data.train;
    const char *name = test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte";
    snprintf(out, DP_MAX_PATH, "%s", given);
    if (given[0]) {
        return DP_OK;
    }
    if (config->data.dir[0]) {
        return dp_path_find(config->data.dir, name, out) ? DP_OK : no_data(config, name);
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
        if (dp_names_find(i, request->class_name, name) >= 0) {
            return dp_fail(
                DP_EUSAGE,
                "data.classes names '%s' twice: each class has a name of its own", name);
        }
    }
    return DP_OK;
}

/* Reads a file; *nnames and *names: data.classes, which is the caller's. Where it is empty,
 * the schema's names are known. */
static dp_status read_file(const dp_config *config, const char *path,
                           const dp_schema *schema, int *nnames, char ***names,
                           dp_table *out) {
    dp_read_request request = {.kind = kind_of(config),
                               .target = config->data.target,
                               .columns = config->data.columns,
                               .exclude = config->data.exclude,
                               .layout = config->data.layout,
                               .memory = config->data.memory,
                               .schema = *schema};
    DP_TRY(dp_names_split(config->data.classes, nnames, names));
    request.nclass_name = *nnames > 0 ? *nnames : schema->nclass_name;
    request.class_name = *nnames > 0 ? *names : schema->class_name;
    DP_TRY(check_class_names(&request));
    if (request.kind == DP_CLASSES && schema->classes == 0) {
        request.schema.classes = *nnames;
    }
    return dp_format_read(config->data.format, path, &request, out);
}

dp_status dp_dataset_read(const dp_config *config, const char *path,
                          const dp_schema *schema, dp_table *out) {
    char test[DP_MAX_PATH];
    if (!path) {
        DP_TRY(find_path(config, true, test));
        path = test;
    }
    if (!path[0]) {
        *out = (dp_table){0};
        return DP_OK;
    }
    int nnames = 0;
    char **names = NULL;
    dp_status status = read_file(config, path, schema, &nnames, &names, out);
    dp_memory_free(&names);
    return status;
}

/* ---- classes ---- */

/* Whole numbers that are too far apart for classes: scores, years, numbers. */
static dp_status check_range(const dp_table *t, int min, int max, int empty,
                             const char *path) {
    enum { MANY = 20 };
    int classes = max + 1, present = classes - empty;
    return classes < MANY || empty < present
               ? DP_OK
               : dp_fail(DP_EDATA,
                         "%s: %s has %d different values from %d to %d, which would make "
                         "%d classes, %d of them without a sample: to predict the value "
                         "set loss.name = mse; if they are classes list them in "
                         "data.classes",
                         path, t->column ? t->column[t->features] : "the labels' file",
                         present, min, max, classes, empty);
}

/* Counts the classes of the training file, and refuses a file of one class. */
static dp_status count_classes(dp_dataset *data, int named, const char *path) {
    const dp_table *t = &data->train;
    int max = 0, min = INT_MAX;
    for (int i = 0; i < t->n; i++) {
        max = t->label[i] > max ? t->label[i] : max;
        min = t->label[i] < min ? t->label[i] : min;
    }
    data->classes = named > 0 ? named : max + 1;
    data->outputs = data->classes;
    int *count = dp_alloc((size_t)data->classes, sizeof *count);
    for (int i = 0; i < t->n; i++) {
        count[t->label[i]]++;
    }
    int empty = 0, first = 0;
    for (int c = data->classes - 1; c >= 0; c--) {
        empty += count[c] == 0;
        first = count[c] == 0 ? c : first;
    }
    free(count);
    if (data->classes - empty < 2) {
        return dp_fail(DP_EDATA,
                       "%s: all %d samples are of class %d: nothing to tell apart", path,
                       t->n, max);
    }
    if (named == 0) {
        DP_TRY(check_range(t, min, max, empty, path));
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

/* ---- opening ---- */

static dp_status read_test(dp_dataset *data, const dp_config *config) {
    const dp_table *t = &data->train;
    const dp_schema schema = {.features = t->features,
                              .nshape = t->nshape,
                              .shape = t->shape,
                              .classes = data->classes,
                              .nclass_name = dp_dataset_class_names(data),
                              .class_name = data->class_name,
                              .ncolumns = t->ncolumns,
                              .column = t->column};
    DP_TRY(dp_dataset_read(config, NULL, &schema, &data->test));
    if (data->test.n == 0) {
        return DP_OK;
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

static dp_status read_train(dp_dataset *data, const dp_config *config) {
    const dp_schema any = {0};
    char path[DP_MAX_PATH];
    int named = 0;
    DP_TRY(find_path(config, false, path));
    DP_TRY(read_file(config, path, &any, &named, &data->class_name, &data->train));
    dp_target_kind kind = kind_of(config);
    if (named == 0 || kind == DP_VALUES) {
        dp_memory_free(&data->class_name);
    }
    if (data->train.class_name) {
        data->class_name = data->train.class_name;
        named = data->train.nclass_name;
        data->train.class_name = NULL;
    }
    data->outputs = data->train.ntargets;
    switch (kind) {
    case DP_CLASSES:
        return count_classes(data, named, path);
    case DP_BINARY:
        return check_binary(data, path);
    case DP_VALUES:
        break;
    }
    return DP_OK;
}

static dp_status open_all(const dp_config *config, dp_dataset *data) {
    DP_TRY(read_train(data, config));
    DP_TRY(read_test(data, config));
    DP_TRY(dp_split(config, data));
    DP_TRY(dp_class_weights_take(config, data));
    DP_TRY(dp_augment_check(config, &data->train));
    if (strcmp(config->data.normalize, "standardize") == 0) {
        DP_TRY(dp_statistics_take(data, (int)config->parallel.block));
    }
    dp_statistics_fingerprint(data);
    return DP_OK;
}

dp_status dp_dataset_open(const dp_config *config, dp_dataset **out) {
    dp_dataset *data = dp_alloc(1, sizeof *data);
    dp_status status = open_all(config, data);
    if (status != DP_OK) {
        dp_dataset_destroy(&data);
        return status;
    }
    *out = data;
    return DP_OK;
}

dp_status dp_dataset_check(const dp_dataset *data) {
    DP_TRY(dp_map_check(&data->train.map));
    return dp_map_check(&data->test.map);
}

void dp_dataset_destroy(dp_dataset **data) {
    dp_dataset *d = *data;
    if (!d) {
        return;
    }
    dp_table_free(&d->train);
    dp_table_free(&d->test);
    void *arrays[] = {&d->class_name, &d->class_weight, &d->train_row, &d->val_row,
                      &d->mean,       &d->std,          &d->mean_f,    &d->inv_std_f};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        dp_memory_free(arrays[i]);
    }
    dp_memory_free(data);
}
