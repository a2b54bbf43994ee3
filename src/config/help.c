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
    return key->shown ? key->shown : key->default_text ? key->default_text : "required";
}

static void print_section(FILE *out, int s) {
    char takes[DP_TEXT];
    fprintf(out, "[%s]  %s\n", dp_sections[s].name, dp_sections[s].help);
    for (int k = 0; k < DP_KEYS; k++) {
        const dp_key *key = &dp_keys[k];
        if (strcmp(key->section, dp_sections[s].name))
            continue;
        dp_key_takes(key, false, takes);
        fprintf(out, "%*s%-*s%-*s", NAME_AT, "", DEFAULT_AT - NAME_AT, key->name,
                TEXT_AT - DEFAULT_AT, default_text(key));
        wrap(out, TEXT_AT, takes);
        fprintf(out, "%*s", TEXT_AT, "");
        wrap(out, TEXT_AT, key->help);
    }
}

static void print_columns(FILE *out) {
    fprintf(out, "%*s%-*s%-*s%s\n", NAME_AT, "", DEFAULT_AT - NAME_AT, "key",
            TEXT_AT - DEFAULT_AT, "default", "type and range");
}

static const char *resume_rule(const dp_key *key) {
    switch (key->change) {
    case DP_CHANGE_FREE:
        return "may change when a run is continued";
    case DP_CHANGE_UNLESS_SCHEDULED:
        return "may change when a run is continued, unless optimizer.schedule = cosine";
    case DP_CHANGE_NEVER:
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
    print_field(out, "resume", resume_rule(key));
    snprintf(example, sizeof(example),
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
    for (int s = 0; s < DP_SECTIONS; s++) {
        fputc('\n', out);
        print_section(out, s);
    }
}

dp_status dp_config_help(const char *topic, FILE *out) {
    if (!topic) {
        print_all(out);
        return DP_OK;
    }
    int s = dp_section_find(topic);
    if (s >= 0) {
        print_columns(out);
        print_section(out, s);
        return DP_OK;
    }
    for (int k = 0; k < DP_KEYS; k++) {
        size_t n = strlen(dp_keys[k].section);
        if (!strncmp(topic, dp_keys[k].section, n) && topic[n] == '.' &&
            !strcmp(topic + n + 1, dp_keys[k].name)) {
            print_key(out, &dp_keys[k]);
            return DP_OK;
        }
    }
    return dp_unknown_topic(topic);
}
