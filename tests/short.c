/* Preloaded: reads and writes of regular files are short, and each third is interrupted, as on some network file
 * systems. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int calls;

static bool regular(int fd) {
    struct stat s;
    return fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
}

/* The bytes that a call gets, or 0: it is interrupted. */
static size_t part(int fd, size_t n) {
    if (n < 2 || !regular(fd)) {
        return n;
    }
    int call = ++calls;
    return call % 3 == 0 ? 0 : n > 1000 ? n / 3 : n - n / 3;
}

#define SHORT(name, declared, ...)                                                       \
    ssize_t name declared {                                                              \
        static ssize_t(*real) declared;                                                  \
        real = real ? real : (ssize_t(*) declared)dlsym(RTLD_NEXT, #name);               \
        size_t all = n;                                                                  \
        n = part(fd, n);                                                                 \
        if (n == 0 && all > 0) {                                                         \
            errno = EINTR;                                                               \
            return -1;                                                                   \
        }                                                                                \
        return real(__VA_ARGS__);                                                        \
    }

SHORT(read, (int fd, void *p, size_t n), fd, p, n)
SHORT(write, (int fd, const void *p, size_t n), fd, p, n)
SHORT(pread, (int fd, void *p, size_t n, off_t at), fd, p, n, at)
SHORT(pwrite, (int fd, const void *p, size_t n, off_t at), fd, p, n, at)
SHORT(pread64, (int fd, void *p, size_t n, off64_t at), fd, p, n, at)
SHORT(pwrite64, (int fd, const void *p, size_t n, off64_t at), fd, p, n, at)
