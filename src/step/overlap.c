/* The communication thread: exchanges buckets and updates this rank's slices of them
 * while the team computes, as DDP's reducer does with buckets alone. step_impl.h says how
 * the two take turns. */
#include "base/memory.h"
#include "step_impl.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

struct dp_overlap {
    dp_stepper *st;
    pthread_t comm_thread;
    /* Guards the next four, which the other thread may wait for. To set one of them also
     * publishes the rest to that thread. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int grads_ready;     /* buckets below this one have their gradients */
    int params_pending;  /* buckets below this one don't have their new parameters yet */
    int scalars_pending; /* 1: loss, scalars and squares of the step aren't known yet */
    int quit;
    dp_update_plan plan;
    dp_step_scalars scalars;
    double loss;
    dp_sliced_array *squares; /* [nbuckets]; owner: this */
    bool in_step;             /* this step has gradients; only the team uses it */
};

/* Changes a value that the other thread may wait for. */
static void set_and_signal(dp_overlap *ov, int *what, int value) {
    pthread_mutex_lock(&ov->lock);
    *what = value;
    pthread_cond_broadcast(&ov->changed);
    pthread_mutex_unlock(&ov->lock);
}

/* False: there is no other step. */
static bool wait_for_gradients(dp_overlap *ov, int b) {
    pthread_mutex_lock(&ov->lock);
    while (ov->grads_ready <= b && !ov->quit) {
        pthread_cond_wait(&ov->changed, &ov->lock);
    }
    bool more = ov->grads_ready > b;
    pthread_mutex_unlock(&ov->lock);
    return more;
}

/* Sums the owned slice of a bucket whose partials have arrived. The sums are copied to
 * slab 0: the next bucket's partials are received where they are, and parameters may be
 * read until the end of the backward pass. */
static void accumulate_bucket(dp_stepper *st, const dp_bucket *bucket,
                              const dp_update_plan *plan) {
    const size_t *chunk = st->model->chunk;
    for (int c = bucket->first; c < bucket->last; c++) {
        const float *sum = dp_exchange_sum(st->exchange, chunk[c], chunk[c + 1]);
        float *saved = dp_exchange_slab(st->exchange, 0) + chunk[c];
        if (sum != saved) {
            memcpy(saved, sum, (chunk[c + 1] - chunk[c]) * sizeof *sum);
        }
        dp_step_accumulate_chunk(st, c, saved, plan->scale);
    }
}

/* The communication of one step. The parameters are gathered in the order in which the
 * next step reads them. */
static void exchange_step(dp_overlap *ov) {
    dp_stepper *st = ov->st;
    int n = st->nbuckets;
    for (int b = 0; b < n && wait_for_gradients(ov, b); b++) {
        const dp_bucket *bucket = &st->bucket[b];
        ov->loss = dp_exchange_reduce(st->exchange, bucket->bound, ov->plan.blocks,
                                      b == n - 1 ? &ov->scalars : NULL);
        accumulate_bucket(st, bucket, &ov->plan);
        ov->squares[b] =
            (dp_sliced_array){st->squares, sizeof(double), bucket->chunk_bound};
    }
    dp_exchange_gather(st->exchange, n, ov->squares);
    dp_update u = ov->plan.u;
    if (st->config->optimizer.clip_norm > 0) {
        dp_step_clip(st, &u);
    }
    set_and_signal(ov, &ov->scalars_pending, 0);
    for (int b = n - 1; b >= 0; b--) {
        const dp_bucket *bucket = &st->bucket[b];
        for (int c = bucket->first; c < bucket->last; c++) {
            dp_step_update_chunk(st, c, &u);
        }
        dp_sliced_array params = {st->model->params, sizeof(float), bucket->bound};
        dp_exchange_gather(st->exchange, 1, &params);
        if (b == 0) {
            /* for the next step; not read before all parameters are ready */
            ov->grads_ready = 0;
        }
        set_and_signal(ov, &ov->params_pending, b);
    }
}

static void *communicate(void *arg) {
    dp_overlap *ov = arg;
    prctl(PR_SET_TIMERSLACK, 1UL); /* short sleeps stay short */
    while (wait_for_gradients(ov, 0)) {
        dp_comm_set_mpi_thread(ov->st->comm);
        exchange_step(ov);
    }
    return NULL;
}

dp_status dp_overlap_create(dp_stepper *st, dp_overlap **out) {
    dp_overlap *ov = dp_alloc(1, sizeof *ov);
    ov->squares = dp_alloc((size_t)st->nbuckets, sizeof *ov->squares);
    ov->st = st;
    pthread_mutex_init(&ov->lock, NULL);
    pthread_cond_init(&ov->changed, NULL);
    /* Signals are delivered to the thread that trains. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&ov->comm_thread, NULL, communicate, ov);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pthread_cond_destroy(&ov->changed);
        pthread_mutex_destroy(&ov->lock);
        free(ov->squares);
        free(ov);
        return dp_fail(DP_EINTERNAL, "no thread for the exchange: %s", strerror(failed));
    }
    (void)pthread_setname_np(ov->comm_thread, "communication"); /* as top -H shows it */
    *out = ov;
    return DP_OK;
}

void dp_overlap_destroy(dp_overlap **overlap) {
    dp_overlap *ov = *overlap;
    if (ov) {
        dp_overlap_wait_all(ov);
        set_and_signal(ov, &ov->quit, true);
        pthread_join(ov->comm_thread, NULL);
        pthread_cond_destroy(&ov->changed);
        pthread_mutex_destroy(&ov->lock);
        free(ov->squares);
        free(ov);
    }
    *overlap = NULL;
}

/* Waits until *pending (params_ or scalars_pending) is `most` or less. The core is the
 * communication thread's meanwhile. */
static void wait_for(dp_overlap *ov, const int *pending, int most) {
    pthread_mutex_lock(&ov->lock);
    while (*pending > most) {
        dp_comm_sleep_while_polling(ov->st->comm, false);
        pthread_cond_wait(&ov->changed, &ov->lock);
    }
    dp_comm_sleep_while_polling(ov->st->comm, true);
    pthread_mutex_unlock(&ov->lock);
}

void dp_overlap_wait_params(dp_overlap *ov, int b) {
    wait_for(ov, &ov->params_pending, b);
}

void dp_overlap_grads_ready(dp_overlap *ov, int b, const dp_update_plan *plan) {
    if (!ov->in_step) {
        /* A rank without samples has not waited in its forward pass. */
        dp_overlap_wait_params(ov, 0);
        ov->plan = *plan;
        ov->params_pending = ov->st->nbuckets;
        ov->scalars_pending = 1;
        ov->in_step = true;
    }
    set_and_signal(ov, &ov->grads_ready, b + 1);
}

double dp_overlap_reduce(dp_overlap *ov, const dp_update_plan *plan,
                         dp_step_scalars *scalars) {
    ov->scalars = *scalars;
    dp_overlap_grads_ready(ov, ov->st->nbuckets - 1, plan);
    wait_for(ov, &ov->scalars_pending, 0);
    ov->in_step = false;
    *scalars = ov->scalars;
    return ov->loss;
}

void dp_overlap_wait_all(dp_overlap *ov) {
    wait_for(ov, &ov->params_pending, 0);
    dp_comm_set_mpi_thread(ov->st->comm);
    dp_comm_sleep_while_polling(ov->st->comm, false);
}
