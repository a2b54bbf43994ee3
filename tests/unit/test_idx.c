#include "data_files.h"

#define IMAGES "train-images-idx3-ubyte"
#define LABELS "train-labels-idx1-ubyte"

TestSuite(idx, .init = make_folder, .fini = remove_folder);

/* An IDX file in memory: dimensions, then bytes 0, 7, 14, ... modulo `range`. */
static size_t make_idx(unsigned char *out, int ndim, const uint32_t *dim, int range) {
    size_t n = 4, total = 1;
    memcpy(out, (unsigned char[]){0, 0, 8, (unsigned char)ndim}, 4);
    for (int d = 0; d < ndim; d++) {
        total *= dim[d];
        for (int b = 24; b >= 0; b -= 8) {
            out[n++] = (unsigned char)(dim[d] >> b);
        }
    }
    for (size_t i = 0; i < total; i++) {
        out[n++] = (unsigned char)(i * 7 % (size_t)range);
    }
    return n;
}

static unsigned char images[4096], labels[256];
static size_t images_size, labels_size;

/* 12 images of 5 x 6 pixels, and labels below 5. */
static void make_pair(void) {
    images_size = make_idx(images, 3, (uint32_t[]){12, 5, 6}, 256);
    labels_size = make_idx(labels, 1, (uint32_t[]){12}, 5);
}

static dp_status read_with(int classes, dp_table *out) {
    const char *path =
        in_folder(access(in_folder(IMAGES), F_OK) == 0 ? IMAGES : IMAGES ".gz");
    dp_schema schema = {.classes = classes};
    return dp_dataset_read(config_for("cross_entropy", NULL), path, &schema, out);
}

static dp_status read_pair(dp_table *out) {
    return read_with(0, out);
}

static void assert_is_the_pair(dp_table *t) {
    cr_assert_eq(t->n, 12);
    cr_assert_eq(t->features, 30);
    cr_assert_eq(t->nshape, 3);
    cr_assert_eq(t->shape[0], 1);
    cr_assert_eq(t->shape[1], 5);
    cr_assert_eq(t->shape[2], 6);
    cr_assert(t->bytes);
    cr_assert_arr_eq(t->raw, images + 16, 360);
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(t->label[i], i * 7 % 5);
    }
    dp_table_free(t);
    cr_assert_null(t->raw);
}

Test(idx, reads_plain_and_gz_in_any_mix)
{
    make_pair();
    for (int mix = 0; mix < 4; mix++) {
        (mix & 1 ? put_gz : put_file)(mix & 1 ? IMAGES ".gz" : IMAGES, images,
                                      images_size);
        (mix & 2 ? put_gz : put_file)(mix & 2 ? LABELS ".gz" : LABELS, labels,
                                      labels_size);
        dp_table t = {0};
        assert_ok(read_pair(&t));
        assert_is_the_pair(&t);
        remove_folder();
        make_folder();
    }
}

Test(idx, gz_is_known_by_its_content_not_its_name)
{
    make_pair();
    put_gz(IMAGES, images, images_size);
    put_file(LABELS ".gz", labels, labels_size);
    dp_table t = {0};
    assert_ok(read_pair(&t));
    assert_is_the_pair(&t);
}

Test(idx, takes_two_to_five_dimensions)
{
    static const uint32_t dim[] = {4, 2, 3, 5, 2};
    static const int features[] = {0, 0, 2, 6, 30, 60};
    put_file("b-labels-idx1-ubyte", labels, make_idx(labels, 1, dim, 2));
    for (int ndim = 2; ndim <= 5; ndim++) {
        char name[64];
        snprintf(name, sizeof name, "b-images-idx%d-ubyte", ndim);
        const char *path = put_file(name, images, make_idx(images, ndim, dim, 256));
        dp_table t = {0};
        dp_schema schema = {0};
        assert_ok(dp_dataset_read(config_for("cross_entropy", NULL), path, &schema, &t));
        cr_assert_eq(t.features, features[ndim]);
        cr_assert_eq(t.nshape, ndim == 3 ? 3 : ndim - 1);
        cr_assert_eq(t.shape[t.nshape - 1], (int)dim[ndim - 1]);
        dp_table_free(&t);
    }
}

