/* The courier: the exchange of a step beside its computation. */
#include "base/memory.h"
#include "step_impl.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

struct dp_overlap {
    dp_stepper *st;
    pthread_t courier;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t news;
    dp_errand errand;
    dp_note note;
    double loss;
    dp_slices *squares; /* [nbuckets]; owner: this */
    int ready;          /* the buckets below this one have their gradients */
    int landed;         /* the buckets from this one on have their new parameters */
    int known;          /* loss, note and squares are */
    int quit;
    bool begun; /* the team has brought gradients in this step; not for the courier */
};

/* Something has happened that the other thread may wait for. */
static void tell(dp_overlap *ov, int *what, int value) {
    pthread_mutex_lock(&ov->lock);
    *what = value;
    pthread_cond_broadcast(&ov->news);
    pthread_mutex_unlock(&ov->lock);
}

/* False: there won't be another step. */
static bool wait_for_gradients(dp_overlap *ov, int b) {
    pthread_mutex_lock(&ov->lock);
    while (ov->ready <= b && !ov->quit) {
        pthread_cond_wait(&ov->news, &ov->lock);
    }
    bool more = ov->ready > b;
    pthread_mutex_unlock(&ov->lock);
    return more;
}

/* The owned part of a bucket, whose partials have come. The sums are put aside: the next bucket's
 * partials come where they are, and the parameters may be read until the backward pass is over. */
static void finish_bucket(dp_stepper *st, const dp_bucket *bucket,
                          const dp_errand *errand) {
    const size_t *chunk = st->model->chunk;
    for (int c = bucket->first; c < bucket->last; c++) {
        const float *sum = dp_exchange_sum(st->exchange, chunk[c], chunk[c + 1]);
        float *aside = dp_exchange_slab(st->exchange, 0) + chunk[c];
        if (sum != aside) {
            memcpy(aside, sum, (chunk[c + 1] - chunk[c]) * sizeof *sum);
        }
        dp_step_finish_chunk(st, c, aside, errand->scale);
    }
}

/* One step, after the gradients of the last bucket. The parameters come in the order in which the
 * next step reads them. */
static void one_step(dp_overlap *ov) {
    dp_stepper *st = ov->st;
    int n = st->nbuckets;
    for (int b = 0; b < n && wait_for_gradients(ov, b); b++) {
        const dp_bucket *bucket = &st->bucket[b];
        ov->loss = dp_exchange_reduce(st->exchange, bucket->bound, ov->errand.blocks,
                                      b == n - 1 ? &ov->note : NULL);
        finish_bucket(st, bucket, &ov->errand);
        ov->squares[b] = (dp_slices){st->squares, sizeof(double), bucket->chunk_bound};
    }
    dp_exchange_gather(st->exchange, n, ov->squares);
    dp_update u = ov->errand.u;
    if (st->config->optimizer.clip_norm > 0) {
        u.scale *= (float)dp_step_clip(st->config->optimizer.clip_norm, dp_step_norm(st));
    }
    tell(ov, &ov->known, true);
    for (int b = n - 1; b >= 0; b--) {
        const dp_bucket *bucket = &st->bucket[b];
        for (int c = bucket->first; c < bucket->last; c++) {
            dp_step_update_chunk(st, c, &u);
        }
        dp_slices params = {st->model->params, sizeof(float), bucket->bound};
        dp_exchange_gather(st->exchange, 1, &params);
        if (b == 0) {
            ov->ready = 0; /* for the next step; nobody looks before all have landed */
        }
        tell(ov, &ov->landed, b);
    }
}

static void *carry(void *arg) {
    dp_overlap *ov = arg;
    prctl(PR_SET_TIMERSLACK, 1UL); /* naps are as short as they are asked for */
    while (wait_for_gradients(ov, 0)) {
        dp_comm_hold(ov->st->comm);
        one_step(ov);
    }
    return NULL;
}

dp_status dp_overlap_create(dp_stepper *st, dp_overlap **out) {
    dp_overlap *ov = dp_alloc(1, sizeof *ov);
    ov->squares = dp_alloc((size_t)st->nbuckets, sizeof *ov->squares);
    ov->st = st;
    pthread_mutex_init(&ov->lock, NULL);
    pthread_cond_init(&ov->news, NULL);
    /* Signals are for the thread that trains. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&ov->courier, NULL, carry, ov);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pthread_cond_destroy(&ov->news);
        pthread_mutex_destroy(&ov->lock);
        free(ov->squares);
        free(ov);
        return dp_fail(DP_EINTERNAL, "no thread for the exchange: %s", strerror(failed));
    }
    (void)pthread_setname_np(ov->courier, "courier"); /* as top -H shows it */
    *out = ov;
    return DP_OK;
}

void dp_overlap_destroy(dp_overlap **overlap) {
    dp_overlap *ov = *overlap;
    if (ov) {
        dp_overlap_settle(ov);
        tell(ov, &ov->quit, true);
        pthread_join(ov->courier, NULL);
        pthread_cond_destroy(&ov->news);
        pthread_mutex_destroy(&ov->lock);
        free(ov->squares);
        free(ov);
    }
    *overlap = NULL;
}

/* Waits, with the lock, until the buckets from b on have landed. The courier has the core
 * meanwhile. */
static void wait_for_parameters(dp_overlap *ov, int b) {
    while (ov->landed > b) {
        dp_comm_nap(ov->st->comm, false);
        pthread_cond_wait(&ov->news, &ov->lock);
    }
    dp_comm_nap(ov->st->comm, true);
}

void dp_overlap_await(dp_overlap *ov, int b) {
    pthread_mutex_lock(&ov->lock);
    wait_for_parameters(ov, b);
    pthread_mutex_unlock(&ov->lock);
}

void dp_overlap_ready(dp_overlap *ov, int b, const dp_errand *errand) {
    if (!ov->begun) {
        /* A rank without samples has not waited in its forward pass. */
        dp_overlap_await(ov, 0);
        ov->errand = *errand;
        ov->landed = ov->st->nbuckets;
        ov->known = false;
        ov->begun = true;
    }
    tell(ov, &ov->ready, b + 1);
}

double dp_overlap_finish(dp_overlap *ov, const dp_errand *errand, dp_note *note) {
    ov->note = *note;
    dp_overlap_ready(ov, ov->st->nbuckets - 1, errand);
    pthread_mutex_lock(&ov->lock);
    while (!ov->known) {
        dp_comm_nap(ov->st->comm, false);
        pthread_cond_wait(&ov->news, &ov->lock);
    }
    dp_comm_nap(ov->st->comm, true);
    pthread_mutex_unlock(&ov->lock);
    ov->begun = false;
    *note = ov->note;
    return ov->loss;
}

void dp_overlap_settle(dp_overlap *ov) {
    pthread_mutex_lock(&ov->lock);
    wait_for_parameters(ov, 0);
    pthread_mutex_unlock(&ov->lock);
    dp_comm_hold(ov->st->comm);
    dp_comm_nap(ov->st->comm, false);
}
