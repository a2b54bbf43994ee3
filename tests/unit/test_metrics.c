/* metrics.h5: every row once, whatever was cut, damaged or too frequent. */
#include "base/log.h"
#include "files/history.h"
#include "files/metrics.h"
#include "files_cases.h"
#include <criterion/redirect.h>
#include <math.h>

TestSuite(metrics, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

static dp_metrics *make(void) {
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
    must(dp_metrics_create(in("metrics.h5"), &facts, false, &m));
    return m;
}

/* Two steps an epoch. */
static void add_rows(dp_metrics *m, int64_t first, int64_t last) {
    for (int64_t i = first; i <= last; i++) {
        dp_step_row step = {i, (i + 1) / 2, 64, 1.0 / (double)i, 0.1, NAN, 2, 1};
        dp_metrics_add(m, DP_STEPS, &step);
        if (i % 2 == 0) {
            dp_epoch_row epoch = {
                .epoch = i / 2, .step = i, .train_loss = 0.5, .val_loss = NAN};
            dp_profile_row profile = {.epoch = i / 2, .idle_seconds = 3};
            dp_metrics_add(m, DP_EPOCHS, &epoch);
            dp_metrics_add(m, DP_PROFILE, &profile);
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

static void has_rows(const dp_rows *rows, int64_t steps, int64_t epochs,
                     int64_t profiles) {
    cr_assert_eq(rows->n[DP_STEPS], steps);
    cr_assert_eq(rows->n[DP_EPOCHS], epochs);
    cr_assert_eq(rows->n[DP_PROFILE], profiles);
}

Test(metrics, a_resume_cuts_later_rows_and_goes_on)
{
    dp_metrics *m = make();
    add_rows(m, 1, 3000);
    must(dp_metrics_flush(m));
    dp_metrics_destroy(&m);

    m = make();
    must(dp_metrics_load(m, 2001, 1000));
    int64_t n = 0;
    dp_rows rows = dp_metrics_unsaved(m, INT64_MAX, INT64_MAX);
    has_rows(&rows, 2001, 1000, 1000);
    const dp_epoch_row *epochs = rows.of[DP_EPOCHS];
    cr_assert(epochs[999].epoch == 1000 && epochs[999].step == 2000);
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
    dp_metrics *m = make();
    add_rows(m, 1, 10);
    cr_assert_eq(dp_metrics_unsaved_bytes(m), 10 * 64 + 5 * (80 + 120));
    must(dp_metrics_flush(m));
    dp_rows rows = dp_metrics_unsaved(m, 10, 5);
    has_rows(&rows, 0, 0, 0);
    add_rows(m, 11, 20);
    rows = dp_metrics_unsaved(m, 17, 8);
    has_rows(&rows, 7, 3, 3);
    const dp_step_row *steps = rows.of[DP_STEPS];
    const dp_epoch_row *epochs = rows.of[DP_EPOCHS];
    const dp_profile_row *profiles = rows.of[DP_PROFILE];
    cr_assert(steps[0].step == 11 && steps[6].step == 17);
    cr_assert(epochs[0].epoch == 6 && epochs[2].epoch == 8 && profiles[0].epoch == 6);
    rows = dp_metrics_unsaved(m, 9, 4);
    has_rows(&rows, 0, 0, 0);

    /* A file that is built but does not come to the disk saves nothing. */
    dp_h5 *f = NULL;
    must(dp_metrics_build(m, &f));
    cr_assert(!dp_metrics_dirty(m));
    cr_assert_lt(llabs(dp_h5_bytes(f) - dp_metrics_bytes(m)), 12000);
    dp_h5_close(&f);
    dp_metrics_placed(m, false);
    cr_assert(dp_metrics_dirty(m));
    cr_assert_eq(dp_metrics_unsaved(m, 20, 10).n[DP_STEPS], 10);

    /* And what a checkpoint carried comes after the rows of the file. */
    dp_metrics *after = make();
    must(dp_metrics_load(after, 17, 8));
    rows = dp_metrics_unsaved(m, 17, 8);
    dp_metrics_append(after, &rows);
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
    dp_metrics *m = make();
    must(dp_metrics_load(m, 100, 100));
    cr_assert_eq(dp_metrics_unsaved(m, 100, 100).n[DP_EPOCHS], 0);
    dp_history h = history();
    cr_assert(!h.metrics && !h.readable && !h.checkpoints && h.steps == 0);
    cr_assert_str_eq(h.status, "");
    cr_assert_not(there("metrics.h5"));
    dp_metrics_destroy(&m);
}

Test(metrics, the_file_tells_whether_there_have_been_checkpoints)
{
    dp_metrics *m = make();
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

    /* A file that says nothing of checkpoints: rows stand for them. */
    for (int64_t rows = 0; rows < 2; rows++) {
        const dp_h5_column c = {"step", true, 0};
        const int64_t row = 7;
        dp_h5 *f = NULL;
        must(dp_h5_create(in("metrics.h5"), &f));
        must(dp_h5_put_attr_text(f, "/", "status", "running"));
        must(dp_h5_put_table(f, "/steps", 1, &c, 8, rows, &row));
        must(commit(&f));
        cr_assert_eq(history().checkpoints, rows > 0);
    }
}

Test(metrics, history_names_what_was_set_aside)
{
    cr_assert_eq(mkdir(in("checkpoints"), 0777), 0);
    put_bytes("checkpoints/step-00000003.h5.damaged", "", 0);
    put_bytes("checkpoints/step-00000001.h5.damaged", "", 0);
    put_bytes("checkpoints/notes.txt", "", 0);
    put_bytes("metrics.h5.damaged", "", 0);
    dp_history h = history();
    cr_assert(h.damaged == 3 && !h.checkpoints);
    cr_assert_str_eq(
        h.names,
        "step-00000001.h5.damaged, step-00000003.h5.damaged, metrics.h5.damaged");
    for (int i = 10; i < 30; i++) {
        char name[64];
        snprintf(name, sizeof name, "checkpoints/step-000000%d.h5.damaged", i);
        put_bytes(name, "", 0);
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
    dp_metrics *m = make();
    add_rows(m, 1, 4);
    must(dp_metrics_flush(m));
    flip("metrics.h5", 700);
    char text[256] = "x";
    cr_assert(history().metrics && !history().readable);
    dp_metrics_destroy(&m);
    m = make();
    must(dp_metrics_load(m, 100, 100));
    cr_assert_eq(dp_metrics_unsaved(m, 100, 100).n[DP_EPOCHS], 0);
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
    dp_metrics *m = make();
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
