#include "base/rng.h"
#include "data_files.h"
#include <math.h>

TestSuite(csv, .init = scratch_make, .fini = scratch_remove);

static dp_status read_as(const char *loss, const char *target, const char *text) {
    return read_file(loss, target, put_text("data.csv", text), &any);
}

static void assert_floats(const float *got, int n, const float *expected) {
    for (int i = 0; i < n; i++) {
        cr_assert_eq(got[i], expected[i], "value %d is %g, not %g", i, (double)got[i],
                     (double)expected[i]);
    }
}

Test(csv, reads_one_table_in_all_its_spellings)
{
    static const char *const spelling[] = {
        "hours,sleep,score\n1,7.5,55\n-2.25,6,60\n3e2,+8,.5\n",
        "hours,sleep,score\n1,7.5,55\n-2.25,6,60\n3e2,+8,.5",
        "hours,sleep,score\r\n1,7.5,55\r\n-2.25,6,60\r\n3e2,+8,.5\r\n",
        "hours,sleep,score\r1,7.5,55\r-2.25,6,60\r3e2,+8,.5\r",
        "\xEF\xBB\xBFhours,sleep,score\n1,7.5,55\n-2.25,6,60\n3e2,+8,.5\n",
        "hours;sleep;score\n1;7.5;55\n-2.25;6;60\n3e2;+8;.5\n",
        "hours\tsleep\tscore\n1\t7.5\t55\n-2.25\t6\t60\n3e2\t+8\t.5\n",
        "hours,sleep,score\n1,7.5,55\n-2.25,6,60\n3e2,+8,.5\n\n  \n\r\n",
        "\n\nhours,sleep,score\n1,7.5,55\n-2.25,6,60\n3e2,+8,.5\n",
        " hours , sleep,score \n 1,7.5 , 55\n-2.25,6,60  \n3e2,+8,.5\n",
        ("\"hours\",\"sleep\",\"score\"\n\"1\",\"7.5\",\"55\"\n-2.25,6,\"60\" \n3e2, "
         "\"+8\",.5\n"),
        "hours,sleep,score\n1.0000000000000000000,7.50,55.\n-225e-2,06,6e1\n300,8,0.5\n",
    };
    static const float raw[] = {1, 7.5f, -2.25f, 6, 300, 8}, target[] = {55, 60, 0.5f};
    for (size_t i = 0; i < sizeof spelling / sizeof spelling[0]; i++) {
        assert_ok(read_as("mse", "", spelling[i]));
        cr_assert_eq(table.n, 3, "spelling %zu", i);
        cr_assert_eq(table.features, 2);
        cr_assert_eq(table.nshape, 1);
        cr_assert_eq(table.shape[0], 2);
        cr_assert_not(table.bytes);
        cr_assert_eq(table.ntargets, 1);
        assert_floats(table.raw, 6, raw);
        assert_floats(table.target, 3, target);
        cr_assert_eq(table.ncolumns, 3);
        cr_assert_str_eq(table.column[0], "hours");
        cr_assert_str_eq(table.column[1], "sleep");
        cr_assert_str_eq(table.column[2], "score");
        dp_table_free(&table);
    }
}

Test(csv, quotes_hold_separators_quotes_and_lines)
{
    assert_ok(read_as("mse", "", "\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\n1,2,3\n"));
    cr_assert_str_eq(table.column[0], "a,b");
    cr_assert_str_eq(table.column[1], "say \"hi\"");
    cr_assert_str_eq(table.column[2], "two\nlines");
    dp_table_free(&table);
    assert_ok(read_as("mse", "", "\"a,b,c\";y\n1;2\n"));
    cr_assert_str_eq(table.column[0], "a,b,c");
    dp_table_free(&table);
    assert_failed(read_as("mse", "", "\"a\nb\",y\n1,2\n1,x\n"), DP_EDATA,
                  "data.csv:4: column 'y': 'x' is not a number");
}

