#include "base/rng.h"
#include "base/tree.h"
#include "data_files.h"
#include "h5/h5file.h"
#include <math.h>

TestSuite(dataset, .init = make_folder, .fini = remove_folder);
TestSuite(hdf5, .init = make_folder, .fini = remove_folder);

static dp_dataset *data;

static void set(char *field, const char *value) {
    snprintf(field, DP_TEXT, "%s", value);
}

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
    const unsigned char images[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6};
    const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 0};
    put_file("labels", labels, sizeof labels);
    const char *path = put_file("images", images, sizeof images);
    assert_ok(dp_dataset_open(config_for("cross_entropy", path), &data));
    cr_assert(data->train.bytes);
    cr_assert_eq(data->train.features, 3);
    dp_dataset_destroy(&data);
    dp_config *config = config_for("cross_entropy", path);
    set(config->data.format, "csv");
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "zero bytes");
    path = put_text("train-images-idx3-ubyte", text);
    put_file("train-labels-idx1-ubyte", labels, sizeof labels);
    assert_failed(dp_dataset_open(config_for("cross_entropy", path), &data), DP_EDATA,
                  "not an IDX file of images");
    path = put_text("a.h5", text);
    assert_failed(dp_dataset_open(config_for("cross_entropy", path), &data), DP_EDATA,
                  "a.h5");
}

Test(dataset, says_what_cannot_be_a_data_set)
{
    assert_failed(dp_dataset_open(config_for("mse", NULL), &data), DP_EUSAGE, "data.dir");
    assert_failed(dp_dataset_open(config_for("mse", folder), &data), DP_EDATA,
                  "is a folder");
    assert_failed(dp_dataset_open(config_for("mse", in_folder("none")), &data), DP_EDATA,
                  "none: can't be opened: No such file");
    assert_failed(dp_dataset_open(config_for("mse", in_folder("none.csv")), &data),
                  DP_EDATA, "none.csv: can't be opened: No such file");
    assert_failed(dp_dataset_open(config_for("mse", in_folder("none.h5:/x")), &data),
                  DP_EDATA, "none.h5: ");
    assert_failed(dp_dataset_open(config_for("mse", put_text("empty", "")), &data),
                  DP_EDATA, "it is empty");
    const char *path = put_file("noise", "\xff\x00\x12\x00\x00\x17", 6);
    assert_failed(dp_dataset_open(config_for("mse", path), &data), DP_EDATA,
                  "in none of the formats idx hdf5 csv");
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
    const unsigned char images[] = {0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3};
    const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 1, 1};
    put_file("labels", labels, sizeof labels);
    set(config->data.test, put_file("images", images, sizeof images));
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

/* As DESIGN has it: values added in blocks, blocks along the tree. */
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
    unsigned char images[12 + 111 * 2] = {0, 0, 8, 2, 0, 0, 0, 111, 0, 0, 0, 2};
    unsigned char labels[8 + 111] = {0, 0, 8, 1, 0, 0, 0, 111};
    dp_config *config = config_for("cross_entropy", in_folder("a-images-idx2-ubyte"));
    set(config->data.normalize, "standardize");
    for (int constant = 1; constant < 255; constant += 11) {
        for (int i = 0; i < 111; i++) {
            images[12 + 2 * i] = (unsigned char)constant;
            images[13 + 2 * i] = (unsigned char)i;
            labels[8 + i] = (unsigned char)(i % 2);
        }
        put_file("a-images-idx2-ubyte", images, sizeof images);
        put_file("a-labels-idx1-ubyte", labels, sizeof labels);
        assert_ok(dp_dataset_open(config, &data));
        cr_assert_eq(data->nmean, 2);
        cr_assert_eq(data->std[0], 1, "%d", constant);
        cr_assert_float_eq(data->mean[1], 55 / 255.0, 1e-15);
        dp_dataset_destroy(&data);
    }
}

