#include "base/open.h"
#include "keys.h"

enum { LARGEST = 1 << 20 }; /* bytes of a config file */

/* Bytes of the UTF-8 character at s, 0 if it is none; shortest forms only. */
static size_t utf8(const unsigned char *s, size_t left) {
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n > left || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool longer = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return surrogate || longer || beyond ? 0 : n;
}

dp_status dp_text_check(const char *where, const char *text, size_t length) {
    const unsigned char *s = (const unsigned char *)text;
    int line = 1;
    for (size_t i = 0; i < length;) {
        size_t n = utf8(s + i, length - i);
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
