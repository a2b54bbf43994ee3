/* Files as memory. */
#include "base/map.h"
#include "base/open.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Those that are open, for the handler of SIGBUS. */
enum { MOST = 8 };
static struct {
    const char *begin, *end;
    char message[PATH_MAX + 128];
} open_maps[MOST];

static size_t page_rest(uint64_t at) {
    return (size_t)(at % (uint64_t)sysconf(_SC_PAGESIZE));
}

/* A page is gone: the file has become shorter, or its disk fails. Only what is safe in a
 * handler. */
static void on_bus_error(int number, siginfo_t *info, void *context) {
    const char *at = info->si_addr;
    (void)context;
    for (int i = 0; i < MOST; i++) {
        if (open_maps[i].begin && at >= open_maps[i].begin && at < open_maps[i].end) {
            ssize_t unused =
                write(STDERR_FILENO, open_maps[i].message, strlen(open_maps[i].message));
            (void)unused;
            _exit(DP_EDATA);
        }
    }
    signal(number, SIG_DFL);
    raise(number);
}

static void watch(const dp_map *map) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    for (int i = 0; i < MOST; i++) {
        if (!open_maps[i].begin) {
            open_maps[i].end = (const char *)map->memory + map->bytes;
            snprintf(
                open_maps[i].message, sizeof open_maps[i].message,
                "trainer: %s: became shorter, or can't be read any more, while it was "
                "used\n",
                map->path);
            open_maps[i].begin = map->memory;
            return;
        }
    }
}

static void unwatch(const dp_map *map) {
    for (int i = 0; i < MOST; i++) {
        if (open_maps[i].begin == (const char *)map->memory) {
            open_maps[i].begin = NULL;
        }
    }
}

static int64_t nanoseconds(const struct stat *info) {
    return (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
}

static dp_status map_file(int fd, dp_map *map) {
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size - map->at < (int64_t)map->bytes) {
        return dp_fail(DP_EDATA, "%s: truncated: %lld bytes where %lld are needed",
                       map->path, (long long)info.st_size,
                       (long long)(map->at + (int64_t)map->bytes));
    }
    map->size = info.st_size;
    map->changed = nanoseconds(&info);
    size_t before = page_rest((uint64_t)map->at);
    char *begin = mmap(NULL, map->bytes + before, PROT_READ, MAP_SHARED, fd,
                       (off_t)(map->at - (int64_t)before));
    if (begin == MAP_FAILED) {
        return dp_fail(DP_EDATA, "%s: can't be mapped: %s: set data.memory = copy",
                       map->path, strerror(errno));
    }
    map->memory = begin + before;
    watch(map);
    return DP_OK;
}

static dp_status open_and_map(dp_map *map) {
    int fd = -1;
    DP_TRY(dp_open_regular(map->path, DP_EDATA, NULL, &fd, NULL));
    dp_status status = map_file(fd, map);
    close(fd);
    return status;
}

dp_status dp_map_open(const char *path, int64_t at, size_t bytes, dp_map *out) {
    dp_map map = {.at = at, .bytes = bytes};
    if (!realpath(path, map.path)) {
        return dp_fail(DP_EDATA, "%s: can't be opened: %s", path, strerror(errno));
    }
    DP_TRY(open_and_map(&map));
    *out = map;
    return DP_OK;
}

static dp_status is_changed(const dp_map *map) {
    return dp_fail(
        DP_EDATA,
        "%s: was changed while it was used: a file that is mapped must stay as "
        "it is; write a new one, or set data.memory = copy",
        map->path);
}

dp_status dp_map_again(dp_map *map) {
    dp_map own = *map;
    DP_TRY(open_and_map(&own));
    bool same = own.size == map->size && own.changed == map->changed;
    *map = own;
    return same ? DP_OK : is_changed(map);
}

dp_status dp_map_check(const dp_map *map) {
    struct stat info;
    bool same =
        map->bytes == 0 || (stat(map->path, &info) == 0 && info.st_size == map->size &&
                            nanoseconds(&info) == map->changed);
    return same ? DP_OK : is_changed(map);
}

void dp_map_ask(const dp_map *map, size_t begin, size_t n) {
    char *at = (char *)map->memory + begin;
    size_t before = page_rest((uintptr_t)at);
    madvise(at - before, n + before, MADV_WILLNEED);
}

void dp_map_close(dp_map *map) {
    if (map->bytes > 0 && map->memory) {
        size_t before = page_rest((uint64_t)map->at);
        unwatch(map);
        munmap((char *)map->memory - before, map->bytes + before);
    }
    *map = (dp_map){0};
}
