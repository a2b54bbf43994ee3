/* metrics.h5: every row once, whatever was cut, damaged or too frequent. */
#include "base/log.h"
#include "files/history.h"
#include "files/metrics.h"
#include "h5/h5file.h"
#include "scratch.h"
#include <criterion/redirect.h>
#include <math.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(metrics, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

static void must(dp_status status) {
    cr_assert_eq(status, DP_OK, "%s", dp_status_message());
}

static dp_metrics *make(bool regression) {
    const dp_run_facts facts = {.program = "trainer 1.0",
                                .commit = "abc",
                                .config = "[run]\n",
                                .kernels = "portable",
                                .ranks = 4,
                                .threads = 2,
                                .nodes = 1,
                                .parameters = 669706,
                                .train_samples = 60000,
                                .test_samples = 10000};
    dp_metrics *m = NULL;
    must(dp_metrics_create(in("metrics.h5"), &facts, regression, &m));
    return m;
}

/* Two steps an epoch. */
static void add_rows(dp_metrics *m, int64_t first, int64_t last) {
    for (int64_t i = first; i <= last; i++) {
        dp_step_row step = {i, (i + 1) / 2, 64, 1.0 / (double)i, 0.1, NAN, 2, 1};
        must(dp_metrics_step(m, &step));
        if (i % 2 == 0) {
            dp_epoch_row epoch = {.epoch = i / 2,
                                  .step = i,
                                  .train_loss = 0.5,
                                  .val_loss = NAN,
                                  .test_r2 = 0.25};
            dp_profile_row profile = {.epoch = i / 2, .idle_seconds = 3};
            must(dp_metrics_epoch(m, &epoch));
            must(dp_metrics_profile(m, &profile));
        }
    }
}

/* The first column of a table in metrics.h5. */
static int64_t *keys(const char *table, const char *column, int64_t *n) {
    const dp_h5_column c = {column, true, 0};
    dp_h5 *f = NULL;
    void *rows = NULL;
    must(dp_h5_open(in("metrics.h5"), &f));
    must(dp_h5_get_table(f, table, 1, &c, 8, n, &rows));
    dp_h5_close(&f);
    return rows;
}

static int64_t rows_in(const char *table) {
    int64_t n = 0;
    free(keys(table, "epoch", &n));
    return n;
}

Test(metrics, rows_and_facts_are_in_the_file)
{
    dp_metrics *m = make(false);
    add_rows(m, 1, 6);
    dp_metrics_status(m, "complete");
    dp_metrics_final_test(m, 0.25, 0.75);
    must(dp_metrics_flush(m));
    dp_metrics_destroy(&m);
    cr_assert_null(m);

    dp_h5 *f = NULL;
    must(dp_h5_open(in("metrics.h5"), &f));
    char text[1024] = "";
    int64_t v = 0;
    double loss = 0, accuracy = 0;
    must(dp_h5_get_attr_text(f, "/", "status", text, sizeof text));
    cr_assert_str_eq(text, "complete");
    must(dp_h5_get_attr_text(f, "/", "config", text, sizeof text));
    cr_assert_str_eq(text, "[run]\n");
    must(dp_h5_get_attr_text(f, "/", "units", text, sizeof text));
    cr_assert_not_null(strstr(text, "seconds"));
    must(dp_h5_get_attr_i64(f, "/", "parameters", &v));
    cr_assert_eq(v, 669706);
    must(dp_h5_get_attr_f64(f, "/", "test_loss", &loss));
    must(dp_h5_get_attr_f64(f, "/", "test_accuracy", &accuracy));
    cr_assert(loss == 0.25 && accuracy == 0.75);
    const dp_h5_column columns[] = {
        {"step", true, offsetof(dp_step_row, step)},
        {"samples", true, offsetof(dp_step_row, samples)},
        {"loss", false, offsetof(dp_step_row, loss)},
        {"grad_norm", false, offsetof(dp_step_row, grad_norm)},
        {"comm_seconds", false, offsetof(dp_step_row, comm_seconds)}};
    int64_t n = 0;
    void *rows = NULL;
    must(dp_h5_get_table(f, "/steps", 5, columns, sizeof(dp_step_row), &n, &rows));
    const dp_step_row *r = rows;
    cr_assert(n == 6 && r[5].step == 6 && r[5].samples == 64 && r[5].loss == 1.0 / 6 &&
              isnan(r[5].grad_norm) && r[5].comm_seconds == 1);
    free(rows);
    dp_h5_close(&f);
    cr_assert_eq(rows_in("/epochs"), 3);
    cr_assert_eq(rows_in("/profile"), 3);
    dp_history h;
    dp_history_read(in("metrics.h5"), in("none"), &h);
    cr_assert(h.metrics && h.readable && h.steps == 6 && h.last == 6 && !h.checkpoints);
    cr_assert_str_eq(h.status, "complete");
}

