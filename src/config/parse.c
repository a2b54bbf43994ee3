/* INI text and command-line overrides -> a validated config, through inih. */
#include "base/memory.h"
#include "keys.h"
#include <ctype.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 4096 }; /* bytes of a line that inih sees, with its end */

/* The text on its way through inih, which pulls lines and pushes keys. */
typedef struct source {
    const char *text;
    size_t length, at;
    int line; /* the one pulled last, from 1 */
    bool any; /* a section or a key was seen */
    dp_origin origin;
    dp_config config;
    dp_status status;
} source;

static void location(const source *s, char out[DP_TEXT]) {
    snprintf(out, DP_TEXT, "%.900s:%d", s->origin.name, s->line);
}

void dp_origin_text(const dp_origin *origin, int key, char out[DP_TEXT]) {
    int set = origin->set[key];
    if (set > 0)
        snprintf(out, DP_TEXT, "%.900s:%d", origin->name, set);
    else if (set < 0)
        snprintf(out, DP_TEXT, "override '%.200s'", origin->overrides[-1 - set]);
    else
        snprintf(out, DP_TEXT, "%.900s", origin->name);
}

static const char *skip_blanks(const char *s) {
    while (*s && isspace((unsigned char)*s))
        s++;
    return s;
}

/* inih shortens long section names, ignores what follows the ']' and makes no call for a
 * section without keys, so headers are checked here. */
static dp_status check_header(const source *s, const char *line) {
    char where[DP_TEXT], name[64];
    location(s, where);
    const char *end = strchr(line, ']');
    if (!end)
        return dp_fail(DP_EUSAGE, "%s: a section must end in ']', as in [optimizer]",
                       where);
    const char *rest = skip_blanks(end + 1);
    if (*rest && !strchr(";#", *rest))
        return dp_fail(DP_EUSAGE,
                       "%s: '%.60s' after a section's ']': put it on a line of its own",
                       where, rest);
    snprintf(name, sizeof(name), "%.*s", (int)(end - line - 1), line + 1);
    if (dp_section_find(name) < 0)
        return dp_unknown_section(where, name);
    return DP_OK;
}

/* Hands inih one whole line a call. */
static char *on_line(char *out, int size, void *stream) {
    source *s = stream;
    if (s->at == s->length || s->status != DP_OK)
        return NULL;
    const char *start = s->text + s->at;
    const char *end = memchr(start, '\n', s->length - s->at);
    size_t n = end ? (size_t)(end - start) : s->length - s->at;
    s->at += n + (end != NULL);
    s->line++;
    if (n + 2 > (size_t)size) {
        s->status = dp_fail(DP_EUSAGE,
                            "%.900s:%d: the line is %zu bytes long: at most %d are read",
                            s->origin.name, s->line, n, size - 2);
        return NULL;
    }
    memcpy(out, start, n);
    out[n] = '\0';
    const char *first = skip_blanks(out);
    if (*first == '[') {
        s->any = true;
        s->status = check_header(s, first);
        if (s->status != DP_OK)
            return NULL;
    }
    memcpy(out + n, "\n", 2);
    return out;
}

static int on_key(void *user, const char *section, const char *name, const char *value) {
    source *s = user;
    char where[DP_TEXT];
    location(s, where);
    s->any = true;
    int k = dp_key_find(section, name);
    if (k < 0)
        s->status = dp_unknown_key(where, section, name);
    else if (s->origin.set[k] > 0)
        s->status =
            dp_fail(DP_EUSAGE, "%s: duplicate key '%s.%s', already set on line %d", where,
                    section, name, s->origin.set[k]);
    else
        s->status = dp_key_set(&dp_keys[k], where, value, &s->config);
    if (s->status != DP_OK)
        return 0;
    s->origin.set[k] = s->line;
    return 1;
}

/* The library's defaults cut lines at 200 bytes, join indented keys to the line before,
 * and go on after an error. */
static void set_up_inih(void) {
    static char comment[] = ";#";
    ini_max_line = LINE;
    ini_allow_multiline = false;
    ini_inline_comment_prefixes = comment;
    ini_stop_on_first_error = true;
}