static const char *put_images(int n, int rows, int columns, int constant) {
    static unsigned char images[1 << 16], labels[512];
    memcpy(images,
           (unsigned char[]){0, 0, 8, 3, 0, 0, 0, (unsigned char)n, 0, 0, 0,
                             (unsigned char)rows, 0, 0, 0, (unsigned char)columns},
           16);
    memcpy(labels, (unsigned char[]){0, 0, 8, 1, 0, 0, 0, (unsigned char)n}, 8);
    for (int i = 0; i < n * rows * columns; i++) {
        images[16 + i] = (unsigned char)(constant ? constant : i * 37 % 251);
    }
    for (int i = 0; i < n; i++) {
        labels[8 + i] = (unsigned char)(i % 3);
    }
    put_file("a-labels-idx1-ubyte", labels, 8 + (size_t)n);
    return put_file("a-images-idx3-ubyte", images, 16 + (size_t)(n * rows * columns));
}

Test(dataset, images_have_one_mean_and_deviation_over_value_by_255)
{
    dp_config *config = config_for("cross_entropy", put_images(50, 9, 11, 0));
    set(config->data.normalize, "standardize");
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->nmean, 1);
    double sum = 0, squares = 0;
    const uint8_t *x = data->train.raw;
    for (int i = 0; i < 50 * 99; i++) {
        sum += x[i] / 255.0;
    }
    double mean = sum / (50 * 99);
    for (int i = 0; i < 50 * 99; i++) {
        squares += (x[i] / 255.0 - mean) * (x[i] / 255.0 - mean);
    }
    cr_assert_float_eq(data->mean[0], mean, 1e-14);
    cr_assert_float_eq(data->std[0], sqrt(squares / (50 * 99)), 1e-14);
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

static void flip_byte(const char *name, long at) {
    FILE *file = fopen(in_folder(name), "r+b");
    cr_assert(file);
    fseek(file, at, SEEK_SET);
    int c = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(c ^ 0x80, file);
    fclose(file);
}

Test(dataset, the_fingerprint_sees_every_byte_and_every_label)
{
    char first[72], other[72];
    enum { END = 16 + 5 * 63 };
    dp_config *config = config_for("cross_entropy", put_images(5, 7, 9, 0));
    take_print(config, first);
    for (int at = 16; at < END; at++) {
        flip_byte("a-images-idx3-ubyte", at);
        take_print(config, other);
        cr_assert_str_neq(first, other, "byte %d", at);
        if (at + 32 < END) { /* sign bits of floats that may share a lane */
            flip_byte("a-images-idx3-ubyte", at + 32);
            take_print(config, other);
            cr_assert_str_neq(first, other, "bytes %d and %d", at, at + 32);
        }
        put_images(5, 7, 9, 0);
    }
    put_images(5, 9, 7, 0);
    take_print(config, other);
    cr_assert_str_neq(first, other, "the shape counts");
    put_images(5, 7, 9, 0);
    const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 5, 0, 1, 2, 1, 1};
    put_file("a-labels-idx1-ubyte", labels, sizeof labels);
    take_print(config, other);
    cr_assert_str_neq(first, other, "a label counts");
}

/* ---- files for a trained model ---- */

Test(dataset, a_file_of_another_width_is_refused)
{
    dp_table t = {0};
    dp_schema schema = {.features = 784};
    assert_failed(dp_dataset_read(config_for("cross_entropy", NULL),
                                  put_images(3, 5, 5, 0), &schema, &t),
                  DP_EDATA, "25 values a sample, but the training data has 784");
    cr_assert_null(t.raw);
    cr_assert_eq(t.n, 0);
}

/* Opens the data with a test set of two images, an IDX file of these dimensions. */
static void try_test_images(dp_config *config, int ndim, const int *dim,
                            const char *why) {
    unsigned char raw[64] = {0, 0, 8, (unsigned char)ndim};
    size_t n = 4 + 4 * (size_t)ndim, values = 1;
    for (int d = 0; d < ndim; d++) {
        raw[7 + 4 * d] = (unsigned char)dim[d];
        values *= (size_t)dim[d];
    }
    put_file("labels-test", "\0\0\10\1\0\0\0\2\0\1", 10);
    set(config->data.test, put_file("images-test", raw, n + values));
    dp_status status = dp_dataset_open(config, &data);
    if (why) {
        assert_failed(status, DP_EDATA, why);
    } else {
        assert_ok(status);
        dp_dataset_destroy(&data);
    }
}

