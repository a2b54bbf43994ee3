/* The child process that reads a file: it answers what the parent asks, and may crash. */
#include "base/memory.h"
#include "reader.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void put(dp_h5 *f, const void *bytes, size_t n) {
    dp_h5_reply r = {.kind = DP_H5_PIECE, .size = n};
    dp_h5_tell(f->channel, &r, sizeof r);
    dp_h5_tell(f->channel, bytes, n);
}

static void end(const dp_h5 *f, dp_status status) {
    const char *text = status == DP_OK ? "" : dp_status_message();
    dp_h5_reply r = {.kind = DP_H5_END, .status = status, .size = strlen(text) + 1};
    dp_h5_tell(f->channel, &r, sizeof r);
    dp_h5_tell(f->channel, text, r.size);
}

static dp_status answer_texts(dp_h5 *f, const dp_h5_request *q) {
    char **all = NULL;
    int n = 0;
    dp_status status = dp_h5_get_attr_texts(f, q->object, q->name, &n, &all);
    for (int i = 0; status == DP_OK && i < n; i++) {
        put(f, all[i], strlen(all[i]) + 1);
    }
    free(all);
    return status;
}

static dp_status answer_column(dp_h5 *f, const dp_h5_request *q) {
    dp_h5_column column = {.name = q->name, .integer = q->integer};
    bool absent = false;
    void *all = NULL;
    dp_status status = dp_memory_resize(&all, (size_t)q->count * 8 + 1);
    status =
        status ? status : dp_h5_get_column(f, q->object, &column, q->count, all, &absent);
    if (status == DP_OK && !absent) {
        put(f, all, (size_t)q->count * 8);
    }
    free(all);
    return status;
}

static dp_status answer_numbers(dp_h5 *f, const dp_h5_request *q) {
    void *all = NULL;
    uint64_t n = 0;
    dp_status status = dp_h5_get_numbers(f, q->object, q->name, q->type, &n, &all);
    if (status == DP_OK) {
        put(f, all, n * dp_h5_type_size(q->type));
    }
    free(all);
    return status;
}

static dp_status answer_text(dp_h5 *f, const dp_h5_request *q) {
    char *text = NULL;
    dp_status status = dp_h5_get_text(f, q->object, &text);
    if (status == DP_OK) {
        put(f, text, strlen(text) + 1);
    }
    free(text);
    return status;
}

static dp_status answer(dp_h5 *f, const dp_h5_request *q) {
    dp_status status = DP_OK;
    dp_h5_extent s = {0};
    int64_t n = 0;
    bool has = false;
    switch (q->what) {
    case DP_H5_ASK_HAS:
        has = dp_h5_has(f, q->object);
        put(f, &has, sizeof has);
        return DP_OK;
    case DP_H5_ASK_SHAPE:
        status = dp_h5_shape(f, q->object, &s.type, &s.ndim, s.dims);
        put(f, &s, sizeof s);
        return status;
    case DP_H5_ASK_GET:
        return dp_h5_get_pieces(f, q->object, q->type, q->count, put);
    case DP_H5_ASK_TEXT:
        return answer_text(f, q);
    case DP_H5_ASK_ROWS:
        status = dp_h5_get_rows(f, q->object, &n);
        put(f, &n, sizeof n);
        return status;
    case DP_H5_ASK_COLUMN:
        return answer_column(f, q);
    case DP_H5_ASK_NUMBERS:
        return answer_numbers(f, q);
    default:
        return answer_texts(f, q);
    }
}

static void starved(dp_status code) {
    (void)code;
    _exit(DP_H5_STARVED);
}

/* A stop of the job is the parent's to heed; a crash is to end this process in silence. */
static void settle_in(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dp_fatal_hook(starved, "reading"); /* MPI is the parent's too */
    if (getppid() != parent) {
        _exit(0);
    }
    static const int ignored[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
                                  SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE};
    for (int s = 1; s < NSIG; s++) {
        signal(s, SIG_DFL);
    }
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) {
        signal(ignored[i], SIG_IGN);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
}

void dp_h5_serve(dp_h5 *f, pid_t parent) {
    settle_in(parent);
    dp_status status = dp_h5_open_here(f);
    end(f, status);
    dp_h5_request q;
    while (status == DP_OK && recv(f->channel, &q, sizeof q, MSG_WAITALL) == sizeof q) {
        end(f, answer(f, &q));
    }
    _exit(0);
}
