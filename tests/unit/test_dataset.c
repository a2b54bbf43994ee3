#include "base/rng.h"
#include "base/tree.h"
#include "data_files.h"
#include <math.h>

TestSuite(dataset, .init = scratch_make, .fini = scratch_remove);

static dp_dataset *data;

/* n rows of x0, x1, x2 and a class of `classes`; x2 is 7 throughout. */
static const char *put_table(const char *name, int n, int classes, int offset) {
    static char text[1 << 18];
    size_t at = (size_t)sprintf(text, "x0,x1,x2,kind\n");
    for (int i = 0; i < n; i++) {
        at += (size_t)sprintf(text + at, "%d,%.9g,7,%d\n", i + offset,
                              (double)dp_rng_normal(5, DP_FOR_INIT, 0, (uint64_t)i),
                              i % classes);
    }
    return put_text(name, text);
}

static dp_config *table_config(int n, int classes) {
    return config_for("cross_entropy", put_table("train.csv", n, classes, 0));
}

/* ---- files ---- */

Test(dataset, the_format_is_found_by_name_or_content)
{
    const char *text = "x,kind\n1,0\n2,1\n";
    static const char *const name[] = {"a.csv", "a.tsv", "data", "data.txt"};
    for (int i = 0; i < 4; i++) {
        assert_ok(
            dp_dataset_open(config_for("cross_entropy", put_text(name[i], text)), &data));
        cr_assert_eq(data->train.n, 2);
        dp_dataset_destroy(&data);
    }
    put_idx("labels", 1, (uint32_t[]){2}, 2);
    const char *path = put_idx("images", 2, (uint32_t[]){2, 3}, 256);
    assert_ok(dp_dataset_open(config_for("cross_entropy", path), &data));
    cr_assert(data->train.bytes);
    cr_assert_eq(data->train.features, 3);
    dp_dataset_destroy(&data);
    dp_config *config = config_for("cross_entropy", path);
    set(config->data.format, "csv");
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "zero bytes");
    path = put_text("train-images-idx3-ubyte", text);
    assert_failed(dp_dataset_open(config_for("cross_entropy", path), &data), DP_EDATA,
                  "not an IDX file of images");
    path = put_text("a.h5", text);
    assert_failed(dp_dataset_open(config_for("cross_entropy", path), &data), DP_EDATA,
                  "a.h5");
}

Test(dataset, says_what_cannot_be_a_data_set)
{
    put_text("empty", "");
    put_file("noise", "\xff\x00\x12\x00\x00\x17", 6);
    static const char *const bad[][2] = {
        {"", "is a folder"},
        {"none", "none: can't be opened: No such file"},
        {"none.csv", "none.csv: can't be opened: No such file"},
        {"none.h5:/x", "none.h5: "},
        {"empty", "it is empty"},
        {"noise", "in none of the formats idx hdf5 npy csv"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_failed(dp_dataset_open(config_for("mse", in(bad[i][0])), &data), DP_EDATA,
                      bad[i][1]);
    }
    assert_failed(dp_dataset_open(config_for("mse", NULL), &data), DP_EUSAGE, "data.dir");
    cr_assert_null(data);
}

Test(dataset, the_test_set_must_be_like_the_training_set)
{
    dp_config *config = table_config(20, 4);
    set(config->data.test, put_text("test.csv", "kind,x1,x2,x0\n3,1,2,3\n"));
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->test.n, 1);
    cr_assert_eq(((float *)data->test.raw)[0], 3, "columns are matched by name");
    cr_assert_eq(data->test.label[0], 3);
    dp_dataset_destroy(&data);
    put_text("test.csv", "x0,x1,x2,kind\n1,2,3,4\n");
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "'4' is out of range");
    put_text("test.csv", "x0,x1,kind\n1,2,3\n");
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "no column 'x2'");
    put_idx("labels", 1, (uint32_t[]){1}, 1);
    set(config->data.test, put_idx("images", 2, (uint32_t[]){1, 3}, 256));
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "holds floats, but");
}

