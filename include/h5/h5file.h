/** HDF5 files that are whole at any instant, and the only module that includes hdf5.h.
 *
 *  Writing: the file is built in memory (core driver), put behind a 512-byte user block
 *  (magic, length, digest of the whole), written beside its target under a name that does
 *  not end in .h5, fsynced, renamed over it, and the folder fsynced. Reading: by a child
 *  process, since damaged bytes make HDF5 crash or spin: that is an error like others
 *  then, which says so, seconds later. Whether the digest fits is checked with plain
 *  reads. File locking is off.
 *
 *  MPI: local (rank 0 calls), one thread at a time.
 *  Errors: DP_EFILE with file and reason, unless said otherwise. */
#ifndef DP_H5_H5FILE_H
#define DP_H5_H5FILE_H

#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dp_h5 dp_h5; /* one HDF5 file, in memory (writing) or opened (reading) */

typedef enum dp_h5_type {
    DP_H5_F32,
    DP_H5_F64,
    DP_H5_I64,
    DP_H5_I32,
    DP_H5_U8,
    DP_H5_TEXT /* in memory a char *; as we write them, variable-length UTF-8 */
} dp_h5_type;

/* ---- writing ---- */

/** An empty file in memory. `path` stands in messages until it is written. */
dp_status dp_h5_create(const char *path, dp_h5 **out);

/** Makes a group (parents included; one that exists is fine). */
dp_status dp_h5_group(dp_h5 *file, const char *group);

enum { DP_H5_ONE = -1 };

/** An attribute of a group or dataset ("/" is the root): one value (n = DP_H5_ONE), or a
 *  list of n >= 0. v: values of `type`. */
dp_status dp_h5_put_attr(dp_h5 *file, const char *object, const char *name,
                         dp_h5_type type, int n, const void *v);

/** The same for one text. */
dp_status dp_h5_put_attr_text(dp_h5 *file, const char *object, const char *name,
                              const char *text);

/** A contiguous dataset (parents are made). data is row-major dims[0..ndim). */
dp_status dp_h5_put(dp_h5 *file, const char *dataset, dp_h5_type type, int ndim,
                    const int64_t *dims, const void *data);

/** A scalar dataset of one fixed-length UTF-8 string (h5["config"][()].decode()). */
dp_status dp_h5_put_text(dp_h5 *file, const char *dataset, const char *text);

/** A column of a compound table; the C row is a packed sequence of 8-byte fields. */
typedef struct dp_h5_column {
    const char *name;
    bool integer;  /* int64, else float64 */
    size_t offset; /* bytes from the row's start */
} dp_h5_column;

/** A one-dimensional compound table, chunked, unlimited: nrows rows of `size` bytes. */
dp_status dp_h5_put_table(dp_h5 *file, const char *dataset, int ncolumns,
                          const dp_h5_column *columns, size_t size, int64_t nrows,
                          const void *rows);

/** Closes the image: what is left is dp_h5_place, which needs no HDF5 and may be called
 *  in another thread. */
dp_status dp_h5_finish(dp_h5 *file);

/** Bytes of a finished image. */
int64_t dp_h5_bytes(const dp_h5 *file);

/** Writes a finished image to its path as described above. On failure the file that was
 *  there is whole and no temporary one is left; it may be tried again. */
dp_status dp_h5_place(dp_h5 *file);

/** Drops a file in either direction. *file may be NULL. */
void dp_h5_close(dp_h5 **file);

