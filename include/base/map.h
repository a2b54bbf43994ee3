/** Parts of files as memory, read-only: their pages come from the disk as they are used,
 *  are shared by the processes of a node, and can be dropped by the kernel at any time.
 *  A file that becomes shorter while it is mapped ends the process with exit code 3 and
 *  one line that names it, as soon as a page is used that is gone. */
#ifndef DP_BASE_MAP_H
#define DP_BASE_MAP_H

#include "base/status.h"
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A mapped part; all zeros: none. May be copied to another process, which maps it again. */
typedef struct dp_map {
    char path[PATH_MAX];   /* absolute */
    int64_t at;            /* the part's place in the file */
    size_t bytes;          /* of the part; 0: no map */
    void *memory;          /* [bytes] */
    int64_t size, changed; /* of the file as it was opened; nanoseconds */
} dp_map;

/** Maps bytes [at, at + bytes) of a regular file. Errors: DP_EDATA, also where the file is
 *  shorter. Owner: the caller, who ends it with dp_map_close. */
dp_status dp_map_open(const char *path, int64_t at, size_t bytes, dp_map *out);

/** The same part in this process. Errors: DP_EDATA, also where the file has changed. */
dp_status dp_map_again(dp_map *map);

/** Errors: DP_EDATA where the file is another one, or has been written to, since it was
 *  opened. */
dp_status dp_map_check(const dp_map *map);

/** Has the kernel read bytes [begin, begin + n) of the part, and does not wait for them. */
void dp_map_ask(const dp_map *map, size_t begin, size_t n);

/** Zeros the map. */
void dp_map_close(dp_map *map);

#endif
