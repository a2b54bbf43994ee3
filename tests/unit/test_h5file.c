/* HDF5 files: what is written comes back, and nothing but what was written is
 * believed. */
#include "../../src/h5/reader.h"
#include "files_cases.h"
#include <math.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

TestSuite(h5file, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

typedef struct row {
    int64_t step;
    double loss, extra;
} row;

static const dp_h5_column columns[] = {{"step", true, offsetof(row, step)},
                                       {"loss", false, offsetof(row, loss)},
                                       {"extra", false, offsetof(row, extra)}};

enum { ROWS = 3000, BIG = 100000 };

static dp_h5 *make_sample(const char *path) {
    dp_h5 *f = NULL;
    must(dp_h5_create(path, &f));
    const char *names[] = {"null", "", "zw\xc3\xb6lf"};
    const int64_t shape[] = {1, 28, 28}, least = INT64_MIN;
    const double lr = 0.1;
    float x[6] = {0, 1.5f, -2, 3e-40f, INFINITY, 6};
    uint8_t bytes[4] = {0, 1, 128, 255};
    int32_t words[2] = {-7, 7};
    must(dp_h5_put_attr_text(f, "/", "format", "sample"));
    must(dp_h5_put(f, "/model/0.weight", DP_H5_F32, 2, (int64_t[]){2, 3}, x));
    must(dp_h5_put(f, "/data/bytes", DP_H5_U8, 1, (int64_t[]){4}, bytes));
    must(dp_h5_put(f, "/data/words", DP_H5_I32, 1, (int64_t[]){2}, words));
    must(dp_h5_put(f, "/data/none", DP_H5_F64, 2, (int64_t[]){0, 5}, NULL));
    must(dp_h5_put_attr_text(f, "/data", "name", "nine long"));
    must(dp_h5_put_text(f, "/config", "[run]\nname = \xc3\xa9\n"));
    must(dp_h5_put_attr(f, "/model", "count", DP_H5_I64, DP_H5_ONE, &least));
    must(dp_h5_put_attr(f, "/model", "lr", DP_H5_F64, DP_H5_ONE, &lr));
    must(dp_h5_put_attr(f, "/model", "shape", DP_H5_I64, 3, shape));
    must(dp_h5_put_attr(f, "/model", "none", DP_H5_F64, 0, NULL));
    must(dp_h5_put_attr(f, "/model", "classes", DP_H5_TEXT, 3, names));
    must(dp_h5_put_attr(f, "/model", "columns", DP_H5_TEXT, 0, NULL));
    double *mean = calloc(BIG, sizeof *mean);
    row *rows = calloc(ROWS, sizeof *rows);
    for (int i = 0; i < BIG; i++) {
        mean[i] = i;
    }
    for (int i = 0; i < ROWS; i++) {
        rows[i] = (row){i + 1, 1.0 / (i + 1), i};
    }
    must(dp_h5_put_attr(f, "/data", "mean", DP_H5_F64, BIG, mean));
    must(dp_h5_put_table(f, "/steps", 2, columns, sizeof(row), ROWS, rows));
    must(dp_h5_put_table(f, "/empty", 2, columns, sizeof(row), 0, NULL));
    free(mean);
    free(rows);
    return f;
}

static void write_sample(const char *path) {
    dp_h5 *f = make_sample(path);
    must(commit(&f));
    cr_assert_null(f);
}

static dp_h5 *reopen(const char *path) {
    dp_h5 *f = NULL;
    must(dp_h5_open(path, &f));
    return f;
}

Test(h5file, datasets_come_back)
{
    write_sample(in("a.h5"));
    dp_h5 *f = reopen(in("a.h5"));
    float x[6] = {0};
    must(dp_h5_get(f, "/model/0.weight", DP_H5_F32, 6, x));
    cr_assert(x[1] == 1.5f && x[3] == 3e-40f && isinf(x[4]));
    uint8_t bytes[4] = {0};
    must(dp_h5_get(f, "/data/bytes", DP_H5_U8, 4, bytes));
    cr_assert(bytes[2] == 128 && bytes[3] == 255);
    double wide[4] = {0};
    must(dp_h5_get(f, "/data/bytes", DP_H5_F64, 4, wide));
    cr_assert(wide[3] == 255.0);
    dp_h5_type type = DP_H5_F64;
    int ndim = 0;
    int64_t dims[8] = {0};
    must(dp_h5_shape(f, "/model/0.weight", &type, &ndim, dims));
    cr_assert(type == DP_H5_F32 && ndim == 2 && dims[0] == 2 && dims[1] == 3);
    must(dp_h5_shape(f, "/data/words", &type, &ndim, dims));
    cr_assert(type == DP_H5_I32 && ndim == 1 && dims[0] == 2);
    must(dp_h5_shape(f, "/data/none", &type, &ndim, dims));
    cr_assert(type == DP_H5_F64 && dims[0] == 0 && dims[1] == 5);
    char *text = NULL;
    must(dp_h5_get_text(f, "/config", &text));
    cr_assert_str_eq(text, "[run]\nname = \xc3\xa9\n");
    free(text);
    dp_h5_close(&f);
}

Test(h5file, attributes_come_back)
{
    write_sample(in("a.h5"));
    dp_h5 *f = reopen(in("a.h5"));
    int64_t count = 0;
    double lr = 0, *v = NULL;
    int n = 0;
    char text[8] = "", **names = NULL;
    must(dp_h5_get_attr_one(f, "/model", "count", DP_H5_I64, sizeof count, &count));
    must(dp_h5_get_attr_one(f, "/model", "lr", DP_H5_F64, sizeof lr, &lr));
    cr_assert(count == INT64_MIN && lr == 0.1);
    must(dp_h5_get_attr_one(f, "/", "format", DP_H5_TEXT, sizeof text, text));
    cr_assert_str_eq(text, "sample");
    must(dp_h5_get_attr(f, "/model", "shape", DP_H5_F64, &n, &v));
    cr_assert(n == 3 && v[0] == 1 && v[1] == 28 && v[2] == 28);
    free(v);
    must(dp_h5_get_attr(f, "/model", "none", DP_H5_F64, &n, &v));
    cr_assert_eq(n, 0);
    free(v);
    must(dp_h5_get_attr(f, "/data", "mean", DP_H5_F64, &n, &v));
    cr_assert(n == BIG && v[BIG - 1] == BIG - 1);
    free(v);
    must(dp_h5_get_attr(f, "/model", "classes", DP_H5_TEXT, &n, &names));
    cr_assert_eq(n, 3);
    cr_assert_str_eq(names[0], "null");
    cr_assert_str_eq(names[1], "");
    cr_assert_str_eq(names[2], "zw\xc3\xb6lf");
    free(names);
    must(dp_h5_get_attr(f, "/model", "columns", DP_H5_TEXT, &n, &names));
    cr_assert_eq(n, 0);
    free(names);
    dp_h5_close(&f);
}

Test(h5file, tables_come_back_and_missing_columns_are_nan)
{
    write_sample(in("a.h5"));
    dp_h5 *f = reopen(in("a.h5"));
    int64_t n = 0;
    void *rows = NULL;
    must(dp_h5_get_table(f, "/steps", 3, columns, sizeof(row), &n, &rows));
    const row *r = rows;
    cr_assert_eq(n, ROWS);
    for (int i = 0; i < ROWS; i++) {
        cr_assert(r[i].step == i + 1 && r[i].loss == 1.0 / (i + 1) && isnan(r[i].extra));
    }
    free(rows);
    must(dp_h5_get_table(f, "/empty", 3, columns, sizeof(row), &n, &rows));
    cr_assert_eq(n, 0);
    free(rows);
    dp_h5_close(&f);
}

Test(h5file, two_files_can_be_open)
{
    dp_h5 *f = NULL, *g = NULL;
    must(dp_h5_create(in("a.h5"), &f));
    must(dp_h5_create(in("b.h5"), &g));
    must(dp_h5_group(f, "/a"));
    must(dp_h5_group(g, "/b"));
    must(commit(&f));
    must(commit(&g));
    f = reopen(in("a.h5"));
    g = reopen(in("b.h5"));
    cr_assert(dp_h5_has(f, "/a") && !dp_h5_has(f, "/b"));
    cr_assert(dp_h5_has(g, "/b") && !dp_h5_has(g, "/a"));
    dp_h5_close(&f);
    dp_h5_close(&g);
}

Test(h5file, wrong_requests_are_errors_that_name_the_file)
{
    write_sample(in("a.h5"));
    dp_h5 *f = reopen(in("a.h5"));
    const struct {
        const char *object, *name;
        dp_h5_type type;
        const char *message;
    } attributes[] = {
        {"/model", "absent", DP_H5_I64, "a.h5: /model has no attribute absent"},
        {"/absent", "count", DP_H5_I64, "no attribute count"},
        {"/model", "shape", DP_H5_I64, "not one number"},
        {"/", "format", DP_H5_I64, "not a number"},
        {"/model", "lr", DP_H5_TEXT, "not text"},
        {"/model", "classes", DP_H5_TEXT, "not one text"},
        {"/data", "name", DP_H5_TEXT, "too long"},
    };
    char out[8];
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        fails(dp_h5_get_attr_one(f, attributes[i].object, attributes[i].name,
                                 attributes[i].type, sizeof out, out),
              attributes[i].message);
    }
    float x[6];
    int64_t n = 0, dims[8];
    int ndim = 0;
    char *all = NULL;
    void *rows = NULL;
    dp_h5_type type;
    cr_assert(dp_h5_has(f, "/") && dp_h5_has(f, "/model/0.weight"));
    cr_assert_not(dp_h5_has(f, "/nothing/at/all"));
    fails(dp_h5_get(f, "/model/9.weight", DP_H5_F32, 6, x), "a.h5: there is no /model/9");
    fails(dp_h5_get(f, "/model/0.weight", DP_H5_F32, 5, x), "6 elements where 5");
    fails(dp_h5_get(f, "/config", DP_H5_F32, 1, x), "does not hold numbers");
    fails(dp_h5_get(f, "/model", DP_H5_F32, 1, x), "a.h5: cannot open dataset /model");
    fails(dp_h5_shape(f, "/steps", &type, &ndim, dims), "does not hold numbers");
    fails(dp_h5_get_text(f, "/data/bytes", &all), "not one text");
    fails(dp_h5_get_table(f, "/data/bytes", 3, columns, sizeof(row), &n, &rows),
          "not a table");
    dp_h5_close(&f);
}

