/* Y = f(X W^T + b): tiles run along rows of W. */
#include "gemm.h"
#include <assert.h>

/* The activation on finished rows; then, each time 16 of them are complete, the
 * batch-major copy. */
static ALWAYS_INLINE void forward_epilogue(const gemm *g, int s, int q0, int q1, int m,
                                           int rows) {
    int n0 = s * DP_STRIP + q0 * QUARTER;
    if (g->act && q1 - q0 == STRIP_QUARTERS) {
        size_t at = dp_strip_at(g->M, n0, m);
        g->act->forward(g->out + at, g->yt + at, (size_t)rows * DP_STRIP);
    } else if (g->act) {
        for (int r = m; r < m + rows; r++) {
            size_t at = dp_strip_at(g->M, n0, r);
            g->act->forward(g->out + at, g->yt + at, (size_t)(q1 - q0) * QUARTER);
        }
    }
    if (!g->y) {
        return;
    }
    int end = m + rows < g->M ? (m + rows) / QUARTER * QUARTER : g->M;
    ptrdiff_t ld = dp_ld(g->M);
    for (int f = m / QUARTER * QUARTER; f < end; f += QUARTER) {
        for (int q = q0; q < q1; q++) {
            int n = s * DP_STRIP + q * QUARTER;
            to_batch_major(g->yt + dp_strip_at(g->M, n, f), imin(g->M - f, QUARTER),
                           imin(g->N - n, QUARTER), g->y + n * ld + f, ld);
        }
    }
}

static void forward(dp_team team, const dp_dense_args *a) {
    const dp_activation *below = a->below, *above = a->above;
    int O = above->F;
    assert(a->begin % QUARTER == 0 && (a->end % QUARTER == 0 || a->end == O) &&
           a->end <= O);
    gemm g = {.M = O,
              .K = below->lit ? below->lit->columns : below->F,
              .row = below->F,
              .step = 1,
              .W = a->W,
              .b = a->b,
              .x = below->yt,
              .lit = below->lit,
              .out = above->zt ? above->zt : above->yt,
              .N = a->N,
              .act = above->act,
              .yt = above->yt,
              .y = above->y};
    gemm_thread(&g, ROW, a->begin, a->end, team, forward_epilogue);
}
