/* Lines, warnings, the error line and the progress bar: all output of a process. */
#include "base/log.h"
#include "base/clock.h"
#include "base/utf8.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LONGEST = 8192 }; /* bytes of a line */

static bool writes = false;
static bool bar_shown = false;
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

/* A line of text that is safe for terminals, whatever names and values are in it. One
 * write, so that lines of several processes don't mix. */
static void put_line(FILE *file, const char *before, const char *text) {
    char line[4 * LONGEST];
    dp_utf8_printable(text, line, sizeof line);
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

bool dp_log_open(const char *path, bool anew) {
    copy = fopen(path, anew ? "we" : "ae");
    return copy != NULL;
}

static void put_format(FILE *file, const char *before, const char *format, va_list args) {
    if (writes) {
        char text[LONGEST];
        vsnprintf(text, sizeof text, format, args);
        put_line(file, before, text);
    }
}

void dp_log(const char *format, ...) {
    va_list args;
    va_start(args, format);
    put_format(stdout, "", format, args);
    va_end(args);
}

void dp_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    put_format(stderr, "warning: ", format, args);
    va_end(args);
}

void dp_error_line(const char *message) {
    put_line(stderr, "trainer: ", message);
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
    return writes && terminal;
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
