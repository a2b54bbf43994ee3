/** A data file as a stream of bytes, unpacked where it is gzip, whatever its name: how
 *  IDX and CSV files are read. Every byte of the file is accounted for. */
#ifndef DP_DATA_STREAM_H
#define DP_DATA_STREAM_H

#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dp_stream dp_stream;

/** Opens the file. `hint` (may be NULL) ends the message where there is none: what is
 *  expected there. Borrows `path`. Errors: DP_EDATA, DP_EINTERNAL (no memory); *out
 *  unchanged. Owner: the caller, who frees with dp_stream_close. */
dp_status dp_stream_open(const char *path, const char *hint, dp_stream **out);

/** Reads n bytes, fewer only where the stream ends: *got of them, also on an error. Gzip
 *  members in a row are one stream (RFC 1952), and zero bytes behind the last one are
 *  padding, as for gzip itself; whatever else is behind it, and a member that is cut off
 *  or fails its checksum, is an error. Errors: DP_EDATA naming the file and the place in
 *  it */
dp_status dp_stream_read(dp_stream *s, void *out, size_t n, size_t *got);

/** Reads n bytes; fewer are an error too. */
dp_status dp_stream_read_all(dp_stream *s, void *out, size_t n);

/** Errors: DP_EDATA where there is anything left to read. With it all of gzip's checksums
 *  have been compared. */
dp_status dp_stream_read_end(dp_stream *s);

/** The place in the file of what is read next, or -1 where it is packed. */
int64_t dp_stream_place(const dp_stream *s);

/** Passes n bytes of a file that isn't packed. */
dp_status dp_stream_skip(dp_stream *s, size_t n);

/** Bytes of the file as it lies on the disk. */
size_t dp_stream_size(const dp_stream *s);

/** Frees the stream and sets *stream to NULL (NULL is fine). */
void dp_stream_close(dp_stream **stream);

#endif
