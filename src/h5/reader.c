/* The socket between the process that reads a file and its parent: both ends. A child
 * that crashes is seen by the socket's end. One that spins is ended by its limit of CPU
 * time, to which waiting for a slow disk or for a core doesn't add. Nothing that it says
 * is believed without a look at its length. */
#include "reader.h"
#include "base/memory.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double SLOWEST = 5e7; /* bytes a second, of data */

struct dp_h5_reader {
    pid_t pid;      /* 0: it is gone, or out of step, and nothing more is asked */
    dp_status lost; /* why, for all later requests */
    char why[1024];
    int fd;
};

/* A message of the child. */
typedef struct header {
    enum { DATA, END } kind;
    dp_status status; /* END */
    uint64_t size;    /* of what follows: data, or the status's text */
} header;

/* ---- in the child ---- */

static void send_all(int fd, const void *bytes, size_t n) {
    for (const char *p = bytes; n > 0;) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
        if (done < 0 && errno != EINTR) {
            _exit(0); /* nobody listens any more */
        }
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
}

void dp_h5_allow(uint64_t bytes) {
    struct timespec used;
    struct rlimit limit;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    getrlimit(RLIMIT_CPU, &limit);
    /* A second for anything small; what was used is rounded down. */
    rlim_t seconds = (rlim_t)used.tv_sec + 2 + (rlim_t)((double)bytes / SLOWEST);
    limit.rlim_cur = seconds < limit.rlim_max ? seconds : limit.rlim_max;
    setrlimit(RLIMIT_CPU, &limit);
}

void dp_h5_send(dp_h5 *f, const void *bytes, size_t n) {
    if (n == 0) {
        return;
    }
    send_all(f->channel, &(header){.kind = DATA, .size = n}, sizeof(header));
    send_all(f->channel, bytes, n);
}

void dp_h5_send_end(dp_h5 *f, dp_status status) {
    const char *text = status == DP_OK ? "" : dp_status_message();
    header h = {.kind = END, .status = status, .size = strlen(text) + 1};
    send_all(f->channel, &h, sizeof h);
    send_all(f->channel, text, h.size);
}

/* ---- in the parent ---- */