Test(dataset, test_images_have_the_shape_of_the_training_images)
{
    const unsigned char raw[16 + 24] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4};
    put_file("labels", "\0\0\10\1\0\0\0\2\0\1", 10);
    dp_config *config = config_for("cross_entropy", put_file("images", raw, sizeof raw));
    try_test_images(config, 3, (int[]){2, 3, 4}, NULL);
    try_test_images(
        config, 3, (int[]){2, 4, 3},
        "images-test: images of 1x4x3, but those of the training data are of 1x3x4");
    try_test_images(config, 3, (int[]){2, 2, 6}, "1x2x6, but");
    try_test_images(config, 3, (int[]){2, 3, 3}, "images of 1x3x3, but");
    try_test_images(config, 4, (int[]){2, 3, 4, 1}, "images of 3x4x1, but");
    try_test_images(config, 4, (int[]){2, 1, 3, 4}, NULL);
    try_test_images(config, 2, (int[]){2, 12}, NULL); /* rows of the same numbers */
    try_test_images(config, 2, (int[]){2, 11}, "11 values a sample, but");
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
    dp_table t = {.n = 3};
    dp_schema schema = {0};
    assert_ok(dp_dataset_read(table_config(5, 2), NULL, &schema, &t));
    cr_assert_eq(t.n, 0);
    dp_config *config = config_for("cross_entropy", in_folder("gone.csv"));
    set(config->data.test, put_table("test.csv", 12, 3, 0));
    assert_ok(dp_dataset_read(config, NULL, &schema, &t));
    cr_assert_eq(t.n, 12, "the training file is not needed");
    dp_table_free(&t);
}

/* ---- HDF5 ---- */

