#include "data_files.h"

#define IMAGES "train-images-idx3-ubyte"
#define LABELS "train-labels-idx1-ubyte"

TestSuite(idx, .init = scratch_make, .fini = scratch_remove);

static unsigned char images[4096], labels[256];
static size_t images_size, labels_size;

/* 12 images of 5 x 6 pixels, and labels below 5. */
static void make_pair(void) {
    images_size = make_idx(images, 3, (uint32_t[]){12, 5, 6}, 256);
    labels_size = make_idx(labels, 1, (uint32_t[]){12}, 5);
    put_file(IMAGES, images, images_size);
    put_file(LABELS, labels, labels_size);
}

static dp_status read_pair(void) {
    return read_file("cross_entropy", "", in(there(IMAGES) ? IMAGES : IMAGES ".gz"),
                     &any);
}

static void assert_refused(const char *text) {
    assert_failed(read_pair(), DP_EDATA, text);
    cr_assert_null(table.raw, "outputs unchanged");
}

Test(idx, reads_plain_and_gz_in_any_mix_and_under_either_name)
{
    make_pair();
    for (int mix = 0; mix < 16; mix++) {
        remove(in(IMAGES));
        remove(in(LABELS));
        remove(in(IMAGES ".gz"));
        remove(in(LABELS ".gz"));
        (mix & 1 ? put_gz : put_file)(mix & 4 ? IMAGES ".gz" : IMAGES, images,
                                      images_size);
        (mix & 2 ? put_gz : put_file)(mix & 8 ? LABELS ".gz" : LABELS, labels,
                                      labels_size);
        assert_ok(read_pair());
        cr_assert_eq(table.n, 12);
        cr_assert_eq(table.features, 30);
        cr_assert_eq(table.nshape, 3);
        cr_assert_arr_eq(table.shape, ((int[]){1, 5, 6}), 3 * sizeof(int));
        cr_assert(table.bytes);
        cr_assert_arr_eq(table.raw, images + 16, 360);
        for (int i = 0; i < 12; i++) {
            cr_assert_eq(table.label[i], i * 7 % 5);
        }
        dp_table_free(&table);
        cr_assert_null(table.raw);
    }
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
        assert_ok(read_file("cross_entropy", "", path, &any));
        cr_assert_eq(table.features, features[ndim]);
        cr_assert_eq(table.nshape, ndim == 3 ? 3 : ndim - 1);
        cr_assert_eq(table.shape[table.nshape - 1], (int)dim[ndim - 1]);
        dp_table_free(&table);
    }
}

Test(idx, names_the_file_that_is_not_idx)
{
    make_pair();
    put_text(IMAGES, "this is not an IDX file at all");
    assert_refused(IMAGES ": not an IDX file of images: it begins with 0x74686973, not "
                          "0x00000803");
    put_file(IMAGES, labels, labels_size);
    assert_refused("these are labels");
    put_file(IMAGES, images, images_size);
    put_file(LABELS, images, images_size);
    assert_refused(LABELS ": not an IDX file of labels: it begins with 0x00000803, not "
                          "0x00000801");
    images[2] = 0x0D; /* floats */
    put_file(IMAGES, images, images_size);
    assert_refused("begins with 0x00000d03");
}

Test(idx, a_file_of_any_other_length_is_refused)
{
    make_pair();
    for (size_t n = 0; n < images_size; n += n < 20 ? 1 : 37) {
        put_file(IMAGES, images, n);
        assert_refused(IMAGES ": truncated");
    }
    put_file(IMAGES, images, images_size + 3);
    assert_refused(IMAGES ": more bytes than the 376 its header promises");
    put_file(IMAGES, images, images_size);
    put_file(LABELS, labels, labels_size - 1);
    assert_refused(LABELS ": truncated");
    put_file(LABELS, labels, labels_size + 1);
    assert_refused(LABELS ": more bytes than");
    put_gz(IMAGES, images, images_size + 3);
    assert_refused(IMAGES ": more bytes than");
    put_gz(IMAGES, images, images_size - 1);
    assert_refused("375 bytes when unpacked where 376 are needed");
}

