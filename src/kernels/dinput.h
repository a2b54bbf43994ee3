/* dX = dY W, times the derivative of the activation below: tiles run down columns of
 * W. */
#include "gemm.h"

static ALWAYS_INLINE void dinput_epilogue(const gemm *g, int s, int q0, int q1, int m,
                                          int rows) {
    if (!g->act) {
        return;
    }
    bool whole = q1 - q0 == STRIP_QUARTERS;
    size_t n = (size_t)(q1 - q0) * QUARTER * (whole ? (size_t)rows : 1);
    for (int r = m; r < m + (whole ? 1 : rows); r++) {
        size_t at = dp_strip_at(g->M, s * DP_STRIP + q0 * QUARTER, r);
        g->act->backward(g->at_zt ? g->at_zt + at : NULL, g->at_yt + at, g->out + at, n);
    }
}

static void dinput(dp_team team, const dp_dense_args *a) {
    const dp_activation *below = a->below, *above = a->above;
    gemm g = {.M = below->F,
              .K = above->F,
              .row = 1,
              .step = below->F,
              .W = a->W,
              .x = above->dzt,
              .out = below->dzt,
              .N = a->N,
              .act = below->act,
              .at_zt = below->zt,
              .at_yt = below->yt};
    gemm_thread(&g, COLUMN, 0, below->F, team, dinput_epilogue);
}
