/* The types of values: text -> field of the config, and back to the shortest text. */
#include "keys.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char not_taken[] = ""; /* dp_key_set says what is */
_Static_assert(DP_TEXT == 1024, "read_text names the longest value");

/* ---- text ---- */

static bool begins_comment(const char *text) {
    for (const char *c = text; (c = strpbrk(c, ";#")); c++) {
        if (c == text || isblank((unsigned char)c[-1])) {
            return true;
        }
    }
    return false;
}

static const char *read_text(const dp_key *key, const char *text, void *field) {
    if (strlen(text) >= key->size) {
        return "is too long: a value has at most 1023 bytes";
    }
    if (strchr(text, '\n')) {
        return "has a line end in it: a value is one line";
    }
    if (begins_comment(text)) {
        return "can't be kept in a config: a ';' or '#' at the start or after a blank "
               "begins a comment there";
    }
    strncpy(field, text, key->size); /* zeros behind it: equal values have equal bytes */
    return NULL;
}

static void print_text(const void *field, char out[DP_TEXT]) {
    snprintf(out, DP_TEXT, "%s", (const char *)field);
}

/* "~/data" is in the home folder, as a shell would have it: it doesn't look behind
 * "key=", and no shell reads the file. */
static const char *read_path(const dp_key *key, const char *text, void *field) {
    if (*text != '~') {
        return read_text(key, text, field);
    }
    if (text[1] && text[1] != '/') {
        return "begins with '~': only ~/ is known, your home folder; give the whole "
               "path, "
               "or ./~... if that is the name";
    }
    const char *home = getenv("HOME");
    if (!home || !*home) {
        return "begins with '~', but HOME is not set: give the whole path";
    }
    char path[2 * DP_TEXT];
    snprintf(path, sizeof path, "%s%s", home, text + 1);
    return read_text(key, path, field);
}

static const char *read_choice(const dp_key *key, const char *text, void *field) {
    size_t length = strlen(text), n;
    for (const char *word = key->choices; *word; word += n, word += strspn(word, " |")) {
        n = strcspn(word, " |");
        if (n == length && memcmp(word, text, n) == 0) {
            return read_text(key, text, field);
        }
    }
    return not_taken;
}

/* ---- numbers ---- */

static bool in_range(const dp_key *key, double x) {
    return (key->above ? x > key->lo : x >= key->lo) &&
           (key->below ? x < key->hi : x <= key->hi);
}

/* A decimal number and nothing else: strtod alone would take hex, nan and infinity. One
 * that would be infinite, or 0 against what is written, where the kernels use it is none
 * either. */
static const char *parse_real(const char *text, size_t length, double *out) {
    char copy[64], *end;
    snprintf(copy, sizeof copy, "%.*s", (int)length, text);
    double value = strtod(copy, &end);
    if (length == 0 || length >= sizeof copy || *end != '\0' ||
        strspn(copy, "+-.0123456789eE") != length) {
        return not_taken;
    }
    bool zero = !isdigit((unsigned char)copy[strspn(copy, "+-.0")]);
    if (!isfinite((float)value) || ((float)value == 0 && !zero)) {
        return "is out of range: a number is 0, or from 1.4e-45 to 3.4e+38, as single "
               "precision holds it";
    }
    *out = value + 0.0; /* no minus zero: equal values must have equal bits */
    return NULL;
}

static const char *read_real(const dp_key *key, const char *text, void *field) {
    double value = 0;
    const char *why = parse_real(text, strlen(text), &value);
    if (!why && !in_range(key, value)) {
        why = not_taken;
    }
    if (!why) {
        *(double *)field = value;
    }
    return why;
}

static void print_real(const void *field, char out[DP_TEXT]) {
    double value = *(const double *)field;
    if (fabs(value) < 1e15 && value == floor(value)) { /* 300, not 3e+02 */
        snprintf(out, DP_TEXT, "%.0f", value);
        return;
    }
    int digits = 0;
    do {
        snprintf(out, DP_TEXT, "%.*g", ++digits, value);
    } while (strtod(out, NULL) != value);
}

static const char *read_numbers(const dp_key *key, const char *text, void *field) {
    static const char blanks[] = " \t,";
    const char *why = not_taken; /* where there is none */
    for (const char *at = text + strspn(text, blanks); *at; at += strspn(at, blanks)) {
        double number;
        size_t length = strcspn(at, blanks);
        why = parse_real(at, length, &number);
        if (why) {
            return why;
        }
        at += length;
    }
    return why ? why : read_text(key, text, field);
}

/* Kept with one blank between: "0,3" is the run of "0 3". */
static const char *read_indices(const dp_key *key, const char *text, void *field) {
    static const char blanks[] = " \t,";
    char plain[DP_TEXT] = "";
    size_t used = 0;
    for (const char *at = text + strspn(text, blanks); *at; at += strspn(at, blanks)) {
        size_t length = strcspn(at, blanks);
        if (strspn(at, "0123456789") != length || length > 4) {
            return not_taken;
        }
        if (used + length + 2 > sizeof plain) {
            return read_text(key, text, field); /* which says that it is too long */
        }
        used += (size_t)sprintf(plain + used, "%s%d", used > 0 ? " " : "", atoi(at));
        at += length;
    }
    return read_text(key, plain, field);
}