/* Reads test_r2 of the first epoch: NaN where there is no such column. */
static double first_r2(bool regression) {
    dp_metrics *m = make(regression);
    add_rows(m, 1, 2);
    must(dp_metrics_flush(m));
    dp_metrics_destroy(&m);
    const dp_h5_column c = {"test_r2", false, 0};
    dp_h5 *f = NULL;
    int64_t n = 0;
    void *rows = NULL;
    must(dp_h5_open(in("metrics.h5"), &f));
    must(dp_h5_get_table(f, "/epochs", 1, &c, 8, &n, &rows));
    double r2 = *(double *)rows;
    free(rows);
    dp_h5_close(&f);
    return r2;
}

Test(metrics, regression_has_columns_of_its_own)
{
    cr_assert_eq(first_r2(true), 0.25);
    cr_assert(isnan(first_r2(false)));
}

Test(metrics, a_resume_cuts_later_rows_and_goes_on)
{
    dp_metrics *m = make(false);
    add_rows(m, 1, 3000);
    must(dp_metrics_flush(m));
    dp_metrics_destroy(&m);

    m = make(false);
    must(dp_metrics_load(m, 2001, 1000));
    int64_t n = 0;
    dp_rows rows = dp_metrics_unsaved(m, INT64_MAX, INT64_MAX);
    cr_assert(rows.nsteps == 2001 && rows.nepochs == 1000 && rows.nprofiles == 1000);
    cr_assert(rows.epochs[999].epoch == 1000 && rows.epochs[999].step == 2000);
    add_rows(m, 2002, 2010);
    must(dp_metrics_flush(m));
    dp_metrics_destroy(&m);

    int64_t *step = keys("/steps", "step", &n);
    cr_assert_eq(n, 2010);
    for (int64_t i = 0; i < n; i++) {
        cr_assert_eq(step[i], i + 1);
    }
    free(step);
    cr_assert_eq(rows_in("/epochs"), 1005);
    cr_assert_eq(rows_in("/profile"), 1005);
}

Test(metrics, what_the_disk_lacks_is_told_up_to_a_step)
{
    dp_metrics *m = make(false);
    add_rows(m, 1, 10);
    cr_assert_eq(dp_metrics_unsaved_bytes(m), 10 * 64 + 5 * (72 + 112));
    must(dp_metrics_flush(m));
    dp_rows rows = dp_metrics_unsaved(m, 10, 5);
    cr_assert(rows.nsteps == 0 && rows.nepochs == 0 && rows.nprofiles == 0);
    add_rows(m, 11, 20);
    rows = dp_metrics_unsaved(m, 17, 8);
    cr_assert(rows.nsteps == 7 && rows.steps[0].step == 11 && rows.steps[6].step == 17);
    cr_assert(rows.nepochs == 3 && rows.epochs[0].epoch == 6 &&
              rows.epochs[2].epoch == 8);
    cr_assert(rows.nprofiles == 3 && rows.profiles[0].epoch == 6);
    rows = dp_metrics_unsaved(m, 9, 4);
    cr_assert(rows.nsteps == 0 && rows.nepochs == 0 && rows.nprofiles == 0);

    /* A file that is built but does not come to the disk saves nothing. */
    dp_h5 *f = NULL;
    must(dp_metrics_build(m, &f));
    cr_assert(!dp_metrics_dirty(m));
    cr_assert_lt(llabs(dp_h5_bytes(f) - dp_metrics_bytes(m)), 12000);
    dp_h5_close(&f);
    dp_metrics_placed(m, false);
    cr_assert(dp_metrics_dirty(m));
    cr_assert_eq(dp_metrics_unsaved(m, 20, 10).nsteps, 10);

    /* And what a checkpoint carried comes after the rows of the file. */
    dp_metrics *after = make(false);
    must(dp_metrics_load(after, 17, 8));
    rows = dp_metrics_unsaved(m, 17, 8);
    must(dp_metrics_append(after, &rows));
    must(dp_metrics_flush(after));
    cr_assert(rows_in("/steps") == 17 && rows_in("/epochs") == 8 &&
              rows_in("/profile") == 8);
    dp_metrics_destroy(&after);
    dp_metrics_destroy(&m);
}

static dp_history history(void) {
    dp_history h;
    dp_history_read(in("metrics.h5"), in("checkpoints"), &h);
    return h;
}

Test(metrics, a_missing_file_gives_no_rows_and_no_history)
{
    dp_metrics *m = make(false);
    must(dp_metrics_load(m, 100, 100));
    cr_assert_eq(dp_metrics_unsaved(m, 100, 100).nepochs, 0);
    dp_history h = history();
    cr_assert(!h.metrics && !h.readable && !h.checkpoints && h.steps == 0);
    cr_assert_str_eq(h.status, "");
    cr_assert_not(there("metrics.h5"));
    dp_metrics_destroy(&m);
}

