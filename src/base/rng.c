/* Philox4x32-10 and what is drawn from it: uniform and normal numbers, permutations. */
#include "base/rng.h"
#include "base/dmath.h"
#include <assert.h>
#include <math.h>

/* Ten rounds. */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void dp_rng_words(uint64_t seed, dp_purpose purpose, uint32_t stream, uint64_t index,
                  uint32_t out[4]) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), stream,
                                 (uint32_t)purpose};
    philox(counter, key, out);
}

float dp_rng_uniform(uint64_t seed, dp_purpose purpose, uint32_t stream, uint64_t index) {
    uint32_t w[4];
    dp_rng_words(seed, purpose, stream, index, w);
    return (float)(w[0] >> 8) * 0x1p-24f;
}

/* The upper 53 bits of two words. */
static double bits53(uint32_t hi, uint32_t lo) {
    return (double)(((uint64_t)hi << 32 | lo) >> 11);
}

float dp_rng_normal(uint64_t seed, dp_purpose purpose, uint32_t stream, uint64_t index) {
    uint32_t w[4];
    dp_rng_words(seed, purpose, stream, index, w);
    double u = (bits53(w[0], w[1]) + 1.0) * 0x1p-53; /* (0, 1]: its logarithm is finite */
    double v = bits53(w[2], w[3]) * 0x1p-53;
    return (float)(sqrt(-2.0 * dp_dlog(u)) * dp_dcos2pi(v));
}

void dp_rng_permutation(uint64_t seed, dp_purpose purpose, uint32_t stream, int n,
                        int32_t *order) {
    assert(n >= 0);
    for (int i = 0; i < n; i++) {
        order[i] = i;
    }
    uint32_t w[4] = {0};
    /* Position i takes word i mod 4 of index i / 4: one Philox call serves four draws. */
    for (int i = 0; i + 1 < n; i++) {
        if (i % 4 == 0) {
            dp_rng_words(seed, purpose, stream, (uint64_t)i / 4, w);
        }
        int j = i + (int)((uint64_t)w[i % 4] * (uint32_t)(n - i) >> 32);
        int32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}
