/* Checkpoints: a run comes back whole, whatever happened to the files. */
#include "../../src/files/files_impl.h"
#include "base/log.h"
#include "files/checkpoint.h"
#include "files_cases.h"
#include <criterion/redirect.h>
#include <errno.h>
#include <math.h>
#include <sys/syscall.h>
#include <sys/wait.h>

TestSuite(checkpoint, .init = scratch_make, .fini = scratch_remove, .timeout = 120);

enum { FLOATS = 64 };

static bool ill; /* the disk: reading fails */

/* Instead of libc's, for the library as well. */
ssize_t read(int fd, void *to, size_t n) {
    if (ill) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_read, fd, to, n);
}

static float params[FLOATS], momentum[FLOATS], second[FLOATS];

/* What a run's facts are is src/run's to know. */
static dp_status check(const char *path, const dp_snapshot *s) {
    return s->lr < 0 ? dp_fail(DP_EFILE, "%s: /optimizer: lr is negative", path) : DP_OK;
}

/* A snapshot of a small model whose numbers depend on the step. */
static dp_snapshot sample(int64_t step) {
    static dp_tensor tensors[] = {{"0.weight", 2, {4, 3}, 0, 12},
                                  {"0.bias", 1, {4}, 16, 4},
                                  {"2.weight", 4, {1, 1, 2, 2}, 32, 4},
                                  {"2.bias", 1, {1}, 48, 1}};
    static char *classes[] = {"cat", "d\xc3\xb6g"};
    static char *columns[] = {"a", "b", "c", "y"};
    static dp_epoch_row epochs[2];
    static double mean[] = {1, 2, 3}, std[] = {4, 5, 0.1};
    static char config[] = "[run]\nname = small\n";
    for (int i = 0; i < FLOATS; i++) {
        params[i] = (float)step + (float)i / 7;
        momentum[i] = -params[i];
        second[i] = params[i] * 1e-40f;
    }
    epochs[0] = (dp_epoch_row){.epoch = 1, .step = 5, .train_loss = 0.1, .val_r2 = 0.5};
    epochs[1] = (dp_epoch_row){.epoch = 2, .step = step, .val_loss = NAN, .test_mae = 7};
    return (dp_snapshot){.program = "trainer 1.0",
                         .commit = "abc",
                         .ranks = 3,
                         .threads = 2,
                         .config = config,
                         .ntensors = 4,
                         .tensors = tensors,
                         .params = params,
                         .layers = "dense:4 relu dense:1",
                         .loss = "bce",
                         .nshape = 1,
                         .shape = {3},
                         .nclasses = 2,
                         .classes = classes,
                         .ncolumns = 4,
                         .ntargets = 1,
                         .columns = columns,
                         .optimizer = "adam",
                         .lr = 0.1,
                         .nslots = 2,
                         .slot_name = {"m", "v"},
                         .slot = {momentum, second},
                         .normalize = "standardize",
                         .bytes = true,
                         .nmean = 3,
                         .mean = mean,
                         .std = std,
                         .fingerprint = "00ff",
                         .train_samples = 60000,
                         .val_samples = 1,
                         .test_samples = 10000,
                         .epoch = 2,
                         .step = step,
                         .position = 17,
                         .loss_sum = 1.0 / 3,
                         .samples = 1088,
                         .correct = 1001,
                         .seed = UINT64_MAX - 1,
                         .best = -0.0,
                         .best_step = 0,
                         .patience = 4,
                         .rows = {.n = {[DP_EPOCHS] = 2}, .of = {[DP_EPOCHS] = epochs}},
                         .regression = true};
}

static dp_status write_one(const dp_snapshot *s, bool best, int keep, int retries) {
    dp_checkpoint *c = NULL;
    must(dp_checkpoint_build(scratch, s, best, keep, &c));
    dp_status status = dp_checkpoint_place(c, retries);
    dp_checkpoint_destroy(&c);
    return status;
}

static void save(int64_t step, bool best, int64_t best_step, int keep) {
    dp_snapshot s = sample(step);
    s.best_step = best_step;
    must(write_one(&s, best, keep, 0));
}