Test(h5file, the_same_content_gives_the_same_bytes)
{
    write_sample(in("a.h5"));
    sleep(1); /* HDF5 would note times in seconds */
    write_sample(in("b.h5"));
    cr_assert(same_bytes("a.h5", "b.h5"));
    cr_assert_eq(count_names(""), 2);
}

Test(h5file, user_block_is_text_of_512_bytes)
{
    write_sample(in("a.h5"));
    size_t n = 0;
    unsigned char *bytes = get_bytes("a.h5", &n);
    char length[64];
    snprintf(length, sizeof length, "trainer file 1\nlength %zu\ncrc32 ", n);
    cr_assert_eq(memcmp(bytes, length, strlen(length)), 0);
    for (int i = 0; i < 512; i++) {
        cr_assert(bytes[i] == '\n' || (bytes[i] >= ' ' && bytes[i] < 127));
    }
    cr_assert_eq(memcmp(bytes + 512, "\x89HDF\r\n\x1a\n", 8), 0);
    free(bytes);
}

Test(h5file, flips_are_seen_everywhere_in_the_user_block_and_behind_it)
{
    write_sample(in("a.h5"));
    size_t n = 0;
    free(get_bytes("a.h5", &n));
    for (long i = 0; i < (long)n; i += i < 512 ? 1 : i < 4096 ? 31 : 9974) {
        flip("a.h5", i);
        cr_assert(dp_h5_altered(in("a.h5")), "%ld", i);
        flip("a.h5", i);
    }
    cr_assert_not(dp_h5_altered(in("a.h5")));
}

