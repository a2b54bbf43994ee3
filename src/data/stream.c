/* zlib's own gzread takes the end of the first member, followed by anything that is no
 * member, for the end of the data. Rows would vanish without a word, so the members are
 * walked here. */
#include "stream.h"
#include "base/memory.h"
#include "base/open.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { ROOM = 1 << 18, MOST = 1 << 30 }; /* bytes: of the buffer, and of one call */

struct dp_stream {
    const char *path;
    int fd;
    size_t size;
    bool packed;
    bool open; /* inside a gzip member */
    z_stream z;
    size_t given;  /* bytes that have been read from it, unpacked */
    size_t before; /* bytes of the file in front of what the buffer holds */
    size_t held;   /* bytes in the buffer; z.next_in is in it */
    unsigned char buffer[ROOM];
};

static dp_status read_file(const dp_stream *s, void *out, size_t n, size_t *got) {
    ssize_t done = dp_open_read_all(s->fd, out, n);
    *got = done > 0 ? (size_t)done : 0;
    return done >= 0 ? DP_OK
                     : dp_fail(DP_EDATA, "%s: cannot read: %s", s->path, strerror(errno));
}

static dp_status refill(dp_stream *s) {
    s->before += s->held;
    DP_TRY(read_file(s, s->buffer, ROOM, &s->held));
    s->z.next_in = s->buffer;
    s->z.avail_in = (uInt)s->held;
    return DP_OK;
}

static size_t place(const dp_stream *s) {
    return s->before + s->held - s->z.avail_in;
}

/* Behind a member: padding to the end of the file, or the start of another member. */
static dp_status next_member(dp_stream *s, bool *end) {
    size_t from = place(s), zeros = 0;
    *end = false;
    while (!*end && (s->z.avail_in == 0 || *s->z.next_in == 0)) {
        if (s->z.avail_in == 0) {
            DP_TRY(refill(s));
            *end = s->held == 0;
        } else {
            s->z.next_in++;
            s->z.avail_in--;
            zeros++;
        }
    }
    if (!*end && (zeros > 0 || *s->z.next_in != 0x1f)) {
        return dp_fail(DP_EDATA,
                       "%s: the %zu bytes from byte %zu (from 0) on, behind the end of "
                       "its gzip data, are no gzip data; get the file anew",
                       s->path, s->size - from, from);
    }
    s->open = !*end;
    inflateReset(&s->z);
    return DP_OK;
}

/* One call of inflate, which takes and gives what it can. */
static dp_status inflate_some(dp_stream *s) {
    if (s->z.avail_in == 0) {
        DP_TRY(refill(s));
        if (s->held == 0) {
            return dp_fail(DP_EDATA,
                           "%s: truncated: its gzip data breaks off at the file's end, "
                           "byte %zu; get the file anew",
                           s->path, s->size);
        }
    }
    int code = inflate(&s->z, Z_NO_FLUSH);
    s->open = code != Z_STREAM_END;
    if (code == Z_MEM_ERROR) {
        return dp_fail(DP_EINTERNAL, "out of memory reading %s", s->path);
    }
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
        return dp_fail(
            DP_EDATA, "%s: damaged gzip data before byte %zu (%s); get the file anew",
            s->path, place(s), s->z.msg ? s->z.msg : "it asks for a dictionary");
    }
    return DP_OK;
}

static dp_status read_packed(dp_stream *s, char *out, size_t n, size_t *got) {
    bool end = false;
    *got = 0;
    while (*got < n && !end) {
        if (!s->open) {
            DP_TRY(next_member(s, &end));
            continue;
        }
        size_t step = n - *got < MOST ? n - *got : MOST;
        s->z.next_out = (unsigned char *)out + *got;
        s->z.avail_out = (uInt)step;
        dp_status status = inflate_some(s);
        *got += step - s->z.avail_out;
        DP_TRY(status);
    }
    return DP_OK;
}

dp_status dp_stream_read(dp_stream *s, void *out, size_t n, size_t *got) {
    dp_status status =
        s->packed ? read_packed(s, out, n, got) : read_file(s, out, n, got);
    s->given += *got;
    return status;
}

dp_status dp_stream_read_all(dp_stream *s, void *out, size_t n) {
    size_t got = 0;
    DP_TRY(dp_stream_read(s, out, n, &got));
    if (got < n) {
        return dp_fail(
            DP_EDATA,
            "%s: truncated: %zu bytes%s where %zu are needed; get the file anew", s->path,
            s->given, s->packed ? " when unpacked" : "", s->given - got + n);
    }
    return DP_OK;
}

dp_status dp_stream_read_end(dp_stream *s) {
    char more;
    size_t got = 0, promised = s->given;
    DP_TRY(dp_stream_read(s, &more, 1, &got));
    return got == 0 ? DP_OK
                    : dp_fail(DP_EDATA, "%s: more bytes than the %zu its header promises",
                              s->path, promised);
}

int64_t dp_stream_place(const dp_stream *s) {
    return s->packed ? -1 : (int64_t)s->given;
}

dp_status dp_stream_skip(dp_stream *s, size_t n) {
    s->given += n;
    return lseek(s->fd, (off_t)s->given, SEEK_SET) >= 0
               ? DP_OK
               : dp_fail(DP_EDATA, "%s: cannot read: %s", s->path, strerror(errno));
}

/* The first bytes tell what it is; a plain file is read past the buffer. */
static dp_status begin(dp_stream *s, const char *path, const char *hint) {
    enum { GZIP_ONLY = 16 };
    s->path = path;
    s->fd = -1;
    DP_TRY(dp_open_regular(path, DP_EDATA, hint, &s->fd, &s->size));
    DP_TRY(refill(s));
    bool packed = s->held >= 2 && s->buffer[0] == 0x1f && s->buffer[1] == 0x8b;
    if (packed && inflateInit2(&s->z, GZIP_ONLY + MAX_WBITS) != Z_OK) {
        return dp_fail(DP_EINTERNAL, "out of memory reading %s", path);
    }
    if (!packed && lseek(s->fd, 0, SEEK_SET) != 0) {
        return dp_fail(DP_EDATA, "%s: cannot read: %s", path, strerror(errno));
    }
    s->packed = s->open = packed;
    return DP_OK;
}

dp_status dp_stream_open(const char *path, const char *hint, dp_stream **out) {
    dp_stream *s = dp_alloc(1, sizeof *s);
    dp_status status = begin(s, path, hint);
    if (status != DP_OK) {
        dp_stream_close(&s);
        return status;
    }
    *out = s;
    return DP_OK;
}

size_t dp_stream_size(const dp_stream *s) {
    return s->size;
}

void dp_stream_close(dp_stream **stream) {
    dp_stream *s = *stream;
    if (!s) {
        return;
    }
    if (s->packed) {
        inflateEnd(&s->z);
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s);
    *stream = NULL;
}