Test(metrics, the_file_tells_whether_there_have_been_checkpoints)
{
    dp_metrics *m = make(false);
    add_rows(m, 1, 4);
    must(dp_metrics_flush(m));
    dp_history h = history();
    cr_assert(h.readable && h.steps == 4 && h.last == 4 && !h.checkpoints);
    cr_assert_str_eq(h.status, "running");
    cr_assert_not(dp_metrics_hides_checkpoint(m));
    dp_metrics_checkpoint(m, 3);
    cr_assert(dp_metrics_hides_checkpoint(m));
    must(dp_metrics_flush(m));
    cr_assert_not(dp_metrics_hides_checkpoint(m));
    cr_assert(history().checkpoints);
    dp_metrics_destroy(&m);

    /* A file that says nothing of checkpoints: rows speak for them. */
    for (int64_t rows = 0; rows < 2; rows++) {
        const dp_h5_column c = {"step", true, 0};
        const int64_t row = 7;
        dp_h5 *f = NULL;
        must(dp_h5_create(in("metrics.h5"), &f));
        must(dp_h5_attr_text(f, "/", "status", "running"));
        must(dp_h5_put_table(f, "/steps", 1, &c, 8, rows, &row));
        must(dp_h5_commit(&f));
        cr_assert_eq(history().checkpoints, rows > 0);
    }
}

static void touch(const char *name) {
    FILE *f = fopen(in(name), "w");
    cr_assert_not_null(f);
    fclose(f);
}

Test(metrics, history_names_what_was_set_aside)
{
    cr_assert_eq(mkdir(in("checkpoints"), 0777), 0);
    touch("checkpoints/step-00000003.h5.damaged");
    touch("checkpoints/step-00000001.h5.damaged");
    touch("checkpoints/notes.txt");
    touch("metrics.h5.damaged");
    dp_history h = history();
    cr_assert(h.damaged == 3 && !h.checkpoints);
    cr_assert_str_eq(
        h.names,
        "step-00000001.h5.damaged, step-00000003.h5.damaged, metrics.h5.damaged");
    for (int i = 10; i < 30; i++) {
        char name[64];
        snprintf(name, sizeof name, "checkpoints/step-000000%d.h5.damaged", i);
        touch(name);
    }
    cr_assert_eq(symlink("step-00000003.h5", in("checkpoints/last.h5")), 0);
    h = history();
    cr_assert(h.damaged == 23 && h.checkpoints);
    cr_assert_str_eq(h.names + strlen(h.names) - 5, ", ...");
}

Test(metrics, a_damaged_file_is_named_and_set_aside)
{
    cr_redirect_stderr();
    dp_log_enable(true);
    dp_metrics *m = make(false);
    add_rows(m, 1, 4);
    must(dp_metrics_flush(m));
    flip("metrics.h5", 700);
    char text[256] = "x";
    cr_assert(history().metrics && !history().readable);
    dp_metrics_destroy(&m);
    m = make(false);
    must(dp_metrics_load(m, 100, 100));
    cr_assert_eq(dp_metrics_unsaved(m, 100, 100).nepochs, 0);
    cr_assert(there("metrics.h5.damaged") && !there("metrics.h5"));
    cr_assert_eq(history().damaged, 1);
    must(dp_metrics_flush(m));
    cr_assert_eq(rows_in("/steps"), 0);
    dp_metrics_destroy(&m);
    fflush(stderr);
    cr_assert_gt(fread(text, 1, sizeof text - 1, cr_get_redirected_stderr()), 0);
    cr_assert_not_null(strstr(text, "metrics.h5: "));
}

Test(metrics, nothing_is_written_without_a_change)
{
    dp_metrics *m = make(false);
    add_rows(m, 1, 2);
    cr_assert_not(there("metrics.h5"));
    must(dp_metrics_flush(m));
    cr_assert(there("metrics.h5"));
    remove(in("metrics.h5"));
    must(dp_metrics_flush(m));
    cr_assert_not(there("metrics.h5"));
    dp_metrics_status(m, "running");
    must(dp_metrics_flush(m));
    cr_assert_not(there("metrics.h5"));
    dp_metrics_status(m, "stopped");
    must(dp_metrics_flush(m));
    cr_assert(there("metrics.h5"));
    dp_metrics_destroy(&m);
}

Test(metrics, a_failed_write_keeps_file_and_rows)
{
    dp_metrics *m = make(false);
    add_rows(m, 1, 2);
    must(dp_metrics_flush(m));
    add_rows(m, 3, 3);
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    struct rlimit small = {1000, limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    dp_status status = dp_metrics_flush(m);
    setrlimit(RLIMIT_FSIZE, &limit);
    cr_assert_eq(status, DP_EFILE);
    cr_assert_not_null(strstr(dp_status_message(), "metrics.h5: File too large"));
    cr_assert_eq(rows_in("/steps"), 2);
    must(dp_metrics_flush(m));
    cr_assert_eq(rows_in("/steps"), 3);
    dp_metrics_destroy(&m);
}