Test(h5file, wrong_lengths_are_seen)
{
    write_sample(in("a.h5"));
    size_t n = 0;
    unsigned char *bytes = get_bytes("a.h5", &n);
    const size_t cuts[] = {0, 1, 14, 511, 512, 513, 4096, n / 2, n - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        dp_h5 *f = NULL;
        put_bytes("cut.h5", bytes, cuts[i]);
        fails(dp_h5_open(in("cut.h5"), &f), cuts[i] < 512 ? "cut.h5: " : "truncated");
        cr_assert(dp_h5_altered(in("cut.h5")));
        cr_assert_null(f);
    }
    bytes[n] = 0;
    put_bytes("longer.h5", bytes, n + 1);
    cr_assert(dp_h5_altered(in("longer.h5")));
    dp_h5 *f = reopen(in("longer.h5"));
    dp_h5_close(&f);
    free(bytes);
}

Test(h5file, what_is_no_file_of_ours_is_refused)
{
    dp_h5 *f = NULL;
    put_bytes("text.h5", "hello", 5);
    cr_assert_eq(mkfifo(in("fifo.h5"), 0600), 0);
    fails(dp_h5_open(in("text.h5"), &f), "text.h5: ");
    fails(dp_h5_open(in("none.h5"), &f), "No such file");
    fails(dp_h5_open(scratch, &f), "is a folder");
    fails(dp_h5_open(in("fifo.h5"), &f), "fifo.h5");
    cr_assert_eq(dp_h5_open_any(in("none.h5"), DP_EDATA, &f), DP_EDATA);
    cr_assert_eq(dp_h5_open_any(in("text.h5"), DP_EDATA, &f), DP_EDATA);
    says("text.h5");
    cr_assert_not(dp_h5_is_ours(in("text.h5")));
}

