/* The run's folder: its lock and owner, its paths, its leftovers. */
#include "files/rundir.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/open.h"
#include "files_impl.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HOST = 65, LOCK_TEXT = 128 };

/* What run.lock says of a folder's owner. */
typedef struct owner {
    long long generation; /* 0: no owner yet */
    char host[HOST];
    long pid;
} owner;

struct dp_rundir {
    char *output, *lock, *metrics, *config, *checkpoints; /* paths; owner: this */
    int fd;                                               /* run.lock */
    bool locked;                                          /* the flock is ours */
    bool lost;                                            /* another owner was seen */
    owner self;
};

/* ---- run.lock ---- */

/* Fields of fixed width: one write changes the whole text, and a kill cannot halve it. */
static int render_owner(const owner *o, char out[LOCK_TEXT]) {
    return snprintf(out, LOCK_TEXT, "generation %-12lld\nhost %-64s\npid %-12ld\n",
                    o->generation, o->host, o->pid);
}

static owner parse_owner(const char *text) {
    owner o = {0};
    if (sscanf(text, "generation %18lld host %64s pid %18ld", &o.generation, o.host,
               &o.pid) != 3 ||
        o.generation < 0) {
        return (owner){0};
    }
    return o;
}

static dp_status fail(const char *verb, const char *path, int error) {
    return dp_fail(DP_EFILE, "cannot %s %s: %s", verb, path, strerror(error));
}

static dp_status read_lock(const dp_rundir *d, int fd, char text[LOCK_TEXT]) {
    lseek(fd, 0, SEEK_SET);
    ssize_t n = dp_open_read_all(fd, text, LOCK_TEXT - 1);
    text[n > 0 ? n : 0] = '\0';
    return n < 0 ? fail("read", d->lock, errno) : DP_OK;
}

static dp_status refuse(const dp_rundir *d, const owner *o) {
    if (o->generation == 0) {
        return dp_fail(DP_EFILE, "%s is in use by another process (flock on %s)",
                       d->output, d->lock);
    }
    return dp_fail(DP_EFILE,
                   "%s is in use by process %ld on %s: wait for its end, or give this "
                   "run another run.output",
                   d->output, o->pid, o->host);
}

/* Waits for the flock. Without it, a holder on another host is overruled by the
 * generation (that node may be cut off, or the file system may have no locks between
 * hosts). */
static dp_status take_lock(dp_rundir *d, double wait) {
    const struct timespec pause = {.tv_nsec = 50000000};
    double end = dp_clock() + wait;
    while (flock(d->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP) {
            return DP_OK;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return fail("lock", d->lock, errno);
        }
        if (dp_clock() < end) {
            nanosleep(&pause, NULL);
            continue;
        }
        char text[LOCK_TEXT];
        DP_TRY(read_lock(d, d->fd, text));
        owner holder = parse_owner(text);
        bool elsewhere = holder.generation > 0 && strcmp(holder.host, d->self.host) != 0;
        return elsewhere ? DP_OK : refuse(d, &holder);
    }
    d->locked = true;
    return DP_OK;
}

static dp_status raise_generation(dp_rundir *d) {
    /* Beyond RLIMIT_FSIZE, write is to return EFBIG and not to kill. */
    signal(SIGXFSZ, SIG_IGN);
    char text[LOCK_TEXT];
    DP_TRY(read_lock(d, d->fd, text));
    d->self.generation = parse_owner(text).generation + 1;
    int n = render_owner(&d->self, text);
    lseek(d->fd, 0, SEEK_SET);
    int error = dp_open_write_all(d->fd, text, (size_t)n);
    error = error == 0 && fsync(d->fd) != 0 ? errno : error;
    return error == 0 ? DP_OK : fail("write", d->lock, error);
}

dp_status dp_rundir_check(dp_rundir *dir) {
    /* Opened anew: only that makes a network file system revalidate its cache. */
    int fd = open(dir->lock, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return fail("read", dir->lock, errno);
    }
    char text[LOCK_TEXT], ours[LOCK_TEXT];
    dp_status status = read_lock(dir, fd, text);
    close(fd);
    DP_TRY(status);
    int n = render_owner(&dir->self, ours);
    if (strncmp(text, ours, (size_t)n) != 0) {
        owner now = parse_owner(text);
        dir->lost = true;
        return dp_fail(DP_EFILE,
                       "%s was taken over by process %ld on %s (generation %lld): this "
                       "process (generation %lld) changes nothing more in it",
                       dir->output, now.pid, now.host, now.generation,
                       dir->self.generation);
    }
    /* The holder that was overruled may have exited since. */
    dir->locked = dir->locked || flock(dir->fd, LOCK_EX | LOCK_NB) == 0;
    return DP_OK;
}

bool dp_rundir_lost(const dp_rundir *dir) {
    return dir->lost;
}

static dp_status guard(void *dir) {
    return dp_rundir_check(dir);
}

/* ---- the folder ---- */

