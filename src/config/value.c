/* Values: text -> field of the config, and back to the shortest text. */
#include "keys.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SHOWN = 80 }; /* bytes of a value that a message repeats */

static const char number_blanks[] = " \t,";

static dp_status refuse(const dp_key *key, const char *where, const char *value,
                        const char *why) {
    return dp_fail(DP_EUSAGE, "%s: %s.%s = '%.*s' %s", where, key->section, key->name,
                   SHOWN, value, why);
}

typedef enum reading { A_NUMBER, NO_NUMBER, NO_FLOAT } reading;

/* A decimal number and nothing else: strtod alone would take hex, nan and infinity. One
 * that would be infinite, or 0 against what is written, where the kernels use it is none
 * either. */
static reading read_real(const char *text, size_t length, double *out) {
    char copy[64];
    if (length == 0 || length >= sizeof(copy))
        return NO_NUMBER;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (strspn(copy, "+-.0123456789eE") != length)
        return NO_NUMBER;
    char *end;
    double value = strtod(copy, &end);
    if (*end != '\0')
        return NO_NUMBER;
    bool zero = !isdigit((unsigned char)copy[strspn(copy, "+-.0")]);
    if (!isfinite((float)value) || ((float)value == 0 && !zero))
        return NO_FLOAT;
    *out = value + 0.0; /* no minus zero: equal values must have equal bits */
    return A_NUMBER;
}

static bool read_int(const char *text, long long *out) {
    if (text[strspn(text, "+-0123456789")] != '\0')
        return false;
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

static bool in_range(const dp_key *key, double x) {
    return (key->above ? x > key->lo : x >= key->lo) &&
           (key->below ? x < key->hi : x <= key->hi);
}

/* ">= 0 and < 1": the range in words. */
static void range_text(const dp_key *key, bool whole, char out[64]) {
    int n = snprintf(out, 64, "%s %.17g", key->above ? ">" : ">=", key->lo);
    if (whole)
        snprintf(out + n, 64 - (size_t)n, " and %s %.17g",
                 key->below ? "<" : "<=", key->hi);
}

static dp_status out_of_range(const dp_key *key, const char *where, const char *value) {
    char why[128], range[64];
    range_text(key, isfinite(key->hi), range);
    snprintf(why, sizeof(why), "is out of range: it must be %s", range);
    return refuse(key, where, value, why);
}

static dp_status not_a(const dp_key *key, const char *where, const char *value) {
    char why[DP_TEXT + 32], takes[DP_TEXT];
    dp_key_takes(key, false, takes);
    bool number = key->kind == DP_KIND_INT || key->kind == DP_KIND_REAL ||
                  key->kind == DP_KIND_SEED;
    snprintf(why, sizeof(why), "is wrong: it must be %s%s",
             key->kind == DP_KIND_CHOICE ? "one of "
             : number                    ? "a "
                                         : "",
             takes);
    return refuse(key, where, value, why);
}

static dp_status set_text(const dp_key *key, const char *where, const char *value,
                          char *field) {
    size_t length = strlen(value);
    if (length >= key->size)
        return dp_fail(DP_EUSAGE, "%s: %s.%s is %zu bytes long: it must be at most %zu",
                       where, key->section, key->name, length, key->size - 1);
    for (size_t i = 0; i < length; i++)
        if (strchr(";#", value[i]) && (i == 0 || isblank((unsigned char)value[i - 1])))
            return refuse(key, where, value,
                          "can't be kept in a config: a ';' or '#' at the start or after "
                          "a blank begins a comment there");
    memset(field, 0, key->size);
    memcpy(field, value, length);
    return DP_OK;
}

/* "~/data" is in the home folder, as a shell would have it: it doesn't look behind
 * "key=", and no shell reads the file. */
static dp_status set_path(const dp_key *key, const char *where, const char *value,
                          char *field) {
    if (*value != '~')
        return set_text(key, where, value, field);
    const char *sections = getenv("HOME");
    if (value[1] && value[1] != '/')
        return refuse(key, where, value,
                      "begins with '~': only ~/ is known, your home folder; give the "
                      "whole path, or ./~... if that is the name");
    if (!sections || !*sections)
        return refuse(key, where, value,
                      "begins with '~', but HOME is not set: give the whole path");
    char path[2 * DP_TEXT];
    snprintf(path, sizeof(path), "%s%s", sections, value + 1);
    return set_text(key, where, path, field);
}

static bool is_choice(const char *choices, const char *value) {
    size_t length = strlen(value);
    for (const char *c = choices; c; c = strchr(c, '|')) {
        c += *c == '|';
        if (strcspn(c, "|") == length && !strncmp(c, value, length))
            return true;
    }
    return false;
}

static reading read_numbers(const char *value) {
    reading all = NO_NUMBER; /* where there is none */
    for (const char *at = value + strspn(value, number_blanks); *at;) {
        size_t length = strcspn(at, number_blanks);
        double number;
        all = read_real(at, length, &number);
        if (all != A_NUMBER)
            return all;
        at += length;
        at += strspn(at, number_blanks);
    }
    return all;
}

static dp_status not_read(const dp_key *key, const char *where, const char *value,
                          reading how) {
    return how == NO_NUMBER ? not_a(key, where, value)
                            : refuse(key, where, value,
                                     "is out of range: a number is 0, or from 1.4e-45 to "
                                     "3.4e+38, as single precision holds it");
}

static bool read_bool(const char *value, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes",
                                        "off",   "on",   "0",  "1"};
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (!strcasecmp(value, words[i])) {
            *out = i % 2;
            return true;
        }
    return false;
}

