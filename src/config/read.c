/* A config file as text: UTF-8 without control characters. */
#include "base/open.h"
#include "base/utf8.h"
#include "keys.h"

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

dp_status dp_text_read(const char *path, char **out, size_t *length) {
    return dp_open_read(path, DP_EUSAGE,
                        "give the path of an INI file, such as configs/mlp.ini", LARGEST,
                        out, length);
}
