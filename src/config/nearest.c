/* Unknown sections, keys and topics: messages with the nearest names. */
#include "keys.h"
#include <ctype.h>
#include <string.h>

/* Letters of a name that count; half edits that a key of another section, and edits that a
 * shortened name weighs; names in a message. */
enum { LONGEST = 40, ELSEWHERE = 5, SHORTENED = 3, MOST = 4 };

static int imin(int a, int b) {
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that lead from a to b,
 * letter case aside. Source: optimal string alignment (Damerau, CACM 1964). */
static int edits(const char *a, const char *b) {
    size_t na = strnlen(a, LONGEST), nb = strnlen(b, LONGEST);
    int d[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= na; i++) {
        for (size_t j = 0; j <= nb; j++) {
            d[i][j] = (int)(i + j);
            if (i == 0 || j == 0) {
                continue;
            }
            int x = tolower((unsigned char)a[i - 1]);
            int y = tolower((unsigned char)b[j - 1]);
            int best = imin(d[i - 1][j], d[i][j - 1]) + 1;
            best = imin(best, d[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2])) {
                best = imin(best, d[i - 2][j - 2] + 1);
            }
            d[i][j] = best;
        }
    }
    return d[na][nb];
}

/* Whether letters left out of `words` give `name`: lr of learning_rate, epochs of
 * num_epochs. A few letters are in many words: the first one must fit then. */
static bool shortens(const char *name, const char *words) {
    bool likely = *name == *words || strlen(name) > 3;
    for (; *name && *words; words++) {
        name += *name == *words;
    }
    return likely && *name == '\0';
}

static int distance(const char *given, const char *known) {
    int n = edits(given, known);
    return shortens(given, known) || shortens(known, given) ? imin(n, SHORTENED) : n;
}

/* The nearest names, several if they are equally near: 'run.name', 'loss.name'. */
typedef struct nearest {
    int distance, count;
    char text[256];
} nearest;

static void consider(nearest *best, int distance, const char *name) {
    if (best->count == 0 || distance < best->distance) {
        *best = (nearest){.distance = distance};
    }
    if (distance == best->distance && best->count < MOST) {
        size_t n = strlen(best->text);
        snprintf(best->text + n, sizeof best->text - n, "%s%s",
                 best->count++ > 0 ? ", " : "", name);
    }
}

static nearest nearest_section(const char *given) {
    nearest best = {0};
    for (int s = 0; s < dp_nsections; s++) {
        char name[64];
        snprintf(name, sizeof name, "[%s]", dp_sections[s].name);
        consider(&best, distance(given, dp_sections[s].name), name);
    }
    return best;
}

static nearest nearest_key(const char *section, const char *given) {
    nearest best = {0};
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        char name[64];
        bool elsewhere = strcmp(key->section, section) != 0;
        snprintf(name, sizeof name, "'%s.%s'", key->section, key->name);
        /* Of two that are equally near the one of this section. */
        consider(&best, 2 * distance(given, key->name) + (elsewhere ? ELSEWHERE : 0),
                 name);
    }
    return best;
}

dp_status dp_unknown(const char *where, const char *section, const char *name) {
    if (!name || (*section && !dp_section_find(section))) {
        return dp_fail(DP_EUSAGE,
                       "%s: unknown section [%.60s]; did you mean %s? "
                       "'trainer help' lists all",
                       where, section, nearest_section(section).text);
    }
    nearest near = nearest_key(section, name);
    if (*section == '\0') {
        return dp_fail(DP_EUSAGE, "%s: '%.60s' stands in no section; did you mean %s?",
                       where, name, near.text);
    }
    return dp_fail(DP_EUSAGE,
                   "%s: unknown key '%s.%.60s'; did you mean %s? "
                   "'trainer help %s' lists all",
                   where, section, name, near.text, section);
}

bool dp_looks_like_key(const char *word) {
    return nearest_key("", word).distance - ELSEWHERE <
           2 * nearest_section(word).distance;
}
