/* Lists of names: classes, columns, targets. */
#include "names.h"
#include "base/memory.h"
#include "base/utf8.h"
#include <string.h>

char **dp_names_copy(int n, char *const *names) {
    size_t pointers = (size_t)n * sizeof *names, bytes = 0;
    for (int i = 0; i < n; i++) {
        bytes += strlen(names[i]) + 1;
    }
    char **copy = dp_alloc(1, pointers + bytes);
    char *to = (char *)copy + pointers;
    for (int i = 0; i < n; i++) {
        copy[i] = to;
        to = stpcpy(to, names[i]) + 1;
    }
    return copy;
}

/* Without the blanks at its ends. */
static char *trim(char *name) {
    static const char blanks[] = " \t";
    name += strspn(name, blanks);
    size_t n = strlen(name);
    while (n > 0 && strchr(blanks, name[n - 1])) {
        name[--n] = '\0';
    }
    return name;
}

dp_status dp_names_split(const char *text, int *n, char ***out) {
    size_t most = 1;
    for (const char *p = text; *p; p++) {
        most += *p == ',';
    }
    char **names = dp_alloc(1, most * sizeof *names + strlen(text) + 1);
    char *rest = strcpy((char *)(names + most), text);
    int count = 0;
    while (*text && rest) {
        names[count] = trim(strsep(&rest, ","));
        if (!names[count++][0]) {
            dp_memory_free(&names);
            return dp_fail(DP_EUSAGE, "an empty name in the list '%s'", text);
        }
    }
    *n = count;
    *out = names;
    return DP_OK;
}

bool dp_names_is_utf8(const char *name) {
    size_t left = strlen(name), n = 1;
    for (; left > 0 && n > 0; name += n, left -= n) {
        n = dp_utf8(name, left);
    }
    return n > 0;
}

int dp_names_find(int n, char *const *names, const char *name) {
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}