Test(csv, numbers_are_those_of_the_c_library)
{
    static const char *const format[] = {"%.17g", "%.6f", "%g", "%.12e", "%.0f", "%.15f"};
    static char text[1 << 20];
    static float expected[6 * 2000];
    size_t n = (size_t)sprintf(text, "a,b,c,d,e,f,y\n");
    for (int i = 0; i < 2000; i++) {
        double scale = pow(10, i % 14 - 7);
        for (int k = 0; k < 6; k++) {
            double v =
                (double)dp_rng_normal(1, DP_FOR_INIT, 0, (uint64_t)(6 * i + k)) * scale;
            char cell[64];
            snprintf(cell, sizeof cell, format[k], v);
            expected[6 * i + k] = (float)strtod(cell, NULL);
            n += (size_t)sprintf(text + n, "%s,", cell);
        }
        n += (size_t)sprintf(text + n, "%d\n", i);
    }
    assert_ok(read_as("mse", "y", text));
    cr_assert_eq(table.n, 2000);
    assert_floats(table.raw, 6 * 2000, expected);
    dp_table_free(&table);
}

Test(csv, numbers_of_many_digits_are_read_to_the_last)
{
    static const char *const cell[] = {".1234567890123456",
                                       "9007199254740993",
                                       "-0",
                                       "0.00000000000000000000123",
                                       "1e-45",
                                       "3.4028235e38",
                                       "123456789012345678901234567890",
                                       "16777217.000000001"};
    for (int i = 0; i < 8; i++) {
        char text[128];
        snprintf(text, sizeof text, "x,y\n%s,0\n", cell[i]);
        assert_ok(read_as("mse", "", text));
        cr_assert_eq(*(float *)table.raw, (float)strtod(cell[i], NULL), "%s", cell[i]);
        dp_table_free(&table);
    }
}

