/* Files that appear whole: written under a temporary name, fsynced, renamed. */
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

/* A name ends in this, the writer's pid and a number. */
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

/* A name beside `path` that is new at each call: hidden, and not ending in .h5. */
static dp_status temp_name(const char *path, char out[PATH_MAX]) {
    static unsigned counter = 0;
    const char *name = base_name(path);
    int n = snprintf(out, PATH_MAX, "%.*s.%s%s%ld.%u", (int)(name - path), path, name,
                     MARK, (long)getpid(), counter++);
    return n < PATH_MAX ? DP_OK : fail("write", path, ENAMETOOLONG);
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

static int write_fully(int fd, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? errno : EIO;
        }
        bytes += done;
        n -= (size_t)done;
    }
    return 0;
}

/* 0 or an errno. Network file systems report a full disk as late as fsync or close. */
static int write_new(const char *path, const void *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        return errno;
    }
    int error = write_fully(fd, bytes, n);
    if (error == 0 && fsync(fd) != 0) {
        error = errno;
    }
    if (close(fd) != 0 && error == 0) {
        error = errno;
    }
    return error;
}

/* Gives the finished file `temp` its final name; removes it where that fails. */
static dp_status rename_over(const char *temp, const char *path) {
    dp_status status = ask_guard();
    if (status == DP_OK && rename(temp, path) != 0) {
        status = fail("write", path, errno);
    }
    if (status != DP_OK) {
        unlink(temp);
        return status;
    }
    int error = sync_folder(path);
    return error == 0 ? DP_OK : fail("write", path, error);
}

dp_status dp_file_replace(const char *path, const void *bytes, size_t n) {
    /* Beyond RLIMIT_FSIZE, write is to return EFBIG and not to kill. */
    signal(SIGXFSZ, SIG_IGN);
    char temp[PATH_MAX];
    int error = 0;
    do { /* a name may be left from a killed process that had our pid */
        dp_status status = temp_name(path, temp);
        if (status != DP_OK) {
            return status;
        }
        error = write_new(temp, bytes, n);
    } while (error == EEXIST);
    if (error != 0) {
        unlink(temp);
        return fail("write", path, error);
    }
    return rename_over(temp, path);
}

dp_status dp_file_symlink(const char *path, const char *target) {
    char temp[PATH_MAX];
    int error = 0;
    do {
        dp_status status = temp_name(path, temp);
        if (status != DP_OK) {
            return status;
        }
        error = symlink(target, temp) == 0 ? 0 : errno;
    } while (error == EEXIST);
    return error == 0 ? rename_over(temp, path) : fail("write", path, error);
}

dp_status dp_file_rename(const char *from, const char *to) {
    dp_status status = ask_guard();
    if (status != DP_OK) {
        return status;
    }
    int error = rename(from, to) == 0 ? sync_folder(to) : errno;
    return error == 0 ? DP_OK : fail("rename", from, error);
}

dp_status dp_file_remove(const char *path) {
    dp_status status = ask_guard();
    if (status != DP_OK) {
        return status;
    }
    return unlink(path) == 0 || errno == ENOENT ? DP_OK : fail("remove", path, errno);
}