/* ---- classes ---- */

Test(dataset, classes_come_from_the_labels_or_the_names)
{
    dp_config *config = table_config(20, 4);
    config->data.limit = 3; /* the classes are those of the whole file */
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->classes, 4);
    cr_assert_eq(data->outputs, 4);
    cr_assert_null(data->class_name);
    dp_dataset_destroy(&data);
    set(config->data.classes, "a, b,c ,d,e");
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->classes, 5);
    cr_assert_str_eq(data->class_name[2], "c");
    dp_dataset_destroy(&data);
    set(config->data.classes, "a,b,c");
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "'3' is out of range");
    assert_failed(dp_dataset_open(table_config(20, 1), &data), DP_EDATA,
                  "all 20 samples are of class 0");
}

Test(dataset, a_class_has_a_name_of_its_own)
{
    dp_config *config = table_config(20, 3);
    set(config->data.classes, "a,b, a");
    assert_failed(dp_dataset_open(config, &data), DP_EUSAGE,
                  "data.classes names 'a' twice");
    set(config->data.classes, "a,b,A");
    assert_ok(dp_dataset_open(config, &data));
    dp_dataset_destroy(&data);
    config = config_for("bce", put_text("t.csv", "x,y\n1,no\n2,yes\n"));
    set(config->data.classes, "no,no");
    assert_failed(dp_dataset_open(config, &data), DP_EUSAGE, "'no' twice");
    set(config->data.classes, "no,yes");
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->outputs, 1);
    cr_assert_str_eq(data->class_name[1], "yes");
    dp_dataset_destroy(&data);
}

Test(dataset, bce_and_mse_have_an_output_a_target)
{
    const char *path = put_text("t.csv", "x,a,b\n1,0,1\n2,1,0\n");
    dp_config *config = config_for("bce", path);
    set(config->data.target, "a,b");
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->outputs, 2);
    cr_assert_eq(data->classes, 0);
    dp_dataset_destroy(&data);
    config = config_for("bce", put_text("t.csv", "x,a,b\n1,1,0\n2,1,1\n"));
    set(config->data.target, "a,b");
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "a is 1 in all 2 samples");
    set(config->data.classes, "no,yes,perhaps");
    assert_failed(dp_dataset_open(config, &data), DP_EUSAGE, "bce has two");
    assert_ok(dp_dataset_open(config_for("mse", path), &data));
    cr_assert_eq(data->outputs, 1);
    cr_assert_eq(data->train.features, 2);
    dp_dataset_destroy(&data);
}

/* ---- splits ---- */

static void assert_split(int n, int held) {
    cr_assert_eq(data->train.n, n);
    cr_assert_eq(data->val_n, held);
    cr_assert_eq(data->train_n, n - held);
    char *seen = calloc((size_t)n, 1);
    for (int i = 0; i < n - held; i++) {
        cr_assert(i == 0 || data->train_row[i] > data->train_row[i - 1]);
        seen[data->train_row[i]]++;
    }
    for (int i = 0; i < held; i++) {
        cr_assert(i == 0 || data->val_row[i] > data->val_row[i - 1]);
        seen[data->val_row[i]]++;
    }
    for (int i = 0; i < n; i++) {
        cr_assert_eq(seen[i], 1);
    }
    free(seen);
}

