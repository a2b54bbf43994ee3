/* Opening and reading what others have made: regular files only. */
#include "base/open.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a file of that mode is, NULL for a regular one. */
static const char *irregular(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFREG:
        return NULL;
    case S_IFDIR:
        return "a folder";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

static dp_status refuse(const char *path, dp_status code, const char *hint,
                        const char *why) {
    return dp_fail(code, "%s: %s%s%s", path, why, hint ? "; " : "", hint ? hint : "");
}

static dp_status cannot(const char *path, dp_status code, const char *hint,
                        const char *verb, int error) {
    char why[256];
    snprintf(why, sizeof why, "can't be %s: %s", verb, strerror(error));
    return refuse(path, code, hint, why);
}

dp_status dp_open_regular(const char *path, dp_status code, const char *hint, int *fd,
                          size_t *bytes) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return cannot(path, code, hint, "opened", errno);
    }
    if (S_ISDIR(info.st_mode)) {
        return refuse(path, code, hint, "is a folder, not a file");
    }
    if (!S_ISREG(info.st_mode)) {
        return dp_fail(code,
                       "%s: is %s, but only regular files are read: write what comes "
                       "from it to a file and name that",
                       path, irregular(info.st_mode));
    }
    /* It may have become a FIFO since: without O_NONBLOCK, opening one waits for its
     * writer. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return cannot(path, code, hint, "opened", errno);
    }
    if (bytes) {
        *bytes = (size_t)info.st_size;
    }
    return DP_OK;
}

ssize_t dp_open_read_all(int fd, void *to, size_t n) {
    const size_t most = 1 << 30; /* of one call: Linux takes less than 2 GiB */
    size_t done = 0;
    while (done < n) {
        ssize_t now = read(fd, (char *)to + done, n - done < most ? n - done : most);
        if (now < 0 && errno != EINTR) {
            return -1;
        }
        if (now == 0) {
            break;
        }
        done += now > 0 ? (size_t)now : 0;
    }
    return (ssize_t)done;
}

int dp_open_write_all(int fd, const void *from, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t now = write(fd, (const char *)from + done, n - done);
        if (now == 0 || (now < 0 && errno != EINTR)) {
            return now == 0 ? ENOSPC : errno;
        }
        done += now > 0 ? (size_t)now : 0;
    }
    return 0;
}

dp_status dp_open_read(const char *path, dp_status code, const char *hint, size_t max,
                       char **text, size_t *length) {
    int fd = -1;
    DP_TRY(dp_open_regular(path, code, hint, &fd, NULL));
    char *bytes = dp_alloc(max + 2, 1);
    ssize_t n = dp_open_read_all(fd, bytes, max + 1);
    int error = errno;
    close(fd);
    if (n >= 0 && (size_t)n <= max) {
        *text = bytes;
        *length = (size_t)n;
        return DP_OK;
    }
    free(bytes);
    return n < 0 ? cannot(path, code, hint, "read", error)
                 : dp_fail(code, "%s: is larger than %zu KiB%s%s", path, max >> 10,
                           hint ? "; " : "", hint ? hint : "");
}

dp_status dp_open_check_target(const char *path, dp_status code) {
    struct stat info;
    const char *kind = stat(path, &info) == 0 ? irregular(info.st_mode) : NULL;
    return kind ? dp_fail(code, "cannot write %s: it is %s: name a file", path, kind)
                : DP_OK;
}