static const float floats[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint8_t bytes[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const int64_t labels[3] = {2, 0, 1};

/* One file of all that the tests read. */
static const char *put_hdf5(void) {
    const char *path = in_folder("d.h5");
    const double doubles[3] = {0.5, 1e300, 2}, numbers[3] = {0, 1, 1};
    const double near[3] = {0, 1, 1e-60};
    dp_h5 *h5 = NULL;
    assert_ok(dp_h5_create(path, &h5));
    assert_ok(dp_h5_put(h5, "/images", DP_H5_U8, 3, (int64_t[]){3, 2, 2}, bytes));
    assert_ok(dp_h5_put(h5, "/labels", DP_H5_I64, 1, (int64_t[]){3}, labels));
    assert_ok(dp_h5_put(h5, "/table/x", DP_H5_F32, 2, (int64_t[]){3, 4}, floats));
    assert_ok(dp_h5_put(h5, "/table/y", DP_H5_F64, 1, (int64_t[]){3}, numbers));
    assert_ok(dp_h5_put(h5, "/table/big", DP_H5_F64, 1, (int64_t[]){3}, doubles));
    assert_ok(dp_h5_put(h5, "/table/near", DP_H5_F64, 1, (int64_t[]){3}, near));
    assert_ok(dp_h5_put(h5, "/table/hot", DP_H5_F32, 2, (int64_t[]){3, 4}, floats));
    assert_ok(
        dp_h5_put(h5, "/table/train_x", DP_H5_F32, 4, (int64_t[]){3, 2, 2, 1}, floats));
    assert_ok(dp_h5_put(h5, "/table/train_y", DP_H5_F32, 2, (int64_t[]){3, 1}, floats));
    assert_ok(dp_h5_put(h5, "/short/x", DP_H5_F32, 2, (int64_t[]){4, 3}, floats));
    assert_ok(dp_h5_put(h5, "/short/y", DP_H5_I64, 1, (int64_t[]){3}, labels));
    assert_ok(dp_h5_put(h5, "/lonely/x", DP_H5_F32, 1, (int64_t[]){3}, floats));
    assert_ok(dp_h5_commit(&h5));
    return in_folder("d.h5");
}

static dp_table table;

static dp_status read_object(const char *loss, const char *object, const char *target) {
    char path[NAME_MOST];
    snprintf(path, sizeof path, "%s%s", in_folder("d.h5"), object);
    dp_config *config = config_for(loss, NULL);
    set(config->data.target, target);
    dp_schema schema = {0};
    return dp_dataset_read(config, path, &schema, &table);
}

Test(hdf5, reads_images_and_labels)
{
    put_hdf5();
    static const char *const object[] = {"", ":/", ":/images"};
    for (int i = 0; i < 3; i++) {
        assert_ok(read_object("cross_entropy", object[i], ""));
        cr_assert_eq(table.n, 3);
        cr_assert_eq(table.nshape, 3);
        cr_assert_arr_eq(table.shape, ((int[]){1, 2, 2}), 3 * sizeof(int));
        cr_assert(table.bytes);
        cr_assert_arr_eq(table.raw, bytes, sizeof bytes);
        cr_assert_arr_eq(table.label, ((int32_t[]){2, 0, 1}), 12);
        dp_table_free(&table);
    }
}

Test(hdf5, reads_tables_and_targets)
{
    put_hdf5();
    static const char *const object[] = {":/table", ":/table/x"};
    for (int i = 0; i < 2; i++) {
        assert_ok(read_object("bce", object[i], ""));
        cr_assert_eq(table.features, 4);
        cr_assert_eq(table.nshape, 1);
        cr_assert_not(table.bytes);
        cr_assert_arr_eq(table.raw, floats, sizeof floats);
        cr_assert_arr_eq(table.target, ((float[]){0, 1, 1}), 12);
        dp_table_free(&table);
    }
    assert_ok(read_object("mse", ":/table/train_x", ""));
    cr_assert_arr_eq(table.shape, ((int[]){1, 2, 2}), 3 * sizeof(int));
    cr_assert_eq(table.ntargets, 1);
    cr_assert_eq(table.target[2], 3);
    dp_table_free(&table);
    assert_ok(read_object("mse", ":/table", "hot"));
    cr_assert_eq(table.ntargets, 4);
    cr_assert_arr_eq(table.target, floats, sizeof floats);
    dp_table_free(&table);
    assert_ok(read_object("cross_entropy", ":/table", "/labels"));
    cr_assert_eq(table.label[0], 2);
    dp_table_free(&table);
    assert_ok(read_object("cross_entropy", ":/table", "y")); /* doubles that are whole */
    cr_assert_eq(table.label[2], 1);
    dp_table_free(&table);
}

Test(hdf5, says_what_is_wrong)
{
    put_hdf5();
    assert_failed(read_object("mse", ":/nothing", ""), DP_EDATA, "no '/nothing'");
    assert_failed(read_object("mse", ":/lonely", ""), DP_EDATA,
                  "there is no '/lonely/y'");
    assert_failed(read_object("mse", ":/table/hot", ""), DP_EDATA, "set data.target");
    assert_failed(read_object("mse", ":/table", "big"), DP_EDATA,
                  "1e+300 of sample 1 (from 0) is too large for a float");
    assert_failed(read_object("mse", ":/short", ""), DP_EDATA,
                  "'/short/x' holds 4 samples, but");
    assert_failed(read_object("cross_entropy", ":/table", "hot"), DP_EDATA,
                  "has 4 values a sample");
    assert_failed(read_object("cross_entropy", ":/table", "big"), DP_EDATA,
                  "0.5 of sample 0 (from 0) is not a class number");
    assert_failed(read_object("bce", "", ""), DP_EDATA,
                  "2 of sample 0 (from 0) is neither");
    assert_failed(read_object("bce", ":/table", "near"), DP_EDATA,
                  "1e-60 of sample 2 (from 0) is neither");
    cr_assert_null(table.raw);
    dp_schema schema = {.classes = 2};
    assert_failed(dp_dataset_read(config_for("cross_entropy", NULL), in_folder("d.h5"),
                                  &schema, &table),
                  DP_EDATA, "label 2 of sample 0");
    schema = (dp_schema){.optional = true};
    char path[NAME_MOST];
    snprintf(path, sizeof path, "%s:/lonely", in_folder("d.h5"));
    assert_ok(dp_dataset_read(config_for("mse", NULL), path, &schema, &table));
    cr_assert_null(table.target);
    cr_assert_eq(table.features, 1);
    cr_assert_eq(table.nshape, 1);
    cr_assert_eq(table.shape[0], 1);
    dp_table_free(&table);
}