static dp_status parse_ini(source *s) {
    static const char bom[] = "\xef\xbb\xbf";
    dp_status status = dp_text_check(s->origin.name, s->text, s->length);
    if (status != DP_OK)
        return status;
    if (!strncmp(s->text, bom, 3))
        s->at = 3;
    set_up_inih();
    int code = ini_parse_stream(on_line, s, on_key, s);
    if (s->status != DP_OK)
        return s->status;
    if (code > 0)
        return dp_fail(DP_EUSAGE, "%s:%d: expected [section] or key = value",
                       s->origin.name, code);
    if (code < 0)
        return dp_fail(DP_EINTERNAL, "%s: no memory to parse it", s->origin.name);
    if (!s->any)
        return dp_fail(DP_EUSAGE,
                       "%s: is empty: a config needs at least optimizer.lr, "
                       "train.epochs, train.batch_size and the data; see configs/mlp.ini",
                       s->origin.name);
    return DP_OK;
}

/* text[0..n) without the blanks around it -> out. */
static void trim(const char *text, size_t n, char *out) {
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    size_t first = 0;
    while (first < n && isspace((unsigned char)text[first]))
        first++;
    memcpy(out, text + first, n - first);
    out[n - first] = '\0';
}

static dp_status apply_override(source *s, int index) {
    const char *text = s->origin.overrides[index];
    char where[DP_TEXT], section[DP_TEXT], name[DP_TEXT];
    snprintf(where, sizeof(where), "override '%.200s'", text);
    const char *equals = strchr(text, '=');
    if (!equals || equals - text >= DP_TEXT)
        return dp_fail(DP_EUSAGE,
                       "%s: expected section.key=value, such as optimizer.lr=0.1", where);
    for (const char *c = text; *c; c++)
        if (*c == '\n')
            return dp_fail(DP_EUSAGE, "override of %.*s: a value is one line",
                           (int)(equals - text), text);
    if (dp_text_check("override", text, strlen(text)) != DP_OK)
        return dp_fail(DP_EUSAGE, "override of %.*s: the value is not text in UTF-8",
                       (int)(equals - text), text);
    const char *dot = memchr(text, '.', (size_t)(equals - text));
    trim(text, dot ? (size_t)(dot - text) : 0, section);
    const char *first = dot ? dot + 1 : text;
    trim(first, (size_t)(equals - first), name);
    if (dot && dp_section_find(section) < 0)
        return dp_unknown_section(where, section);
    int k = dp_key_find(section, name);
    if (k < 0)
        return dp_unknown_key(where, section, name);
    char *value = dp_alloc(strlen(equals), 1);
    trim(equals + 1, strlen(equals + 1), value);
    dp_status status = dp_key_set(&dp_keys[k], where, value, &s->config);
    free(value);
    s->origin.set[k] = -1 - index;
    return status;
}

static dp_status parse(source *s, int noverrides, dp_config *out) {
    for (int k = 0; k < DP_KEYS; k++)
        if (dp_keys[k].default_text) {
            dp_status status =
                dp_key_set(&dp_keys[k], "default", dp_keys[k].default_text, &s->config);
            if (status != DP_OK)
                return status;
        }
    dp_status status = parse_ini(s);
    for (int i = 0; i < noverrides && status == DP_OK; i++)
        status = apply_override(s, i);
    if (status == DP_OK)
        status = dp_config_resolve(&s->origin, &s->config);
    if (status == DP_OK)
        *out = s->config;
    return status;
}

static dp_status parse_bytes(const char *name, const char *text, size_t length,
                             int noverrides, char *const *overrides, dp_config *out) {
    source *s = dp_alloc(1, sizeof(*s)); /* zeros: equal configs have equal bytes */
    s->text = text;
    s->length = length;
    s->origin.name = name;
    s->origin.overrides = overrides;
    dp_status status = parse(s, noverrides, out);
    free(s);
    return status;
}

dp_status dp_config_read(const char *path, int noverrides, char *const *overrides,
                         dp_config *out) {
    char *text;
    size_t length;
    dp_status status = dp_text_read(path, &text, &length);
    if (status != DP_OK)
        return status;
    status = parse_bytes(path, text, length, noverrides, overrides, out);
    free(text);
    return status;
}

dp_status dp_config_parse(const char *name, const char *text, int noverrides,
                          char *const *overrides, dp_config *out) {
    return parse_bytes(name, text, strlen(text), noverrides, overrides, out);
}
