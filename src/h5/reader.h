/** Reading in another process.
 *
 *  HDF5 trusts the bytes that it reads: where they are damaged it crashes, overwrites
 *  memory or never comes back. So every file is read by a child process, which answers
 *  requests over a socket: h5read.c asks in the parent, serve.c answers in the child. An
 *  answer is any number of messages with its bytes, then one with the status. */
#ifndef DP_H5_READER_H
#define DP_H5_READER_H

#include "h5core.h"
#include <sys/types.h>

typedef struct dp_h5_request {
    enum {
        DP_H5_ASK_HAS,    /* bool: whether there is such an object, or attribute */
        DP_H5_ASK_SHAPE,  /* dp_h5_extent of a dataset of numbers or texts */
        DP_H5_ASK_ROWS,   /* int64_t: of a table */
        DP_H5_ASK_VALUES, /* of a dataset */
        DP_H5_ASK_WHERE, /* int64_t: the place of a dataset's values in the file, or -1 */
        DP_H5_ASK_COLUMN,  /* values of a table's column; none where it has no such */
        DP_H5_ASK_NUMBERS, /* of an attribute */
        DP_H5_ASK_TEXTS,   /* of an attribute, each with its end */
        DP_H5_ASK_TEXT     /* of a dataset, each with its end */
    } what;
    char object[1200], name[128]; /* name: of an attribute or column */
    dp_h5_type type;              /* that values are converted to */
    int64_t count;                /* that is expected in a dataset or column */
} dp_h5_request;

typedef struct dp_h5_extent {
    dp_h5_type type; /* the nearest that holds the values */
    int ndim;
    int64_t dims[DP_H5_DIMS];
} dp_h5_extent;

/* ---- in the parent ---- */

/** Forks a child that does `serve`, and receives how it could open the file. */
dp_status dp_h5_reader_start(dp_h5 *file, void (*serve)(dp_h5 *file, pid_t parent));

/** Where the bytes of an answer go: into bytes[0..room), or, where `bytes` is NULL, into
 *  memory that grows with them. */
typedef struct dp_h5_answer {
    void *bytes; /* owner: the caller, who frees what has grown, also on a failure */
    size_t room, size;
} dp_h5_answer;

/** Sends the request and receives the answer. After a failure on the way, and not in the
 *  answer, nothing more can be asked of the file. */
dp_status dp_h5_ask(dp_h5 *file, const dp_h5_request *request, dp_h5_answer *answer);

/** Fails: the answer's length is impossible. */
dp_status dp_h5_bad_answer(const dp_h5 *file, const char *object);

/** Ends the child, if there is one. */
void dp_h5_reader_stop(dp_h5 *file);

/* ---- in the child ---- */

/* The child's exit code where memory ended (dp_fatal); other programs' libraries take
 * none like it. */
enum { DP_H5_OUT_OF_MEMORY = 81 };

/** Opens the file, and answers until the parent goes. */
void dp_h5_serve(dp_h5 *file, pid_t parent) __attribute__((noreturn));

/** Sends bytes of the answer, or its end. These end the process where nobody listens. */
void dp_h5_send(dp_h5 *file, const void *bytes, size_t n);
void dp_h5_send_end(dp_h5 *file, dp_status status);

/** Limits the CPU time of this process from now on to what reading `bytes` may take;
 *  beyond it, it spins. */
void dp_h5_allow(uint64_t bytes);

/** Answers from a dataset or table: SHAPE, ROWS, VALUES, WHERE, COLUMN and
 *  TEXT. */
dp_status dp_h5_send_dataset(dp_h5 *file, const dp_h5_request *request);

/** Whether the file has the object. */
bool dp_h5_exists(dp_h5 *file, const char *object);

/** Sends the n texts that `read` reads from `id`, of HDF5's type `type`. */
dp_status dp_h5_send_texts(dp_h5 *file, const char *name, hid_t id, hid_t type,
                           uint64_t n, herr_t (*read)(hid_t id, hid_t type, void *out));

/** Whether HDF5 converts values of this class to numbers. */
bool dp_h5_is_number(H5T_class_t type);

#endif