/* Ends the child. Returns how it had ended before, as waitpid does; 0: not at all. */
static int reap(dp_h5_reader *r) {
    const struct timespec pause = {.tv_nsec = 1000000};
    int how = 0;
    pid_t done = 0;
    if (r->pid == 0) {
        return 0;
    }
    /* The socket closes a little before a crashed process can be waited for. */
    for (int i = 0; i < 200 && (done = waitpid(r->pid, &how, WNOHANG)) == 0; i++) {
        nanosleep(&pause, NULL);
    }
    if (done == 0) {
        kill(r->pid, SIGKILL);
        while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    r->pid = 0;
    return done > 0 ? how : 0;
}

void dp_h5_reader_stop(dp_h5 *f) {
    dp_h5_reader *r = f->reader;
    if (r != NULL) {
        shutdown(r->fd, SHUT_RDWR); /* the child ends when it next waits for a request */
        close(r->fd);
        (void)reap(r);
        free(r);
    }
    f->reader = NULL;
}

/* Why there is no answer. That the system killed the child says nothing about the
 * file. */
static dp_status lost_child(const dp_h5 *f, const char *object) {
    char how[96] = "gave up";
    int end = reap(f->reader);
    if (WIFEXITED(end) && WEXITSTATUS(end) == DP_H5_OUT_OF_MEMORY) {
        return dp_h5_no_memory(f, object);
    }
    if ((WIFSIGNALED(end) && WTERMSIG(end) == SIGKILL) ||
        (WIFEXITED(end) && WEXITSTATUS(end) != 0)) {
        return dp_fail(DP_EINTERNAL,
                       "%s: the process that read it %s: is there enough memory?",
                       f->path, WIFSIGNALED(end) ? "was killed" : "gave up");
    }
    if (WIFSIGNALED(end) && WTERMSIG(end) == SIGXCPU) {
        strcpy(how, "did not come back");
    } else if (WIFSIGNALED(end)) {
        snprintf(how, sizeof how, "crashed (%s)", strsignal(WTERMSIG(end)));
    }
    return dp_h5_wrong(
        f, "the HDF5 library %s when it read %s: the file is likely damaged%s%s", how,
        object, f->doubt[0] ? "; " : "", f->doubt);
}

dp_status dp_h5_bad_answer(const dp_h5 *f, const char *object) {
    return dp_h5_wrong(f, "reading %s gives nonsense: the file is likely damaged",
                       object);
}

/* The next n bytes of the child. */
static dp_status receive(const dp_h5 *f, const char *object, void *out, size_t n) {
    for (char *p = out; n > 0;) {
        ssize_t done = recv(f->reader->fd, p, n, 0);
        if (done == 0 || (done < 0 && errno != EINTR)) {
            return lost_child(f, object);
        }
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return DP_OK;
}

/* n more bytes of an answer; `grows`: into memory that grows. */
static dp_status receive_data(const dp_h5 *f, const char *object, uint64_t n, bool grows,
                              dp_h5_answer *a) {
    if (grows && n <= SIZE_MAX - a->size) {
        a->room = a->size + n;
        if (dp_memory_resize(&a->bytes, a->room) != DP_OK) {
            return dp_h5_no_memory(f, object);
        }
    }
    if (n > a->room - a->size) {
        return dp_h5_bad_answer(f, object);
    }
    DP_TRY(receive(f, object, (char *)a->bytes + a->size, n));
    a->size += n;
    return DP_OK;
}

/* A whole answer, whose own status and text come last. */
static dp_status receive_messages(const dp_h5 *f, const char *object, dp_h5_answer *a,
                                  dp_status *status, char text[4096]) {
    bool grows = a->bytes == NULL;
    for (;;) {
        header h;
        DP_TRY(receive(f, object, &h, sizeof h));
        if (h.kind == DATA && h.size > 0) {
            DP_TRY(receive_data(f, object, h.size, grows, a));
            continue;
        }
        if (h.kind != END || h.size == 0 || h.size > 4096) {
            return dp_h5_bad_answer(f, object);
        }
        DP_TRY(receive(f, object, text, h.size));
        text[h.size - 1] = '\0';
        *status = h.status;
        return DP_OK;
    }
}

/* After a failure on the way the child is out of step: it is ended. */
static dp_status receive_answer(dp_h5 *f, const char *object, dp_h5_answer *a) {
    char text[4096] = "";
    dp_h5_reader *r = f->reader;
    dp_status status = DP_OK;
    r->lost = receive_messages(f, object, a, &status, text);
    if (r->lost != DP_OK) {
        (void)reap(r);
        snprintf(r->why, sizeof r->why, "%s", dp_status_message());
        return r->lost;
    }
    return status == DP_OK ? DP_OK : dp_fail(status, "%s", text);
}

dp_status dp_h5_ask(dp_h5 *f, const dp_h5_request *q, dp_h5_answer *a) {
    if (f->reader->pid == 0) {
        return dp_fail(f->reader->lost, "%s", f->reader->why);
    }
    /* It fits the socket's buffer. A child that is gone is noticed by what it answers. */
    (void)!send(f->reader->fd, q, sizeof *q, MSG_NOSIGNAL);
    return receive_answer(f, q->object, a);
}

/* Who started us may have had SIGCHLD ignored: then waitpid tells nothing. */
static void restore_sigchld(void) {
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 && now.sa_handler == SIG_IGN) {
        signal(SIGCHLD, SIG_DFL);
    }
}

dp_status dp_h5_reader_start(dp_h5 *f, void (*serve)(dp_h5 *f, pid_t parent)) {
    int pair[2] = {-1, -1};
    pid_t parent = getpid(), pid = -1;
    restore_sigchld();
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
        return dp_fail(DP_EINTERNAL,
                       "%s: cannot start a process that reads it: %s; are there limits "
                       "on processes (ulimit -u), files (ulimit -n) or memory?",
                       f->path, strerror(error));
    }
    f->reader = dp_alloc(1, sizeof *f->reader);
    f->reader->pid = pid;
    f->reader->fd = pair[0];
    dp_h5_answer none = {.bytes = &none}; /* room for 0 bytes */
    return receive_answer(f, "its first bytes", &none);
}