static bool read_seed(const char *value, uint64_t *out) {
    if (*value == '\0' || value[strspn(value, "0123456789")] != '\0')
        return false;
    errno = 0;
    *out = strtoull(value, NULL, 10);
    return errno == 0;
}

static dp_status set_auto(const dp_key *key, const char *where, const char *value,
                          char *field) {
    if (!strcmp(value, "auto"))
        return set_text(key, where, value, field);
    long long whole;
    if (!read_int(value, &whole))
        return not_a(key, where, value);
    if (!in_range(key, (double)whole))
        return out_of_range(key, where, value);
    char plain[32];
    snprintf(plain, sizeof(plain), "%lld", whole); /* "08" and "8" are the same run */
    return set_text(key, where, plain, field);
}

dp_status dp_key_set(const dp_key *key, const char *where, const char *value,
                     dp_config *config) {
    void *field = (char *)config + key->offset;
    bool yes;
    long long whole;
    double real;
    reading how;
    uint64_t seed;
    switch (key->kind) {
    case DP_KIND_TEXT:
        return set_text(key, where, value, field);
    case DP_KIND_PATH:
        return set_path(key, where, value, field);
    case DP_KIND_CHOICE:
        if (!is_choice(key->choices, value))
            return not_a(key, where, value);
        return set_text(key, where, value, field);
    case DP_KIND_NUMBERS:
        how = read_numbers(value);
        if (how != A_NUMBER)
            return not_read(key, where, value, how);
        return set_text(key, where, value, field);
    case DP_KIND_AUTO:
        return set_auto(key, where, value, field);
    case DP_KIND_BOOL:
        if (!read_bool(value, &yes))
            return not_a(key, where, value);
        *(bool *)field = yes;
        return DP_OK;
    case DP_KIND_INT:
        if (!read_int(value, &whole))
            return not_a(key, where, value);
        if (!in_range(key, (double)whole))
            return out_of_range(key, where, value);
        *(int64_t *)field = whole;
        return DP_OK;
    case DP_KIND_REAL:
        how = read_real(value, strlen(value), &real);
        if (how != A_NUMBER)
            return not_read(key, where, value, how);
        if (!in_range(key, real))
            return out_of_range(key, where, value);
        *(double *)field = real;
        return DP_OK;
    case DP_KIND_SEED:
        if (!read_seed(value, &seed))
            return not_a(key, where, value);
        *(uint64_t *)field = seed;
        return DP_OK;
    }
    return dp_fail(DP_EINTERNAL, "key %s.%s has no kind", key->section, key->name);
}

void dp_key_text(const dp_key *key, const dp_config *config, char out[DP_TEXT]) {
    const void *field = (const char *)config + key->offset;
    switch (key->kind) {
    case DP_KIND_TEXT:
    case DP_KIND_PATH:
    case DP_KIND_CHOICE:
    case DP_KIND_NUMBERS:
    case DP_KIND_AUTO:
        snprintf(out, DP_TEXT, "%s", (const char *)field);
        break;
    case DP_KIND_BOOL:
        snprintf(out, DP_TEXT, "%s", *(const bool *)field ? "true" : "false");
        break;
    case DP_KIND_INT:
        snprintf(out, DP_TEXT, "%" PRId64, *(const int64_t *)field);
        break;
    case DP_KIND_SEED:
        snprintf(out, DP_TEXT, "%" PRIu64, *(const uint64_t *)field);
        break;
    case DP_KIND_REAL: {
        double value = *(const double *)field;
        if (fabs(value) < 1e15 && value == floor(value)) { /* 300, not 3e+02 */
            snprintf(out, DP_TEXT, "%.0f", value);
            break;
        }
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(out, DP_TEXT, "%.*g", digits, value);
            if (strtod(out, NULL) == value)
                break;
        }
        break;
    }
    }
}

void dp_key_takes(const dp_key *key, bool whole, char out[DP_TEXT]) {
    char range[64];
    range_text(key, isfinite(key->hi) && (whole || key->hi <= 65536), range);
    switch (key->kind) {
    case DP_KIND_TEXT:
        snprintf(out, DP_TEXT, "text");
        break;
    case DP_KIND_PATH:
        snprintf(out, DP_TEXT, "path; ~/ is the home folder");
        break;
    case DP_KIND_CHOICE: {
        size_t n = 0;
        for (const char *c = key->choices; *c && n + 4 < DP_TEXT; c++) {
            if (*c == '|') {
                memcpy(out + n, " | ", 3);
                n += 3;
            } else {
                out[n++] = *c;
            }
        }
        out[n] = '\0';
        break;
    }
    case DP_KIND_BOOL:
        snprintf(out, DP_TEXT, "true | false");
        break;
    case DP_KIND_INT:
        snprintf(out, DP_TEXT, "whole number %s", range);
        break;
    case DP_KIND_REAL:
        snprintf(out, DP_TEXT, "number %s", range);
        break;
    case DP_KIND_SEED:
        snprintf(out, DP_TEXT, "whole number >= 0 and < 2^64");
        break;
    case DP_KIND_NUMBERS:
        snprintf(out, DP_TEXT, "numbers, separated by blanks or commas");
        break;
    case DP_KIND_AUTO:
        snprintf(out, DP_TEXT, "auto | whole number %s", range);
        break;
    }
}
