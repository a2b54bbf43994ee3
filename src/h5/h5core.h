/** What the files of this module share. */
#ifndef DP_H5_H5CORE_H
#define DP_H5_H5CORE_H

#include "h5/h5file.h"
#include <hdf5.h>

struct dp_h5 {
    hid_t id;
    char *path;           /* where commit writes, and what messages name; owner: this */
    dp_status code;       /* of this file's errors */
    unsigned char *image; /* the file in memory, or NULL where HDF5 reads the disk; HDF5
                             borrows it; owner: this */
    bool starved;         /* there was no memory for the image */
    size_t size; /* bytes of image; while writing, with HDF5's spare room at the end */
};

enum { DP_H5_BLOCK = 512 }; /* bytes of the user block */

/** Renders the user block of the file whose other bytes are there: file[512..size). The
 *  block may be the file's own. */
void dp_h5_seal(const unsigned char *file, size_t size, unsigned char block[DP_H5_BLOCK]);

/** Reads file->path into file->image and checks its user block. */
dp_status dp_h5_load(dp_h5 *file);

/** Whether file->path can be opened as a plain file; fails with a plain reason. */
dp_status dp_h5_readable(const dp_h5 *file);

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
 *  before memory is asked for. Data sets of other programs may be compressed. */
bool dp_h5_plausible(const dp_h5 *file, uint64_t n, uint64_t size);

/** Whether HDF5 converts values of this class to numbers. */
bool dp_h5_is_number(H5T_class_t type);

dp_status dp_h5_no_memory(const dp_h5 *file, const char *object);

/** Fails with "<path>: <object> <what>". */
dp_status dp_h5_wrong(const dp_h5 *file, const char *object, const char *what);

/** Where strings come from: an attribute, or a dataset where attr < 0. */
typedef struct dp_h5_source {
    hid_t attr, set, type;
} dp_h5_source;

/** Reads its n strings. Owner: the caller frees *out, one allocation. */
dp_status dp_h5_read_texts(dp_h5 *file, const char *name, const dp_h5_source *source,
                           uint64_t n, char ***out);

#endif
