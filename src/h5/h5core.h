/** What the files of this module share. */
#ifndef DP_H5_H5CORE_H
#define DP_H5_H5CORE_H

#include "h5/h5file.h"
#include <hdf5.h>

typedef struct dp_h5_reader dp_h5_reader;

struct dp_h5 {
    hid_t id;             /* of HDF5; in the parent of a reading process there is none */
    char *path;           /* where it is placed, and what messages name; owner: this */
    dp_status code;       /* of this file's errors */
    unsigned char *image; /* the file in memory, or NULL where HDF5 reads the disk; HDF5
                             borrows it; owner: this */
    bool out_of_memory;   /* there was no memory for the image */
    /* bytes of image; while writing, with HDF5's spare room at the end; of the file,
     * where HDF5 reads the disk */
    size_t size;
    char doubt[128]; /* why the bytes may not be those that we wrote; "" if they are */
    dp_h5_reader *reader; /* the process that reads the file for us, or NULL */
    int channel;          /* in that process: the socket to its parent */
};

enum { DP_H5_BLOCK = 512 /* bytes of the user block */, DP_H5_DIMS = 8 };

/** A handle without a file. `code`: of its errors. */
dp_h5 *dp_h5_make(const char *path, dp_status code);

/** How HDF5 is to open a file: without locks; with `image`, in f->image, which it reads
 *  or builds there. The caller closes it with H5Pclose. */
hid_t dp_h5_access(dp_h5 *file, bool image);

/** A name that HDF5 has not seen for an image: it takes two of one name for one file. */
const char *dp_h5_image_name(void);

/** HDF5's types of numbers, on disk and in memory. */
typedef struct dp_h5_ids {
    hid_t disk, memory;
} dp_h5_ids;
dp_h5_ids dp_h5_type_ids(dp_h5_type type);
size_t dp_h5_type_size(dp_h5_type type);

/** Fails with "<path>: cannot <what> <object>: <HDF5's innermost reason>". */
dp_status dp_h5_fail(const dp_h5 *file, const char *what, const char *object);

dp_status dp_h5_no_memory(const dp_h5 *file, const char *object);

/** Whether n elements of `size` bytes can be in the file: a shape is not to be believed
 *  before memory is asked for. Other programs may compress. */
bool dp_h5_plausible(const dp_h5 *file, uint64_t n, uint64_t size);

#endif
