/* Preloaded into a trainer by tests/py/test_refused.py: counts the calls that the
 * trainer's own code makes and refuses one of them, in one rank.
 *   REFUSE_WHAT   memory: malloc and its like; child: the same, but only in processes that it forks;
 *                 system: files, maps, threads; library: memory that HDF5, zlib and inih ask for
 *   REFUSE_RANK   the rank, or none where no mpirun starts it
 *   REFUSE_CALL   the number of the call that fails, from 1; 0 none
 *   REFUSE_COUNT  a file of 8 bytes for the number of calls so far
 * REFUSE_SHARED: set, shm_open always fails, as on a host without shared memory.
 * REFUSE_STALL: the opening of a path that contains this takes a minute; the file STALLED
 * says so. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static struct { uintptr_t begin, end; } code[16]; /* whose calls count */
static int parts;
static atomic_long own, *calls = &own;
static long at;
static bool memory, child, library, ready;
static pid_t first;

static int add_object(struct dl_phdr_info *info, size_t size, void *data) {
    const char *name = strrchr(info->dlpi_name, '/');
    bool wanted = library ? name && (strstr(name, "hdf5") || strstr(name, "libz.") ||
                                     strstr(name, "inih"))
                          : !info->dlpi_name[0];
    for (int k = 0; wanted && k < info->dlpi_phnum && parts < 16; k++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[k];
        if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            code[parts].begin = info->dlpi_addr + part->p_vaddr;
            code[parts].end = code[parts].begin + part->p_memsz;
            parts++;
        }
    }
    return 0;
}

__attribute__((constructor)) static void start(void) {
    const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *wanted = getenv("REFUSE_RANK");
    const char *path = getenv("REFUSE_COUNT"), *what = getenv("REFUSE_WHAT");
    if (!wanted || strcmp(rank ? rank : "none", wanted) != 0) {
        return;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *p = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    calls = p;
    at = atol(getenv("REFUSE_CALL"));
    library = strcmp(what, "library") == 0;
    child = strcmp(what, "child") == 0;
    memory = library || child || strcmp(what, "memory") == 0;
    first = getpid();
    dl_iterate_phdr(add_object, NULL);
    ready = true;
}

/* Whether the call, which returns to `from`, is to fail. */
static bool refused(bool is_memory, const void *from) {
    uintptr_t address = (uintptr_t)from;
    bool counts = false;
    for (int k = 0; ready && is_memory == memory && k < parts; k++) {
        counts = counts || (address >= code[k].begin && address < code[k].end);
    }
    counts = counts && !(child && getpid() == first);
    return counts && atomic_fetch_add(calls, 1) + 1 == at;
}

#define REFUSED(is_memory) refused(is_memory, __builtin_return_address(0))
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- memory ---- */

static void *none(void) {
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size) {
    return REFUSED(true) ? none() : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return REFUSED(true) ? none() : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    return REFUSED(true) ? none() : __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size) {
    return REFUSED(true) ? none() : __libc_realloc(p, n * size);
}

int posix_memalign(void **out, size_t align, size_t size) {
    void *p = REFUSED(true) ? NULL : __libc_memalign(align, size);
    if (p) {
        *out = p;
    }
    return p ? 0 : ENOMEM;
}

char *strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = REFUSED(true) ? none() : __libc_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

FILE *open_memstream(char **text, size_t *size) {
    return REFUSED(true) ? none() : REAL(open_memstream)(text, size);
}

/* ---- the system ---- */

/* Once: the process may open the file anew when a signal has ended the wait. */
static void stall(const char *path) {
    static bool stalled = false;
    const char *where = getenv("REFUSE_STALL");
    if (where && !stalled && strstr(path, where)) {
        stalled = true;
        FILE *mark = REAL(fopen)("STALLED", "w");
        fclose(mark);
        for (int k = 0; k < 600; k++) {
            usleep(100000);
        }
    }
}

static int open_any(const char *name, bool fails, const char *path, int flags,
                    mode_t mode) {
    stall(path);
    if (fails) {
        errno = EMFILE;
        return -1;
    }
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name))(path, flags, mode);
}

#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        va_list args;                                                                    \
        va_start(args, flags);                                                           \
        mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;                        \
        va_end(args);                                                                    \
        return open_any(#name, REFUSED(false), path, flags, mode);                       \
    }
OPEN(open)
OPEN(open64)

FILE *fopen(const char *path, const char *mode) {
    return REFUSED(false) ? none() : REAL(fopen)(path, mode);
}

DIR *opendir(const char *path) {
    return REFUSED(false) ? none() : REAL(opendir)(path);
}

int shm_open(const char *name, int flags, mode_t mode) {
    errno = EMFILE;
    return REFUSED(false) || getenv("REFUSE_SHARED") ? -1
                                                     : REAL(shm_open)(name, flags, mode);
}

void *mmap(void *where, size_t size, int prot, int flags, int fd, off_t offset) {
    errno = ENOMEM;
    return REFUSED(false) ? MAP_FAILED : REAL(mmap)(where, size, prot, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                   void *arg) {
    return REFUSED(false) ? EAGAIN : REAL(pthread_create)(thread, attr, run, arg);
}
