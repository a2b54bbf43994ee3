/* Questions to the child process that reads a file. A child that crashes is seen by the
 * socket's end; one that spins by the CPU time that it takes without an answer, which
 * waiting for a slow disk or for a core doesn't add to. Nothing that it says is believed
 * without a look at its length. */
#include "reader.h"
#include "base/memory.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double PATIENCE = 1;  /* seconds of CPU time for anything small */
static const double SLOWEST = 5e7; /* bytes a second, of data */

struct dp_h5_reader {
    pid_t pid;      /* 0: it is gone, or out of step, and nothing more is asked */
    dp_status lost; /* why, for all later questions */
    char why[1024];
    int fd;
    double allowed; /* the child's CPU time at which it has spun, seconds */
};

void dp_h5_tell(int fd, const void *bytes, size_t n) {
    for (const char *p = bytes; n > 0;) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
        if (done < 0 && errno != EINTR) {
            _exit(0); /* nobody listens any more */
        }
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
}

void dp_h5_announce(const dp_h5 *f, uint64_t bytes) {
    if (f->channel >= 0) {
        dp_h5_reply r = {.kind = DP_H5_WORK, .size = bytes};
        dp_h5_tell(f->channel, &r, sizeof r);
    }
}

static double cpu_time(pid_t pid) {
    clockid_t clock;
    struct timespec t = {0};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) {
        return 0; /* it has ended */
    }
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void allow(dp_h5_reader *r, uint64_t bytes) {
    r->allowed = cpu_time(r->pid) + PATIENCE + (double)bytes / SLOWEST;
}

