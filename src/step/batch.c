/* The buffers of a microbatch. */
#include "step/batch.h"
#include "base/memory.h"
#include "step/team.h"
#include <stdlib.h>
#include <string.h>

static dp_status allocate(dp_batch *b) {
    size_t n = (size_t)b->capacity, targets = n * (size_t)b->outputs;
    DP_TRY(dp_memory_alloc(n, sizeof *b->label, (void **)&b->label));
    DP_TRY(dp_memory_alloc(targets, sizeof *b->target, (void **)&b->target));
    DP_TRY(dp_memory_alloc(n, sizeof *b->weight, (void **)&b->weight));
    DP_TRY(dp_memory_alloc(n, sizeof *b->loss, (void **)&b->loss));
    return dp_memory_alloc(n, sizeof *b->correct, (void **)&b->correct);
}

dp_status dp_batch_create(int capacity, int outputs, dp_batch **out) {
    dp_batch *b = dp_alloc(1, sizeof *b);
    b->capacity = capacity;
    b->outputs = outputs;
    dp_status s = allocate(b);
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
        dp_memory_free(&(*batch)->weight);
        dp_memory_free(&(*batch)->loss);
        dp_memory_free(&(*batch)->correct);
        dp_augment_destroy(&(*batch)->augment);
        dp_memory_free(&(*batch)->augmented);
        dp_memory_free(&(*batch)->own_row);
        free(*batch);
    }
    *batch = NULL;
}

dp_status dp_batch_augment(dp_batch *b, const dp_config *config, const dp_table *table,
                           int threads) {
    DP_TRY(dp_augment_create(config, table, threads, &b->augment));
    if (!b->augment) {
        return DP_OK;
    }
    size_t n = (size_t)b->capacity, width = table->bytes ? 1 : sizeof(float);
    DP_TRY(dp_memory_alloc(n * (size_t)table->features, width, &b->augmented));
    DP_TRY(dp_memory_alloc(n, sizeof *b->own_row, (void **)&b->own_row));
    for (int i = 0; i < b->capacity; i++) {
        b->own_row[i] = i;
    }
    return DP_OK;
}

/* Each thread makes its range of samples. */
static void augment(const dp_batch *b, dp_team team, const dp_table *table,
                    const int32_t *rows, int N) {
    size_t bytes = dp_table_row_bytes(table);
    for (int n = N * team.id / team.n; n < N * (team.id + 1) / team.n; n++) {
        dp_augment_sample(b->augment, team.id, table, b->epoch, rows[n],
                          (char *)b->augmented + (size_t)n * bytes);
    }
    dp_team_barrier(team);
}

void dp_batch_load_input(dp_team team, const dp_net *net, const dp_scale *scale,
                         const dp_table *table, const int32_t *rows, int N) {
    const dp_kernels *set = net->model->set;
    const dp_activation *input = &net->activations[0];
    if (input->lit) {
        set->scan(team, N, table->raw, rows, scale, input);
        dp_team_barrier(team);
        if (team.id == 0) {
            set->list(N, scale, input);
        }
        dp_team_barrier(team);
    }
    set->load(team, N, table->raw, rows, scale, input);
}

void dp_batch_load(dp_batch *batch, dp_team team, const dp_net *net,
                   const dp_scale *scale, const dp_table *table, const int32_t *rows,
                   int N) {
    if (batch->augment) {
        dp_table own = {.raw = batch->augmented};
        augment(batch, team, table, rows, N);
        dp_batch_load_input(team, net, scale, &own, batch->own_row, N);
    } else {
        dp_batch_load_input(team, net, scale, table, rows, N);
    }
    size_t width = (size_t)batch->outputs;
    for (int n = N * team.id / team.n; n < N * (team.id + 1) / team.n; n++) {
        if (table->label) {
            batch->label[n] = table->label[rows[n]];
        }
        if (table->target) {
            memcpy(batch->target + (size_t)n * width,
                   table->target + (size_t)rows[n] * width, width * sizeof(float));
        }
        if (batch->class_weight) {
            batch->weight[n] = batch->class_weight[dp_table_class(table, rows[n])];
        }
    }
}

dp_targets dp_batch_targets(const dp_batch *batch, int N, float smoothing, float delta) {
    return (dp_targets){.N = N,
                        .O = batch->outputs,
                        .label = batch->label,
                        .target = batch->target,
                        .weight = batch->class_weight ? batch->weight : NULL,
                        .smoothing = smoothing,
                        .delta = delta,
                        .loss = batch->loss,
                        .correct = batch->correct};
}