static dp_status make_folders(const char *path) {
    char prefix[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof prefix) {
        return fail("make", path, ENAMETOOLONG);
    }
    for (size_t n = 1; n <= length; n++) {
        if (n < length && path[n] != '/') {
            continue;
        }
        memcpy(prefix, path, n);
        prefix[n] = '\0';
        struct stat info;
        int error = mkdir(prefix, 0777) == 0 ? 0 : errno;
        if (error != 0 && stat(prefix, &info) == 0) {
            error = S_ISDIR(info.st_mode) ? 0 : ENOTDIR;
        }
        if (error != 0) {
            return fail("make the folder", prefix, error);
        }
    }
    return DP_OK;
}

/* Removes the files in `folder` whose names are ours. */
static dp_status remove_matching(const char *folder, bool (*ours)(const char *name)) {
    DIR *d = opendir(folder);
    if (d == NULL) {
        return fail("read the folder", folder, errno);
    }
    dp_status status = DP_OK;
    for (struct dirent *e = readdir(d); e != NULL && status == DP_OK; e = readdir(d)) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (ours(e->d_name)) {
            status = dp_file_remove(path);
        }
    }
    closedir(d);
    return status;
}

/* A checkpoint, or one that was set aside. */
static bool is_checkpoint(const char *name) {
    char plain[NAME_MAX + 1];
    size_t n = dp_damaged_stem(name);
    snprintf(plain, sizeof plain, "%.*s", (int)(n > 0 ? n : strlen(name)), name);
    return dp_step_of_name(plain) >= 0;
}

static bool is_run_file(const char *name) {
    return strcmp(name, "metrics.h5") == 0 || strcmp(name, "config.ini") == 0 ||
           strcmp(name, "metrics.h5" DP_DAMAGED) == 0;
}

/* The links go first, so that they never name a file that is not there. */
dp_status dp_rundir_clear(dp_rundir *dir) {
    DP_TRY(remove_matching(dir->checkpoints, dp_is_link));
    DP_TRY(remove_matching(dir->checkpoints, is_checkpoint));
    return remove_matching(dir->output, is_run_file);
}

/* ---- opening ---- */

static dp_rundir *make(const char *output) {
    dp_rundir *d = dp_alloc(1, sizeof *d);
    d->fd = -1;
    d->output = dp_strdup(output);
    d->lock = dp_printed("%s/run.lock", output);
    d->metrics = dp_printed("%s/metrics.h5", output);
    d->config = dp_printed("%s/config.ini", output);
    d->checkpoints = dp_printed("%s/checkpoints", output);
    d->self.pid = (long)getpid();
    if (gethostname(d->self.host, HOST) != 0 || d->self.host[0] == '\0') {
        strcpy(d->self.host, "unknown");
    }
    d->self.host[HOST - 1] = '\0';
    return d;
}

/* The one file that is changed in place: so not through a link of whatever kind. (No FIFO
 * keeps an open for both directions waiting.) */
static dp_status open_lock(dp_rundir *d, nlink_t *names) {
    struct stat info;
    d->fd = open(d->lock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (d->fd < 0 && errno == ELOOP) {
        return dp_fail(
            DP_EFILE, "%s is a symbolic link: the trainer writes through none; remove it",
            d->lock);
    }
    if (d->fd < 0 || fstat(d->fd, &info) != 0) {
        return fail("write", d->lock, errno);
    }
    *names = info.st_nlink;
    return S_ISREG(info.st_mode)
               ? DP_OK
               : dp_fail(DP_EFILE, "%s is no regular file: remove it", d->lock);
}

static dp_status acquire(dp_rundir *d, double wait) {
    nlink_t names = 0;
    DP_TRY(open_lock(d, &names));
    DP_TRY(take_lock(d, wait));
    if (names > 1) { /* a copy of the folder by hard links, perhaps */
        close(d->fd);
        d->fd = -1;
        d->locked = false;
        DP_TRY(dp_file_remove(d->lock));
        DP_TRY(open_lock(d, &names));
        DP_TRY(take_lock(d, wait));
    }
    return raise_generation(d);
}

static dp_status open_all(dp_rundir *d, double wait) {
    DP_TRY(make_folders(d->checkpoints));
    DP_TRY(acquire(d, wait));
    dp_file_set_guard(guard, d);
    DP_TRY(remove_matching(d->output, dp_file_is_leftover));
    return remove_matching(d->checkpoints, dp_file_is_leftover);
}

dp_status dp_rundir_open(const char *output, double wait, dp_rundir **out) {
    dp_rundir *d = make(output);
    dp_status status = open_all(d, wait);
    if (status != DP_OK) {
        dp_rundir_close(&d);
        return status;
    }
    *out = d;
    return DP_OK;
}

void dp_rundir_close(dp_rundir **dir) {
    dp_rundir *d = *dir;
    if (d == NULL) {
        return;
    }
    dp_file_set_guard(NULL, NULL);
    if (d->fd >= 0) {
        close(d->fd);
    }
    free(d->output);
    free(d->lock);
    free(d->metrics);
    free(d->config);
    free(d->checkpoints);
    free(d);
    *dir = NULL;
}

const char *dp_rundir_metrics(const dp_rundir *dir) {
    return dir->metrics;
}

const char *dp_rundir_config(const dp_rundir *dir) {
    return dir->config;
}

const char *dp_rundir_checkpoints(const dp_rundir *dir) {
    return dir->checkpoints;
}