/* Ends the child. Returns how it had ended before, as waitpid does; 0: not at all. */
static int stop(dp_h5_reader *r) {
    const struct timespec moment = {.tv_nsec = 1000000};
    int how = 0;
    pid_t done = 0;
    if (r->pid == 0) {
        return 0;
    }
    /* The socket closes a little before a crashed process can be waited for. */
    for (int i = 0; i < 200 && (done = waitpid(r->pid, &how, WNOHANG)) == 0; i++) {
        nanosleep(&moment, NULL);
    }
    if (done == 0) {
        kill(r->pid, SIGKILL);
        while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    r->pid = 0;
    return done > 0 ? how : 0;
}

static void leave(dp_h5 *f) {
    dp_h5_reader *r = f->reader;
    if (r != NULL) {
        shutdown(r->fd, SHUT_RDWR); /* it leaves where it waits for a dp_h5_question */
        close(r->fd);
        (void)stop(r);
        free(r);
    }
    f->reader = NULL;
}

/* Why there is no answer. What the system did to the child is no word against the
 * file. */
static dp_status blame(dp_h5 *f, const char *object, bool spins) {
    char how[96] = "did not come back";
    int end = spins ? 0 : stop(f->reader);
    if (WIFEXITED(end) && WEXITSTATUS(end) == DP_H5_STARVED) {
        return dp_h5_no_memory(f, object);
    }
    if ((WIFSIGNALED(end) && WTERMSIG(end) == SIGKILL) ||
        (WIFEXITED(end) && WEXITSTATUS(end) != 0)) {
        return dp_fail(DP_EINTERNAL,
                       "%s: the process that read it %s: is there enough memory?",
                       f->path, WIFSIGNALED(end) ? "was killed" : "gave up");
    }
    if (WIFSIGNALED(end)) {
        snprintf(how, sizeof how, "crashed (%s)", strsignal(WTERMSIG(end)));
    } else if (!spins) {
        strcpy(how, "gave up");
    }
    return dp_fail(
        f->code,
        "%s: the HDF5 library %s when it read %s: the file is likely damaged%s%s",
        f->path, how, object, f->doubt[0] ? "; " : "", f->doubt);
}

/* The next n bytes of the child. */
static dp_status hear(dp_h5 *f, const char *object, void *out, size_t n) {
    enum { LOOK = 100 }; /* milliseconds */
    dp_h5_reader *r = f->reader;
    for (char *p = out; n > 0;) {
        struct pollfd wait = {.fd = r->fd, .events = POLLIN};
        int ready = poll(&wait, 1, LOOK);
        if (ready <= 0) {
            if (cpu_time(r->pid) > r->allowed) {
                kill(r->pid, SIGKILL);
                return blame(f, object, true);
            }
            continue;
        }
        ssize_t done = recv(r->fd, p, n, 0);
        if (done == 0 || (done < 0 && errno != EINTR)) {
            return blame(f, object, false);
        }
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return DP_OK;
}

static dp_status confused(dp_h5 *f, const char *object) {
    return dp_fail(f->code, "%s: reading %s gives nonsense: the file is likely damaged",
                   f->path, object);
}

/* A piece of the answer, into out[0..room), or where that is NULL, behind *grown. */
static dp_status take_piece(dp_h5 *f, const char *object, uint64_t n, char *out,
                            size_t room, char **grown, size_t *size) {
    if (out != NULL) {
        if (n > room - *size) {
            return confused(f, object);
        }
        dp_status status = hear(f, object, out + *size, n);
        *size += n;
        return status;
    }
    if (n > SIZE_MAX - *size || dp_memory_resize(grown, *size + n) != DP_OK) {
        return dp_h5_no_memory(f, object);
    }
    dp_status status = hear(f, object, *grown + *size, n);
    *size += n;
    return status;
}

/* The whole answer to a dp_h5_question about `object`. */
static dp_status take_all(dp_h5 *f, const char *object, void *out, size_t room,
                          char **grown, size_t *size, bool *whole) {
    char text[4096];
    *size = 0;
    *whole = false;
    for (;;) {
        dp_h5_reply r;
        dp_status status = hear(f, object, &r, sizeof r);
        if (status == DP_OK && r.kind == DP_H5_PIECE && r.size > 0) {
            status = take_piece(f, object, r.size, out, room, grown, size);
        } else if (status == DP_OK && r.kind == DP_H5_END) {
            if (r.size == 0 || r.size > sizeof text) {
                return confused(f, object);
            }
            status = hear(f, object, text, r.size);
            text[r.size - 1] = '\0';
            *whole = status == DP_OK;
            return status || r.status == DP_OK ? status : dp_fail(r.status, "%s", text);
        }
        if (status != DP_OK) {
            return status;
        }
        allow(f->reader, r.kind == DP_H5_WORK ? r.size : 0);
    }
}

/* After a failure on the way the child is out of step. */
static dp_status take(dp_h5 *f, const char *object, void *out, size_t room, char **grown,
                      size_t *size) {
    bool whole = false;
    allow(f->reader, 0);
    dp_status status = take_all(f, object, out, room, grown, size, &whole);
    if (!whole) {
        (void)stop(f->reader);
        f->reader->lost = status;
        snprintf(f->reader->why, sizeof f->reader->why, "%s", dp_status_message());
    }
    return status;
}

static dp_status ask(dp_h5 *f, const dp_h5_request *q, void *out, size_t room,
                     char **grown, size_t *size) {
    if (f->reader->pid == 0) {
        return dp_fail(f->reader->lost, "%s", f->reader->why);
    }
    /* It fits the socket's buffer. A child that is gone is noticed by what it answers. */
    (void)!send(f->reader->fd, q, sizeof *q, MSG_NOSIGNAL);
    return take(f, q->object, out, room, grown, size);
}

/* Asks for exactly `room` bytes. */
static dp_status ask_exactly(dp_h5 *f, const dp_h5_request *q, void *out, size_t room) {
    size_t size = 0;
    dp_status status = ask(f, q, out, room, NULL, &size);
    return status == DP_OK && size != room ? confused(f, q->object) : status;
}

static dp_h5_request make(dp_h5_question what, const char *object, const char *name) {
    dp_h5_request q;
    memset(&q, 0, sizeof q);
    q.what = what;
    snprintf(q.object, sizeof q.object, "%s", object);
    snprintf(q.name, sizeof q.name, "%s", name);
    return q;
}

/* Whoever started us may not have wanted to hear of his children's ends; we do of
 * ours. */
static void hear_of_ends(void) {
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN) {
        signal(SIGCHLD, SIG_DFL);
    }
}

dp_status dp_h5_reader_start(dp_h5 *f, void (*serve)(dp_h5 *f, pid_t parent)) {
    int pair[2] = {-1, -1};
    dp_h5_reader *r = dp_alloc(1, sizeof *r);
    pid_t parent = getpid(), pid = -1;
    hear_of_ends();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        pid = fork();
    }
    if (pid == 0) {
        close(pair[0]);
        f->channel = pair[1];
        serve(f, parent);
    }
    int error = errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        free(r);
        return dp_fail(DP_EINTERNAL,
                       "%s: cannot start a process that reads it: %s; are there limits "
                       "on processes (ulimit -u), files (ulimit -n) or memory?",
                       f->path, strerror(error));
    }
    *r = (dp_h5_reader){.pid = pid, .fd = pair[0]};
    f->reader = r;
    f->leave = leave;
    size_t size = 0;
    return take(f, "its first bytes", NULL, 0, NULL, &size);
}

