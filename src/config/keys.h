/** Inside of the config module: the table of keys, and values as text. */
#ifndef DP_CONFIG_KEYS_H
#define DP_CONFIG_KEYS_H

#include "config/config.h"

typedef struct dp_key dp_key;

/** A type of values; types.c has one row for each. */
typedef struct dp_key_type {
    const char *takes; /* what is allowed, in words; NULL: the key's choices */
    /** text -> field. Returns NULL, or what is wrong, the field unchanged: "" where text
     *  is not what the key takes, else words that follow "key = 'text'". */
    const char *(*read)(const dp_key *key, const char *text, void *field);
    /** field -> the shortest text that `read` turns into the same bits. */
    void (*print)(const void *field, char out[DP_TEXT]);
    bool ranged; /* the key's lo and hi bound it */
} dp_key_type;

extern const dp_key_type dp_type_text;
extern const dp_key_type dp_type_path;   /* text; a leading ~/ is replaced */
extern const dp_key_type dp_type_choice; /* text, one of the key's choices */
extern const dp_key_type
    dp_type_numbers; /* text: numbers with blanks or commas between */
extern const dp_key_type dp_type_indices; /* text: whole numbers with blanks between */
extern const dp_key_type dp_type_auto;    /* text: auto, or a whole number in the range */
extern const dp_key_type dp_type_bool;    /* bool */
extern const dp_key_type dp_type_whole;   /* int64_t in the range */
extern const dp_key_type dp_type_seed;    /* uint64_t */
extern const dp_key_type
    dp_type_real; /* double in the range, finite and not 0 as float */

/** A default that is another one with one of the optimizers. */
typedef struct dp_variant {
    const char *optimizer, *text;
} dp_variant;

enum { DP_VARIANTS = 2 };

/** What a resume allows. */
typedef enum dp_change {
    DP_FIXED,
    DP_FREE,
    DP_FREE_UNLESS_NEEDED, /* by the schedule, see dp_schedule_needs_end */
} dp_change;

struct dp_key {
    const char *section, *name;
    size_t offset, size; /* of the field in dp_config, bytes */
    const dp_key_type *type;
    const char *default_text; /* NULL: required */
    dp_change change;
    const char *help;    /* one sentence */
    const char *choices; /* "a | b | c" */
    double lo, hi;
    bool above, below;               /* lo, hi themselves are out */
    dp_variant variant[DP_VARIANTS]; /* up to the first without a name */
    const char *shown; /* help's word for a default that depends on others, or NULL */
};

typedef struct dp_section {
    const char *name, *help;
} dp_section;

/** Whether the schedule's course depends on train.epochs. */
bool dp_schedule_needs_end(const char *schedule);

/** The one table, a section's keys side by side, in the order of dp_sections. */
extern const dp_key dp_keys[];
extern const int dp_nkeys;
extern const dp_section dp_sections[];
extern const int dp_nsections;

/** NULL: there is none. */
const dp_key *dp_key_find(const char *section, const char *name);
const dp_section *dp_section_find(const char *name);

/** Reads `value` into the key's field; `where` begins a failure's message.
 *  Errors: DP_EUSAGE naming key, value and what is allowed (config unchanged) */
dp_status dp_key_set(const dp_key *key, const char *where, const char *value,
                     dp_config *config);

/** The field as the shortest text that dp_key_set reads back to the same bits. */
void dp_key_text(const dp_key *key, const dp_config *config, char out[DP_TEXT]);

/** What the key takes, in words: "whole number >= 1", "sgd | adam | adamw"; all_limits:
 *  even upper ones so large that few will meet them. */
void dp_key_takes(const dp_key *key, bool all_limits, char out[DP_TEXT]);

/** DP_EUSAGE: "where: section.key = 'value' why". */
dp_status dp_key_refuse(const dp_key *key, const char *where, const char *value,
                        const char *why);

/** DP_EUSAGE for an unknown section, or a key (name NULL: none) that is unknown in its
 *  section ("": in none), with the nearest names; `where` begins the message. */
dp_status dp_unknown(const char *where, const char *section, const char *name);

/** Whether an unknown word is nearer to a key than to a section. */
bool dp_looks_like_key(const char *word);

/** Where each key was set. */
typedef struct dp_origin {
    const char *name;       /* of the file */
    char *const *overrides; /* the command line's */
    int *set;               /* of each key: line > 0; -1 - override's index; 0: default */
} dp_origin;

/** "configs/mlp.ini:12" or "override 'optimizer.lr=0.1'" or the file's name alone. */
void dp_origin_text(const dp_origin *origin, int set, char out[DP_TEXT]);

/** Fills in the defaults that depend on other keys, then checks what is required and what
 *  must go together.  Errors: DP_EUSAGE */
dp_status dp_config_resolve(const dp_origin *origin, dp_config *config);

#endif
