/* A config as text, and what differs between two configs. */
#include "base/memory.h"
#include "keys.h"
#include <stdlib.h>
#include <string.h>

char *dp_config_text(const dp_config *config) {
    dp_strbuf b;
    FILE *stream = dp_strbuf_open(&b);
    for (int k = 0; k < DP_KEYS; k++) {
        char value[DP_TEXT];
        if (k == 0 || strcmp(dp_keys[k].section, dp_keys[k - 1].section))
            fprintf(stream, "%s[%s]\n", k ? "\n" : "", dp_keys[k].section);
        dp_key_text(&dp_keys[k], config, value);
        fprintf(stream, "%s =%s%s\n", dp_keys[k].name, *value ? " " : "", value);
    }
    dp_strbuf_close(&b);
    return b.text;
}

static bool may_change(const dp_key *key, const dp_config *old) {
    if (key->change == DP_CHANGE_UNLESS_SCHEDULED)
        return strcmp(old->optimizer.schedule, "cosine") != 0;
    return key->change == DP_CHANGE_FREE;
}

/* Writes the differences that matter and returns their number. */
static int differences(const dp_config *old, const dp_config *now, FILE *out) {
    int count = 0;
    for (int k = 0; k < DP_KEYS; k++) {
        char before[DP_TEXT], after[DP_TEXT];
        dp_key_text(&dp_keys[k], old, before);
        dp_key_text(&dp_keys[k], now, after);
        if (!strcmp(before, after) || may_change(&dp_keys[k], old))
            continue;
        if (out)
            fprintf(out, "%s%s.%s: %.80s -> %.80s", count ? ", " : "", dp_keys[k].section,
                    dp_keys[k].name, *before ? before : "(empty)",
                    *after ? after : "(empty)");
        count++;
    }
    return count;
}

dp_status dp_config_may_resume(const dp_config *old, const dp_config *now) {
    if (dp_config_same_run(old, now))
        return DP_OK;
    dp_strbuf list;
    differences(old, now, dp_strbuf_open(&list));
    dp_strbuf_close(&list);
    dp_status status =
        dp_fail(DP_EUSAGE,
                "%.200s holds a run of another config, so it can't be continued: %s; set "
                "run.overwrite=true to start anew there, or another run.output",
                now->run.output, list.text);
    free(list.text);
    return status;
}

bool dp_config_same_run(const dp_config *a, const dp_config *b) {
    return differences(a, b, NULL) == 0;
}