static bool parse_whole(const dp_key *key, const char *text, int64_t *out) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 &&
           text[strspn(text, "+-0123456789")] == '\0' && in_range(key, (double)*out);
}

static const char *read_whole(const dp_key *key, const char *text, void *field) {
    int64_t value;
    if (!parse_whole(key, text, &value)) {
        return not_taken;
    }
    *(int64_t *)field = value;
    return NULL;
}

static void print_whole(const void *field, char out[DP_TEXT]) {
    snprintf(out, DP_TEXT, "%" PRId64, *(const int64_t *)field);
}

static const char *read_auto(const dp_key *key, const char *text, void *field) {
    int64_t value;
    char plain[32] = "auto";
    if (strcmp(text, "auto") != 0) {
        if (!parse_whole(key, text, &value)) {
            return not_taken;
        }
        snprintf(plain, sizeof plain, "%" PRId64, value); /* "08" is the run of "8" */
    }
    return read_text(key, plain, field);
}

static const char *read_seed(const dp_key *key, const char *text, void *field) {
    (void)key;
    errno = 0;
    uint64_t value = strtoull(text, NULL, 10);
    if (*text == '\0' || text[strspn(text, "0123456789")] != '\0' || errno != 0) {
        return not_taken;
    }
    *(uint64_t *)field = value;
    return NULL;
}

static void print_seed(const void *field, char out[DP_TEXT]) {
    snprintf(out, DP_TEXT, "%" PRIu64, *(const uint64_t *)field);
}

static const char *read_bool(const dp_key *key, const char *text, void *field) {
    static const char *const words[] = {"false", "true", "no", "yes",
                                        "off",   "on",   "0",  "1"};
    (void)key;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *(bool *)field = i % 2;
            return NULL;
        }
    }
    return not_taken;
}

static void print_bool(const void *field, char out[DP_TEXT]) {
    snprintf(out, DP_TEXT, "%s", *(const bool *)field ? "true" : "false");
}

/* ---- the types ---- */

const dp_key_type dp_type_text = {"text", read_text, print_text, false};
const dp_key_type dp_type_path = {"path; ~/ is the home folder", read_path, print_text,
                                  false};
const dp_key_type dp_type_choice = {NULL, read_choice, print_text, false};
const dp_key_type dp_type_numbers = {"numbers, separated by blanks or commas",
                                     read_numbers, print_text, false};
const dp_key_type dp_type_indices = {"whole numbers, separated by blanks or commas",
                                     read_indices, print_text, false};
const dp_key_type dp_type_auto = {"auto | whole number", read_auto, print_text, true};
const dp_key_type dp_type_bool = {"true | false", read_bool, print_bool, false};
const dp_key_type dp_type_whole = {"whole number", read_whole, print_whole, true};
const dp_key_type dp_type_seed = {"whole number >= 0 and < 2^64", read_seed, print_seed,
                                  false};
const dp_key_type dp_type_real = {"number", read_real, print_real, true};

void dp_key_takes(const dp_key *key, bool all_limits, char out[DP_TEXT]) {
    const dp_key_type *type = key->type;
    int n = snprintf(out, DP_TEXT, "%s", type->takes ? type->takes : key->choices);
    if (!type->ranged) {
        return;
    }
    n += snprintf(out + n, DP_TEXT - (size_t)n, " %s %.17g",
                  key->above ? ">" : ">=", key->lo);
    if (isfinite(key->hi) && (all_limits || key->hi <= 65536)) {
        snprintf(out + n, DP_TEXT - (size_t)n, " and %s %.17g",
                 key->below ? "<" : "<=", key->hi);
    }
}

dp_status dp_key_refuse(const dp_key *key, const char *where, const char *value,
                        const char *why) {
    return dp_fail(DP_EUSAGE, "%s: %s.%s = '%.80s' %s", where, key->section, key->name,
                   value, why);
}

dp_status dp_key_set(const dp_key *key, const char *where, const char *value,
                     dp_config *config) {
    const char *why = key->type->read(key, value, (char *)config + key->offset);
    if (why && why[0] == '\0') {
        char takes[DP_TEXT], text[DP_TEXT + 32];
        dp_key_takes(key, true, takes);
        snprintf(text, sizeof text, "is wrong; allowed: %s", takes);
        return dp_key_refuse(key, where, value, text);
    }
    return why ? dp_key_refuse(key, where, value, why) : DP_OK;
}

void dp_key_text(const dp_key *key, const dp_config *config, char out[DP_TEXT]) {
    key->type->print((const char *)config + key->offset, out);
}
