/* Strips to batch-major rows, for layers whose kernel doesn't write them on its way. */
#include "split.h"

static void rows(dp_team team, int N, const dp_activation *a) {
    int F = a->F;
    subgrid p = split_grid(team, ceil_div(F, QUARTER), 1, ceil_div(N, QUARTER));
    ptrdiff_t ld = dp_ld(F);
    for (int q = p.b0; q < p.b1; q++) {
        int n = q * QUARTER;
        for (int f = p.a0 * QUARTER; f < imin(p.a1 * QUARTER, F); f += QUARTER) {
            to_batch_major(a->yt + dp_strip_at(F, n, f), imin(F - f, QUARTER),
                           imin(N - n, QUARTER), a->y + n * ld + f, ld);
        }
    }
}