Test(csv, names_line_and_column_of_a_bad_cell)
{
    static const char *const bad[][2] = {
        {"x,y\n1,2\nabc,3\n", "data.csv:3: column 'x': 'abc' is not a number"},
        {"x,y\n1,2\n,3\n", "data.csv:3: column 'x' is empty"},
        {"x,y\n1,\n", "data.csv:2: column 'y' is empty"},
        {"x,y\n1,\"\"\n", "data.csv:2: column 'y' is empty"},
        {"x,y\n1,NA\n", "column 'y': 'NA' is not a number"},
        {"x,y\n1,nan\n", "'nan' is not a number"},
        {"x,y\n1,-inf\n", "'-inf' is not a number"},
        {"x,y\n1,0x10\n", "'0x10' is not a number"},
        {"x,y\n1,1e39\n", "'1e39' is too large"},
        {"x,y\n1,1 2\n", "'1 2' is not a number"},
        {"x,y\n1,1.2.3\n", "'1.2.3' is not a number"},
        {"x,y\n1,--1\n", "'--1' is not a number"},
        {"x,y\n1,.\n", "'.' is not a number"},
        {"x;y\n1;1,5\n", "'1,5' is not a number (write 1.5, not 1,5)"},
        {"x,y\n1,2,3\n", "data.csv:2: more cells than the 2 columns"},
        {"x,y\n1,2\n3\n", "data.csv:3: fewer cells than the 2 columns"},
        {"x,y\n1,2\n\n3,4\n", "data.csv:3: a blank line between the rows"},
        {"x,y\n1,\"2\n", "data.csv:2: the quote that begins here is not closed"},
        {"x,y\n1,\"2\"3\n", "data.csv:2: text behind a closing quote"},
        {"x,y\n", "no row below the header"},
        {"", "empty"},
        {"\n \r\n", "the file is empty"},
        {"1,2\n3,4\n", "data.csv:1: numbers where the columns' names"},
        {"x,,y\n3,4,5\n", "column 2 has no name"},
        {",y\n3,4\n", "no column is left to predict from"},
        {"x,y,\n3,4,\n", "column 3 has no name"},
        {"x,y,x\n3,4,5\n", "two columns are named 'x'"},
        {"y\n3\n", "no column is left to predict from"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_failed(read_as("mse", "", bad[i][0]), DP_EDATA, bad[i][1]);
        cr_assert(strstr(dp_status_message(), "data.csv"));
        cr_assert_null(table.raw, "outputs unchanged");
    }
}

Test(csv, refuses_what_is_not_text)
{
    const char *path = put_file("data.csv", "x\0y\0,\0\n\0", 8);
    assert_failed(read_file("mse", "", path, &any), DP_EDATA, "zero bytes");
}

Test(csv, the_target_is_the_last_column_or_those_of_data_target)
{
    const char *text = "a,b,c,d\n1,2,3,4\n5,6,7,8\n";
    assert_ok(read_as("mse", "", text));
    assert_floats(table.raw, 6, (float[]){1, 2, 3, 5, 6, 7});
    assert_floats(table.target, 2, (float[]){4, 8});
    dp_table_free(&table);
    assert_ok(read_as("mse", "b", text));
    assert_floats(table.raw, 6, (float[]){1, 3, 4, 5, 7, 8});
    assert_floats(table.target, 2, (float[]){2, 6});
    cr_assert_str_eq(table.column[3], "b");
    dp_table_free(&table);
    assert_ok(read_as("mse", "d, a", text));
    cr_assert_eq(table.ntargets, 2);
    cr_assert_eq(table.features, 2);
    assert_floats(table.raw, 4, (float[]){2, 3, 6, 7});
    assert_floats(table.target, 4, (float[]){4, 1, 8, 5});
    cr_assert_str_eq(table.column[2], "d");
    cr_assert_str_eq(table.column[3], "a");
    dp_table_free(&table);
    assert_failed(read_as("mse", "score", text), DP_EDATA,
                  "no column 'score' (data.target); its columns are a, b, c, d");
    assert_failed(read_as("mse", "a,b,a", text), DP_EUSAGE, "'a' twice");
    assert_failed(read_as("mse", "a,,b", text), DP_EUSAGE, "empty name");
    assert_failed(read_as("mse", "a,b,c,d", text), DP_EDATA, "no column is left");
    assert_failed(read_as("cross_entropy", "a,b", text), DP_EUSAGE, "takes one");
}

static dp_status read_classes(const char *loss, const char *target, const char *classes,
                              const char *text) {
    dp_config *config = config_for(loss, NULL);
    set(config->data.classes, classes);
    set(config->data.target, target);
    return dp_dataset_read(config, put_text("data.csv", text), &any, &table);
}

Test(csv, class_labels_are_numbers_or_names)
{
    assert_ok(read_classes("cross_entropy", "", "", "x,kind\n0,2\n0,0\n0,1.0\n"));
    cr_assert_arr_eq(table.label, ((int32_t[]){2, 0, 1}), 12);
    cr_assert_null(table.target);
    cr_assert_eq(table.ntargets, 0);
    cr_assert_eq(table.ncolumns, 2);
    dp_table_free(&table);
    assert_ok(read_classes("cross_entropy", "", "cat, dog,eel",
                           "x,kind\n0,eel\n0,cat\n0,\"dog\"\n0,1\n"));
    cr_assert_arr_eq(table.label, ((int32_t[]){2, 0, 1, 1}), 16);
    dp_table_free(&table);
    static const char *const bad[][3] = {
        {"", "x,kind\n0,1\n0,cat\n",
         "data.csv:3: column 'kind': 'cat' is not a class number"},
        {"", "x,kind\n0,cat\n0,1\n",
         "data.csv:3: column 'kind': '1' is a number among names"},
        {"cat,dog", "x,kind\n0,cow\n",
         "'cow' is neither a class number nor in data.classes"},
        {"cat,dog", "x,kind\n0,1\n0,2\n",
         "data.csv:3: column 'kind': '2' is out of range"},
        {"", "x,kind\n0,1.5\n", "'1.5' is not a class number"},
        {"", "x,kind\n0,-1\n", "'-1' is not a class number"},
        {"", "x,kind\n0,250000\n", "'250000' is not a class number"},
        {"cat,dog", "x,kind\n0,\n", "column 'kind' is empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_failed(read_classes("cross_entropy", "", bad[i][0], bad[i][1]), DP_EDATA,
                      bad[i][2]);
    }
}

Test(csv, bce_takes_zero_and_one_or_the_two_names_of_its_classes)
{
    static const char names[] = "failed, passed";
    assert_ok(read_as("bce", "", "x,passed\n1,0\n2,1\n3,1.0\n"));
    assert_floats(table.target, 3, (float[]){0, 1, 1});
    dp_table_free(&table);
    assert_ok(read_classes("bce", "", names, "x,end\n1,failed\n2,passed\n3,1\n4,0.0\n"));
    cr_assert_eq(table.ntargets, 1);
    assert_floats(table.target, 4, (float[]){0, 1, 1, 0});
    dp_table_free(&table);
    assert_ok(
        read_classes("bce", "a,b", names, "x,a,b\n1,failed,passed\n2,passed,passed\n"));
    assert_floats(table.target, 4, (float[]){0, 1, 1, 1});
    dp_table_free(&table);
    assert_failed(read_as("bce", "", "x,passed\n1,0\n2,2\n"), DP_EDATA,
                  "data.csv:3: column 'passed': '2' is neither 0 nor 1");
    assert_failed(read_as("bce", "", "x,end\n1,0\n1,failed\n"), DP_EDATA,
                  "'failed' is neither 0 nor 1, which loss.name = bce takes: list the "
                  "names of 0 and 1 in data.classes");
    assert_failed(read_classes("bce", "", names, "x,end\n1,failed\n2,Passed\n"), DP_EDATA,
                  "data.csv:3: column 'end': 'Passed' is neither 0 nor 1 nor in "
                  "data.classes");
}

Test(csv, a_number_is_rounded_to_a_float_and_a_class_is_not)
{
    assert_ok(read_as("mse", "", "x,y\n1e-400,-1e-46\n3.4e38,1\n"));
    assert_floats(table.raw, 2, (float[]){0, 3.4e38f});
    cr_assert_eq(table.target[0], 0);
    dp_table_free(&table);
    static const char *const large[] = {"1e39", "-1e39", "1e400", "3.5e38"};
    for (int i = 0; i < 4; i++) {
        char text[64], why[64];
        snprintf(text, sizeof text, "x,y\n1,2\n%s,3\n", large[i]);
        snprintf(why, sizeof why, "data.csv:3: column 'x': '%s' is too large", large[i]);
        assert_failed(read_as("mse", "", text), DP_EDATA, why);
    }
    static const char *const odd[] = {"1e-400", "-1e-400", "1e-46", "1.00000001",
                                      "1e400"};
    for (int i = 0; i < 5; i++) {
        char text[64], why[64];
        snprintf(text, sizeof text, "x,y\n1,0\n2,1\n3,%s\n", odd[i]);
        snprintf(why, sizeof why, "data.csv:4: column 'y': '%s' is n", odd[i]);
        assert_failed(read_as("bce", "", text), DP_EDATA, why);
        assert_failed(read_as("cross_entropy", "", text), DP_EDATA, why);
    }
    assert_ok(read_as("cross_entropy", "", "x,y\n1,0e-400\n2,1e0\n"));
    dp_table_free(&table);
}

static dp_status read_like(bool optional, const char *text) {
    static char *const column[] = {"a", "b", "y"};
    const dp_schema schema = {
        .features = 2, .ncolumns = 3, .column = column, .optional = optional};
    return read_file("mse", "", put_text("new.csv", text), &schema);
}

Test(csv, columns_are_matched_by_the_names_of_training)
{
    assert_ok(read_like(false, "y,id,b,a\n1,x,2,3\n4,,5,6\n"));
    assert_floats(table.raw, 4, (float[]){3, 2, 6, 5});
    assert_floats(table.target, 2, (float[]){1, 4});
    dp_table_free(&table);
    assert_failed(read_like(false, "a,b\n1,2\n"), DP_EDATA,
                  "no column 'y', which the training data has; its columns are a, b");
    assert_failed(read_like(true, "a,y\n1,2\n"), DP_EDATA, "no column 'b'");
    assert_ok(read_like(true, "b,a\n1,2\n"));
    cr_assert_null(table.target);
    cr_assert_eq(table.ntargets, 0);
    cr_assert_eq(table.ncolumns, 2);
    assert_floats(table.raw, 2, (float[]){2, 1});
    dp_table_free(&table);
}

Test(csv, rows_of_nothing_but_separators_fit_where_columns_are_ignored)
{
    static char text[20000];
    size_t n = (size_t)sprintf(text, "a,b,y,c,d,e,f,g,h,i\n");
    for (int i = 0; i < 1000; i++) {
        n += (size_t)sprintf(text + n, "1,2,3,,,,,,,\n");
    }
    assert_ok(read_like(false, text));
    cr_assert_eq(table.n, 1000);
    cr_assert_eq(((float *)table.raw)[1999], 2);
    dp_table_free(&table);
}

Test(csv, without_names_a_file_of_the_features_alone_has_no_target)
{
    const dp_schema one = {.features = 1, .optional = true};
    const char *path = put_text("new.csv", "hours\n5\n7\n9\n");
    for (int named = 0; named < 2; named++) {
        assert_ok(read_file("mse", named ? "score" : "", path, &one));
        cr_assert_eq(table.features, 1);
        cr_assert_null(table.target);
        assert_floats(table.raw, 3, (float[]){5, 7, 9});
        dp_table_free(&table);
    }
}

/* ---- gzip ---- */

static dp_status read_gz(const unsigned char *bytes, size_t n) {
    return read_file("mse", "", put_file("data.csv.gz", bytes, n), &any);
}

/* Appends one gzip member to packed[0..n); returns the length. */
static size_t add_member(unsigned char *packed, size_t n, const char *text) {
    size_t one = 0;
    put_gz("member", text, strlen(text));
    unsigned char *bytes = get_bytes("member", &one);
    memcpy(packed + n, bytes, one);
    free(bytes);
    return n + one;
}

static void assert_rows(const unsigned char *packed, size_t n, int rows) {
    assert_ok(read_gz(packed, n));
    cr_assert_eq(table.n, rows);
    dp_table_free(&table);
}

Test(csv, members_of_a_gz_are_one_text_and_zeros_behind_them_padding)
{
    unsigned char packed[8192] = {0};
    size_t n = add_member(packed, 0, "x,y\n1,2\n3,");
    assert_rows(packed, add_member(packed, n, "4\n"), 2);
    n = add_member(packed, n, "4\n");
    n = add_member(packed, n, "");
    n = add_member(packed, n, "5,6\n");
    assert_rows(packed, n, 3);
    memset(packed + n, 0, 1000);
    assert_rows(packed, n + 1000, 3);
    packed[n + 999] = 1;
    assert_failed(read_gz(packed, n + 1000), DP_EDATA, "1000 bytes from byte");
    size_t padded = add_member(packed, n + 10, "7,8\n");
    assert_failed(read_gz(packed, padded), DP_EDATA, "are no gzip data");
}

Test(csv, no_damage_to_any_member_of_a_gz_loses_rows)
{
    unsigned char packed[8192];
    size_t border = add_member(packed, 0, "x,y\n1,2\n3,4\n");
    size_t n = add_member(packed, border, "5,6\n7,8\n");
    for (size_t i = 0; i < n; i++) {
        size_t at = i < border ? i : i - border;
        if (at >= 4 && at < 10) { /* date, flags and system, which nothing protects */
            continue;
        }
        packed[i] ^= 0x10;
        dp_status status = read_gz(packed, n);
        packed[i] ^= 0x10;
        if (status ==
            DP_OK) { /* the bits that fill up deflate's last byte mean nothing */
            cr_assert((i == border - 9 || i == n - 9) && table.n == 4, "byte %zu of %zu",
                      i, n);
            dp_table_free(&table);
            continue;
        }
        cr_assert_eq(status, DP_EDATA, "byte %zu of %zu", i, n);
        cr_assert(strstr(dp_status_message(), "data.csv.gz"));
    }
    for (size_t cut = 1; cut < n; cut++) {
        if (cut != border) { /* there the shorter file is a whole one */
            cr_assert_eq(read_gz(packed, cut), DP_EDATA, "%zu of %zu bytes", cut, n);
        }
    }
    assert_failed(read_gz(packed, n - 3), DP_EDATA, "truncated");
    for (size_t behind = 1; behind < 30; behind++) {
        memset(packed + n, 'x', behind);
        assert_failed(read_gz(packed, n + behind), DP_EDATA,
                      "behind the end of its gzip");
    }
    assert_rows(packed, n, 4);
}

Test(csv, a_gz_of_many_members_that_no_buffer_holds)
{
    enum { MEMBERS = 3000, ROWS = 40 };
    static unsigned char all[MEMBERS * 512];
    char text[8192];
    size_t n = add_member(all, 0, "x,y\n"), one = 0;
    for (int m = 0; m < MEMBERS; m++, n += one) {
        size_t at = 0;
        for (int i = 0; i < ROWS && m < 10; i++) {
            at += (size_t)sprintf(
                text + at, "%d,%g\n", i,
                (double)dp_rng_uniform(1, DP_FOR_INIT, (uint32_t)m, (uint64_t)i));
        }
        one = m < 10 ? add_member(all + n, 0, text) : one;
        if (m >= 10) {
            memcpy(all + n, all + n - one, one);
        }
        cr_assert(n + 1024 < sizeof all);
    }
    cr_assert(n > 1 << 19);
    assert_rows(all, n, MEMBERS * ROWS);
}
