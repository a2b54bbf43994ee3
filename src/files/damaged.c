#include "base/log.h"
#include "parts.h"
#include <limits.h>
#include <stdio.h>

bool dp_damaged(dp_status status, const char *path) {
    bool content = status == DP_EFILE || status == DP_EDIVERGED;
    return content && dp_h5_altered(path);
}

dp_status dp_set_aside(const char *path) {
    char aside[PATH_MAX + sizeof DP_DAMAGED];
    snprintf(aside, sizeof aside, "%s%s", path, DP_DAMAGED);
    dp_warn("%s; the file is damaged, and kept as %s", dp_status_message(), aside);
    return dp_file_rename(path, aside);
}
