/* INI text and command-line overrides -> a validated config, through inih. */
#include "base/memory.h"
#include "base/open.h"
#include "base/utf8.h"
#include "keys.h"
#include <ctype.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a config file; of a line that inih sees, with its end. */
enum { LARGEST = 1 << 20, LINE = 4096 };

/* The text on its way through inih, which pulls lines and pushes keys. */
typedef struct parser {
    const char *rest; /* of the text */
    int line;         /* the one pulled last, from 1 */
    dp_origin origin;
    dp_config config;
    dp_status status; /* inih itself knows only that a call failed */
} parser;

/* UTF-8 without control characters, but for tabs and line ends. */
static dp_status check_text(const char *where, const char *text, size_t length) {
    int line = 1;
    size_t n = 0;
    for (const char *c = text; c < text + length; c += n) {
        unsigned char byte = (unsigned char)*c;
        n = dp_utf8(c, (size_t)(text + length - c));
        bool end = byte == '\n' || (byte == '\r' && c[1] == '\n');
        if (n == 0 || (iscntrl(byte) && byte != '\t' && !end)) {
            return dp_fail(DP_EUSAGE,
                           "%s: not text (byte 0x%02x on line %d): a config is an INI "
                           "file in UTF-8, such as configs/mlp.ini",
                           where, byte, line);
        }
        line += byte == '\n';
    }
    return DP_OK;
}

/* from: as in dp_origin.set. */
static dp_status set_key(parser *p, int from, const char *section, const char *name,
                         const char *value) {
    char where[DP_TEXT];
    dp_origin_text(&p->origin, from, where);
    const dp_key *key = dp_key_find(section, name);
    if (!key) {
        return dp_unknown(where, section, name);
    }
    int *set = &p->origin.set[key - dp_keys];
    if (from > 0 && *set > 0) {
        return dp_fail(DP_EUSAGE, "%s: duplicate key '%s.%s', already set on line %d",
                       where, section, name, *set);
    }
    *set = from;
    return dp_key_set(key, where, value, &p->config);
}

/* ---- the text ---- */

/* inih shortens long lines and section names, ignores what follows a ']' and makes no
 * call for a section without keys, so lines are checked before it sees them. */
static dp_status check_line(const parser *p, const char *line, int length) {
    char where[DP_TEXT], section[LINE];
    dp_origin_text(&p->origin, p->line, where);
    if (length > LINE - 2) {
        return dp_fail(DP_EUSAGE, "%s: the line is %d bytes long: at most %d are read",
                       where, length, LINE - 2);
    }
    const char *first = line + strspn(line, " \t");
    if (*first != '[') {
        return DP_OK;
    }
    const char *end = first + strcspn(first, "]\n");
    if (*end != ']') {
        return dp_fail(DP_EUSAGE, "%s: a section must end in ']', as in [optimizer]",
                       where);
    }
    const char *rest = end + 1 + strspn(end + 1, " \t\r");
    if (!strchr(";#\n", *rest)) { /* nor the text's end */
        return dp_fail(DP_EUSAGE,
                       "%s: '%.*s' after a section's ']': put it on a line of its own",
                       where, (int)strcspn(rest, "\r\n"), rest);
    }
    snprintf(section, sizeof section, "%.*s", (int)(end - first - 1), first + 1);
    return dp_section_find(section) ? DP_OK : dp_unknown(where, section, NULL);
}

/* Hands inih one whole line a call. */
static char *next_line(char *out, int size, void *user) {
    parser *p = user;
    if (*p->rest == '\0') {
        return NULL;
    }
    int length = (int)strcspn(p->rest, "\n");
    p->line++;
    p->status = check_line(p, p->rest, length);
    if (p->status != DP_OK) {
        return NULL;
    }
    snprintf(out, (size_t)size, "%.*s\n", length, p->rest);
    p->rest += length + (p->rest[length] == '\n');
    return out;
}

static int on_key(void *user, const char *section, const char *name, const char *value) {
    parser *p = user;
    p->status = set_key(p, p->line, section, name, value);
    return p->status == DP_OK;
}

/* The library's defaults cut lines at 200 bytes, join indented keys to the line before,
 * and go on after an error. */
static dp_status parse_ini(parser *p) {
    static char comment[] = ";#";
    ini_max_line = LINE;
    ini_allow_multiline = false;
    ini_inline_comment_prefixes = comment;
    ini_stop_on_first_error = true;
    int line = ini_parse_stream(next_line, p, on_key, p);
    DP_TRY(p->status);
    if (line > 0) {
        return dp_fail(DP_EUSAGE, "%s:%d: expected [section] or key = value",
                       p->origin.name, line);
    }
    return line < 0 ? dp_fail(DP_EINTERNAL, "%s: no memory to parse it", p->origin.name)
                    : DP_OK;
}

/* ---- overrides ---- */

/* Cuts the blanks off around text. */
static char *trim(char *text) {
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) {
        *--end = '\0';
    }
    return text + strspn(text, " \t\r\n");
}

/* text: a copy of override `index`, which is cut up. */
static dp_status parse_override(parser *p, int index, char *text) {
    char where[DP_TEXT];
    dp_origin_text(&p->origin, -1 - index, where);
    DP_TRY(check_text(where, text, strlen(text)));
    char *value = strchr(text, '=');
    if (!value) {
        return dp_fail(DP_EUSAGE,
                       "%s: expected section.key=value, such as optimizer.lr=0.1", where);
    }
    *value++ = '\0';
    char *name = strchr(text, '.');
    if (!name) {
        return set_key(p, -1 - index, "", trim(text), trim(value));
    }
    *name++ = '\0';
    return set_key(p, -1 - index, trim(text), trim(name), trim(value));
}

/* ---- all together ---- */

static dp_status parse(parser *p, size_t length, int noverrides) {
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        if (key->default_text) {
            DP_TRY(dp_key_set(key, "default", key->default_text, &p->config));
        }
    }
    DP_TRY(check_text(p->origin.name, p->rest, length));
    if (strncmp(p->rest, "\xef\xbb\xbf", 3) == 0) {
        p->rest += 3; /* a byte order mark */
    }
    DP_TRY(parse_ini(p));
    for (int i = 0; i < noverrides; i++) {
        char *text = dp_strdup(p->origin.overrides[i]);
        dp_status status = parse_override(p, i, text);
        free(text);
        DP_TRY(status);
    }
    return dp_config_resolve(&p->origin, &p->config);
}

static dp_status parse_bytes(const char *name, const char *text, size_t length,
                             int noverrides, char *const *overrides, dp_config *out) {
    parser *p = dp_alloc(1, sizeof *p); /* zeros: equal configs have equal bytes */
    p->rest = text;
    p->origin = (dp_origin){name, overrides, dp_alloc((size_t)dp_nkeys, sizeof(int))};
    dp_status status = parse(p, length, noverrides);
    if (status == DP_OK) {
        *out = p->config;
    }
    free(p->origin.set);
    free(p);
    return status;
}

dp_status dp_config_read(const char *path, int noverrides, char *const *overrides,
                         dp_config *out) {
    char *text;
    size_t length;
    DP_TRY(dp_open_read(path, DP_EUSAGE,
                        "give the path of an INI file, such as configs/mlp.ini", LARGEST,
                        &text, &length));
    dp_status status = parse_bytes(path, text, length, noverrides, overrides, out);
    free(text);
    return status;
}

dp_status dp_config_parse(const char *name, const char *text, int noverrides,
                          char *const *overrides, dp_config *out) {
    return parse_bytes(name, text, strlen(text), noverrides, overrides, out);
}
