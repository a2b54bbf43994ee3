/* Y = f(X W^T + b): tiles run along rows of W. */
#include "gemm.h"
#include <assert.h>

/* The activation on finished rows; then, each time 16 of them are complete, the
 * batch-major copy. */
static ALWAYS_INLINE void forward_epilogue(const gemm *g, int s, int q0, int q1, int m,
                                           int rows) {
    size_t strip = (size_t)s * g->M * DP_STRIP;
    if (g->act && q1 - q0 == STRIP_QUARTERS) {
        size_t at = strip + (size_t)m * DP_STRIP;
        g->act->forward(g->out + at, g->yt + at, (size_t)rows * DP_STRIP);
    } else if (g->act) {
        for (int r = m; r < m + rows; r++) {
            size_t at = strip + (size_t)r * DP_STRIP + (size_t)q0 * QUARTER;
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
            to_batch_major(g->yt + strip + (size_t)f * DP_STRIP + q * QUARTER,
                           imin(g->M - f, QUARTER), imin(g->N - n, QUARTER),
                           g->y + n * ld + f, ld);
        }
    }
}

static void forward(dp_team team, int N, int I, int O, int o0, int o1, const float *xt,
                    const float *W, const float *b, const dp_act *act, float *zt,
                    float *yt, float *y) {
    assert(o0 % QUARTER == 0 && (o1 % QUARTER == 0 || o1 == O) && o1 <= O);
    gemm g = {.M = O,
              .K = I,
              .row = I,
              .step = 1,
              .W = W,
              .b = b,
              .x = xt,
              .out = zt ? zt : yt,
              .N = N,
              .act = act,
              .yt = yt,
              .y = y};
    gemm_thread(&g, false, o0, o1, team, forward_epilogue);
}
