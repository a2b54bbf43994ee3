/* UTF-8: which bytes make a character. */
#include "base/utf8.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

size_t dp_utf8(const char *text, size_t left) {
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (n > left || s[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool surrogate = s[0] == 0xed && s[1] > 0x9f;
    bool longer = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return surrogate || longer || beyond ? 0 : n;
}

static bool shows(const unsigned char *s, size_t n) {
    bool c0 = (s[0] < ' ' && s[0] != '\t') || s[0] == 0x7f;
    bool c1 = n == 2 && s[0] == 0xc2 && s[1] < 0xa0;
    return n > 0 && !c0 && !c1;
}

void dp_utf8_printable(const char *text, char *out, size_t size) {
    size_t at = 0, left = strlen(text), n = 0;
    for (; left > 0; text += n, left -= n) {
        n = dp_utf8(text, left);
        bool plain = shows((const unsigned char *)text, n);
        n = n == 0 ? 1 : n;
        if (at + (plain ? n : 4 * n) >= size) {
            break;
        }
        if (plain) {
            memcpy(out + at, text, n);
            at += n;
        }
        for (size_t i = 0; !plain && i < n; i++) {
            at += (size_t)sprintf(out + at, "\\x%02x", (unsigned char)text[i]);
        }
    }
    out[at] = '\0';
}
