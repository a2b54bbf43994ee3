/* The run's folder has one owner, and whoever lost it changes nothing more. */
#include "files/rundir.h"
#include "files_cases.h"
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

TestSuite(rundir, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

static dp_rundir *open_run(void) {
    dp_rundir *d = NULL;
    must(dp_rundir_open(in("runs/mlp"), 0.2, &d));
    return d;
}

/* run.lock as text; its generation. */
static long long lock_says(char host[65], long *pid) {
    size_t n = 0;
    long long generation = 0;
    char *text = (char *)get_bytes("runs/mlp/run.lock", &n);
    text[n] = '\0';
    cr_assert_eq(
        sscanf(text, "generation %lld host %64s pid %ld", &generation, host, pid), 3,
        "%s", text);
    free(text);
    return generation;
}

static long long generation(void) {
    char host[65];
    long pid = 0;
    return lock_says(host, &pid);
}

/* A process that opens the run and holds it until it is killed. */
static pid_t start_holder(void) {
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dp_rundir *d = NULL;
        char c = dp_rundir_open(in("runs/mlp"), 0, &d) == DP_OK ? 'y' : 'n';
        (void)!write(ready[1], &c, 1);
        for (;;) {
            pause();
        }
    }
    char c = 'n';
    cr_assert_eq(read(ready[0], &c, 1), 1);
    cr_assert_eq(c, 'y');
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Makes run.lock say that a process of another host owns the run. */
static void move_owner(int generation) {
    FILE *f = fopen(in("runs/mlp/run.lock"), "r+");
    fprintf(f, "generation %-12d\nhost %-64s\npid %-12d\n", generation, "elsewhere",
            4242);
    fclose(f);
}

/* That a file has these bytes. */
static void holds(const char *name, const char *text) {
    size_t n = 0;
    unsigned char *bytes = get_bytes(name, &n);
    cr_assert(n == strlen(text) && memcmp(bytes, text, n) == 0, "%s", name);
    free(bytes);
}

Test(rundir, makes_its_folders_and_says_who_owns_it)
{
    dp_rundir *d = open_run();
    char host[65], self[65] = "";
    long pid = 0;
    cr_assert_eq(lock_says(host, &pid), 1);
    gethostname(self, sizeof self - 1);
    cr_assert_str_eq(host, self);
    cr_assert_eq(pid, getpid());
    cr_assert(there("runs/mlp/checkpoints"));
    cr_assert_str_eq(dp_rundir_metrics(d), in("runs/mlp/metrics.h5"));
    cr_assert_str_eq(dp_rundir_config(d), in("runs/mlp/config.ini"));
    cr_assert_str_eq(dp_rundir_checkpoints(d), in("runs/mlp/checkpoints"));
    must(dp_rundir_check(d));
    dp_rundir_close(&d);
    cr_assert_null(d);
    d = open_run();
    cr_assert_eq(generation(), 2);
    dp_rundir_close(&d);
}

Test(rundir, waits_for_an_owner_that_is_about_to_go)
{
    pid_t holder = start_holder();
    pid_t killer = fork();
    if (killer == 0) {
        usleep(300000);
        kill(holder, SIGKILL);
        _exit(0);
    }
    dp_rundir *d = NULL;
    must(dp_rundir_open(in("runs/mlp"), 20, &d));
    cr_assert_eq(generation(), 2);
    dp_rundir_close(&d);
    waitpid(killer, NULL, 0);
    waitpid(holder, NULL, 0);
}

Test(rundir, a_holder_on_another_host_is_overruled)
{
    pid_t holder = start_holder();
    move_owner(7);
    dp_rundir *d = open_run();
    cr_assert_eq(generation(), 8);
    must(dp_rundir_check(d));
    end(holder);
    /* The lock that has come free is taken, so a third start is refused. */
    must(dp_rundir_check(d));
    int fd = open(in("runs/mlp/run.lock"), O_RDWR);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), -1);
    close(fd);
    dp_rundir_close(&d);
}

Test(rundir, an_owner_that_was_overruled_changes_nothing)
{
    dp_rundir *d = open_run();
    must(dp_file_replace(dp_rundir_config(d), "old", 3));
    move_owner(7);
    fails(dp_rundir_check(d), "taken over by process 4242 on elsewhere (generation 7)");
    fails(dp_file_replace(dp_rundir_config(d), "newer", 5), "taken over");
    fails(dp_file_symlink(in("runs/mlp/checkpoints/last.h5"), "x"), "taken over");
    fails(dp_rundir_clear(d), "taken over");
    holds("runs/mlp/config.ini", "old");
    cr_assert_eq(count_names("runs/mlp/checkpoints"), 0);
    cr_assert_eq(count_names("runs/mlp"), 3);
    dp_rundir_close(&d);
    cr_assert_eq(generation(), 7);
    d = open_run();
    move_owner(8); /* two starts that raised to the same number */
    fails(dp_rundir_check(d), "taken over");
    dp_rundir_close(&d);
    must(dp_file_replace(in("elsewhere.csv"), "free again", 10));
}

