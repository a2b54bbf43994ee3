/** Opening files that others have made. Only regular files are read: a FIFO, a device or
 *  a socket may keep a reader waiting for ever, and a pipe can't be read by several
 *  ranks. */
#ifndef DP_BASE_OPEN_H
#define DP_BASE_OPEN_H

#include "base/status.h"
#include <stddef.h>
#include <sys/types.h>

/** Opens a regular file for reading. *bytes (may be NULL): its length. `hint` (may be
 *  NULL) ends the message: what is expected there. Errors: `code`. Owner: the caller, who
 *  closes *fd. */
dp_status dp_open_regular(const char *path, dp_status code, const char *hint, int *fd,
                          size_t *bytes);

/** As dp_open_regular, and reads the whole of a small file, up to `max` bytes; a NUL is
 *  added.
 *  Owner: the caller frees *text. */
dp_status dp_open_read(const char *path, dp_status code, const char *hint, size_t max,
                       char **text, size_t *length);

/** read(2) until n bytes are there or the file ends: short and interrupted calls go on.
 *  Returns how many there are; -1: errno says why. */
ssize_t dp_open_read_all(int fd, void *to, size_t n);

/** write(2) until all n bytes are written, likewise. Returns 0, or errno's value. */
int dp_open_write_all(int fd, const void *from, size_t n);

/** Refuses to replace by a file what is there and is none, also at a link's end: a
 *  folder, a device, /dev/stdout. Errors: `code` */
dp_status dp_open_check_target(const char *path, dp_status code);

#endif
