/** The text of a CSV file (RFC 4180): lines, fields, numbers. Knows nothing of columns.
 */
#ifndef DP_DATA_CSV_TEXT_H
#define DP_DATA_CSV_TEXT_H

#include "base/status.h"
#include <locale.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dp_csv_text {
    const char *path;
    char *text; /* the whole file, with a NUL behind; fields are cut and unquoted in place
                 */
    size_t length;
    char *at;       /* what is read next */
    int line;       /* of `at`, from 1 */
    char separator; /* the one of comma, TAB, semicolon that is most often in the first
                       line */
    locale_t c;     /* numbers have a decimal point, whatever the user's locale */
} dp_csv_text;

/** Reads the file, plain or .gz, past a byte order mark, and finds the separator.
 *  Errors: DP_EDATA (unreadable, empty, not text). *f is freed by dp_csv_close in any
 *  case. */
dp_status dp_csv_open(const char *path, dp_csv_text *f);

void dp_csv_close(dp_csv_text *f);

/** The next field as a string in f->text, blanks around it trimmed, quotes resolved;
 *  *last: it ended the line (LF, CRLF, CR or the end).  Errors: DP_EDATA (quotes that
 *  don't match) */
dp_status dp_csv_field(dp_csv_text *f, char **out, bool *last);

/** Passes blank lines. Returns the number of the first, 0: there was none. */
int dp_csv_skip_blank(dp_csv_text *f);

/** Whether all of s is a decimal number, correctly rounded; no inf, nan or hexadecimals.
 *  Only what says 0 is 0: 1e-400 is the smallest double, and one beyond the largest is
 *  infinite. */
bool dp_csv_number(const dp_csv_text *f, const char *s, double *out);

#endif
