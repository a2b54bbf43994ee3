#include "base/utf8.h"
#include "keys.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST = 1 << 20 }; /* bytes of a config file */

dp_status dp_text_check(const char *where, const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    int line = 1;
    for (size_t i = 0; i < length;) {
        size_t n = dp_utf8(text + i, length - i);
        bool end = s[i] == '\n' || (s[i] == '\r' && i + 1 < length && s[i + 1] == '\n');
        if (n == 0 || s[i] == 0x7f || (s[i] < ' ' && s[i] != '\t' && !end))
            return dp_fail(DP_EUSAGE,
                           "%s: not a text file (byte 0x%02x on line %d): a config is an "
                           "INI file in UTF-8, such as configs/mlp.ini",
                           where, s[i], line);
        line += s[i] == '\n';
        i += n;
    }
    return DP_OK;
}

static dp_status read_open(const char *path, int fd, char *text, size_t *length) {
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
        return dp_fail(DP_EUSAGE,
                       "%s: is a folder: give an INI file, such as "
                       "configs/mlp.ini",
                       path);
    *length = 0;
    for (;;) {
        ssize_t got = read(fd, text + *length, LARGEST + 1 - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dp_fail(DP_EUSAGE, "%s: can't be read: %s", path, strerror(errno));
        if (got == 0)
            break;
        *length += (size_t)got;
        if (*length > LARGEST)
            return dp_fail(DP_EUSAGE,
                           "%s: is larger than 1 MiB: a config is an INI file, "
                           "such as configs/mlp.ini",
                           path);
    }
    text[*length] = '\0';
    return DP_OK;
}

dp_status dp_text_read(const char *path, char **out, size_t *length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return dp_fail(DP_EUSAGE,
                       "%s: can't be opened: %s; give the path of an INI file, "
                       "such as configs/mlp.ini",
                       path, strerror(errno));
    char *text = malloc(LARGEST + 2);
    dp_status status = text ? read_open(path, fd, text, length)
                            : dp_fail(DP_EINTERNAL, "%s: no memory to read it", path);
    close(fd);
    if (status != DP_OK) {
        free(text);
        return status;
    }
    *out = text;
    return DP_OK;
}
