/* What names of data files say. */
#include "reader.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

bool dp_path_ends(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    return n > k && strcasecmp(path + n - k, ending) == 0;
}

bool dp_path_find(const char *folder, const char *name, char out[DP_MAX_PATH]) {
    static const char *const ending[] = {"", ".gz"};
    for (int i = 0; i < 2; i++) {
        int n = snprintf(out, DP_MAX_PATH, "%s/%s%s", folder, name, ending[i]);
        if (n < DP_MAX_PATH && access(out, F_OK) == 0) {
            return true;
        }
    }
    return false;
}