bool dp_h5_ask_has(dp_h5 *f, const char *object) {
    dp_h5_request q = make(DP_H5_ASK_HAS, object, "");
    bool has = false;
    return ask_exactly(f, &q, &has, sizeof has) != DP_OK || has;
}

dp_status dp_h5_ask_shape(dp_h5 *f, const char *name, dp_h5_type *type, int *ndim,
                          int64_t dims[8]) {
    dp_h5_request q = make(DP_H5_ASK_SHAPE, name, "");
    dp_h5_extent s = {0};
    dp_status status = ask_exactly(f, &q, &s, sizeof s);
    if (status == DP_OK && (s.ndim < 0 || s.ndim > 8)) {
        status = confused(f, name);
    }
    if (status == DP_OK) {
        *type = s.type;
        *ndim = s.ndim;
        memcpy(dims, s.dims, (size_t)s.ndim * sizeof *dims);
    }
    return status;
}

dp_status dp_h5_ask_get(dp_h5 *f, const char *name, dp_h5_type type, int64_t count,
                        void *out) {
    dp_h5_request q = make(DP_H5_ASK_GET, name, "");
    q.type = type;
    q.count = count;
    return ask_exactly(f, &q, out, (size_t)count * dp_h5_type_size(type));
}

dp_status dp_h5_ask_text(dp_h5 *f, const char *name, char **out) {
    dp_h5_request q = make(DP_H5_ASK_TEXT, name, "");
    size_t size = 0;
    char *text = NULL;
    dp_status status = ask(f, &q, NULL, 0, &text, &size);
    if (status == DP_OK && (size == 0 || text[size - 1] != '\0')) {
        status = confused(f, name);
    }
    if (status == DP_OK) {
        *out = text;
    } else {
        free(text);
    }
    return status;
}

dp_status dp_h5_ask_rows(dp_h5 *f, const char *name, int64_t *n) {
    dp_h5_request q = make(DP_H5_ASK_ROWS, name, "");
    int64_t rows = 0;
    dp_status status = ask_exactly(f, &q, &rows, sizeof rows);
    if (status == DP_OK && !(rows >= 0 && dp_h5_plausible(f, (uint64_t)rows, 8))) {
        status = confused(f, name);
    }
    if (status == DP_OK) {
        *n = rows;
    }
    return status;
}

dp_status dp_h5_ask_column(dp_h5 *f, const char *name, const dp_h5_column *column,
                           int64_t n, void *out, bool *absent) {
    dp_h5_request q = make(DP_H5_ASK_COLUMN, name, column->name);
    size_t size = 0, whole = (size_t)n * 8;
    q.integer = column->integer;
    q.count = n;
    dp_status status = ask(f, &q, out, whole, NULL, &size);
    *absent = size == 0;
    return status == DP_OK && size != 0 && size != whole ? confused(f, name) : status;
}

dp_status dp_h5_ask_numbers(dp_h5 *f, const char *object, const char *name,
                            dp_h5_type type, uint64_t *n, void **out) {
    dp_h5_request q = make(DP_H5_ASK_NUMBERS, object, name);
    size_t size = 0;
    char *all = NULL;
    q.type = type;
    dp_status status = ask(f, &q, NULL, 0, &all, &size);
    if (status != DP_OK) {
        free(all);
        return status;
    }
    *n = size / dp_h5_type_size(type);
    *out = all;
    return DP_OK;
}

/* n texts one behind the other -> pointers and texts in one allocation. */
static char **point(int n, const char *texts, size_t size) {
    size_t head = (size_t)n * sizeof(char *);
    char **out = NULL;
    if (dp_memory_resize(&out, head + size + 1) == DP_OK && size > 0) {
        char *p = memcpy((char *)out + head, texts, size);
        for (int i = 0; i < n; i++, p += strlen(p) + 1) {
            out[i] = p;
        }
    }
    return out;
}

dp_status dp_h5_ask_texts(dp_h5 *f, const char *object, const char *name, int *n,
                          char ***out) {
    dp_h5_request q = make(DP_H5_ASK_TEXTS, object, name);
    size_t size = 0;
    char *all = NULL;
    dp_status status = ask(f, &q, NULL, 0, &all, &size);
    if (status == DP_OK && size > 0 && all[size - 1] != '\0') {
        status = confused(f, name);
    }
    int count = 0;
    for (size_t i = 0; status == DP_OK && i < size; i++) {
        count += all[i] == '\0';
    }
    char **texts = status == DP_OK ? point(count, all, size) : NULL;
    if (status == DP_OK && texts == NULL) {
        status = dp_h5_no_memory(f, name);
    }
    free(all);
    if (status == DP_OK) {
        *n = count;
        *out = texts;
    }
    return status;
}
