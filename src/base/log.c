/* Lines, warnings, the error line and the progress bar: all output of a process. */
#include "base/log.h"
#include "base/clock.h"
#include "base/utf8.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LONGEST = 8192 }; /* bytes of a line */

static bool writes = false;
static bool bar_shown = false;
static bool json = false;
static FILE *copy = NULL; /* run.log's file */

void dp_log_enable(bool enabled) {
    writes = enabled;
}

static void clear_bar(void) {
    if (bar_shown) {
        fputs("\r\033[K", stdout);
        bar_shown = false;
    }
}

/* One write, so that lines of several processes don't mix. */
static void put_line(FILE *file, const char *before, const char *line) {
    clear_bar();
    if (file == stderr) {
        fflush(stdout);
    }
    fprintf(file, "%s%s\n", before, line);
    fflush(file);
    if (copy) {
        fprintf(copy, "%s%s\n", before, line);
        fflush(copy);
    }
}

/* ---- JSON ---- */

/* A line in the making; memory may be what is missing, so it takes none. */
typedef struct object {
    char line[6 * LONGEST]; /* a control character takes five bytes */
    size_t used;
} object;

static void append(object *o, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t left = sizeof o->line - o->used;
    size_t n = (size_t)vsnprintf(o->line + o->used, left, format, args);
    o->used += n < left ? n : 0;
    va_end(args);
}

static void append_string(object *o, const char *text) {
    char printable[4 * LONGEST];
    dp_utf8_printable(text, printable, sizeof printable);
    append(o, "\"");
    for (const char *s = printable; *s; s++) {
        append(o, *s == '\t' ? "\\t" : *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    }
    append(o, "\"");
}

static void put_object(FILE *file, const char *event, int n, const dp_fact *facts) {
    object o;
    o.used = 0;
    append(&o, "{\"event\": ");
    append_string(&o, event);
    for (int k = 0; k < n; k++) {
        append(&o, ", \"%s\": ", facts[k].name);
        if (facts[k].text) {
            append_string(&o, facts[k].text);
        } else {
            append(&o, isfinite(facts[k].value) ? "%.17g" : "null", facts[k].value);
        }
    }
    append(&o, "}");
    put_line(file, "", o.line);
}

void dp_log_json(void) {
    json = true;
}

bool dp_log_is_json(void) {
    return json;
}

void dp_log_event(const char *event, int n, const dp_fact *facts) {
    if (writes && json) {
        put_object(stdout, event, n, facts);
    }
}

/* ---- lines ---- */

/* What a line is, for people and in JSON. */
typedef struct kind {
    const char *before, *event;
} kind;

/* A line of text that is safe for terminals, whatever names and values are in it. */
static void put_text(FILE *file, kind k, const char *text) {
    if (json) {
        put_object(file, k.event, 1, &(dp_fact){"text", text, 0});
    } else {
        char printable[4 * LONGEST];
        dp_utf8_printable(text, printable, sizeof printable);
        put_line(file, k.before, printable);
    }
}

bool dp_log_open(const char *path, bool anew) {
    copy = fopen(path, anew ? "we" : "ae");
    return copy != NULL;
}

static void put_format(FILE *file, kind k, const char *format, va_list args) {
    if (writes) {
        char text[LONGEST];
        vsnprintf(text, sizeof text, format, args);
        put_text(file, k, text);
    }
}

void dp_log(const char *format, ...) {
    va_list args;
    va_start(args, format);
    put_format(stdout, (kind){"", "message"}, format, args);
    va_end(args);
}

void dp_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    put_format(stderr, (kind){"warning: ", "warning"}, format, args);
    va_end(args);
}

void dp_error_line(const char *message) {
    put_text(stderr, (kind){"trainer: ", "error"}, message);
}

/* Whether a person watches stdout. mpirun gives each rank a pseudo-terminal, whatever its
 * own stdout is, so under it the parent's is asked. */
static bool on_terminal(void) {
    if (!isatty(STDOUT_FILENO)) {
        return false;
    }
    if (!getenv("PMIX_RANK")) {
        return true;
    }
    char link[64], target[64];
    snprintf(link, sizeof link, "/proc/%d/fd/1", (int)getppid());
    ssize_t n = readlink(link, target, sizeof target);
    return n > 8 &&
           (memcmp(target, "/dev/pts", 8) == 0 || memcmp(target, "/dev/tty", 8) == 0);
}

static bool is_watched(void) {
    static int terminal = -1; /* not known yet */
    if (writes && terminal < 0) {
        terminal = on_terminal();
    }
    return writes && terminal && !json;
}

bool dp_log_passes_by(void) {
    return is_watched() && !copy;
}

bool dp_progress_due(void) {
    static double last = 0;
    double now = dp_clock();
    if (!is_watched() || now - last < 0.1) {
        return false;
    }
    last = now;
    return true;
}

/* Asked each time: a terminal may be resized. Under mpirun ours has no size. */
static int columns(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : 80;
}

void dp_progress(const char *what, long done, long total, const char *more) {
    enum { WIDTH = 30 };
    static const char full[] = "##############################";
    static const char empty[] = "..............................";
    char line[256];
    int n = total > 0 ? (int)(done * WIDTH / total) : WIDTH;
    snprintf(line, sizeof line, "%s [%.*s%s] %3ld%%  %s", what, n, full, empty + n,
             total > 0 ? done * 100 / total : 100, more);
    printf("\r%.*s\033[K", columns() - 1, line);
    fflush(stdout);
    bar_shown = true;
}