Test(dataset, limit_comes_first_then_validation_by_seed)
{
    static const struct {
        int64_t limit;
        double validation;
        int n, held;
    } cases[] = {{0, 0, 203, 0},   {0, 50, 203, 50},   {0, 0.1, 203, 20},
                 {100, 0, 100, 0}, {100, 99, 100, 99}, {100, 0.5, 100, 50},
                 {999, 1, 203, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dp_config *config = table_config(203, 3);
        set(config->data.test, put_table("test.csv", 150, 3, 1));
        config->data.limit = cases[i].limit;
        config->data.validation = cases[i].validation;
        assert_ok(dp_dataset_open(config, &data));
        assert_split(cases[i].n, cases[i].held);
        cr_assert_eq(data->test.n, 150, "the test set is never limited");
        dp_dataset_destroy(&data);
    }
}

Test(dataset, validation_depends_on_the_seed_alone_and_is_spread)
{
    int32_t first[40];
    dp_config *config = table_config(200, 3);
    config->data.validation = 40;
    assert_ok(dp_dataset_open(config, &data));
    memcpy(first, data->val_row, sizeof first);
    cr_assert(first[0] < 40 && first[39] > 160);
    dp_dataset_destroy(&data);
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_arr_eq(data->val_row, first, sizeof first);
    dp_dataset_destroy(&data);
    config->run.seed = 43;
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_arr_neq(data->val_row, first, sizeof first);
    dp_dataset_destroy(&data);
}

Test(dataset, refuses_a_validation_that_does_not_fit)
{
    dp_config *config = table_config(20, 3);
    static const double bad[] = {20, 21, 0.01, 2.5};
    for (int i = 0; i < 4; i++) {
        config->data.validation = bad[i];
        assert_failed(dp_dataset_open(config, &data), DP_EUSAGE, "data.validation");
        cr_assert_null(data);
    }
}

/* ---- statistics ---- */

/* As in src/README.md, "The contract of numbers": values added in blocks, blocks along the
 * tree. */
static double tree_mean(const double *v, int n, int block) {
    double sum[64] = {0};
    for (int i = 0; i < n; i++) {
        sum[i / block] += v[i];
    }
    return dp_tree_sum(sum, dp_tree_blocks(n, block)) / n;
}

Test(dataset, standardize_takes_a_mean_and_deviation_a_column_of_the_training_split)
{
    dp_config *config = table_config(203, 3);
    set(config->data.normalize, "standardize");
    config->data.validation = 50;
    config->parallel.block = 7;
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->nmean, 3);
    for (int c = 0; c < 2; c++) {
        double v[203];
        for (int i = 0; i < 153; i++) {
            v[i] = ((float *)data->train.raw)[3 * data->train_row[i] + c];
        }
        double mean = tree_mean(v, 153, 7);
        cr_assert_eq(data->mean[c], mean);
        for (int i = 0; i < 153; i++) {
            v[i] = (v[i] - mean) * (v[i] - mean);
        }
        cr_assert_eq(data->std[c], sqrt(tree_mean(v, 153, 7)));
        cr_assert_eq(data->mean_f[c], (float)data->mean[c]);
        cr_assert_eq(data->inv_std_f[c], (float)(1 / data->std[c]));
    }
    cr_assert_eq(data->mean[2], 7);
    cr_assert_eq(data->std[2], 1, "a constant column is centred, not scaled");
    cr_assert_eq(data->inv_std_f[2], 1);
    dp_dataset_destroy(&data);
}

Test(dataset, a_constant_column_of_bytes_is_constant_though_its_mean_is_rounded)
{
    unsigned char images[12 + 2 * 111];
    size_t size = make_idx(images, 2, (uint32_t[]){111, 2}, 256);
    dp_config *config = config_for("cross_entropy", in("a-images-idx2-ubyte"));
    set(config->data.normalize, "standardize");
    put_idx("a-labels-idx1-ubyte", 1, (uint32_t[]){111}, 2);
    for (int constant = 1; constant < 255; constant += 11) {
        for (int i = 0; i < 111; i++) {
            images[12 + 2 * i] = (unsigned char)constant;
            images[13 + 2 * i] = (unsigned char)i;
        }
        put_file("a-images-idx2-ubyte", images, size);
        assert_ok(dp_dataset_open(config, &data));
        cr_assert_eq(data->nmean, 2);
        cr_assert_eq(data->std[0], 1, "%d", constant);
        cr_assert_float_eq(data->mean[1], 55 / 255.0, 1e-15);
        dp_dataset_destroy(&data);
    }
}

