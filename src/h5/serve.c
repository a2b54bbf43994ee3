/* The child process that reads a file: it answers what the parent asks, and may crash.
 * Here are the process and its answers about objects and attributes. */
#include "base/memory.h"
#include "reader.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static dp_status send_has(dp_h5 *f, const dp_h5_request *q) {
    bool has =
        dp_h5_exists(f, q->object) &&
        (!q->name[0] || H5Aexists_by_name(f->id, q->object, q->name, H5P_DEFAULT) > 0);
    dp_h5_send(f, &has, sizeof has);
    return DP_OK;
}

/* ---- attributes ---- */

static dp_status open_attribute(dp_h5 *f, const dp_h5_request *q, hid_t *id) {
    *id = H5Aopen_by_name(f->id, q->object, q->name, H5P_DEFAULT, H5P_DEFAULT);
    return *id >= 0 ? DP_OK
                    : dp_h5_wrong(f, "%s has no attribute %s", q->object, q->name);
}

/* *n: how many values there are, of texts or numbers. */
static dp_status check_attribute(dp_h5 *f, const char *name, hid_t id, hid_t type,
                                 bool text, uint64_t *n) {
    hid_t space = H5Aget_space(id);
    hssize_t count = H5Sget_simple_extent_npoints(space);
    H5T_class_t class = H5Tget_class(type);
    H5Sclose(space);
    *n = (uint64_t)count;
    if (count < 0 || !dp_h5_plausible(f, *n, H5Tget_size(type))) {
        return dp_h5_wrong(f, "%s (attribute) has an impossible size", name);
    }
    if (count > INT32_MAX) {
        return dp_h5_wrong(f, "%s (attribute) is too long", name);
    }
    if (count > 0 && text &&
        class != H5T_STRING) { /* h5py gives an empty list any type */
        return dp_h5_wrong(f, "%s (attribute) is not text", name);
    }
    if (count > 0 && !text && !dp_h5_is_number(class)) {
        return dp_h5_wrong(f, "%s (attribute) is not a number", name);
    }
    return DP_OK;
}

static dp_status send_numbers(dp_h5 *f, const dp_h5_request *q, hid_t id, uint64_t n) {
    dp_h5_ids ids = dp_h5_type_ids(q->type);
    size_t size = dp_h5_type_size(q->type);
    void *all = NULL;
    DP_TRY(dp_memory_alloc(n, size, &all));
    bool good = n == 0 || H5Aread(id, ids.memory, all) >= 0;
    if (good) {
        dp_h5_send(f, all, n * size);
    }
    dp_memory_free(&all);
    return good ? DP_OK : dp_h5_fail(f, "read attribute", q->name);
}

static dp_status send_attribute(dp_h5 *f, const dp_h5_request *q) {
    bool text = q->what == DP_H5_ASK_TEXTS;
    hid_t id = H5I_INVALID_HID;
    uint64_t n = 0;
    DP_TRY(open_attribute(f, q, &id));
    hid_t type = H5Aget_type(id);
    dp_status status = check_attribute(f, q->name, id, type, text, &n);
    if (status == DP_OK) {
        status = text ? dp_h5_send_texts(f, q->name, id, type, n, H5Aread)
                      : send_numbers(f, q, id, n);
    }
    H5Tclose(type);
    H5Aclose(id);
    return status;
}

/* ---- the process ---- */

static void out_of_memory(dp_status code) {
    (void)code;
    _exit(DP_H5_OUT_OF_MEMORY);
}

/* Signals that stop the job are for the parent; a crash of this process prints
 * nothing. */
static void detach(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dp_fatal_hook(out_of_memory, "reading"); /* MPI is the parent's too */
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

static dp_status open_image(dp_h5 *f) {
    hid_t access = dp_h5_access(f, f->image != NULL);
    if (f->image == NULL || H5Pset_file_image(access, f->image, f->size) >= 0) {
        f->id = H5Fopen(f->image ? dp_h5_image_name() : f->path, H5F_ACC_RDONLY, access);
    }
    H5Pclose(access);
    if (f->id >= 0) {
        return DP_OK;
    }
    char what[192] = "it as an HDF5 file";
    if (f->doubt[0]) {
        snprintf(what, sizeof what, "it as an HDF5 file (%s)", f->doubt);
    }
    return dp_h5_fail(f, "open", what);
}

static dp_status answer(dp_h5 *f, const dp_h5_request *q) {
    dp_h5_allow(0);
    switch (q->what) {
    case DP_H5_ASK_HAS:
        return send_has(f, q);
    case DP_H5_ASK_NUMBERS:
    case DP_H5_ASK_TEXTS:
        return send_attribute(f, q);
    default:
        return dp_h5_send_dataset(f, q);
    }
}

void dp_h5_serve(dp_h5 *f, pid_t parent) {
    detach(parent);
    dp_h5_allow(0);
    dp_status status = open_image(f);
    dp_h5_send_end(f, status);
    dp_h5_request q;
    while (status == DP_OK && recv(f->channel, &q, sizeof q, MSG_WAITALL) == sizeof q) {
        dp_h5_send_end(f, answer(f, &q));
    }
    _exit(0);
}
