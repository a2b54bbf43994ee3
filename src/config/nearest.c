/* Unknown sections, keys and topics: messages with the nearest name. */
#include "keys.h"
#include <ctype.h>
#include <string.h>

enum { LONGEST = 40, FAR = 1000 };

static int imin(int a, int b) {
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that lead from a to b,
 * letter case aside. Source: optimal string alignment (Damerau, CACM 1964). */
static int distance(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST)
        return FAR;
    int d[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= na; i++)
        d[i][0] = (int)i;
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = (int)j;
    for (size_t i = 1; i <= na; i++)
        for (size_t j = 1; j <= nb; j++) {
            int x = tolower((unsigned char)a[i - 1]),
                y = tolower((unsigned char)b[j - 1]);
            int best = imin(d[i - 1][j], d[i][j - 1]) + 1;
            best = imin(best, d[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                best = imin(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    return d[na][nb];
}

/* Whether `name` is the initials of `words`: lr of learning_rate. */
static bool initials(const char *name, const char *words) {
    size_t n = 0;
    for (const char *w = words; *w; w++)
        if ((w == words || w[-1] == '_') && name[n++] != *w)
            return false;
    return n > 1 && name[n] == '\0';
}

/* How far a known name is from the given one: up to `near_enough` it is a good guess. */
static int name_distance(const char *given, const char *known) {
    int far = distance(given, known);
    if (initials(known, given) || initials(given, known))
        return 1;
    if (strlen(given) > 3 && strlen(known) > 3 &&
        (strstr(known, given) || strstr(given, known)))
        return imin(far, 2);
    return far;
}

static int near_enough(const char *given) {
    int length = (int)strlen(given);
    return length < 4 ? 1 : length < 9 ? 2 : length / 3;
}

static int nearest_section(const char *given, int *best) {
    int at = 0;
    *best = FAR + 1;
    for (int s = 0; s < DP_SECTIONS; s++) {
        int far = name_distance(given, dp_sections[s].name);
        if (far < *best) {
            *best = far;
            at = s;
        }
    }
    return at;
}

/* The nearest key in a section, or in all (section NULL). */
static int nearest_key(const char *section, const char *given, int *best) {
    int at = 0;
    *best = FAR + 1;
    for (int k = 0; k < DP_KEYS; k++) {
        if (section && strcmp(section, dp_keys[k].section))
            continue;
        int far = name_distance(given, dp_keys[k].name);
        if (far < *best) {
            *best = far;
            at = k;
        }
    }
    return at;
}

dp_status dp_unknown_section(const char *where, const char *section) {
    int far, s = nearest_section(section, &far);
    if (far <= near_enough(section))
        return dp_fail(DP_EUSAGE, "%s: unknown section [%.60s]; did you mean [%s]?",
                       where, section, dp_sections[s].name);
    return dp_fail(
        DP_EUSAGE,
        "%s: unknown section [%.60s]; the nearest is [%s], and 'trainer help' lists all",
        where, section, dp_sections[s].name);
}

/* "[run], [loss], [optimizer]": where a key of this name lives. */
static int sections_with(const char *name, char *out, size_t size) {
    int count = 0;
    size_t n = 0;
    for (int k = 0; k < DP_KEYS; k++)
        if (!strcmp(dp_keys[k].name, name))
            n += (size_t)snprintf(out + n, size - n, "%s[%s]", count++ ? ", " : "",
                                  dp_keys[k].section);
    return count;
}

dp_status dp_unknown_key(const char *where, const char *section, const char *name) {
    char sections[128];
    int far, elsewhere;
    if (sections_with(name, sections, sizeof(sections))) {
        if (*section == '\0')
            return dp_fail(DP_EUSAGE, "%s: '%s' stands in no section; it belongs to %s",
                           where, name, sections);
        return dp_fail(DP_EUSAGE, "%s: unknown key '%s.%s'; '%s' belongs to %s", where,
                       section, name, name, sections);
    }
    int any = nearest_key(NULL, name, &elsewhere);
    if (*section == '\0')
        return dp_fail(DP_EUSAGE,
                       "%s: '%.60s' stands in no section; the nearest key is '%s.%s'",
                       where, name, dp_keys[any].section, dp_keys[any].name);
    int own = nearest_key(section, name, &far);
    if (far <= near_enough(name) && far <= elsewhere)
        return dp_fail(DP_EUSAGE, "%s: unknown key '%s.%.60s'; did you mean '%s'?", where,
                       section, name, dp_keys[own].name);
    if (elsewhere <= near_enough(name))
        return dp_fail(DP_EUSAGE, "%s: unknown key '%s.%.60s'; did you mean '%s.%s'?",
                       where, section, name, dp_keys[any].section, dp_keys[any].name);
    return dp_fail(DP_EUSAGE,
                   "%s: unknown key '%s.%.60s'; the nearest is '%s', and 'trainer help "
                   "%s' lists all",
                   where, section, name, dp_keys[own].name, section);
}

dp_status dp_unknown_topic(const char *topic) {
    const char *dot = strchr(topic, '.');
    const char *where = "trainer help";
    char section[64];
    if (!dot) {
        int as_section, as_key;
        int s = nearest_section(topic, &as_section),
            k = nearest_key(NULL, topic, &as_key);
        if (as_key < as_section)
            return dp_fail(DP_EUSAGE, "%s: no section '%.60s'; did you mean '%s.%s'?",
                           where, topic, dp_keys[k].section, dp_keys[k].name);
        return dp_fail(DP_EUSAGE, "%s: no section '%.60s'; did you mean '%s'?", where,
                       topic, dp_sections[s].name);
    }
    snprintf(section, sizeof(section), "%.*s", (int)(dot - topic), topic);
    if (dp_section_find(section) < 0)
        return dp_unknown_section(where, section);
    return dp_unknown_key(where, section, dot + 1);
}
