/* CSV as text: separators, quotes, lines, numbers. */
#include "csv_text.h"
#include "base/memory.h"
#include "stream.h"
#include <float.h>
#include <stdlib.h>
#include <string.h>

/* A byte more than the file and its NUL to begin with, so that a plain file ends in one
 * read. */
static dp_status read_all(dp_csv_text *f, dp_stream *stream) {
    size_t room = dp_stream_size(stream) + 2, got = 0, left = 0;
    for (; got == left; room *= 2) {
        DP_TRY(dp_memory_resize(&f->text, room));
        left = room - 1 - f->length;
        DP_TRY(dp_stream_read(stream, f->text + f->length, left, &got));
        f->length += got;
    }
    f->text[f->length] = '\0';
    return DP_OK;
}

/* The one of , TAB ; that is in the first line most often, outside quotes. */
static void find_separator(dp_csv_text *f) {
    static const char candidates[] = ",\t;";
    int count[3] = {0};
    bool quoted = false;
    for (const char *p = f->at; *p && (quoted || (*p != '\n' && *p != '\r')); p++) {
        const char *which = strchr(candidates, *p);
        quoted ^= *p == '"';
        if (which && !quoted) {
            count[which - candidates]++;
        }
    }
    int best = 0;
    for (int i = 1; i < 3; i++) {
        best = count[i] > count[best] ? i : best;
    }
    f->separator = candidates[best];
}

dp_status dp_csv_open(const char *path, dp_csv_text *f) {
    dp_stream *stream = NULL;
    *f = (dp_csv_text){.path = path, .line = 1};
    DP_TRY(dp_stream_open(path, NULL, &stream));
    dp_status status = read_all(f, stream);
    dp_stream_close(&stream);
    DP_TRY(status);
    if (memchr(f->text, '\0', f->length)) {
        return dp_fail(DP_EDATA,
                       "%s: not UTF-8 text: there are zero bytes in it; "
                       "scripts/prepare.py %s -o OUT.h5 "
                       "reads UTF-16",
                       path, path);
    }
    f->at = f->text + (strncmp(f->text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0);
    dp_csv_skip_blank(f);
    if (!*f->at) {
        return dp_fail(DP_EDATA, "%s: the file is empty", path);
    }
    find_separator(f);
    f->c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return f->c ? DP_OK : dp_fail(DP_EINTERNAL, "out of memory reading %s", path);
}

void dp_csv_close(dp_csv_text *f) {
    if (f->c) {
        freelocale(f->c);
    }
    free(f->text);
}

static bool is_blank(const dp_csv_text *f, char c) {
    return (c == ' ' || c == '\t') && c != f->separator;
}

static bool ends_field(const dp_csv_text *f, char c) {
    return !c || c == f->separator || c == '\r' || c == '\n';
}

/* Passes a line's end: LF, CRLF or CR. */
static bool skip_newline(dp_csv_text *f) {
    if (*f->at != '\r' && *f->at != '\n') {
        return false;
    }
    f->at += f->at[0] == '\r' && f->at[1] == '\n' ? 2 : 1;
    f->line++;
    return true;
}

/* Cuts the quoted field at `at`, up to and with its closing quote. */
static dp_status cut_quoted(dp_csv_text *f, char **out, char **end) {
    int first = f->line;
    char *to = ++f->at;
    *out = to;
    while (*f->at && (f->at[0] != '"' || f->at[1] == '"')) {
        f->line += *f->at == '\n';
        f->at += *f->at == '"'; /* "" is a quote */
        *to++ = *f->at++;
    }
    if (!*f->at) {
        return dp_fail(DP_EDATA, "%s:%d: the quote that begins here is not closed",
                       f->path, first);
    }
    f->at++;
    while (is_blank(f, *f->at)) {
        f->at++;
    }
    if (!ends_field(f, *f->at)) {
        return dp_fail(DP_EDATA,
                       "%s:%d: text behind a closing quote; a quote inside a quoted "
                       "field is written twice",
                       f->path, f->line);
    }
    *end = to;
    return DP_OK;
}

dp_status dp_csv_field(dp_csv_text *f, char **out, bool *last) {
    while (is_blank(f, *f->at)) {
        f->at++;
    }
    char *end = NULL;
    if (*f->at == '"') {
        DP_TRY(cut_quoted(f, out, &end));
    } else {
        *out = f->at;
        while (!ends_field(f, *f->at)) {
            f->at++;
        }
        for (end = f->at; end > *out && is_blank(f, end[-1]);) {
            end--;
        }
    }
    *last = *f->at != f->separator;
    if (!*last) {
        f->at++;
    } else {
        skip_newline(f);
    }
    *end = '\0'; /* only now: it may be on the separator */
    return DP_OK;
}

int dp_csv_skip_blank(dp_csv_text *f) {
    int first = 0;
    for (;;) {
        char *begin = f->at;
        int line = f->line;
        while (is_blank(f, *f->at)) {
            f->at++;
        }
        if (!*f->at) {
            return first;
        }
        if (!skip_newline(f)) {
            f->at = begin;
            return first;
        }
        first = first ? first : line;
    }
}

/* Up to 15 digits are exact in a double and so is 10^15: one division rounds right. The
 * rest is the C library's, at a tenth of the speed. */
bool dp_csv_number(const dp_csv_text *f, const char *s, double *out) {
    static const double ten[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const char *p = s + (*s == '-' || *s == '+');
    int64_t mantissa = 0;
    int digits = 0, decimals = 0;
    bool point = false;
    for (; (*p >= '0' && *p <= '9' && digits < 16) || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        mantissa = 10 * mantissa + (*p - '0');
        digits++;
        decimals += point;
    }
    if (!*p && digits > 0 && digits < 16) {
        double v = (double)mantissa / ten[decimals];
        *out = *s == '-' ? -v : v;
        return true;
    }
    if (s[strspn(s, "+-.0123456789eE")]) {
        return false;
    }
    char *end = NULL;
    *out = strtod_l(s, &end, f->c);
    if (*out == 0 && s[strspn(s, "+-.0")] >= '1' && s[strspn(s, "+-.0")] <= '9') {
        *out = *s == '-' ? -DBL_TRUE_MIN : DBL_TRUE_MIN;
    }
    return end != s && !*end;
}
