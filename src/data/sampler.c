/* The order of samples in an epoch, and the rows of a batch. */
#include "data/sampler.h"
#include "base/memory.h"
#include "base/rng.h"
#include <assert.h>
#include <string.h>

dp_status dp_sampler_create(const int32_t *row, int n, int batch, bool shuffle,
                            bool drop_last, uint64_t seed, dp_sampler **out) {
    assert(n >= 0 && batch >= 1);
    if (batch > n) {
        return dp_fail(DP_EUSAGE,
                       "train.batch_size = %d is more than the training split's %d "
                       "samples; use at most %d, or 0 for the whole split",
                       batch, n, n);
    }
    int32_t *order = NULL;
    DP_TRY(dp_memory_alloc((size_t)n, sizeof *order, (void **)&order));
    dp_sampler *sampler = dp_alloc(1, sizeof *sampler);
    *sampler = (dp_sampler){.row = row,
                            .n = n,
                            .batch = batch,
                            .steps = dp_sampler_steps(n, batch, drop_last),
                            .shuffle = shuffle,
                            .seed = seed,
                            .order = order};
    *out = sampler;
    return DP_OK;
}

void dp_sampler_epoch(dp_sampler *sampler, int64_t epoch) {
    assert(epoch >= 1);
    if (sampler->epoch == epoch) {
        return;
    }
    sampler->epoch = epoch;
    if (!sampler->shuffle) {
        memcpy(sampler->order, sampler->row, (size_t)sampler->n * sizeof *sampler->order);
        return;
    }
    dp_rng_permutation(sampler->seed, DP_FOR_SHUFFLE, (uint32_t)epoch, sampler->n,
                       sampler->order);
    for (int i = 0; i < sampler->n; i++) {
        sampler->order[i] = sampler->row[sampler->order[i]];
    }
}

const int32_t *dp_sampler_batch(const dp_sampler *sampler, int s, int *n) {
    assert(sampler->epoch > 0 && s >= 0 && s < sampler->steps);
    int64_t begin = (int64_t)s * sampler->batch;
    int64_t left = sampler->n - begin;
    *n = left < sampler->batch ? (int)left : sampler->batch;
    return sampler->order + begin;
}

void dp_sampler_destroy(dp_sampler **sampler) {
    if (*sampler) {
        dp_memory_free(&(*sampler)->order);
        dp_memory_free(sampler);
    }
}
