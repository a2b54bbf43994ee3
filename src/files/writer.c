/* The thread that writes metrics.h5 and checkpoints while training goes on. */
#include "files/writer.h"
#include "base/clock.h"
#include "base/memory.h"
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { METRICS, CHECKPOINTS, KINDS };

struct dp_writer {
    bool busy, threaded;
    atomic_bool done;
    pthread_t thread;
    dp_job job; /* owner of its files: this */
    dp_status status[KINDS];
    char text[KINDS][2048]; /* their messages */
    double seconds[KINDS];
};

dp_status dp_writer_create(dp_writer **out) {
    *out = dp_alloc(1, sizeof **out);
    return DP_OK;
}

static void store_result(dp_writer *w, int which, dp_status status) {
    w->status[which] = status;
    if (status != DP_OK) {
        snprintf(w->text[which], sizeof w->text[which], "%s", dp_status_message());
    }
}

static void *place(void *arg) {
    dp_writer *w = arg;
    const dp_job *job = &w->job;
    double begin = dp_clock_thread();
    store_result(w, METRICS, job->metrics ? dp_h5_place(job->metrics) : DP_OK);
    double middle = dp_clock_thread();
    dp_status s = job->best ? dp_checkpoint_place(job->best, job->retries) : DP_OK;
    if (s == DP_OK && job->newest) {
        s = dp_checkpoint_place(job->newest, job->retries);
    }
    store_result(w, CHECKPOINTS, s);
    w->seconds[METRICS] = middle - begin;
    w->seconds[CHECKPOINTS] = dp_clock_thread() - middle;
    atomic_store(&w->done, true);
    return NULL;
}

void dp_writer_start(dp_writer *w, const dp_job *job) {
    assert(!w->busy);
    w->busy = true;
    w->job = *job;
    atomic_store(&w->done, false);
    /* Signals are delivered to the thread that trains. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    w->threaded = pthread_create(&w->thread, NULL, place, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!w->threaded) {
        place(w);
    }
}

bool dp_writer_busy(const dp_writer *w) {
    return w->busy;
}

bool dp_writer_idle(const dp_writer *w) {
    return !w->busy || atomic_load(&w->done);
}

static int64_t bytes_of(const dp_checkpoint *c) {
    return c ? dp_checkpoint_bytes(c) : 0;
}

dp_status dp_writer_wait(dp_writer *w, dp_written *out) {
    *out = (dp_written){.text = ""};
    if (!w->busy) {
        return DP_OK;
    }
    if (w->threaded) {
        pthread_join(w->thread, NULL);
    }
    w->busy = false;
    dp_job *job = &w->job;
    *out = (dp_written){.metrics = w->status[METRICS],
                        .text = w->text[METRICS],
                        .seconds = {w->seconds[METRICS], w->seconds[CHECKPOINTS]},
                        .bytes = {job->metrics ? dp_h5_bytes(job->metrics) : 0,
                                  bytes_of(job->best) + bytes_of(job->newest)}};
    dp_h5_close(&job->metrics);
    dp_checkpoint_destroy(&job->best);
    dp_checkpoint_destroy(&job->newest);
    dp_status s = w->status[CHECKPOINTS];
    return s == DP_OK ? DP_OK : dp_fail(s, "%s", w->text[CHECKPOINTS]);
}

void dp_writer_destroy(dp_writer **writer) {
    if (*writer) {
        dp_written unused;
        (void)dp_writer_wait(*writer, &unused);
        free(*writer);
    }
    *writer = NULL;
}
