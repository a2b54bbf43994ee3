/** What the process that reads a file and its parent say to each other. */
#ifndef DP_H5_READER_H
#define DP_H5_READER_H

#include "h5core.h"
#include <sys/types.h>

typedef enum dp_h5_question {
    DP_H5_ASK_HAS,
    DP_H5_ASK_SHAPE,
    DP_H5_ASK_GET,
    DP_H5_ASK_TEXT,
    DP_H5_ASK_ROWS,
    DP_H5_ASK_COLUMN,
    DP_H5_ASK_NUMBERS,
    DP_H5_ASK_TEXTS
} dp_h5_question;

typedef struct dp_h5_request {
    dp_h5_question what;
    char object[1200], name[128];
    dp_h5_type type;
    int64_t count;
    bool integer;
} dp_h5_request;

/* What comes from the child: the time that it wants, a piece of the answer, or its end. */
typedef struct dp_h5_reply {
    enum { DP_H5_WORK, DP_H5_PIECE, DP_H5_END } kind;
    dp_status status; /* DP_H5_END */
    uint64_t size;    /* DP_H5_WORK: bytes to read; else bytes that follow */
} dp_h5_reply;

typedef struct dp_h5_extent {
    dp_h5_type type;
    int ndim;
    int64_t dims[8];
} dp_h5_extent;

/* The child's exit code where memory ended (dp_fatal); other programs' libraries take none like it. */
enum { DP_H5_STARVED = 81 };

/** In the child: opens the file, and answers until the parent goes. */
void dp_h5_serve(dp_h5 *file, pid_t parent) __attribute__((noreturn));

/** In the child: sends; ends it where nobody listens. */
void dp_h5_tell(int fd, const void *bytes, size_t n);

/** Forks a child that does `serve`, and hears how it could open the file. */
dp_status dp_h5_reader_start(dp_h5 *file, void (*serve)(dp_h5 *file, pid_t parent));

#endif
