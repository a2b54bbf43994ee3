/** Inside of the config module: the table of keys, and values as text. */
#ifndef DP_CONFIG_KEYS_H
#define DP_CONFIG_KEYS_H

#include "config/config.h"

typedef enum dp_key_type {
    DP_KIND_TEXT,
    DP_KIND_PATH,   /* text; a leading ~/ is replaced */
    DP_KIND_CHOICE, /* text, one of `choices` */
    DP_KIND_BOOL,   /* bool */
    DP_KIND_INT,    /* int64_t in the range */
    DP_KIND_REAL, /* double in the range, finite as a float too, and 0 only if it says so */
    DP_KIND_SEED,    /* uint64_t */
    DP_KIND_NUMBERS, /* text: one or more numbers, separated by blanks or commas */
    DP_KIND_AUTO,    /* text: auto, or a whole number in the range */
} dp_key_type;

/** What a resume allows. */
typedef enum dp_change {
    DP_CHANGE_NEVER,
    DP_CHANGE_FREE,
    DP_CHANGE_UNLESS_SCHEDULED, /* free as long as the schedule does not look at it */
} dp_change;

typedef struct dp_key {
    const char *section, *name;
    size_t offset, size; /* of the field in dp_config, bytes */
    dp_key_type kind;
    const char *default_text; /* text of the default; NULL: required */
    const char *help;         /* one sentence */
    dp_change change;
    const char *choices; /* kind choice: "a|b|c" */
    double lo, hi;       /* kinds int, real, auto */
    bool above, below;   /* lo, hi themselves are out */
    const char *shown;   /* help's word for a default that depends on others, or NULL */
} dp_key;

typedef struct dp_section {
    const char *name, *help;
} dp_section;

enum { DP_KEYS = 58, DP_SECTIONS = 9 };

/** The one table, a section's keys side by side, in the order of dp_sections. */
extern const dp_key dp_keys[]; /* DP_KEYS rows */
extern const dp_section dp_sections[DP_SECTIONS];

/** The index in dp_keys, or -1. */
int dp_key_find(const char *section, const char *name);

/** The index in dp_sections, or -1. */
int dp_section_find(const char *name);

/** Reads `value` into the key's field; `where` begins a failure's message.
 *  Errors: DP_EUSAGE naming key, value and what is allowed (config unchanged) */
dp_status dp_key_set(const dp_key *key, const char *where, const char *value,
                     dp_config *config);

/** The field as the shortest text that dp_key_set reads back to the same bits. */
void dp_key_text(const dp_key *key, const dp_config *config, char out[DP_TEXT]);

/** What the key takes, in words: "whole number >= 1", "sgd | adam | adamw"; whole: with
 *  limits so large that few will meet them. */
void dp_key_takes(const dp_key *key, bool whole, char out[DP_TEXT]);

/** Failures that suggest the nearest name; `where` begins the message. All DP_EUSAGE. */
dp_status dp_unknown_section(const char *where, const char *section);
dp_status dp_unknown_key(const char *where, const char *section, const char *name);
dp_status dp_unknown_topic(const char *topic);

/** DP_EUSAGE unless text[0..length) is UTF-8 without control characters; blanks, tabs and
 *  line ends may be in it. */
dp_status dp_text_check(const char *where, const char *text, size_t length);

/** The whole file, with an end added. Owner: the caller frees *out.
 *  Errors: DP_EUSAGE for a file that cannot be a config */
dp_status dp_text_read(const char *path, char **out, size_t *length);

/** Where each key was set. */
typedef struct dp_origin {
    const char *name;       /* of the file */
    char *const *overrides; /* the command line's */
    int set[DP_KEYS];       /* line > 0; -1 - override's index; 0: default */
} dp_origin;

/** "configs/mlp.ini:12" or "override 'optimizer.lr=0.1'" or the file's name alone. */
void dp_origin_text(const dp_origin *origin, int key, char out[DP_TEXT]);

/** Fills in the defaults that depend on other keys, then checks what is required and what
 *  must go together.  Errors: DP_EUSAGE */
dp_status dp_config_resolve(const dp_origin *origin, dp_config *config);

#endif
