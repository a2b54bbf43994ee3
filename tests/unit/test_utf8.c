#include "base/utf8.h"
#include <criterion/criterion.h>
#include <string.h>

static void assert_shown(const char *text, const char *expected) {
    char out[256];
    dp_utf8_printable(text, out, sizeof out);
    cr_assert_str_eq(out, expected);
}

Test(utf8, text_in_any_language_is_shown_as_it_is)
{
    static const char *const texts[] = {"", "a\tb \\x1b", "Größe", "字 и ж",
                                        "\xf0\x9f\x8e\xb2 \xf4\x8f\xbf\xbf \xc2\xa0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_shown(texts[i], texts[i]);
    }
}

Test(utf8, what_a_terminal_would_obey_is_escaped)
{
    assert_shown("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m");
    assert_shown("a\rb\nc\bd\x7f", "a\\x0db\\x0ac\\x08d\\x7f");
    assert_shown("\xc2\x9b"
                 "2J",
                 "\\xc2\\x9b"
                 "2J"); /* CSI in one character */
    for (char c[2] = {1}; c[0] < ' '; c[0]++) {
        char out[8];
        dp_utf8_printable(c, out, sizeof out);
        cr_assert_eq(strlen(out), c[0] == '\t' ? 1 : 4);
    }
}

Test(utf8, bytes_that_are_no_character_are_escaped)
{
    assert_shown("\xff", "\\xff");
    assert_shown("ü\xfc!", "ü\\xfc!");
    assert_shown("\xc0\xaf", "\\xc0\\xaf"); /* not the shortest form */
    assert_shown("\xe0\x80\x80", "\\xe0\\x80\\x80");
    assert_shown("\xf0\x80\x80\x80", "\\xf0\\x80\\x80\\x80");
    assert_shown("\xc3\xc3", "\\xc3\\xc3");
    assert_shown("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80");
    assert_shown("\xed\xa0\x80", "\\xed\\xa0\\x80"); /* half of a surrogate pair */
    assert_shown("\xe2\x82", "\\xe2\\x82");          /* cut off */
    assert_shown("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
}

Test(utf8, what_does_not_fit_is_left_out_whole)
{
    for (size_t size = 1; size < 12; size++) {
        char out[16];
        memset(out, '#', sizeof out);
        dp_utf8_printable("aü\x1bz", out, size);
        size_t fits = size > 8 ? 8 : size > 7 ? 7 : size > 3 ? 3 : size > 1;
        cr_assert_eq(strlen(out), fits, "%zu of %zu", strlen(out), size);
        cr_assert_eq(out[size], '#');
    }
}
