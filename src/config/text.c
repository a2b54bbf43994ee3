/* A config as text, and what differs between two configs. */
#include "base/memory.h"
#include "keys.h"
#include <stdlib.h>
#include <string.h>

char *dp_config_text(const dp_config *config) {
    dp_strbuf b;
    FILE *stream = dp_strbuf_open(&b);
    const char *section = NULL;
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        char value[DP_TEXT];
        if (!section || strcmp(key->section, section) != 0) {
            fprintf(stream, "%s[%s]\n", section ? "\n" : "", key->section);
            section = key->section;
        }
        dp_key_text(key, config, value);
        fprintf(stream, "%s =%s%s\n", key->name, *value ? " " : "", value);
    }
    dp_strbuf_close(&b);
    return b.text;
}

bool dp_schedule_needs_end(const char *schedule) {
    return strcmp(schedule, "linear") == 0 || strcmp(schedule, "polynomial") == 0 ||
           strcmp(schedule, "cosine") == 0 || strcmp(schedule, "onecycle") == 0;
}

static bool may_change(const dp_key *key, const dp_config *old) {
    if (key->change == DP_FREE_UNLESS_NEEDED) {
        return !dp_schedule_needs_end(old->optimizer.schedule);
    }
    return key->change == DP_FREE;
}

/* The first key from `key` on that differs and may not, or NULL. */
static const dp_key *next_change(const dp_key *key, const dp_config *old,
                                 const dp_config *now) {
    for (; key < dp_keys + dp_nkeys; key++) {
        const char *before = (const char *)old + key->offset;
        const char *after = (const char *)now + key->offset;
        if (memcmp(before, after, key->size) != 0 && !may_change(key, old)) {
            return key;
        }
    }
    return NULL;
}

bool dp_config_same_run(const dp_config *a, const dp_config *b) {
    return !next_change(dp_keys, a, b);
}

dp_status dp_config_may_resume(const dp_config *old, const dp_config *now) {
    const dp_key *key = next_change(dp_keys, old, now);
    if (!key) {
        return DP_OK;
    }
    dp_strbuf list;
    FILE *stream = dp_strbuf_open(&list);
    for (; key; key = next_change(key + 1, old, now)) {
        char before[DP_TEXT], after[DP_TEXT];
        dp_key_text(key, old, before);
        dp_key_text(key, now, after);
        fprintf(stream, "%s.%s: %.80s -> %.80s; ", key->section, key->name,
                *before ? before : "(empty)", *after ? after : "(empty)");
    }
    dp_strbuf_close(&list);
    dp_status status =
        dp_fail(DP_EUSAGE,
                "%.200s holds a run of another config, so it can't be continued: %sset "
                "run.overwrite=true to start anew there, or another run.output",
                now->run.output, list.text);
    free(list.text);
    return status;
}
