#include "data_files.h"
#include "h5/h5file.h"

static const float floats[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint8_t bytes[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const int64_t labels[3] = {2, 0, 1};

/* One file of all that the tests read. */
static void put_hdf5(void) {
    scratch_make();
    const double doubles[3] = {0.5, 1e300, 2}, numbers[3] = {0, 1, 1};
    const double near[3] = {0, 1, 1e-60};
    dp_h5 *h5 = NULL;
    assert_ok(dp_h5_create(in("d.h5"), &h5));
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
    assert_ok(dp_h5_put(h5, "/big/x", DP_H5_F64, 1, (int64_t[]){3}, doubles));
    assert_ok(dp_h5_put(h5, "/big/y", DP_H5_I64, 1, (int64_t[]){3}, labels));
    assert_ok(dp_h5_put(h5, "/lonely/x", DP_H5_F32, 1, (int64_t[]){3}, floats));
    assert_ok(dp_h5_finish(h5));
    assert_ok(dp_h5_place(h5));
    dp_h5_close(&h5);
}

TestSuite(hdf5, .init = put_hdf5, .fini = scratch_remove);

static dp_status read_object(const char *loss, const char *object, const char *target,
                             const dp_schema *schema) {
    char path[DP_TEXT];
    snprintf(path, sizeof path, "%s%s", in("d.h5"), object);
    return read_file(loss, target, path, schema);
}

Test(hdf5, reads_images_and_labels)
{
    static const char *const object[] = {"", ":/", ":/images"};
    for (int i = 0; i < 3; i++) {
        assert_ok(read_object("cross_entropy", object[i], "", &any));
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
    static const char *const object[] = {":/table", ":/table/x"};
    for (int i = 0; i < 2; i++) {
        assert_ok(read_object("bce", object[i], "", &any));
        cr_assert_eq(table.features, 4);
        cr_assert_eq(table.nshape, 1);
        cr_assert_not(table.bytes);
        cr_assert_arr_eq(table.raw, floats, sizeof floats);
        cr_assert_arr_eq(table.target, ((float[]){0, 1, 1}), 12);
        dp_table_free(&table);
    }
    assert_ok(read_object("mse", ":/table/train_x", "", &any));
    cr_assert_arr_eq(table.shape, ((int[]){1, 2, 2}), 3 * sizeof(int));
    cr_assert_eq(table.ntargets, 1);
    cr_assert_eq(table.target[2], 3);
    dp_table_free(&table);
    assert_ok(read_object("mse", ":/table", "hot", &any));
    cr_assert_eq(table.ntargets, 4);
    cr_assert_arr_eq(table.target, floats, sizeof floats);
    dp_table_free(&table);
    assert_ok(read_object("cross_entropy", ":/table", "/labels", &any));
    cr_assert_eq(table.label[0], 2);
    dp_table_free(&table);
    /* Doubles that are whole. */
    assert_ok(read_object("cross_entropy", ":/table", "y", &any));
    cr_assert_eq(table.label[2], 1);
    dp_table_free(&table);
}

Test(hdf5, images_are_channels_first_whatever_the_file)
{
    static const struct {
        int64_t dim[4]; /* of two samples */
        int shape[3];
        bool last; /* the file has channels last */
    } cases[] = {
        {{2, 3, 2, 5}, {3, 2, 5}, false}, {{2, 2, 5, 3}, {3, 2, 5}, true},
        {{2, 1, 5, 6}, {1, 5, 6}, false}, {{2, 5, 6, 1}, {1, 5, 6}, true},
        {{2, 2, 5, 4}, {4, 2, 5}, true},  {{2, 3, 5, 4}, {3, 5, 4}, false},
        {{2, 5, 2, 5}, {5, 2, 5}, false},
    };
    const int64_t two[] = {0, 1};
    uint8_t small[128];
    float large[128];
    for (int i = 0; i < 128; i++) {
        small[i] = (uint8_t)i;
        large[i] = (float)i;
    }
    for (size_t k = 0; k < sizeof cases / sizeof cases[0] * 2; k++) {
        const int *shape = cases[k / 2].shape, H = shape[1], W = shape[2], C = shape[0];
        bool as_bytes = k % 2 == 0;
        dp_h5 *h5 = NULL;
        assert_ok(dp_h5_create(in("d.h5"), &h5));
        assert_ok(dp_h5_put(h5, "/images", as_bytes ? DP_H5_U8 : DP_H5_F32, 4,
                            cases[k / 2].dim,
                            as_bytes ? (const void *)small : (const void *)large));
        assert_ok(dp_h5_put(h5, "/labels", DP_H5_I64, 1, (int64_t[]){2}, two));
        assert_ok(dp_h5_finish(h5));
        assert_ok(dp_h5_place(h5));
        dp_h5_close(&h5);
        assert_ok(read_object("cross_entropy", "", "", &any));
        cr_assert_eq(table.nshape, 3);
        cr_assert_arr_eq(table.shape, shape, 3 * sizeof *shape);
        for (int i = 0; i < 2 * C * H * W; i++) {
            int n = i / (C * H * W), c = i / (H * W) % C, y = i / W % H, x = i % W;
            int from = cases[k / 2].last ? ((n * H + y) * W + x) * C + c : i;
            double v = as_bytes ? ((uint8_t *)table.raw)[i] : ((float *)table.raw)[i];
            cr_assert_eq(v, from, "case %zu, value %d", k, i);
        }
        dp_table_free(&table);
    }
}

Test(hdf5, says_what_is_wrong)
{
    static const char *const bad[][4] = {
        {"mse", ":/nothing", "", "no '/nothing'"},
        {"mse", ":/lonely", "", "there is no '/lonely/y'"},
        {"mse", ":/table/hot", "", "set data.target"},
        {"mse", ":/table", "big", "1e+300 of sample 1 (from 0) is too large for a float"},
        {"mse", ":/short", "", "'/short/x' holds 4 samples, but"},
        {"cross_entropy", ":/table", "hot", "'/table/hot': has 4 values a sample"},
        {"cross_entropy", ":/table", "big",
         "0.5 of sample 0 (from 0) is not a class number"},
        {"cross_entropy", ":/big", "", "'/big/x': value 0 of sample 1 (from 0) is inf"},
        {"bce", "", "", "2 of sample 0 (from 0) is neither"},
        {"bce", ":/table", "near", "1e-60 of sample 2 (from 0) is neither"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_failed(read_object(bad[i][0], bad[i][1], bad[i][2], &any), DP_EDATA,
                      bad[i][3]);
        cr_assert_null(table.raw);
    }
    assert_failed(
        read_object("cross_entropy", "", "", &(dp_schema){.classes = 2}), DP_EDATA,
        "'/labels': label 2 of sample 0 (from 0) is out of range: there are 2 classes");
    assert_ok(read_object("mse", ":/lonely", "", &(dp_schema){.optional = true}));
    cr_assert_null(table.target);
    cr_assert_eq(table.features, 1);
    cr_assert_eq(table.nshape, 1);
    cr_assert_eq(table.shape[0], 1);
    dp_table_free(&table);
}