Test(h5file, any_hdf5_file_can_be_opened_and_errors_carry_the_code)
{
    setenv("HDF5_USE_FILE_LOCKING", "TRUE", 1);
    cr_assert_str_neq(dp_h5_version(), "");
    hid_t plain = H5Fcreate(in("plain.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    int16_t v[3] = {1, 2, 3};
    hsize_t dims = 3;
    hid_t space = H5Screate_simple(1, &dims, NULL);
    hid_t set = H5Dcreate2(plain, "x", H5T_NATIVE_INT16, space, H5P_DEFAULT, H5P_DEFAULT,
                           H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_INT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, v);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(plain);
    int lock = open(in("plain.h5"), O_RDONLY);
    cr_assert_eq(flock(lock, LOCK_EX), 0);
    dp_h5 *f = NULL, *twice = NULL;
    must(dp_h5_open_any(in("plain.h5"), DP_EDATA, &f));
    double out[3] = {0};
    must(dp_h5_get(f, "/x", DP_H5_F64, 3, out));
    cr_assert_eq(out[2], 3.0);
    cr_assert_eq(dp_h5_get(f, "/y", DP_H5_F64, 3, out), DP_EDATA);
    must(dp_h5_open(in("plain.h5"), &twice));
    dp_h5_close(&twice);
    dp_h5_close(&f);
    close(lock);

    write_sample(in("ours.h5"));
    must(dp_h5_open_any(in("ours.h5"), DP_EDATA, &f));
    must(dp_h5_open_any(in("ours.h5"), DP_EDATA, &twice));
    cr_assert(dp_h5_has(f, "/model") && dp_h5_has(twice, "/model"));
    dp_h5_close(&f);
    dp_h5_close(&twice);
    flip("ours.h5", 512);
    cr_assert_eq(dp_h5_open_any(in("ours.h5"), DP_EDATA, &f), DP_EDATA);
}

Test(h5file, a_shape_larger_than_the_file_is_not_believed)
{
    dp_h5 *f = NULL;
    must(dp_h5_create(in("a.h5"), &f));
    hsize_t dims[2] = {1 << 20, 1 << 20};
    hid_t space = H5Screate_simple(2, dims, NULL);
    H5Dclose(H5Dcreate2(f->id, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT,
                        H5P_DEFAULT));
    H5Sclose(space);
    must(commit(&f));
    f = reopen(in("a.h5"));
    dp_h5_type type;
    int ndim = 0;
    int64_t shape[8];
    fails(dp_h5_shape(f, "/x", &type, &ndim, shape), "/x has an impossible shape");
    dp_h5_close(&f);
}

/* ---- files of other programs ---- */

/* A matrix of big-endian doubles, the sum of its indices, in chunks that gzip has
 * packed. */
static void write_packed(const char *name, hsize_t n, hsize_t width, hsize_t chunk) {
    double *v = calloc(n * width, sizeof *v);
    for (hsize_t i = 0; i < n * width; i++) {
        v[i] = (double)(i / width + i % width);
    }
    hid_t file = H5Fcreate(in(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    hid_t space = H5Screate_simple(2, (hsize_t[]){n, width}, NULL);
    H5Pset_chunk(list, 2, (hsize_t[]){chunk, width < 3 ? width : 3});
    H5Pset_deflate(list, 6);
    hid_t set =
        H5Dcreate2(file, "x", H5T_IEEE_F64BE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, v);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(list);
    H5Fclose(file);
    free(v);
}

Test(h5file, packed_data_comes_whole_whatever_its_chunks)
{
    static const hsize_t sizes[][3] = {
        {1, 1, 1}, {7, 5, 2}, {200000, 6, 1000}, {200000, 6, 150000}, {3, 20000, 2}};
    (void)dp_h5_version();
    for (int k = 0; k < 5; k++) {
        hsize_t n = sizes[k][0], width = sizes[k][1];
        write_packed("x.h5", n, width, sizes[k][2]);
        dp_h5 *f = NULL;
        float *v = malloc(n * width * sizeof *v);
        must(dp_h5_open_any(in("x.h5"), DP_EDATA, &f));
        must(dp_h5_get(f, "/x", DP_H5_F32, (int64_t)(n * width), v));
        int wrong = 0;
        for (hsize_t i = 0; i < n * width; i++) {
            wrong += v[i] != (float)(i / width + i % width);
        }
        cr_assert_eq(wrong, 0, "%d", k);
        dp_h5_close(&f);
        free(v);
    }
}

/* ---- where the library itself fails ---- */

static const char *how;

/* What HDF5 calls while it reads, in the child process: our own conversion. */
static herr_t misbehave(hid_t from, hid_t to, H5T_cdata_t *data, size_t n, size_t stride,
                        size_t gap, void *buffer, void *background, hid_t list) {
    if (data->command == H5T_CONV_CONV && strcmp(how, "spins") == 0) {
        for (volatile unsigned i = 0;; i++) {
        }
    }
    if (data->command == H5T_CONV_CONV && strcmp(how, "aborts") == 0) {
        abort();
    }
    if (data->command == H5T_CONV_CONV) {
        signal(SIGSEGV, SIG_DFL); /* not the sanitizers' */
        raise(SIGSEGV);
    }
    return 0;
}

Test(h5file, a_library_that_crashes_or_spins_is_an_error_that_names_the_file)
{
    static const char *const ways[][2] = {{"spins", "did not come back"},
                                          {"aborts", "the HDF5 library "},
                                          {"strays", "the HDF5 library "}};
    (void)dp_h5_version();
    write_packed("x.h5", 10, 2, 5);
    H5Tregister(H5T_PERS_HARD, "misbehave", H5T_IEEE_F64BE, H5T_NATIVE_FLOAT, misbehave);
    for (int k = 0; k < 3; k++) {
        dp_h5 *f = NULL;
        float v[20];
        how = ways[k][0];
        must(dp_h5_open_any(in("x.h5"), DP_EDATA, &f));
        cr_assert(dp_h5_has(f, "/x"));
        cr_assert_eq(dp_h5_get(f, "/x", DP_H5_F32, 20, v), DP_EDATA);
        for (int again = 0; again < 2; again++) {
            says(ways[k][1]);
            says("x.h5: ");
            says("likely damaged");
            double wide[20];
            cr_assert_eq(dp_h5_get(f, "/x", DP_H5_F64, 20, wide), DP_EDATA);
        }
        dp_h5_close(&f);
    }
    /* This process is as it was. */
    double wide[20];
    dp_h5 *f = NULL;
    must(dp_h5_open_any(in("x.h5"), DP_EDATA, &f));
    must(dp_h5_get(f, "/x", DP_H5_F64, 20, wide));
    dp_h5_close(&f);
}

/* ---- writing that fails ---- */

static void limit_files(rlim_t bytes) {
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

Test(h5file, a_file_too_large_is_an_error_and_the_old_one_stays)
{
    signal(SIGXFSZ, SIG_DFL);
    put_bytes("a.h5", "old", 3);
    dp_h5 *f = make_sample(in("a.h5"));
    limit_files(1000);
    dp_status status = commit(&f);
    limit_files(RLIM_INFINITY);
    fails(status, "a.h5: File too large");
    cr_assert_null(f);
    size_t n = 0;
    unsigned char *bytes = get_bytes("a.h5", &n);
    cr_assert(n == 3 && memcmp(bytes, "old", 3) == 0);
    free(bytes);
    cr_assert_eq(count_names(""), 1);
}

static const char *guarded;
static int asked;

/* The temporary file is whole and beside its target when the guard is asked. */
static dp_status deny(void *arg) {
    asked++;
    cr_assert_str_eq(arg, "arg");
    cr_assert_eq(count_names(""), 2, "before %s: %d", guarded, count_names(""));
    return dp_fail(DP_EFILE, "not yours");
}

Test(h5file, the_guard_is_asked_before_each_change_of_a_name)
{
    put_bytes("a.h5", "old", 3);
    dp_file_set_guard(deny, "arg");
    guarded = "commit";
    dp_h5 *f = make_sample(in("a.h5"));
    fails(commit(&f), "not yours");
    guarded = "replace";
    fails(dp_file_replace(in("a.h5"), "new", 3), "not yours");
    guarded = "symlink";
    fails(dp_file_symlink(in("last.h5"), "a.h5"), "not yours");
    cr_assert_eq(count_names(""), 1);
    put_bytes("other", "", 0);
    guarded = "rename";
    fails(dp_file_rename(in("a.h5"), in("b.h5")), "not yours");
    guarded = "remove";
    fails(dp_file_remove(in("a.h5")), "not yours");
    cr_assert_eq(asked, 5);
    size_t n = 0;
    free(get_bytes("a.h5", &n));
    cr_assert_eq(n, 3);
    dp_file_set_guard(NULL, NULL);
    must(dp_file_replace(in("a.h5"), "newer", 5));
    free(get_bytes("a.h5", &n));
    cr_assert_eq(n, 5);
}

static dp_status note_name(void *arg) {
    DIR *d = opendir(scratch);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (dp_file_is_leftover(e->d_name)) {
            snprintf(arg, 256, "%s", e->d_name);
        }
    }
    closedir(d);
    return DP_OK;
}

Test(h5file, a_writers_name_is_known_and_does_not_end_in_h5)
{
    char name[256] = "";
    dp_file_set_guard(note_name, name);
    write_sample(in("step-00000001.h5"));
    dp_file_set_guard(NULL, NULL);
    cr_assert_eq(strncmp(name, ".step-00000001.h5.", 18), 0, "%s", name);
    cr_assert_neq(strcmp(name + strlen(name) - 3, ".h5"), 0);
    cr_assert_not(dp_file_is_leftover("step-00000001.h5"));
    cr_assert_not(dp_file_is_leftover(".hidden"));
    cr_assert_not(dp_file_is_leftover(".a.trainer-tmp.x"));
    cr_assert_not(dp_file_is_leftover("a.trainer-tmp.1.2"));
}

Test(h5file, a_leftover_of_the_same_name_is_no_obstacle)
{
    char name[300];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, ".a.ini.trainer-tmp.%ld.%d", (long)getpid(), i);
        put_bytes(name, "left", 4);
    }
    must(dp_file_replace(in("a.ini"), "new", 3));
    must(dp_file_symlink(in("last.h5"), "a.ini"));
    cr_assert(there("a.ini") && there("last.h5"));
}

static void gives_up(dp_h5 *f, pid_t parent) {
    _exit(DP_EINTERNAL); /* as dp_alloc does */
}

static void is_killed(dp_h5 *f, pid_t parent) {
    raise(SIGKILL);
    _exit(0);
}

static void crashes(dp_h5 *f, pid_t parent) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    _exit(0);
}

/* A file is only called damaged where its bytes are to blame. */
Test(h5file, what_the_system_does_to_the_reader_is_not_the_files_fault)
{
    const struct {
        void (*serve)(dp_h5 *f, pid_t parent);
        dp_status status;
        const char *word;
    } ends[] = {{gives_up, DP_EINTERNAL, "enough memory"},
                {is_killed, DP_EINTERNAL, "enough memory"},
                {crashes, DP_EFILE, "likely damaged"}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        signal(SIGCHLD, SIG_IGN); /* as some that start us do */
        dp_h5 *f = dp_h5_make(in("a.h5"), DP_EFILE);
        cr_assert_eq(dp_h5_reader_start(f, ends[i].serve), ends[i].status, "%zu", i);
        says(ends[i].word);
        dp_h5_close(&f);
    }
}