Test(rundir, leftovers_of_killed_writers_go_and_other_files_stay)
{
    dp_rundir *d = open_run();
    dp_rundir_close(&d);
    put_bytes("runs/mlp/.metrics.h5.trainer-tmp.77.3", "x", 1);
    put_bytes("runs/mlp/.hidden", "x", 1);
    put_bytes("runs/mlp/checkpoints/.step-00000001.h5.trainer-tmp.77.4", "x", 1);
    put_bytes("runs/mlp/checkpoints/.last.h5.trainer-tmp.77.4.mine", "x", 1);
    d = open_run();
    cr_assert_eq(count_names("runs/mlp"), 3);
    cr_assert_eq(count_names("runs/mlp/checkpoints"), 1);
    cr_assert(there("runs/mlp/.hidden"));
    dp_rundir_close(&d);
}

Test(rundir, clear_removes_the_runs_files_only)
{
    dp_rundir *d = open_run();
    static const char *const ours[] = {"runs/mlp/metrics.h5",
                                       "runs/mlp/metrics.h5.damaged",
                                       "runs/mlp/config.ini",
                                       "runs/mlp/checkpoints/step-00000001.h5",
                                       "runs/mlp/checkpoints/step-123456789.h5",
                                       "runs/mlp/checkpoints/step-00000002.h5.damaged"};
    static const char *const others[] = {
        "runs/mlp/notes.txt", "runs/mlp/checkpoints/step-1.h5",
        "runs/mlp/checkpoints/mine.h5", "runs/mlp/checkpoints/a.damaged"};
    for (int i = 0; i < 6; i++) {
        put_bytes(ours[i], "x", 1);
    }
    for (int i = 0; i < 4; i++) {
        put_bytes(others[i], "x", 1);
    }
    cr_assert_eq(symlink("mine.h5", in("runs/mlp/checkpoints/last.h5")), 0);
    cr_assert_eq(symlink("nothing", in("runs/mlp/checkpoints/best.h5")), 0);
    must(dp_rundir_clear(d));
    cr_assert_eq(count_names("runs/mlp"), 3);
    cr_assert_eq(count_names("runs/mlp/checkpoints"), 3);
    for (int i = 0; i < 4; i++) {
        cr_assert(there(others[i]), "%s", others[i]);
    }
    cr_assert(there("runs/mlp/run.lock"));
    dp_rundir_close(&d);
}

Test(rundir, a_lock_that_is_a_link_harms_no_other_file)
{
    dp_rundir *d = open_run();
    dp_rundir_close(&d);
    put_bytes("precious", "mine", 4);
    unlink(in("runs/mlp/run.lock"));
    cr_assert_eq(symlink("../../precious", in("runs/mlp/run.lock")), 0);
    fails(dp_rundir_open(in("runs/mlp"), 0, &d), "run.lock is a symbolic link");
    unlink(in("runs/mlp/run.lock"));
    cr_assert_eq(link(in("precious"), in("runs/mlp/run.lock")), 0);
    d = open_run();
    cr_assert_eq(generation(), 1);
    must(dp_rundir_check(d));
    dp_rundir_close(&d);
    unlink(in("runs/mlp/run.lock"));
    cr_assert_eq(mkfifo(in("runs/mlp/run.lock"), 0600), 0);
    fails(dp_rundir_open(in("runs/mlp"), 0, &d), "run.lock is no regular file");
    holds("precious", "mine");
}

Test(rundir, other_files_replace_links_and_folders_may_be_links)
{
    put_bytes("precious", "mine", 4);
    mkdir(in("elsewhere"), 0700);
    mkdir(in("checkpoints"), 0700);
    mkdir(in("runs"), 0700);
    cr_assert_eq(symlink("../elsewhere", in("runs/mlp")), 0);
    cr_assert_eq(symlink("../checkpoints", in("elsewhere/checkpoints")), 0);
    cr_assert_eq(symlink("../precious", in("elsewhere/config.ini")), 0);
    cr_assert_eq(symlink("../precious", in("checkpoints/last.h5")), 0);
    dp_rundir *d = open_run();
    must(dp_file_replace(dp_rundir_config(d), "config", 6));
    must(dp_file_symlink(in("runs/mlp/checkpoints/last.h5"), "a.h5"));
    dp_rundir_close(&d);
    struct stat info;
    cr_assert(lstat(in("elsewhere/config.ini"), &info) == 0 && S_ISREG(info.st_mode));
    holds("precious", "mine");
}

Test(rundir, a_lock_file_of_nonsense_is_written_anew)
{
    dp_rundir *d = open_run();
    dp_rundir_close(&d);
    char nonsense[300];
    memset(nonsense, 0xff, sizeof nonsense);
    put_bytes("runs/mlp/run.lock", nonsense, sizeof nonsense);
    d = open_run();
    cr_assert_eq(generation(), 1);
    must(dp_rundir_check(d));
    dp_rundir_close(&d);
}
