/* Squared norms; beside the optimizers because those with layer-wise rates take them. */
#include "base/clones.h"
#include "nn/optimizer.h"
#include <string.h>

enum { CHAINS = 64 };

/* The sums are kept in an array of their own, which can be in registers. */
DP_CLONES static void add_squares(const float *v, size_t n, float scale,
                                  float chain[CHAINS]) {
    float sum[CHAINS] = {0};
    for (size_t i = 0; i < n; i += CHAINS) {
        for (int c = 0; c < CHAINS; c++) {
            float g = v[i + (size_t)c] * scale;
            sum[c] += g * g;
        }
    }
    memcpy(chain, sum, sizeof sum);
}

double dp_sum_squares(const float *v, size_t n, float scale) {
    float chain[CHAINS];
    size_t whole = n / CHAINS * CHAINS;
    add_squares(v, whole, scale, chain);
    for (size_t i = whole; i < n; i++) {
        float g = v[i] * scale;
        chain[i - whole] += g * g;
    }
    double sum = 0;
    for (int c = 0; c < CHAINS; c++) {
        sum += (double)chain[c];
    }
    return sum;
}