/** Fails with "<path>: <what the format says>", and with the code of the file's errors. */
dp_status dp_h5_wrong(const dp_h5 *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- names on the disk: each change is atomic and guarded ---- */

/** `guard` is asked just before each rename and removal here; where it fails, nothing is
 *  changed and its status goes up. NULL takes it away. */
void dp_file_set_guard(dp_status (*guard)(void *arg), void *arg);

/** The same for other files (config.ini, CSV, reports): bytes written beside, fsynced,
 *  renamed, and the folder fsynced. */
dp_status dp_file_replace(const char *path, const void *bytes, size_t n);

/** Makes `path` a symlink to `target` (relative) by a rename over it; fsyncs the
 *  folder. */
dp_status dp_file_symlink(const char *path, const char *target);

/** Renames within a folder, and fsyncs it. */
dp_status dp_file_rename(const char *from, const char *to);

/** Removes a file or symlink; a missing one is fine. Not fsynced. */
dp_status dp_file_remove(const char *path);

/** Whether a name (no folder) is one that a writer of ours used beside its target:
 *  left by a killed process if that no longer runs. */
bool dp_file_is_leftover(const char *name);

/* ---- reading ---- */

/** Opens a checkpoint or metrics file, and reads it from memory: also one that was edited
 *  or written by another program, whose user block does not fit its bytes or is missing.
 *  Then its content is to be compared before it is used, and dp_h5_note to be called. */
dp_status dp_h5_open(const char *path, dp_h5 **out);

/** Opens any HDF5 file (a data set, init_file); one of ours as above.
 *  Errors of this and of all later reads from the file carry `code`. */
dp_status dp_h5_open_any(const char *path, dp_status code, dp_h5 **out);

/** Warns, in one line, where the file's digest does not fit; else nothing. */
void dp_h5_note(const dp_h5 *file);

/** Whether the file's bytes are there, but aren't those that we wrote: its digest doesn't
 *  fit. False where they can't be had (no permission, an error of the disk, no memory):
 *  that says nothing. */
bool dp_h5_altered(const char *path);

/** Whether `path` is a regular file that begins with our user block's magic. */
bool dp_h5_is_ours(const char *path);

/** Whether the object exists. True also where the file is too damaged to tell: what is
 *  asked of it next fails with the reason. */
bool dp_h5_has(dp_h5 *file, const char *object);

/** Whether an object has an attribute of that name; likewise. */
bool dp_h5_has_attr(dp_h5 *file, const char *object, const char *name);

/** All n values of an attribute, converted to `type`; texts: an array of char * and what
 *  they point to in one allocation. out: the address of a pointer. Owner: the caller, who
 *  frees what it points to then. */
dp_status dp_h5_get_attr(dp_h5 *file, const char *object, const char *name,
                         dp_h5_type type, int *n, void *out);

/** An attribute of one value into out[0..size): a number, or a text with its end. */
dp_status dp_h5_get_attr_one(dp_h5 *file, const char *object, const char *name,
                             dp_h5_type type, size_t size, void *out);

/** Shape of a dataset of numbers or texts; ndim up to 8. type: the nearest dp_h5_type to
 *  hold it. */
dp_status dp_h5_shape(dp_h5 *file, const char *dataset, dp_h5_type *type, int *ndim,
                      int64_t dims[8]);

/** Where the row-major values of a dataset lie in the file: *at, or -1 where they don't lie
 *  in one piece, as `type` has them in memory. */
dp_status dp_h5_where(dp_h5 *file, const char *dataset, dp_h5_type type, int64_t *at);

/** Reads a whole dataset, converted to `type`; `count` must be its number of elements. */
dp_status dp_h5_get(dp_h5 *file, const char *dataset, dp_h5_type type, int64_t count,
                    void *out);

/** A dataset of `count` texts, of fixed or variable length: an array of char * and what
 *  they point to in one allocation. Owner: the caller frees *out. */
dp_status dp_h5_get_texts(dp_h5 *file, const char *dataset, int count, char ***out);

/** Scalar string dataset. Owner: the caller frees *out. */
dp_status dp_h5_get_text(dp_h5 *file, const char *dataset, char **out);

/** Reads a table's columns by name into rows of `size` bytes; missing columns become NaN
 *  (0 for integers). Owner: the caller frees *rows. */
dp_status dp_h5_get_table(dp_h5 *file, const char *dataset, int ncolumns,
                          const dp_h5_column *columns, size_t size, int64_t *nrows,
                          void **rows);

/** The HDF5 library's version, "1.10.8". */
const char *dp_h5_version(void);

#endif
