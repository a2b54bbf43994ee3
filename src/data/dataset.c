#include "data/dataset.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/rng.h"
#include "reader.h"
#include "statistics.h"
#include "stream.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { PATH_MOST = DP_TEXT + 64, HEAD = 16 };

/* ---- formats ---- */

static bool ends_with(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    return n > k && strcasecmp(path + n - k, ending) == 0;
}

static bool named_idx(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *idx = strstr(slash ? slash : path, "idx");
    return idx && isdigit((unsigned char)idx[3]);
}

static bool named_hdf5(const char *path) {
    return strstr(path, ".h5:/") || strstr(path, ".hdf5:/") || ends_with(path, ".h5") ||
           ends_with(path, ".hdf5");
}

static bool named_csv(const char *path) {
    return ends_with(path, ".csv") || ends_with(path, ".tsv") ||
           ends_with(path, ".csv.gz") || ends_with(path, ".tsv.gz");
}

static bool looks_idx(const unsigned char *head, int n) {
    return n >= 4 && head[0] == 0 && head[1] == 0 && head[2] >= 8 && head[2] <= 14;
}

static bool looks_hdf5(const unsigned char *head, int n) {
    return n >= 8 && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
}

static bool looks_csv(const unsigned char *head, int n) {
    return n > 0 && !memchr(head, 0, (size_t)n);
}

typedef struct format {
    const char *name;
    bool (*named)(const char *path);
    bool (*looks)(const unsigned char *head, int n);
    dp_status (*read)(const char *path, const dp_want *want, dp_table *out);
} format;

static const format formats[] = {
    {"idx", named_idx, looks_idx, dp_idx_read_pair},
    {"hdf5", named_hdf5, looks_hdf5, dp_hdf5_read},
    {"csv", named_csv, looks_csv, dp_csv_read},
};
enum { FORMATS = sizeof formats / sizeof formats[0] };

/* The name decides first, so that a damaged file is read, and reported, as what it was.
 */