Test(idx, every_truncation_and_every_flipped_byte_of_a_gz_is_found)
{
    make_pair();
    size_t n = 0;
    put_gz(IMAGES ".gz", images, images_size);
    unsigned char *packed = get_bytes(IMAGES ".gz", &n);
    remove(in(IMAGES));
    for (size_t cut = 0; cut < n; cut++) {
        put_file(IMAGES ".gz", packed, cut);
        cr_assert_eq(read_pair(), DP_EDATA, "%zu of %zu bytes", cut, n);
        cr_assert_null(table.raw);
    }
    for (size_t i = 10; i < n; i++) { /* the first ten are names and dates */
        packed[i] ^= 0x10;
        put_file(IMAGES ".gz", packed, n);
        packed[i] ^= 0x10;
        cr_assert_eq(read_pair(), DP_EDATA, "byte %zu of %zu", i, n);
    }
    free(packed);
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
    for (int i = 0; i < 6; i++) {
        const char *why = i == 0 || i > 3 ? IMAGES ": dimension" : IMAGES ": claims";
        for (int d = 0; d < 3; d++) {
            for (int b = 0; b < 4; b++) {
                images[4 + 4 * d + b] = (unsigned char)(dims[i][d] >> (24 - 8 * b));
            }
        }
        put_file(IMAGES, images, images_size);
        assert_refused(why);
        put_gz(IMAGES, images, images_size);
        assert_refused(why);
    }
}

Test(idx, counts_that_differ_name_both_files)
{
    make_pair();
    put_file(LABELS, labels, make_idx(labels, 1, (uint32_t[]){11}, 5));
    assert_refused(IMAGES " holds 12 samples, but ");
    cr_assert(strstr(dp_status_message(), LABELS " holds 11 labels"));
}

Test(idx, a_label_out_of_range_names_its_sample)
{
    make_pair();
    labels[8 + 9] = 7;
    put_file(LABELS, labels, labels_size);
    const dp_schema seven = {.classes = 7}, eight = {.classes = 8};
    assert_failed(read_file("cross_entropy", "", in(IMAGES), &seven), DP_EDATA,
                  LABELS ": label 7 of sample 9 (from 0) is out of range");
    assert_ok(read_file("cross_entropy", "", in(IMAGES), &eight));
    cr_assert_eq(table.label[9], 7);
    dp_table_free(&table);
    labels[8 + 3] = 200;
    put_file(LABELS, labels, labels_size);
    assert_refused("label 200 of sample 3 (from 0) is out of range");
}

Test(idx, labels_are_numbers_for_other_losses)
{
    make_pair();
    labels[8 + 3] = 200;
    put_file(LABELS, labels, labels_size);
    assert_ok(read_file("mse", "", in(IMAGES), &any));
    cr_assert_eq(table.ntargets, 1);
    cr_assert_eq(table.target[2], 4);
    cr_assert_eq(table.target[3], 200);
    cr_assert_null(table.label);
    dp_table_free(&table);
    assert_failed(read_file("bce", "", in(IMAGES), &any), DP_EDATA,
                  LABELS ": label 2 of sample 1 (from 0) is neither 0 nor 1");
}

Test(idx, a_missing_file_says_what_was_looked_for)
{
    make_pair();
    remove(in(IMAGES));
    assert_failed(read_file("mse", "", in(IMAGES), &any), DP_EDATA, "No such file");
    put_file(IMAGES, images, images_size);
    remove(in(LABELS));
    assert_refused(LABELS " and " LABELS ".gz");
    const char *path = put_file("pictures-idx3-ubyte", images, images_size);
    assert_failed(read_file("mse", "", path, &any), DP_EDATA,
                  "cannot tell the name of its labels");
    assert_ok(read_file("mse", "", path, &(dp_schema){.optional = true}));
    cr_assert_null(table.label);
    cr_assert_null(table.target);
    cr_assert_eq(table.ntargets, 0);
    dp_table_free(&table);

    dp_config *config = config_for("cross_entropy", NULL);
    set(config->data.dir, scratch);
    dp_dataset *data = NULL;
    put_file(LABELS, labels, labels_size);
    assert_failed(dp_dataset_open(config, &data), DP_EDATA, "t10k-images-idx3-ubyte");
    cr_assert_null(data);
}

Test(idx, reads_the_real_mnist)
{
    const char *dir = getenv("MNIST_DIR");
    if (!dir) {
        cr_skip_test("MNIST_DIR is not set");
    }
    dp_config *config = config_for("cross_entropy", NULL);
    set(config->data.dir, dir);
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
