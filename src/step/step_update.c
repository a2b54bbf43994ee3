/* From a summed gradient to new parameters, chunk by chunk. */
#include "step_impl.h"
#include <string.h>

void dp_step_finish_chunk(dp_stepper *st, int c, const float *sum, float scale) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    if (st->kept) {
        for (size_t i = 0; i < n; i++) {
            st->kept[at + i] += sum[i] * scale;
        }
        sum = st->kept + at;
        scale = 1;
    }
    st->chunk_sum[c] = sum;
    st->squares[c] = dp_sum_squares(sum, n, scale);
}

void dp_step_update_chunk(dp_stepper *st, int c, const dp_update *u) {
    const dp_model *model = st->model;
    size_t at = model->chunk[c], n = model->chunk[c + 1] - at;
    float *const slot[2] = {
        st->slot[0] && st->slot[0] != st->kept ? st->slot[0] + at : NULL,
        st->slot[1] && st->slot[1] != st->kept ? st->slot[1] + at : NULL};
    dp_update mine = *u;
    if (st->kept) { /* clipped in place, as clip_grad_norm_ does */
        for (size_t i = 0; i < n; i++) {
            st->kept[at + i] *= u->scale;
        }
        mine.scale = 1;
    }
    st->optimizer->update(&mine, n, st->chunk_sum[c], model->params + at, slot);
}

static void update_now(dp_stepper *st, int c, const float *sum, const dp_errand *now) {
    dp_step_finish_chunk(st, c, sum, now->scale);
    dp_step_update_chunk(st, c, &now->u);
}

enum { TALL = 14 }; /* rows of a gradient that are made about as fast as one */

bool dp_step_by_rows(const dp_layer *layer, int threads) {
    return threads == 1 || layer->O >= TALL * threads;
}

/* Where the rows of thread `id` begin in the slab. */
static size_t rows_from(const dp_layer *layer, int id, int threads) {
    const dp_tensor *w = &layer->tensor[0];
    size_t row = w->count / (size_t)layer->O;
    return w->offset + row * (size_t)((long)layer->O * id / threads);
}

/* The first chunk of the slab that begins at or after `at`. */
static int chunk_from(const dp_model *model, size_t at) {
    int low = 0, high = model->nchunks;
    while (low < high) {
        int middle = (low + high) / 2;
        if (model->chunk[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void dp_step_gradient_and_update(dp_stepper *st, dp_team team, const dp_layer *layer,
                                 int N, float *grads, const dp_errand *now,
                                 double *clock) {
    /* Floats of a gradient that stay in the cache; with many samples, more: looking at all of them
     * costs more than that. */
    enum { NEAR = 1 << 15 };
    dp_times *times = team.id == 0 ? &st->times : &(dp_times){0};
    const size_t *chunk = st->model->chunk;
    size_t first = layer->tensor[0].offset;
    size_t row = layer->tensor[0].count / (size_t)layer->O;
    size_t at = rows_from(layer, team.id, team.n);
    size_t end = rows_from(layer, team.id + 1, team.n);
    size_t near = (size_t)NEAR * (size_t)((N + DP_STRIP - 1) / DP_STRIP);
    size_t some = row * (1 + near / TALL / row) * TALL;
    int c = chunk_from(st->model, at);
    float *window = grads + chunk[c];
    dp_window to = {0, {{st->model->params, st->slot[0]}}};
    while (at < end) {
        size_t next = end - at > some ? at + some : end;
        layer->kind->gradient(st->model->set, (dp_team){0, 1}, layer, N, st->block,
                              (int)((at - first) / row), (int)((next - first) / row),
                              grads, &to);
        times->backward += dp_lap(clock);
        for (; chunk[c + 1] <= next; c++) {
            update_now(st, c, grads + chunk[c] - to.back, now);
        }
        if (next > chunk[c]) {
            /* The begin of a chunk; its end comes next, or is another thread's. */
            float *place = grads + chunk[c];
            memmove(next < end ? window : place, place - to.back,
                    (next - chunk[c]) * sizeof *grads);
            to.back = (size_t)(place - window);
        }
        times->update += dp_lap(clock);
        at = next;
    }
}

void dp_step_update_rest(dp_stepper *st, dp_team team, const dp_layer *layer,
                         const dp_errand *now) {
    if (layer->ntensors == 0) {
        return;
    }
    const size_t *chunk = st->model->chunk;
    const dp_tensor *last = &layer->tensor[layer->ntensors - 1];
    int c = chunk_from(st->model, layer->tensor[0].offset), rest = 0;
    for (int id = 0; c < st->model->nchunks && chunk[c] < last->offset + last->count;
         c++) {
        while (id < team.n && rows_from(layer, id + 1, team.n) <= chunk[c]) {
            id++;
        }
        bool done = dp_step_by_rows(layer, team.n) && id < team.n &&
                    chunk[c + 1] <= rows_from(layer, id + 1, team.n);
        if (!done && rest++ % team.n == team.id) {
            update_now(st, c, dp_exchange_slab(st->exchange, 0) + chunk[c], now);
        }
    }
}
