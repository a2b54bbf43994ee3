/** Which sample comes when: a function of (seed, epoch), the same on every rank. */
#ifndef DP_DATA_SAMPLER_H
#define DP_DATA_SAMPLER_H

#include "base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct dp_sampler {
    const int32_t *row; /* [n] the split's rows; borrowed */
    int n;              /* samples in the split */
    int batch;          /* global batch, 1..n */
    int steps;          /* an epoch's, dp_sampler_steps */
    bool shuffle;
    uint64_t seed;
    int64_t epoch;  /* of `order`, from 1; 0: none yet */
    int32_t *order; /* [n] rows in the order of the epoch; owner: this */
} dp_sampler;

/** The steps of an epoch: ceil(n/batch), floor with drop_last. */
static inline int dp_sampler_steps(int n, int batch, bool drop_last) {
    return n / batch + (n % batch != 0 && !drop_last);
}

/** Errors: DP_EINTERNAL (no memory), DP_EUSAGE (batch > n, or no step left by drop_last).
 */
dp_status dp_sampler_create(const int32_t *row, int n, int batch, bool shuffle,
                            bool drop_last, uint64_t seed, dp_sampler **out);

/** Computes `order` for epoch `epoch` (from 1). */
void dp_sampler_epoch(dp_sampler *sampler, int64_t epoch);

/** The rows of step `s` (from 0) of the epoch: order + s*batch; *n = how many (the last
 *  may be short). */
const int32_t *dp_sampler_batch(const dp_sampler *sampler, int s, int *n);

void dp_sampler_destroy(dp_sampler **sampler);

#endif
