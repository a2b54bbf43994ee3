/* Opening files to read them: whose they are, and who reads them. */
#include "base/log.h"
#include "h5core.h"
#include "reader.h"

static dp_status open_ours(dp_h5 *f) {
    dp_status status = dp_h5_load(f);
    return status ? status : dp_h5_reader_start(f, dp_h5_serve);
}

static dp_status open_on_disk(dp_h5 *f) {
    dp_status status = dp_h5_readable(f);
    return status ? status : dp_h5_reader_start(f, dp_h5_serve);
}

static dp_status open_by(dp_status (*how)(dp_h5 *), const char *path, dp_status code,
                         dp_h5 **out) {
    dp_h5 *f = dp_h5_make(path, code);
    dp_status status = how(f);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    *out = f;
    return DP_OK;
}

dp_status dp_h5_open(const char *path, dp_h5 **out) {
    return open_by(open_ours, path, DP_EFILE, out);
}

void dp_h5_note(const dp_h5 *file) {
    if (file->doubt[0]) {
        dp_warn(
            "%s: %s, so it is not as trainer wrote it; it is read all the same, and all "
            "that it says is compared first",
            file->path, file->doubt);
    }
}

bool dp_h5_altered(const char *path) {
    dp_h5 *f = dp_h5_make(path, DP_EFILE);
    bool altered = dp_h5_load(f) == DP_OK && f->doubt[0] != '\0';
    dp_h5_close(&f);
    return altered;
}

dp_status dp_h5_open_any(const char *path, dp_status code, dp_h5 **out) {
    return open_by(dp_h5_is_ours(path) ? open_ours : open_on_disk, path, code, out);
}