static dp_status detect(const char *path, const format **out) {
    for (int i = 0; i < FORMATS; i++) {
        if (formats[i].named(path)) {
            *out = &formats[i];
            return DP_OK;
        }
    }
    struct stat info;
    if (stat(path, &info) != 0) {
        return dp_fail(DP_EDATA, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return dp_fail(DP_EDATA,
                       "%s is a folder: name a file, or set data.dir to a folder of the "
                       "four MNIST files",
                       path);
    }
    unsigned char head[HEAD];
    size_t n = 0;
    dp_stream *stream = NULL;
    dp_status status = dp_stream_open(path, &stream);
    if (status == DP_OK) {
        status = dp_stream_read(stream, head, HEAD, &n);
    }
    dp_stream_close(&stream);
    if (status != DP_OK) {
        return status;
    }
    for (int i = 0; i < FORMATS; i++) {
        if (formats[i].looks(head, (int)n)) {
            *out = &formats[i];
            return DP_OK;
        }
    }
    return dp_fail(DP_EDATA, "%s: neither IDX, nor HDF5, nor CSV text%s", path,
                   n == 0 ? ": it is empty" : "; data.format says which it is");
}

static dp_status check_width(const char *path, const dp_want *want, const dp_table *t) {
    int features = want->schema.features;
    if (features > 0 && t->features != features) {
        return dp_fail(DP_EDATA, "%s: %d values a sample, but the training data has %d",
                       path, t->features, features);
    }
    return DP_OK;
}

static dp_status read_file(const char *name, const char *path, const dp_want *want,
                           dp_table *out) {
    const format *f = NULL;
    for (int i = 0; i < FORMATS; i++) {
        f = strcmp(formats[i].name, name) == 0 ? &formats[i] : f;
    }
    dp_status status = f ? DP_OK : detect(path, &f);
    dp_table table = {0};
    if (status == DP_OK) {
        status = f->read(path, want, &table);
    }
    if (status == DP_OK) {
        status = check_width(path, want, &table);
    }
    if (status != DP_OK) {
        dp_table_free(&table);
        return status;
    }
    *out = table;
    return DP_OK;
}

/* ---- what the config asks for ---- */

static dp_kind kind_of(const dp_config *config) {
    if (strcmp(config->loss.name, "mse") == 0) {
        return DP_VALUES;
    }
    return strcmp(config->loss.name, "bce") == 0 ? DP_BINARY : DP_CLASSES;
}

/* The path of the training or test file; "" where the config names no test set. */
static dp_status find_path(const dp_config *config, bool test, char out[PATH_MOST]) {
    const char *given = test ? config->data.test : config->data.train;
    const char *dir = config->data.dir;
    out[0] = '\0';
    if (given[0]) {
        snprintf(out, PATH_MOST, "%s", given);
        return DP_OK;
    }
    if (dir[0]) {
        const char *name = test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte";
        if (!dp_idx_find(dir, name, out)) {
            return dp_fail(
                DP_EDATA,
                "no data in %s: looked for %s and %s.gz; scripts/get-data.sh mnist %s "
                "gets them",
                dir, name, name, dir);
        }
        return DP_OK;
    }
    return test ? DP_OK
                : dp_fail(DP_EUSAGE,
                          "no data named: set data.dir (a folder of the four MNIST "
                          "files) or data.train (a file)");
}

/* Fills *want; *names is the caller's. */
static dp_status make_want(const dp_config *config, const dp_schema *schema,
                           dp_want *want, char ***names) {
    *want = (dp_want){
        .kind = kind_of(config), .target = config->data.target, .schema = *schema};
    dp_status status = dp_names_split(config->data.classes, &want->nclass_name, names);
    if (status != DP_OK) {
        return status;
    }
    want->class_name = *names;
    if (want->kind == DP_CLASSES && want->nclass_name > 0 && schema->classes == 0) {
        want->schema.classes = want->nclass_name;
    }
    if (want->kind == DP_BINARY && want->nclass_name != 0 && want->nclass_name != 2) {
        return dp_fail(DP_EUSAGE,
                       "data.classes names %d classes, but loss.name = bce has two",
                       want->nclass_name);
    }
    return DP_OK;
}

dp_status dp_dataset_read(const dp_config *config, const char *path,
                          const dp_schema *schema, dp_table *out) {
    char test[PATH_MOST] = "";
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
    dp_want want;
    char **names = NULL;
    dp_status status = make_want(config, schema, &want, &names);
    if (status == DP_OK) {
        status = read_file(config->data.format, path, &want, out);
    }
    dp_memory_free(&names);
    return status;
}

/* ---- classes ---- */

/* Counts the classes of the training file, and refuses a file of one class. */
static dp_status count_classes(dp_dataset *data, int named, const char *path) {
    const dp_table *t = &data->train;
    int most = 0;
    for (int i = 0; i < t->n; i++) {
        most = t->label[i] > most ? t->label[i] : most;
    }
    data->classes = named > 0 ? named : most + 1;
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
                       t->n, most);
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

static dp_status learn_outputs(dp_dataset *data, const dp_want *want, const char *path) {
    data->outputs = data->train.ntargets;
    if (want->kind == DP_VALUES) {
        return DP_OK;
    }
    return want->kind == DP_BINARY ? check_binary(data, path)
                                   : count_classes(data, want->nclass_name, path);
}

/* ---- opening ---- */

static dp_status read_test(dp_dataset *data, const dp_config *config) {
    const dp_table *t = &data->train;
    const dp_schema schema = {.features = t->features,
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
    char path[PATH_MOST];
    dp_want want = {0};
    dp_status status = find_path(config, false, path);
    if (status == DP_OK) {
        status = make_want(config, &any, &want, &data->class_name);
    }
    if (status == DP_OK) {
        status = read_file(config->data.format, path, &want, &data->train);
    }
    if (want.nclass_name == 0 || want.kind == DP_VALUES) {
        dp_memory_free(&data->class_name);
    }
    if (status == DP_OK) {
        status = learn_outputs(data, &want, path);
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
