#include "base/log.h"
#include "parts.h"
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

bool dp_damaged(const char *path) {
    dp_h5 *f = NULL;
    bool damaged = access(path, R_OK) == 0 && dp_h5_open(path, &f) == DP_EFILE;
    dp_h5_close(&f);
    return damaged;
}

dp_status dp_set_aside(const char *path) {
    char aside[PATH_MAX + sizeof DP_DAMAGED];
    snprintf(aside, sizeof aside, "%s%s", path, DP_DAMAGED);
    dp_warn("%s; it is kept as %s", dp_status_message(), aside);
    return dp_file_rename(path, aside);
}
