/* Names in a run's folder: of checkpoints, of the links to them, and of damaged files,
 * which are recognised and renamed, never deleted. */
#include "base/log.h"
#include "files_impl.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

void dp_step_name(int64_t step, char out[DP_STEP_NAME]) {
    snprintf(out, DP_STEP_NAME, "step-%08lld.h5", (long long)step);
}

int64_t dp_step_of_name(const char *name) {
    long long step = -1;
    char same[DP_STEP_NAME];
    if (sscanf(name, "step-%18lld", &step) != 1 || step < 0) {
        return -1;
    }
    dp_step_name(step, same);
    return strcmp(same, name) == 0 ? step : -1;
}

bool dp_is_link(const char *name) {
    return strcmp(name, DP_LAST) == 0 || strcmp(name, DP_BEST) == 0;
}

size_t dp_damaged_stem(const char *name) {
    size_t n = strlen(name), suffix = strlen(DP_DAMAGED);
    return n > suffix && strcmp(name + n - suffix, DP_DAMAGED) == 0 ? n - suffix : 0;
}

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