/* Images of three classes; constant > 0: all pixels are that. */
static const char *put_images(uint32_t n, uint32_t rows, uint32_t columns, int constant) {
    static unsigned char images[1 << 16];
    size_t size = make_idx(images, 3, (uint32_t[]){n, rows, columns}, 251);
    if (constant > 0) {
        memset(images + 16, constant, size - 16);
    }
    put_idx("a-labels-idx1-ubyte", 1, &n, 3);
    return put_file("a-images-idx3-ubyte", images, size);
}

Test(dataset, images_have_one_mean_and_deviation_over_value_by_255)
{
    enum { VALUES = 50 * 9 * 11 };
    dp_config *config = config_for("cross_entropy", put_images(50, 9, 11, 0));
    set(config->data.normalize, "standardize");
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->nmean, 1);
    double sum = 0, squares = 0;
    const uint8_t *x = data->train.raw;
    for (int i = 0; i < VALUES; i++) {
        sum += x[i] / 255.0;
    }
    double mean = sum / VALUES;
    for (int i = 0; i < VALUES; i++) {
        squares += (x[i] / 255.0 - mean) * (x[i] / 255.0 - mean);
    }
    cr_assert_float_eq(data->mean[0], mean, 1e-14);
    cr_assert_float_eq(data->std[0], sqrt(squares / VALUES), 1e-14);
    dp_dataset_destroy(&data);
    for (int constant = 1; constant < 255; constant += 11) {
        put_images(50, 9, 11, constant);
        assert_ok(dp_dataset_open(config, &data));
        cr_assert_eq(data->std[0], 1);
        dp_dataset_destroy(&data);
    }
    set(config->data.normalize, "unit");
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->nmean, 0);
    dp_dataset_destroy(&data);
}

/* ---- fingerprint ---- */

static void take_print(dp_config *config, char out[72]) {
    assert_ok(dp_dataset_open(config, &data));
    memcpy(out, data->fingerprint, 72);
    cr_assert_geq(strlen(out), 16);
    dp_dataset_destroy(&data);
}

Test(dataset, the_fingerprint_is_of_the_values_not_of_the_files)
{
    char first[72], other[72];
    const char *text = "x,y\n1,2\n3,4\n5,6\n";
    dp_config *config = config_for("mse", put_text("a.csv", text));
    take_print(config, first);
    set(config->data.train, put_gz("b.csv.gz", "u;v\n1.0;2\n3;4\n5;6\n", 18));
    take_print(config, other);
    cr_assert_str_eq(first, other);
    static const char *const changed[] = {
        "x,y\n1,2\n3,4\n5,7\n", "x,y\n1,2\n-3,4\n5,6\n", "x,y\n3,4\n1,2\n5,6\n",
        "x,y\n1,2\n3,4\n5,6\n0,0\n", "x,y\n1,2\n-3,4\n-5,6\n"};
    for (int i = 0; i < 5; i++) {
        set(config->data.train, put_text("a.csv", changed[i]));
        take_print(config, other);
        cr_assert_str_neq(first, other, "%s", changed[i]);
    }
    set(config->data.train, put_text("a.csv", text));
    set(config->data.test, put_text("t.csv", "x,y\n1,2\n"));
    take_print(config, other);
    cr_assert_str_neq(first, other, "the test set counts");
    config->data.test[0] = '\0';
    config->data.limit = 2;
    take_print(config, other);
    cr_assert_str_neq(first, other, "the limit counts");
}

