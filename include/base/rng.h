/** Counter-based random numbers: Philox4x32-10.
 *
 *  A number is a pure function of (seed, purpose, stream, index), never of a rank, a
 *  thread or a call order. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
 *  as easy as 1, 2, 3", SC11. */
#ifndef DP_BASE_RNG_H
#define DP_BASE_RNG_H

#include <stdint.h>

/** What a number is drawn for: part of the key, so that no two purposes use the same
 *  numbers. The values belong to the file format: a resumed run draws the same
 *  numbers. */
typedef enum dp_purpose {
    DP_FOR_INIT = 1,    /* stream: parameter tensor; index: element */
    DP_FOR_SHUFFLE = 2, /* stream: epoch; index: position */
    DP_FOR_SPLIT = 3,   /* stream: 0; index: position */
    DP_FOR_LAYER =
        4, /* stream: step; index: layer << 56 | row of the sample << 24 | feature */
    DP_FOR_AUGMENT =
        5, /* stream: epoch; index: row of the sample << 24 | what is drawn */
} dp_purpose;

/** Four words for one index: Philox with the key (seed) and the counter (index, stream,
 *  purpose), lower words first. */
void dp_rng_words(uint64_t seed, dp_purpose purpose, uint32_t stream, uint64_t index,
                  uint32_t out[4]);

/** Uniform in [0, 1), 24 bits. */
float dp_rng_uniform(uint64_t seed, dp_purpose purpose, uint32_t stream, uint64_t index);

/** Standard normal (Box-Muller in double with our own log, cos), rounded to float. */
float dp_rng_normal(uint64_t seed, dp_purpose purpose, uint32_t stream, uint64_t index);

/** order[0..n) = a permutation of 0..n-1: a function of (seed, purpose, stream) alone.
 *  Fisher-Yates; bounded draws by 32x32 -> 64 bit multiplication. n < 2^31. */
void dp_rng_permutation(uint64_t seed, dp_purpose purpose, uint32_t stream, int n,
                        int32_t *order);

#endif
