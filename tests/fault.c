/* Preloaded into a trainer by tests/torture.py: counts the calls that change files below
 * FAULT_DIR, says in FAULT_STATE where the process is, and at call number FAULT_CALL does
 * what FAULT_HOW says:
 *   before, after   the process is killed before or after the call
 *   half            a write is cut in half, then the process is killed
 *   full            this call and the next FAULT_FOR - 1 fail: no space is left
 * FAULT_SLOW: milliseconds that a rename of a checkpoint takes. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS = 1024, STATE = 64 };

static char folder[4096], kind_of_fd[FDS][16];
static size_t folder_length;
/* "NUMBER WHAT" of the call that is under way, or of the last one and "training" */
static char *state;
static long number, at = -1, count = 1;
static useconds_t slow;
static const char *how = "";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("FAULT_DIR"), *path = getenv("FAULT_STATE");
    snprintf(folder, sizeof folder, "%s", dir ? dir : "/nowhere");
    folder_length = strlen(folder);
    at = getenv("FAULT_CALL") ? atol(getenv("FAULT_CALL")) : -1;
    count = getenv("FAULT_FOR") ? atol(getenv("FAULT_FOR")) : 1;
    slow = getenv("FAULT_SLOW") ? (useconds_t)(1000 * atol(getenv("FAULT_SLOW"))) : 0;
    how = getenv("FAULT_HOW") ? getenv("FAULT_HOW") : "";
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd < 0 ? MAP_FAILED
                     : mmap(NULL, STATE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    state = p == MAP_FAILED ? NULL : p;
    if (fd >= 0) {
        close(fd);
    }
}

/* What kind of file a path below the folder is, or NULL. */
static const char *kind(const char *path) {
    char absolute[8192];
    if (path[0] != '/') {
        char here[4096];
        snprintf(absolute, sizeof absolute, "%s/%s",
                 getcwd(here, sizeof here) ? here : "", path);
        path = absolute;
    }
    if (strncmp(path, folder, folder_length) != 0) {
        return NULL;
    }
    const char *names[][2] = {{"step-", "checkpoint"}, {"metrics.h5", "metrics"},
                              {"last.h5", "link"},     {"best.h5", "link"},
                              {"run.lock", "lock"},    {"config.ini", "config"}};
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strstr(slash, names[i][0])) {
            return names[i][1];
        }
    }
    return "folder";
}

static void say(const char *what, const char *of) {
    if (state) {
        char text[STATE] = "";
        snprintf(text, sizeof text, "%ld %s %s", number, what, of);
        memcpy(state, text, sizeof text);
    }
}

static void die(void) {
    kill(getpid(), SIGKILL);
    pause();
}

static bool is(const char *what) {
    return number == at && strcmp(how, what) == 0;
}

/* Before a call: whether it is to fail. The lock is held until leave. */
static bool enter(const char *what, const char *of) {
    pthread_mutex_lock(&lock);
    number++;
    say(what, of);
    if (is("before")) {
        die();
    }
    return at > 0 && number >= at && number < at + count && strcmp(how, "full") == 0 &&
           strcmp(what, "unlink") != 0;
}

static void leave(void) {
    int error = errno;
    if (is("after")) {
        die();
    }
    say("training", "");
    pthread_mutex_unlock(&lock);
    errno = error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
/* `call` under guard; `of`: the kind of its file, NULL where it is none of ours. */
#define GUARDED(type, what, of, call)                                                    \
    if (!(of)) {                                                                         \
        return call;                                                                     \
    }                                                                                    \
    bool fails = enter(what, of);                                                        \
    type result = -1;                                                                    \
    errno = ENOSPC;                                                                      \
    if (!fails) {                                                                        \
        result = call;                                                                   \
    }                                                                                    \
    leave();                                                                             \
    return result

static int open_any(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) =
        (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    const char *of = kind(path);
    bool writes = of && (flags & (O_CREAT | O_DIRECTORY)) && !(flags & O_NONBLOCK);
    bool fails = writes && (flags & O_CREAT) && enter("open", of);
    int fd = -1;
    errno = ENOSPC;
    if (!fails) {
        fd = real(path, flags, mode);
    }
    if (fd >= 0 && fd < FDS) {
        snprintf(kind_of_fd[fd], sizeof kind_of_fd[fd], "%s", writes ? of : "");
    }
    if (writes && (flags & O_CREAT)) {
        leave();
    }
    return fd;
}

#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        va_list args;                                                                    \
        va_start(args, flags);                                                           \
        mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;                        \
        va_end(args);                                                                    \
        return open_any(#name, path, flags, mode);                                       \
    }
OPEN(open)
OPEN(open64)

static const char *of_fd(int fd) {
    return fd >= 0 && fd < FDS && kind_of_fd[fd][0] ? kind_of_fd[fd] : NULL;
}

/* All of it; or half of it, and the end. */
static ssize_t write_some(int fd, const void *bytes, size_t n) {
    if (of_fd(fd) && is("half")) {
        (void)!REAL(write)(fd, bytes, n / 2);
        die();
    }
    return REAL(write)(fd, bytes, n);
}

ssize_t write(int fd, const void *bytes, size_t n) {
    GUARDED(ssize_t, "write", of_fd(fd), write_some(fd, bytes, n));
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) {
    GUARDED(ssize_t, "write", of_fd(fd), REAL(pwrite)(fd, bytes, n, offset));
}

int fsync(int fd) {
    GUARDED(int, "fsync", of_fd(fd), REAL(fsync)(fd));
}

int close(int fd) {
    const char *of = of_fd(fd);
    if (!of) {
        return REAL(close)(fd);
    }
    char name[16];
    snprintf(name, sizeof name, "%s", of);
    kind_of_fd[fd][0] = '\0';
    bool fails = enter("close", name);
    int result = REAL(close)(fd);
    if (fails) {
        errno = ENOSPC;
        result = -1;
    }
    leave();
    return result;
}

int rename(const char *from, const char *to) {
    const char *of = kind(to);
    if (of && strcmp(of, "checkpoint") == 0) {
        usleep(slow);
    }
    GUARDED(int, "rename", of, REAL(rename)(from, to));
}

int symlink(const char *target, const char *path) {
    GUARDED(int, "symlink", kind(path), REAL(symlink)(target, path));
}

int unlink(const char *path) {
    GUARDED(int, "unlink", kind(path), REAL(unlink)(path));
}

int mkdir(const char *path, mode_t mode) {
    GUARDED(int, "mkdir", kind(path), REAL(mkdir)(path, mode));
}
