/* The buffers of a microbatch. */
#include "step/batch.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

dp_status dp_batch_create(int capacity, int outputs, dp_batch **out) {
    size_t n = (size_t)capacity;
    dp_batch *b = dp_alloc(1, sizeof *b);
    b->capacity = capacity;
    b->outputs = outputs;
    dp_status s = dp_memory_alloc(n, sizeof *b->label, (void **)&b->label);
    s = s ? s : dp_memory_alloc(n * (size_t)outputs, sizeof(float), (void **)&b->target);
    s = s ? s : dp_memory_alloc(n, sizeof *b->loss, (void **)&b->loss);
    s = s ? s : dp_memory_alloc(n, sizeof *b->correct, (void **)&b->correct);
    if (s != DP_OK) {
        dp_batch_destroy(&b);
        return s;
    }
    *out = b;
    return DP_OK;
}

void dp_batch_destroy(dp_batch **batch) {
    if (*batch) {
        dp_memory_free(&(*batch)->label);
        dp_memory_free(&(*batch)->target);
        dp_memory_free(&(*batch)->loss);
        dp_memory_free(&(*batch)->correct);
        free(*batch);
    }
    *batch = NULL;
}

void dp_batch_load(dp_batch *batch, dp_team team, const dp_net *net,
                   const dp_scale *scale, const dp_table *table, const int32_t *rows,
                   int N) {
    const dp_activation *input = &net->activations[0];
    net->model->set->load(team, N, input->F, table->raw, rows, scale, input->yt,
                          input->y);
    size_t width = (size_t)batch->outputs;
    for (int n = N * team.id / team.n; n < N * (team.id + 1) / team.n; n++) {
        if (table->label) {
            batch->label[n] = table->label[rows[n]];
        }
        if (table->target) {
            memcpy(batch->target + (size_t)n * width,
                   table->target + (size_t)rows[n] * width, width * sizeof(float));
        }
    }
}

dp_targets dp_batch_targets(const dp_batch *batch, int N, float smoothing) {
    return (dp_targets){.N = N,
                        .O = batch->outputs,
                        .label = batch->label,
                        .target = batch->target,
                        .smoothing = smoothing,
                        .loss = batch->loss,
                        .correct = batch->correct};
}
