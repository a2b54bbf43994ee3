/** The kernels' specification: plain loops, sums in double, one row a sample.
 *
 *  What a kernel of kernels.h computes, without its layouts, threads and order of sums.
 *  Tests and benchmark compare every kernel set with these. All arrays are row-major
 *  without padding; results are double. */
#ifndef DP_TESTS_REF_H
#define DP_TESTS_REF_H

#include "kernels/kernels.h"

/** Z[N][O] = X[N][I] W[O][I]^T + b[O]. */
void dp_forward_ref(int N, int I, int O, const float *X, const float *W, const float *b,
                    double *Z);

/** dX[N][I] = dY[N][O] W[O][I]. */
void dp_dinput_ref(int N, int I, int O, const float *dY, const float *W, double *dX);

/** dW[O][I] = dY[N][O]^T X[N][I], db[O] = sum of dY over the samples. */
void dp_dweight_ref(int N, int I, int O, const float *X, const float *dY, double *dW,
                    double *db);

/** f(z) and f'(z) of the activation called `name`; NULL is the identity. */
double dp_act_ref(const char *name, double z);
double dp_act_slope_ref(const char *name, double z);

/** Feature f of a row of raw values, as dp_scale says. */
double dp_load_ref(const void *raw_row, int f, const dp_scale *scale);

/** loss[N] and dZ[N][C], which is not divided by the batch. */
void dp_cross_entropy_ref(int N, int C, const float *Z, const int32_t *label,
                          double smoothing, double *loss, double *dZ);

/** loss[N] and dZ[N][O] against target[N][O]. */
void dp_mse_ref(int N, int O, const float *Z, const float *target, double *loss,
                double *dZ);
void dp_mae_ref(int N, int O, const float *Z, const float *target, double *loss,
                double *dZ);
void dp_huber_ref(int N, int O, const float *Z, const float *target, double delta,
                  double *loss, double *dZ);
void dp_bce_ref(int N, int O, const float *Z, const float *target, double *loss,
                double *dZ);

#endif