Test(idx, names_the_file_that_is_not_idx)
{
    make_pair();
    dp_table t = {0};
    put_text(IMAGES, "this is not an IDX file at all");
    put_file(LABELS, labels, labels_size);
    assert_failed(read_pair(&t), DP_EDATA, "begins with 0x74686973, not 0x00000803");
    cr_assert(strstr(dp_status_message(), IMAGES));
    put_file(IMAGES, labels, labels_size);
    assert_failed(read_pair(&t), DP_EDATA, "these are labels");
    put_file(IMAGES, images, images_size);
    put_file(LABELS, images, images_size);
    assert_failed(read_pair(&t), DP_EDATA, "begins with 0x00000803, not 0x00000801");
    cr_assert(strstr(dp_status_message(), LABELS));
    images[2] = 0x0D; /* floats */
    put_file(IMAGES, images, images_size);
    assert_failed(read_pair(&t), DP_EDATA, "begins with 0x00000d03");
    cr_assert_null(t.raw, "outputs unchanged");
}

Test(idx, a_plain_file_of_any_other_length_is_refused)
{
    make_pair();
    put_file(LABELS, labels, labels_size);
    dp_table t = {0};
    for (size_t n = 0; n < images_size; n += n < 20 ? 1 : 37) {
        put_file(IMAGES, images, n);
        assert_failed(read_pair(&t), DP_EDATA, "truncated");
    }
    put_file(IMAGES, images, images_size + 3);
    assert_failed(read_pair(&t), DP_EDATA, "more bytes than the 376");
    put_file(IMAGES, images, images_size);
    put_file(LABELS, labels, labels_size - 1);
    assert_failed(read_pair(&t), DP_EDATA, LABELS ": truncated");
    put_file(LABELS, labels, labels_size + 1);
    assert_failed(read_pair(&t), DP_EDATA, LABELS ": more bytes than");
}

Test(idx, a_gz_of_any_other_length_is_refused)
{
    make_pair();
    put_file(LABELS, labels, labels_size);
    dp_table t = {0};
    put_gz(IMAGES ".gz", images, images_size + 3);
    assert_failed(read_pair(&t), DP_EDATA, "more bytes than");
    put_gz(IMAGES ".gz", images, images_size - 1);
    assert_failed(read_pair(&t), DP_EDATA,
                  "375 bytes when unpacked where 376 are needed");
}

static size_t slurp(const char *path, unsigned char *out, size_t size) {
    FILE *file = fopen(path, "rb");
    cr_assert(file);
    size_t n = fread(out, 1, size, file);
    fclose(file);
    return n;
}

Test(idx, every_truncation_and_every_flipped_byte_of_a_gz_is_found)
{
    make_pair();
    put_file(LABELS, labels, labels_size);
    unsigned char packed[1024];
    size_t n = slurp(put_gz(IMAGES ".gz", images, images_size), packed, sizeof packed);
    cr_assert(n > 100 && n < sizeof packed);
    for (size_t cut = 0; cut < n; cut++) {
        dp_table t = {0};
        put_file(IMAGES ".gz", packed, cut);
        cr_assert_eq(read_pair(&t), DP_EDATA, "%zu of %zu bytes", cut, n);
        cr_assert_null(t.raw);
    }
    for (size_t i = 10; i < n; i++) { /* the first ten are names and dates */
        dp_table t = {0};
        packed[i] ^= 0x10;
        put_file(IMAGES ".gz", packed, n);
        packed[i] ^= 0x10;
        cr_assert_eq(read_pair(&t), DP_EDATA, "byte %zu of %zu", i, n);
    }
    dp_table t = {0};
    memcpy(packed + n, "more", 4);
    put_file(IMAGES ".gz", packed, n + 4);
    assert_failed(read_pair(&t), DP_EDATA, "the 4 bytes from byte");
    put_file(IMAGES ".gz", packed, n);
    assert_ok(read_pair(&t));
    dp_table_free(&t);
}

Test(idx, a_header_that_claims_too_much_allocates_nothing)
{
    static const uint32_t dims[][3] = {{0x7fffffff, 0xffff, 0xffff},
                                       {0xffffffff, 28, 28},
                                       {0x7fffffff, 1, 1},
                                       {60000, 28, 28},
                                       {12, 0, 6},
                                       {0, 5, 6}};
    make_pair();
    put_file(LABELS, labels, labels_size);
    for (int i = 0; i < 6; i++) {
        dp_table t = {0};
        make_idx(images, 3, (uint32_t[]){1, 1, 1}, 256);
        for (int d = 0; d < 3; d++) {
            for (int b = 0; b < 4; b++) {
                images[4 + 4 * d + b] = (unsigned char)(dims[i][d] >> (24 - 8 * b));
            }
        }
        put_file(IMAGES, images, 376);
        assert_failed(read_pair(&t), DP_EDATA, IMAGES);
        cr_assert(!strstr(dp_status_message(), "truncated"),
                  "refused by its header, not read");
        put_gz(IMAGES, images, 376);
        assert_failed(read_pair(&t), DP_EDATA, IMAGES);
        cr_assert(!strstr(dp_status_message(), "truncated"),
                  "refused by its header, not read");
    }
}

