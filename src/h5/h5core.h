/** What the files of this module share. */
#ifndef DP_H5_H5CORE_H
#define DP_H5_H5CORE_H

#include "h5/h5file.h"
#include <hdf5.h>

typedef struct dp_h5_reader dp_h5_reader;

struct dp_h5 {
    hid_t id;
    char *path;           /* where commit writes, and what messages name; owner: this */
    dp_status code;       /* of this file's errors */
    unsigned char *image; /* the file in memory, or NULL where HDF5 reads the disk; HDF5
                             borrows it; owner: this */
    bool starved;         /* there was no memory for the image */
    /* bytes of image; while writing, with HDF5's spare room at the end; of the file,
     * where HDF5 reads the disk */
    size_t size;
    char doubt[128]; /* why the bytes may not be those that we wrote; "" if they are */
    /* the process that reads the file for us; NULL in itself, and while writing */
    dp_h5_reader *reader;
    void (*leave)(struct dp_h5 *); /* ends it */
    int channel;                   /* in that process: where progress is told; else -1 */
};

enum { DP_H5_BLOCK = 512 }; /* bytes of the user block */

/** A handle without a file. `code`: of its errors. */
dp_h5 *dp_h5_make(const char *path, dp_status code);

/** Renders the user block of the file whose other bytes are there: file[512..size). The
 *  block may be the file's own. */
void dp_h5_seal(const unsigned char *file, size_t size, unsigned char block[DP_H5_BLOCK]);

/** Reads file->path into file->image and checks its user block: file->doubt. */
dp_status dp_h5_load(dp_h5 *file);

/** Whether file->path can be opened as a regular file, and its length -> file->size;
 *  fails with a plain reason. */
dp_status dp_h5_readable(dp_h5 *file);

/** Opens the image, or the file on the disk where there is none, with HDF5. */
dp_status dp_h5_open_here(dp_h5 *file);

/** Fails with "<path>: cannot <what> <object>: <HDF5's innermost reason>". */
dp_status dp_h5_fail(const dp_h5 *file, const char *what, const char *object);

/** HDF5's type on disk and in memory. */
hid_t dp_h5_disk_type(dp_h5_type type);
hid_t dp_h5_memory_type(dp_h5_type type);
size_t dp_h5_type_size(dp_h5_type type);

/** A new HDF5 string type, UTF-8, of `size` bytes (H5T_VARIABLE: variable length). The
 *  caller closes it. */
hid_t dp_h5_text_type(size_t size);

/* ---- reading ---- */

/** Whether n elements of `size` bytes can be in the file: a shape is not to be believed
 *  before memory is asked for. Other programs may compress. */
bool dp_h5_plausible(const dp_h5 *file, uint64_t n, uint64_t size);

/** Whether HDF5 converts values of this class to numbers. */
bool dp_h5_is_number(H5T_class_t type);

dp_status dp_h5_no_memory(const dp_h5 *file, const char *object);

/** Fails with "<path>: <object> <what>". */
dp_status dp_h5_wrong(const dp_h5 *file, const char *object, const char *what);

/** Reads a dataset as dp_h5_get does, and hands it on in pieces: `put` is called for
 *  each. No piece holds a part of a chunk, so that none is decompressed twice. */
dp_status dp_h5_get_pieces(dp_h5 *file, const char *dataset, dp_h5_type type,
                           int64_t count, void (*put)(dp_h5 *, const void *, size_t));

/** Rows of a table; one of its columns as n values of 8 bytes (int64 or double). *absent:
 *  the table has no such column. */
dp_status dp_h5_get_rows(dp_h5 *file, const char *table, int64_t *n);
dp_status dp_h5_get_column(dp_h5 *file, const char *table, const dp_h5_column *column,
                           int64_t n, void *out, bool *absent);

/** Numbers of an attribute. Owner: the caller frees *out. */
dp_status dp_h5_get_numbers(dp_h5 *file, const char *object, const char *name,
                            dp_h5_type type, uint64_t *n, void **out);

/* ---- in another process ----
 *
 * HDF5 trusts the bytes that it reads: where they are damaged it crashes, overwrites
 * memory or never comes back. So every file is read by a child process, which answers the
 * same calls over a socket. Each dp_h5_<call> hands itself to dp_h5_ask_<call> where
 * file->reader is set: in the parent. */

/** In the child: says that what comes next may take the time that `bytes` need. */
void dp_h5_announce(const dp_h5 *file, uint64_t bytes);

bool dp_h5_ask_has(dp_h5 *file, const char *object);
dp_status dp_h5_ask_shape(dp_h5 *file, const char *dataset, dp_h5_type *type, int *ndim,
                          int64_t dims[8]);
dp_status dp_h5_ask_get(dp_h5 *file, const char *dataset, dp_h5_type type, int64_t count,
                        void *out);
dp_status dp_h5_ask_text(dp_h5 *file, const char *dataset, char **out);
dp_status dp_h5_ask_rows(dp_h5 *file, const char *table, int64_t *n);
dp_status dp_h5_ask_column(dp_h5 *file, const char *table, const dp_h5_column *column,
                           int64_t n, void *out, bool *absent);
dp_status dp_h5_ask_numbers(dp_h5 *file, const char *object, const char *name,
                            dp_h5_type type, uint64_t *n, void **out);
dp_status dp_h5_ask_texts(dp_h5 *file, const char *object, const char *name, int *n,
                          char ***out);

/** Where strings come from: an attribute, or a dataset where attr < 0. */
typedef struct dp_h5_source {
    hid_t attr, set, type;
} dp_h5_source;

/** Reads its n strings. Owner: the caller frees *out, one allocation. */
dp_status dp_h5_read_texts(dp_h5 *file, const char *name, const dp_h5_source *source,
                           uint64_t n, char ***out);

#endif
