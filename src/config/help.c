/* trainer help, from the table of keys. */
#include "keys.h"
#include <string.h>

enum { WIDTH = 90, NAME_AT = 2, DEFAULT_AT = 19, TEXT_AT = 34 }; /* columns */

/* Prints words from column `at` on, further lines indented to `at`; ends the line. */
static void wrap(FILE *out, int at, const char *text) {
    int column = at;
    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column > at && column + 1 + word > WIDTH) {
            fprintf(out, "\n%*s", at, "");
            column = at;
        }
        column += fprintf(out, "%s%.*s", column > at ? " " : "", word, text);
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static const char *default_text(const dp_key *key) {
    if (key->shown || !key->default_text) {
        return key->shown ? key->shown : "required";
    }
    return *key->default_text ? key->default_text : "none";
}

/* "adagrad: 1e-10, lamb: 1e-06", behind `words`; nothing where all have one default. */
static void print_variants(FILE *out, int at, const char *words, const dp_key *key) {
    char text[DP_TEXT];
    int n = snprintf(text, sizeof text, "%s", words);
    for (int k = 0; k < DP_VARIANTS && key->variant[k].optimizer; k++) {
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %s: %s", k > 0 ? "," : "",
                      key->variant[k].optimizer, key->variant[k].text);
    }
    if (key->variant[0].optimizer) {
        fprintf(out, "%*s", at, "");
        wrap(out, at, text);
    }
}

static void print_section(FILE *out, const dp_section *section) {
    char takes[DP_TEXT];
    fprintf(out, "[%s]  %s\n", section->name, section->help);
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        if (strcmp(key->section, section->name) != 0) {
            continue;
        }
        dp_key_takes(key, false, takes);
        fprintf(out, "%*s%-*s%-*s", NAME_AT, "", DEFAULT_AT - NAME_AT, key->name,
                TEXT_AT - DEFAULT_AT, default_text(key));
        wrap(out, TEXT_AT, takes);
        fprintf(out, "%*s", TEXT_AT, "");
        wrap(out, TEXT_AT, key->help);
        print_variants(out, TEXT_AT, "Default with", key);
    }
}

static void print_columns(FILE *out) {
    fprintf(out, "%*s%-*s%-*s%s\n", NAME_AT, "", DEFAULT_AT - NAME_AT, "key",
            TEXT_AT - DEFAULT_AT, "default", "type and range");
}

static const char *resume_rule(const dp_key *key) {
    switch (key->change) {
    case DP_FREE:
        return "may change when a run is continued";
    case DP_FREE_UNLESS_NEEDED:
        return "may change when a run is continued, unless optimizer.schedule = linear, "
               "polynomial, cosine or onecycle";
    case DP_FIXED:
        break;
    }
    return "stays as it is when a run is continued";
}

static void print_field(FILE *out, const char *label, const char *text) {
    fprintf(out, "  %-9s", label);
    wrap(out, 11, text);
}

static void print_key(FILE *out, const dp_key *key) {
    char takes[DP_TEXT], example[DP_TEXT];
    dp_key_takes(key, true, takes);
    fprintf(out, "%s.%s\n  ", key->section, key->name);
    wrap(out, 2, key->help);
    fputc('\n', out);
    print_field(out, "type", takes);
    print_field(out, "default", default_text(key));
    print_variants(out, 11, "with", key);
    print_field(out, "resume", resume_rule(key));
    snprintf(example, sizeof example,
             "'%s = ...' under [%s], or %s.%s=... after the CONFIG", key->name,
             key->section, key->section, key->name);
    print_field(out, "set by", example);
}

static void print_all(FILE *out) {
    fprintf(
        out,
        "A config is an INI file: [section], then key = value; ';' and '#' begin "
        "comments.\n"
        "section.key=value on the command line wins over the file. Paths are relative to "
        "the\n"
        "current folder; ~/ is the home folder. Required: optimizer.lr, train.epochs,\n"
        "train.batch_size and the data.\n\n");
    print_columns(out);
    for (int s = 0; s < dp_nsections; s++) {
        fputc('\n', out);
        print_section(out, &dp_sections[s]);
    }
}

dp_status dp_config_help(const char *topic, FILE *out) {
    if (!topic) {
        print_all(out);
        return DP_OK;
    }
    static const char where[] = "trainer help";
    const char *dot = strchr(topic, '.');
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(topic, "."), topic);
    if (dot) {
        const dp_key *key = dp_key_find(name, dot + 1);
        if (!key) {
            return dp_unknown(where, name, dot + 1);
        }
        print_key(out, key);
        return DP_OK;
    }
    const dp_section *section = dp_section_find(name);
    if (!section) {
        return dp_unknown(where, dp_looks_like_key(name) ? "" : name, name);
    }
    print_columns(out);
    print_section(out, section);
    return DP_OK;
}