static const char *named(const char *link) {
    static char target[64];
    ssize_t n = readlink(in(link), target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    return target;
}

static const char *step_file(int64_t step) {
    static char name[DP_STEP_NAME];
    dp_step_name(step, name);
    return name;
}

/* The newest valid checkpoint's step, -1 if there is none. */
static int64_t newest(void) {
    dp_snapshot *s = NULL;
    must(dp_checkpoint_newest(scratch, check, &s));
    int64_t step = s == NULL ? -1 : s->step;
    dp_snapshot_destroy(&s);
    return step;
}

static void same_slab(const dp_snapshot *r, const float *got, const float *wanted) {
    for (int i = 0; i < r->ntensors; i++) {
        const dp_tensor *t = &r->tensors[i];
        cr_assert_eq(
            memcmp(got + t->offset, wanted + t->offset, t->count * sizeof(float)), 0,
            "%s", t->name);
    }
}

static void same_text(const char *a, const char *b) {
    cr_assert_str_eq(a, b);
}

Test(checkpoint, comes_back_bit_for_bit)
{
    dp_snapshot s = sample(938), *r = NULL;
    must(write_one(&s, false, 3, 0));
    must(dp_checkpoint_read(in("step-00000938.h5"), check, &r));
    same_text(r->program, s.program);
    same_text(r->commit, s.commit);
    same_text(r->config, s.config);
    same_text(r->layers, s.layers);
    same_text(r->loss, s.loss);
    same_text(r->optimizer, s.optimizer);
    same_text(r->normalize, s.normalize);
    same_text(r->fingerprint, s.fingerprint);
    same_text(r->classes[1], s.classes[1]);
    same_text(r->columns[0], s.columns[0]);
    same_text(r->columns[3], s.columns[3]);
    same_text(r->slot_name[0], "m");
    same_text(r->slot_name[1], "v");
    cr_assert_eq(strlen(r->created), strlen("2000-01-01T00:00:00Z"));
    cr_assert(r->ranks == 3 && r->threads == 2);
    cr_assert(r->nclasses == 2 && r->ncolumns == 4 && r->ntargets == 1);
    cr_assert(r->nshape == 1 && r->shape[0] == 3);
    cr_assert(r->ntensors == 4 && r->nslots == 2);
    for (int i = 0; i < 4; i++) {
        const dp_tensor *a = &r->tensors[i], *b = &s.tensors[i];
        same_text(a->name, b->name);
        cr_assert(dp_tensor_same_shape(a, b) && a->offset == b->offset &&
                  a->count == b->count);
    }
    same_slab(r, r->params, params);
    same_slab(r, r->slot[0], momentum);
    same_slab(r, r->slot[1], second);
    cr_assert(r->lr == 0.1 && r->bytes && r->nmean == 3);
    cr_assert(r->mean[2] == 3 && r->std[2] == 0.1);
    cr_assert(r->train_samples == 60000 && r->val_samples == 1 &&
              r->test_samples == 10000);
    cr_assert(r->epoch == 2 && r->step == 938 && r->position == 17);
    cr_assert(r->loss_sum == 1.0 / 3 && r->samples == 1088 && r->correct == 1001);
    cr_assert(r->seed == UINT64_MAX - 1);
    cr_assert(r->best == 0 && signbit(r->best) && r->best_step == 0 && r->patience == 4);
    const dp_epoch_row *epochs = r->rows.of[DP_EPOCHS];
    cr_assert(r->rows.n[DP_EPOCHS] == 2 && r->rows.n[DP_STEPS] == 0 && r->regression);
    cr_assert(epochs[0].val_r2 == 0.5 && epochs[1].step == 938 &&
              isnan(epochs[1].val_loss) && epochs[1].test_mae == 7);
    dp_snapshot_destroy(&r);
    cr_assert_null(r);
}

Test(checkpoint, an_image_run_without_lists_comes_back)
{
    dp_snapshot s = sample(7), *r = NULL;
    s.nclasses = s.ncolumns = s.ntargets = s.nmean = s.nslots = 0;
    s.classes = s.columns = NULL;
    s.mean = s.std = NULL;
    s.rows.n[DP_EPOCHS] = 0;
    s.regression = false;
    s.best = NAN;
    must(write_one(&s, false, 3, 0));
    must(dp_checkpoint_read(in("last.h5"), check, &r));
    cr_assert(r->nclasses == 0 && r->ncolumns == 0 && r->nmean == 0 && r->nslots == 0);
    cr_assert(r->rows.n[DP_EPOCHS] == 0 && !r->regression && isnan(r->best));
    dp_snapshot_destroy(&r);
}

Test(checkpoint, keeps_the_newest_and_the_best)
{
    for (int64_t step = 1; step <= 6; step++) {
        save(step, step == 2, step >= 2 ? 2 : 0, 2);
        cr_assert_str_eq(named("last.h5"), step_file(step));
    }
    cr_assert_str_eq(named("best.h5"), "step-00000002.h5");
    cr_assert(there("step-00000002.h5") && there("step-00000005.h5") &&
              there("step-00000006.h5"));
    cr_assert_eq(count_names(""), 5);
    save(7, true, 7, 1);
    cr_assert_str_eq(named("best.h5"), "step-00000007.h5");
    cr_assert_eq(count_names(""), 3);
}

Test(checkpoint, removes_only_what_it_wrote)
{
    put_bytes("step-00000001.h5", "a friend's file", 15);
    save(6, false, 0, 1);
    rename(in("step-00000006.h5"), in("step-6.h5"));
    put_bytes("step-00000002.h5.bak", "x", 1);
    put_bytes("notes.txt", "x", 1);
    mkdir(in("step-00000003.h5"), 0700);
    save(4, false, 0, 1);
    rename(in("step-00000004.h5"), in("mine.h5"));
    cr_assert_eq(symlink("mine.h5", in("step-00000004.h5")), 0);
    save(5, false, 0, 1);
    save(123456789, false, 0, 1);
    cr_assert_not(there("step-00000005.h5"));
    cr_assert(there("step-00000001.h5") && there("step-6.h5") &&
              there("step-00000002.h5.bak") && there("notes.txt") &&
              there("step-00000003.h5") && there("step-00000004.h5") && there("mine.h5"));
    cr_assert_str_eq(named("last.h5"), "step-123456789.h5");
}

Test(checkpoint, the_one_just_written_stays_even_beside_later_ones)
{
    save(50, false, 0, 1);
    save(10, false, 0, 1);
    cr_assert(there("step-00000010.h5"));
    cr_assert_str_eq(named("last.h5"), "step-00000010.h5");
}

Test(checkpoint, newest_is_by_number)
{
    cr_assert_eq(newest(), -1);
    save(9, false, 0, 5);
    save(100000000, false, 0, 5);
    save(20, false, 0, 5);
    put_bytes("step-200000000.h5.bak", "x", 1);
    put_bytes("step-300000000.txt", "x", 1);
    cr_assert_eq(newest(), 100000000);
    cr_assert_str_eq(named("last.h5"), "step-100000000.h5");
    dp_snapshot *s = NULL;
    must(dp_checkpoint_newest(in("no-such-folder"), check, &s));
    cr_assert_null(s);
    put_bytes("file", "x", 1);
    fails(dp_checkpoint_newest(in("file"), check, &s), "file");
}

Test(checkpoint, damaged_ones_are_named_set_aside_and_passed_over)
{
    cr_redirect_stderr();
    dp_log_enable(true);
    save(1, true, 1, 9);
    save(2, false, 1, 9);
    save(3, true, 3, 9);
    save(4, false, 3, 9);
    flip("step-00000004.h5", 700);
    cr_assert_eq(truncate(in("step-00000003.h5"), 0), 0);
    cr_assert_eq(newest(), 2);
    cr_assert(there("step-00000004.h5.damaged") && there("step-00000003.h5.damaged"));
    cr_assert_not(there("step-00000004.h5") || there("step-00000003.h5"));
    cr_assert_str_eq(named("last.h5"), "step-00000002.h5");
    cr_assert_str_eq(named("best.h5"), "step-00000001.h5");
    fflush(stderr);
    char text[4096] = "";
    cr_assert_gt(fread(text, 1, sizeof text - 1, cr_get_redirected_stderr()), 0);
    cr_assert_not_null(strstr(text, "step-00000004.h5: "), "%s", text);
    cr_assert_not_null(strstr(text, "step-00000003.h5: "), "%s", text);
}

/* Changes one value of one tensor; the user block stays. */
static void edit(const char *name) {
    const float from = 1.0f + 11.0f / 7; /* the last weight of step 1 in sample() */
    size_t n = 0;
    unsigned char *bytes = get_bytes(name, &n);
    unsigned char *at = memmem(bytes, n, &from, sizeof from);
    cr_assert_not_null(at);
    memcpy(at, &(float){42}, sizeof(float));
    put_bytes(name, bytes, n);
    free(bytes);
}

Test(checkpoint, one_that_the_disk_does_not_give_is_left_alone)
{
    save(1, true, 1, 9);
    save(2, true, 2, 9);
    dp_snapshot *s = NULL;
    ill = true;
    dp_status status = dp_checkpoint_newest(scratch, check, &s);
    ill = false;
    fails(status, "step-00000002.h5: can't be read: Input/output error");
    cr_assert(s == NULL && there("step-00000002.h5") && there("step-00000001.h5"));
}

Test(checkpoint, one_that_contradicts_itself_is_passed_over_only_if_it_was_changed)
{
    dp_snapshot *r = NULL;
    save(9, false, 0, 9);
    must(dp_file_rename(in("step-00000009.h5"), in("step-00000000.h5")));
    dp_snapshot s = sample(1);
    s.lr = -1;
    must(write_one(&s, false, 9, 0));
    fails(dp_checkpoint_newest(scratch, check, &r), "step-00000001.h5: /optimizer: lr");
    cr_assert(r == NULL && there("step-00000001.h5"));
    edit("step-00000001.h5");
    fails(dp_checkpoint_newest(scratch, check, &r), "step = 9, but its name says 0");
    cr_assert(r == NULL && there("step-00000001.h5.damaged"));
}

Test(checkpoint, a_best_one_that_is_damaged_is_replaced_by_the_newest)
{
    save(1, true, 1, 9);
    save(2, false, 1, 9);
    flip("step-00000001.h5", 700);
    dp_snapshot *s = NULL;
    must(dp_checkpoint_newest(scratch, check, &s));
    cr_assert(s->step == 2 && s->best_step == 2);
    dp_snapshot_destroy(&s);
    cr_assert_str_eq(named("best.h5"), "step-00000002.h5");
    cr_assert(there("step-00000001.h5.damaged"));
}

Test(checkpoint, a_best_link_to_nothing_goes_and_no_valid_one_is_no_error)
{
    save(1, false, 0, 9);
    save(2, true, 2, 9);
    flip("step-00000002.h5", 700);
    cr_assert_eq(newest(), 1);
    cr_assert_str_eq(named("best.h5"), "");
    flip("step-00000001.h5", 512);
    cr_assert_eq(newest(), -1);
    cr_assert(there("step-00000001.h5.damaged"));
}

Test(checkpoint, links_left_behind_by_a_killed_writer_are_repaired)
{
    save(1, true, 1, 9);
    save(2, true, 2, 9);
    must(dp_file_symlink(in("last.h5"), "step-00000001.h5"));
    must(dp_file_symlink(in("best.h5"), "step-00000001.h5"));
    cr_assert_eq(newest(), 2);
    cr_assert_str_eq(named("last.h5"), "step-00000002.h5");
    cr_assert_str_eq(named("best.h5"), "step-00000002.h5");
}

/* A file that says what it is, and no more. */
static void write_head(const char *name, const char *format, int64_t version) {
    dp_h5 *f = NULL;
    must(dp_h5_create(in(name), &f));
    must(dp_h5_put_attr_text(f, "/", "format", format));
    must(dp_h5_put_attr(f, "/", "version", DP_H5_I64, DP_H5_ONE, &version));
    must(commit(&f));
}

Test(checkpoint, another_versions_file_is_refused_and_left_alone)
{
    dp_snapshot *s = NULL;
    save(1, false, 0, 9);
    write_head("step-00000002.h5", "trainer-checkpoint", 2);
    fails(dp_checkpoint_read(in("step-00000002.h5"), check, &s), "format 2");
    fails(dp_checkpoint_newest(scratch, check, &s), "format 2");
    cr_assert_null(s);
    cr_assert(there("step-00000002.h5") && there("step-00000001.h5"));
    write_head("other.h5", "trainer-metrics", 1);
    fails(dp_checkpoint_read(in("other.h5"), check, &s), "other.h5: is not a checkpoint");
}

/* ---- writers that fail or die ---- */

static int calls, fatal;

static dp_status die_at(void *arg) {
    if (++calls == fatal) {
        _exit(9);
    }
    return DP_OK;
}

static dp_status fail_until(void *arg) {
    return ++calls < fatal ? dp_fail(DP_EFILE, "not now") : DP_OK;
}

Test(checkpoint, is_tried_again)
{
    dp_snapshot s = sample(3);
    dp_file_set_guard(fail_until, NULL);
    calls = 0;
    fatal = 3;
    fails(write_one(&s, false, 1, 1), "not now");
    calls = 0;
    must(write_one(&s, false, 1, 2));
    dp_file_set_guard(NULL, NULL);
    cr_assert_eq(newest(), 3);
}

/* Whatever change of a name the writer dies before: last.h5 names a valid checkpoint. */
Test(checkpoint, a_writer_that_dies_before_any_change_loses_nothing)
{
    for (fatal = 1; fatal <= 5; fatal++) {
        save(1, true, 1, 1);
        save(2, false, 1, 1);
        pid_t pid = fork();
        if (pid == 0) {
            dp_snapshot s = sample(3);
            s.best_step = 3;
            dp_file_set_guard(die_at, NULL);
            calls = 0;
            (void)write_one(&s, true, 1, 0);
            _exit(0);
        }
        int code = 0;
        waitpid(pid, &code, 0);
        cr_assert_eq(WEXITSTATUS(code), 9, "%d changes only", fatal - 1);
        dp_snapshot *s = NULL;
        must(dp_checkpoint_read(in("last.h5"), check, &s));
        cr_assert(s->step == (fatal <= 2 ? 2 : 3));
        dp_snapshot_destroy(&s);
        must(dp_checkpoint_read(in("best.h5"), check, &s));
        dp_snapshot_destroy(&s);
        cr_assert_eq(newest(), fatal == 1 ? 2 : 3);
        cr_assert_str_eq(named("last.h5"), step_file(fatal == 1 ? 2 : 3));
        cr_assert_str_eq(named("best.h5"), step_file(fatal == 1 ? 1 : 3));
        scratch_remove();
        mkdir(scratch, 0700);
    }
}
