/* Samples on the command line and on the terminal. */
#include "base/log.h"
#include "base/memory.h"
#include "cli.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A number of a sample at *p, which moves behind it. False: none is there. */
static bool read_number(const char **p, long *v) {
    char *end = NULL;
    errno = 0;
    *v = strtol(*p, &end, 10);
    bool is = end > *p && **p >= '0' && **p <= '9';
    *v = errno ? LONG_MAX : *v;
    *p = end;
    return is;
}

dp_status dp_cli_index(const char *text, const char *split, int samples, int32_t **rows,
                       int *n) {
    int room = 0;
    *rows = NULL;
    *n = 0;
    for (const char *p = text;; p++) {
        const char *word = p;
        long first = 0, last = 0;
        bool good = read_number(&p, &first);
        last = first;
        if (good && *p == '-') {
            p++;
            good = read_number(&p, &last) && last >= first;
        }
        if (!good || (*p && *p != ',')) {
            return dp_fail(DP_EUSAGE,
                           "--index %s: numbers with commas between them, as in 0,5,100 "
                           "or 0-9",
                           text);
        }
        if (last >= samples) {
            return dp_fail(DP_EUSAGE, "--index %.*s: the %s set has %d samples, 0 to %d",
                           (int)(p - word), word, split, samples, samples - 1);
        }
        for (; first <= last; first++) {
            if (*n == room) {
                room = 2 * room + 16;
                *rows = dp_realloc(*rows, (size_t)room, sizeof **rows);
            }
            (*rows)[(*n)++] = (int32_t)first;
        }
        if (!*p) {
            return DP_OK;
        }
    }
}

void dp_cli_draw(const dp_session *session, const dp_table *t, int32_t row) {
    static const char shades[] = " .:-=+*#%@";
    const dp_table *known = &session->data->train; /* rows of a text have no shape */
    int C = known->nshape > 2 ? known->shape[0] : 1;
    int H = known->shape[known->nshape - 2], W = known->shape[known->nshape - 1];
    double low = 0, high = 255;
    for (int f = 0; !t->bytes && f < t->features; f++) {
        double v = dp_table_value(t, row, f);
        low = f == 0 || v < low ? v : low;
        high = f == 0 || v > high ? v : high;
    }
    char *line = dp_alloc(2 * (size_t)W + 1, 1);
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            double v = 0;
            for (int c = 0; c < C; c++) {
                v += dp_table_value(t, row, (c * H + y) * W + x) / C;
            }
            double level = high > low ? (v - low) / (high - low) : 0;
            line[2 * x] = line[2 * x + 1] = shades[(int)(level * 9.999)];
        }
        line[2 * W] = '\0';
        dp_log("%s", line);
    }
    free(line);
}