Test(idx, counts_that_differ_name_both_files)
{
    make_pair();
    put_file(IMAGES, images, images_size);
    put_file(LABELS, labels, make_idx(labels, 1, (uint32_t[]){11}, 5));
    dp_table t = {0};
    assert_failed(read_pair(&t), DP_EDATA, "holds 12 samples, but");
    cr_assert(strstr(dp_status_message(), "holds 11 labels"));
}

Test(idx, a_label_out_of_range_names_its_sample)
{
    make_pair();
    labels[8 + 9] = 7;
    put_file(IMAGES, images, images_size);
    put_file(LABELS, labels, labels_size);
    dp_table t = {0};
    assert_failed(read_with(7, &t), DP_EDATA,
                  "label 7 of sample 9 (from 0) is out of range");
    assert_ok(read_with(8, &t));
    cr_assert_eq(t.label[9], 7);
    dp_table_free(&t);
}

Test(idx, a_missing_file_says_what_was_looked_for)
{
    make_pair();
    dp_table t = {0};
    assert_failed(read_pair(&t), DP_EDATA, "No such file");
    put_file(IMAGES, images, images_size);
    assert_failed(read_pair(&t), DP_EDATA, LABELS " and " LABELS ".gz");
    put_file("pictures-idx3-ubyte", images, images_size);
    dp_schema schema = {0};
    const char *path = in_folder("pictures-idx3-ubyte");
    assert_failed(dp_dataset_read(config_for("mse", NULL), path, &schema, &t), DP_EDATA,
                  "cannot tell the name of its labels");
    schema.optional = true;
    assert_ok(dp_dataset_read(config_for("mse", NULL), path, &schema, &t));
    cr_assert_null(t.label);
    cr_assert_null(t.target);
    cr_assert_eq(t.ntargets, 0);
    dp_table_free(&t);

    dp_config *config = config_for("cross_entropy", NULL);
    snprintf(config->data.dir, sizeof config->data.dir, "%s", folder);
    dp_dataset *data = NULL;
    put_file(LABELS, labels, labels_size);
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "t10k-images-idx3-ubyte");
    cr_assert_null(data);
}

Test(idx, labels_become_numbers_for_other_losses)
{
    make_pair();
    put_file(IMAGES, images, images_size);
    put_file(LABELS, labels, labels_size);
    dp_table t = {0};
    dp_schema schema = {0};
    const char *path = in_folder(IMAGES);
    assert_ok(dp_dataset_read(config_for("mse", NULL), path, &schema, &t));
    cr_assert_eq(t.ntargets, 1);
    cr_assert_eq(t.target[2], 4);
    cr_assert_null(t.label);
    dp_table_free(&t);
    assert_failed(dp_dataset_read(config_for("bce", NULL), path, &schema, &t), DP_EDATA,
                  "label 2 of sample 1");
    labels[8 + 3] = 200; /* a number, not a class */
    put_file(LABELS, labels, labels_size);
    assert_ok(dp_dataset_read(config_for("mse", NULL), path, &schema, &t));
    cr_assert_eq(t.target[3], 200);
    dp_table_free(&t);
    assert_failed(dp_dataset_read(config_for("cross_entropy", NULL), path, &schema, &t),
                  DP_EDATA, "label 200 of sample 3 (from 0) is out of range");
}

Test(idx, reads_the_real_mnist)
{
    const char *dir = getenv("MNIST_DIR");
    if (!dir) {
        cr_skip_test("MNIST_DIR is not set");
    }
    dp_config *config = config_for("cross_entropy", NULL);
    snprintf(config->data.dir, sizeof config->data.dir, "%s", dir);
    dp_dataset *data = NULL;
    assert_ok(dp_dataset_open(config, &data));
    cr_assert_eq(data->train.n, 60000);
    cr_assert_eq(data->test.n, 10000);
    cr_assert_eq(data->classes, 10);
    static const int32_t first[] = {5, 0, 4, 1, 9}, test[] = {7, 2, 1, 0, 4};
    cr_assert_arr_eq(data->train.label, first, sizeof first);
    cr_assert_arr_eq(data->test.label, test, sizeof test);
    long sum = 0;
    const uint8_t *x = data->train.raw;
    for (size_t i = 0; i < (size_t)60000 * 784; i++) {
        sum += x[i];
    }
    cr_assert_eq(sum, 1567298545L); /* mean 0.1306604762738429 over value / 255 */
    dp_dataset_destroy(&data);
}
