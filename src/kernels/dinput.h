/* dX = dY W, times the derivative of the activation below: tiles run down columns of
 * W. */
#include "gemm.h"

static ALWAYS_INLINE void dinput_epilogue(const gemm *g, int s, int q0, int q1, int m,
                                          int rows) {
    if (!g->act) {
        return;
    }
    size_t strip = (size_t)s * g->M * DP_STRIP;
    bool whole = q1 - q0 == STRIP_QUARTERS;
    size_t n = (size_t)(q1 - q0) * QUARTER * (whole ? (size_t)rows : 1);
    for (int r = m; r < m + (whole ? 1 : rows); r++) {
        size_t at = strip + (size_t)r * DP_STRIP + (size_t)q0 * QUARTER;
        g->act->backward(g->at_zt ? g->at_zt + at : NULL, g->at_yt + at, g->out + at, n);
    }
}

static void dinput(dp_team team, int N, int I, int O, const float *dyt, const float *W,
                   const dp_act *act, const float *zt, const float *yt, float *dxt) {
    gemm g = {.M = I,
              .K = O,
              .row = 1,
              .step = I,
              .W = W,
              .x = dyt,
              .out = dxt,
              .N = N,
              .act = act,
              .at_zt = zt,
              .at_yt = yt};
    gemm_thread(&g, true, 0, I, team, dinput_epilogue);
}