Test(dataset, the_fingerprint_sees_every_byte_and_every_label)
{
    char first[72], other[72];
    enum { END = 16 + 5 * 63 };
    dp_config *config = config_for("cross_entropy", put_images(5, 7, 9, 0));
    take_print(config, first);
    for (int at = 16; at < END; at++) {
        flip("a-images-idx3-ubyte", at);
        take_print(config, other);
        cr_assert_str_neq(first, other, "byte %d", at);
        if (at + 32 < END) { /* bits that share a lane of the digest */
            flip("a-images-idx3-ubyte", at + 32);
            take_print(config, other);
            cr_assert_str_neq(first, other, "bytes %d and %d", at, at + 32);
        }
        put_images(5, 7, 9, 0);
    }
    put_images(5, 9, 7, 0);
    take_print(config, other);
    cr_assert_str_neq(first, other, "the shape counts");
    put_images(5, 7, 9, 0);
    put_idx("a-labels-idx1-ubyte", 1, (uint32_t[]){5}, 4);
    take_print(config, other);
    cr_assert_str_neq(first, other, "a label counts");
}

/* ---- files for a trained model ---- */

Test(dataset, a_file_of_another_width_is_refused)
{
    const dp_schema schema = {.features = 784};
    assert_failed(read_file("cross_entropy", "", put_images(3, 5, 5, 0), &schema),
                  DP_EDATA, "25 values a sample, but the training data has 784");
    cr_assert_null(table.raw);
    cr_assert_eq(table.n, 0);
}

Test(dataset, test_images_have_the_shape_of_the_training_images)
{
    static const struct {
        int ndim;
        uint32_t dim[4];
        const char *fault;
    } cases[] = {
        {3, {2, 3, 4}, NULL},
        {3, {2, 4, 3}, "images of 1x4x3, but those of the training data are of 1x3x4"},
        {3, {2, 2, 6}, "images-test: images of 1x2x6, but"},
        {3, {2, 3, 3}, "images of 1x3x3, but"},
        {4, {2, 3, 4, 1}, "images of 3x4x1, but"},
        {4, {2, 1, 3, 4}, NULL},
        {2, {2, 12}, NULL}, /* rows of the same numbers */
        {2, {2, 11}, "11 values a sample, but"},
    };
    put_idx("labels", 1, (uint32_t[]){2}, 2);
    put_idx("labels-test", 1, (uint32_t[]){2}, 2);
    dp_config *config =
        config_for("cross_entropy", put_idx("images", 3, (uint32_t[]){2, 3, 4}, 256));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set(config->data.test, put_idx("images-test", cases[i].ndim, cases[i].dim, 256));
        if (cases[i].fault) {
            assert_failed(dp_dataset_open(config, &data), DP_EDATA, cases[i].fault);
        } else {
            assert_ok(dp_dataset_open(config, &data));
            dp_dataset_destroy(&data);
        }
    }
}

Test(dataset, a_missing_folder_is_told_how_to_get_the_set_that_was_meant)
{
    static const struct {
        const char *dir, *name, *hint;
    } cases[] = {
        {"none/mnist", "mlp", "get-data.sh mnist none/mnist"},
        {"none/fashion-mnist", "mlp", "get-data.sh fashion-mnist none/fashion-m"},
        {"none/FashionMNIST", "x", "get-data.sh fashion-mnist none/FashionMNIST"},
        {"clothes", "fashion", "get-data.sh fashion-mnist clothes"},
        {"digits", "mnist_small", "get-data.sh mnist digits"},
        {"letters", "mlp", "get-data.sh --help"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dp_config *config = config_for("cross_entropy", NULL);
        set(config->data.dir, cases[i].dir);
        set(config->run.name, cases[i].name);
        assert_failed(dp_dataset_open(config, &data), DP_EDATA, cases[i].hint);
    }
}

Test(dataset, without_a_test_set_there_are_no_samples)
{
    table.n = 3;
    assert_ok(dp_dataset_read(table_config(5, 2), NULL, &any, &table));
    cr_assert_eq(table.n, 0);
    dp_config *config = config_for("cross_entropy", in("gone.csv"));
    set(config->data.test, put_table("test.csv", 12, 3, 0));
    assert_ok(dp_dataset_read(config, NULL, &any, &table));
    cr_assert_eq(table.n, 12, "the training file is not needed");
    dp_table_free(&table);
}
