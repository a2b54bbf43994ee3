/* Strips to batch-major rows, for layers whose kernel doesn't write them on its way. */
#include "split.h"

static void rows(dp_team team, int N, int F, const float *t, float *x) {
    subgrid p = split_grid(team, ceil_div(F, QUARTER), 1, ceil_div(N, QUARTER));
    ptrdiff_t ld = dp_ld(F);
    for (int q = p.b0; q < p.b1; q++) {
        int n = q * QUARTER;
        const float *from = t + (size_t)(n / DP_STRIP) * F * DP_STRIP + n % DP_STRIP;
        for (int f = p.a0 * QUARTER; f < imin(p.a1 * QUARTER, F); f += QUARTER) {
            to_batch_major(from + (size_t)f * DP_STRIP, imin(F - f, QUARTER),
                           imin(N - n, QUARTER), x + n * ld + f, ld);
        }
    }
}
