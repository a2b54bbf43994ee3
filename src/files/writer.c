#include "files/writer.h"
#include "base/memory.h"
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct dp_writer {
    bool busy, threaded;
    atomic_bool done;
    pthread_t thread;
    dp_h5 *metrics;            /* owner: this */
    dp_checkpoint *checkpoint; /* owner: this */
    int retries;
    dp_status status[2]; /* of metrics and checkpoint */
    char text[2][2048];  /* their messages */
};

dp_status dp_writer_create(dp_writer **out) {
    *out = dp_alloc(1, sizeof **out);
    return DP_OK;
}

static void note(dp_writer *w, int which, dp_status status) {
    w->status[which] = status;
    if (status != DP_OK) {
        snprintf(w->text[which], sizeof w->text[which], "%s", dp_status_message());
    }
}

/* metrics.h5 comes first, so that it holds every row up to the checkpoint. */
static void *place(void *arg) {
    dp_writer *w = arg;
    note(w, 0, w->metrics ? dp_h5_place(w->metrics) : DP_OK);
    note(w, 1, dp_checkpoint_place(w->checkpoint, w->retries));
    atomic_store(&w->done, true);
    return NULL;
}

void dp_writer_start(dp_writer *w, dp_h5 *metrics, dp_checkpoint *checkpoint,
                     int retries) {
    assert(!w->busy);
    w->busy = true;
    w->metrics = metrics;
    w->checkpoint = checkpoint;
    w->retries = retries;
    atomic_store(&w->done, false);
    /* Signals are for the thread that trains. */
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

dp_status dp_writer_wait(dp_writer *w, dp_status *metrics, const char **text) {
    *metrics = DP_OK;
    *text = "";
    if (!w->busy) {
        return DP_OK;
    }
    if (w->threaded) {
        pthread_join(w->thread, NULL);
    }
    w->busy = false;
    dp_h5_close(&w->metrics);
    dp_checkpoint_drop(&w->checkpoint);
    *metrics = w->status[0];
    *text = w->text[0];
    return w->status[1] == DP_OK ? DP_OK : dp_fail(w->status[1], "%s", w->text[1]);
}

void dp_writer_destroy(dp_writer **writer) {
    if (*writer) {
        dp_status metrics;
        const char *text;
        (void)dp_writer_wait(*writer, &metrics, &text);
        free(*writer);
    }
    *writer = NULL;
}
