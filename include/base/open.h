/** Opening files that others have made. Only regular files are read: a FIFO, a device or
 *  a socket may keep a reader waiting for ever, and a pipe can't be read by several
 *  ranks. */
#ifndef DP_BASE_OPEN_H
#define DP_BASE_OPEN_H

#include "base/status.h"
#include <stddef.h>

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

/** Refuses to replace by a file what is there and is none, also at a link's end: a
 *  folder, a device, /dev/stdout. Errors: `code` */
dp_status dp_open_check_target(const char *path, dp_status code);

#endif
