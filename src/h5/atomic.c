/* Files that appear whole: written under a temporary name, fsynced, renamed. */
#include "base/open.h"
#include "h5/h5file.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A temporary name is hidden, doesn't end in .h5, and is new at each call: it ends in
 * this, the writer's pid and a number. */
static const char MARK[] = ".trainer-tmp.";

static dp_status (*guard_check)(void *) = NULL;
static void *guard_arg = NULL;

void dp_file_set_guard(dp_status (*guard)(void *), void *arg) {
    guard_check = guard;
    guard_arg = arg;
}

static dp_status ask_guard(void) {
    return guard_check == NULL ? DP_OK : guard_check(guard_arg);
}

static const char *advice(int error) {
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return "; free some space there";
    case EFBIG:
        return "; raise the limit on file sizes (ulimit -f)";
    case EACCES:
    case EPERM:
    case EROFS:
        return "; make the folder writable or choose another one";
    case ENOENT:
        return "; the folder is gone";
    default:
        return "";
    }
}

static dp_status fail(const char *verb, const char *path, int error) {
    return dp_fail(DP_EFILE, "cannot %s %s: %s%s", verb, path, strerror(error),
                   advice(error));
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

bool dp_file_is_leftover(const char *name) {
    const char *mark = strstr(name, MARK);
    if (name[0] != '.' || mark == NULL) {
        return false;
    }
    const char *tail = mark + strlen(MARK);
    return *tail != '\0' && tail[strspn(tail, "0123456789.")] == '\0';
}

static int sync_folder(const char *path) {
    const char *name = base_name(path);
    char folder[PATH_MAX] = ".";
    if (name > path) {
        snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    /* Some network file systems have no fsync of folders; their renames are synchronous.
     */
    return error == EINVAL || error == ENOTSUP ? 0 : error;
}

/* Network file systems report a full disk as late as fsync or close. */
static int write_new(const char *path, const void *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return errno;
    }
    int error = dp_open_write_all(fd, bytes, n);
    if (error == 0 && fsync(fd) != 0) {
        error = errno;
    }
    if (close(fd) != 0 && error == 0) {
        error = errno;
    }
    return error;
}

static int link_new(const char *path, const void *target, size_t n) {
    return symlink(target, path) == 0 ? 0 : errno;
}

/* Gives the finished file `temp` its final name. */
static dp_status rename_over(const char *temp, const char *path) {
    DP_TRY(ask_guard());
    int error = rename(temp, path) == 0 ? sync_folder(path) : errno;
    return error == 0 ? DP_OK : fail("write", path, error);
}

/* What `make` (0 or an errno) makes of `what` takes the place of `path`. */
static dp_status replace(const char *path,
                         int (*make)(const char *, const void *, size_t),
                         const void *what, size_t n) {
    static unsigned counter = 0;
    const char *name = base_name(path);
    char temp[PATH_MAX];
    int error = 0;
    do { /* a name may be left from a killed process that had our pid */
        int length = snprintf(temp, sizeof temp, "%.*s.%s%s%ld.%u", (int)(name - path),
                              path, name, MARK, (long)getpid(), counter++);
        if (length >= PATH_MAX) {
            return fail("write", path, ENAMETOOLONG);
        }
        error = make(temp, what, n);
    } while (error == EEXIST);
    dp_status status = error == 0 ? rename_over(temp, path) : fail("write", path, error);
    if (status != DP_OK) {
        unlink(temp); /* if it is there */
    }
    return status;
}

dp_status dp_file_replace(const char *path, const void *bytes, size_t n) {
    /* Beyond RLIMIT_FSIZE, write is to return EFBIG and not to kill. */
    signal(SIGXFSZ, SIG_IGN);
    return replace(path, write_new, bytes, n);
}

dp_status dp_file_symlink(const char *path, const char *target) {
    return replace(path, link_new, target, 0);
}

dp_status dp_file_rename(const char *from, const char *to) {
    DP_TRY(ask_guard());
    int error = rename(from, to) == 0 ? sync_folder(to) : errno;
    return error == 0 ? DP_OK : fail("rename", from, error);
}

dp_status dp_file_remove(const char *path) {
    DP_TRY(ask_guard());
    return unlink(path) == 0 || errno == ENOENT ? DP_OK : fail("remove", path, errno);
}
