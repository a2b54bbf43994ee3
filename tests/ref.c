/* The kernels' specification in plain loops. */
#include "ref.h"
#include <assert.h>
#include <math.h>
#include <string.h>

void dp_forward_ref(int N, int I, int O, const float *X, const float *W, const float *b,
                    double *Z) {
    for (int n = 0; n < N; n++) {
        for (int o = 0; o < O; o++) {
            double sum = b[o];
            for (int i = 0; i < I; i++) {
                sum += (double)W[(size_t)o * I + i] * X[(size_t)n * I + i];
            }
            Z[(size_t)n * O + o] = sum;
        }
    }
}

void dp_dinput_ref(int N, int I, int O, const float *dY, const float *W, double *dX) {
    for (int n = 0; n < N; n++) {
        for (int i = 0; i < I; i++) {
            double sum = 0;
            for (int o = 0; o < O; o++) {
                sum += (double)W[(size_t)o * I + i] * dY[(size_t)n * O + o];
            }
            dX[(size_t)n * I + i] = sum;
        }
    }
}

void dp_dweight_ref(int N, int I, int O, const float *X, const float *dY, double *dW,
                    double *db) {
    for (int o = 0; o < O; o++) {
        for (int i = 0; i < I; i++) {
            double sum = 0;
            for (int n = 0; n < N; n++) {
                sum += (double)dY[(size_t)n * O + o] * X[(size_t)n * I + i];
            }
            dW[(size_t)o * I + i] = sum;
        }
        db[o] = 0;
        for (int n = 0; n < N; n++) {
            db[o] += dY[(size_t)n * O + o];
        }
    }
}

static double relu(double z) {
    return z < 0 ? 0 : z;
}
static double relu_slope(double z) {
    return z <= 0 ? 0 : 1;
}
static double tanh_slope(double z) {
    return 1 - tanh(z) * tanh(z);
}
static double sigmoid(double z) {
    return 1 / (1 + exp(-z));
}
static double sigmoid_slope(double z) {
    return sigmoid(z) * (1 - sigmoid(z));
}
static double gelu(double z) {
    return 0.5 * z * (1 + erf(z * M_SQRT1_2));
}
static double gelu_slope(double z) {
    return 0.5 * (1 + erf(z * M_SQRT1_2)) + z * exp(-z * z / 2) / sqrt(2 * M_PI);
}
static double leaky_relu(double z) {
    return z > 0 ? z : 0.01 * z;
}
static double leaky_relu_slope(double z) {
    return z > 0 ? 1 : 0.01;
}
static double softplus(double z) {
    return fmax(z, 0) + log1p(exp(-fabs(z)));
}

static const struct {
    const char *name;
    double (*value)(double), (*slope)(double);
} acts[] = {
    {"relu", relu, relu_slope},          {"tanh", tanh, tanh_slope},
    {"sigmoid", sigmoid, sigmoid_slope}, {"gelu", gelu, gelu_slope},
    {"softplus", softplus, sigmoid},     {"leaky_relu", leaky_relu, leaky_relu_slope},
};

static int find_act(const char *name) {
    for (int i = 0; i < (int)(sizeof acts / sizeof *acts); i++) {
        if (strcmp(name, acts[i].name) == 0) {
            return i;
        }
    }
    assert(!"an activation without a reference");
    return 0;
}

double dp_act_ref(const char *name, double z) {
    return name ? acts[find_act(name)].value(z) : z;
}

double dp_act_slope_ref(const char *name, double z) {
    return name ? acts[find_act(name)].slope(z) : 1;
}

double dp_load_ref(const void *raw_row, int f, const dp_scale *scale) {
    double v = scale->bytes ? ((const uint8_t *)raw_row)[f] : ((const float *)raw_row)[f];
    if (scale->bytes && scale->unit) {
        v /= 255;
    }
    if (scale->columns > 0) {
        int column = scale->columns == 1 ? 0 : f;
        v = (v - scale->mean[column]) * scale->inv_std[column];
    }
    return v;
}

void dp_cross_entropy_ref(int N, int C, const float *Z, const int32_t *label,
                          double smoothing, double *loss, double *dZ) {
    for (int n = 0; n < N; n++) {
        const float *z = Z + (size_t)n * C;
        double max = z[0], sum = 0;
        for (int c = 1; c < C; c++) {
            max = fmax(max, z[c]);
        }
        for (int c = 0; c < C; c++) {
            sum += exp(z[c] - max);
        }
        loss[n] = max + log(sum);
        for (int c = 0; c < C; c++) {
            double target = (1 - smoothing) * (c == label[n]) + smoothing / C;
            loss[n] -= target * z[c];
            dZ[(size_t)n * C + c] = exp(z[c] - max) / sum - target;
        }
    }
}

void dp_mse_ref(int N, int O, const float *Z, const float *target, double *loss,
                double *dZ) {
    for (int n = 0; n < N; n++) {
        loss[n] = 0;
        for (int o = 0; o < O; o++) {
            size_t at = (size_t)n * O + o;
            double d = (double)Z[at] - target[at];
            loss[n] += d * d / O;
            dZ[at] = 2 * d / O;
        }
    }
}

void dp_mae_ref(int N, int O, const float *Z, const float *target, double *loss,
                double *dZ) {
    for (int n = 0; n < N; n++) {
        loss[n] = 0;
        for (int o = 0; o < O; o++) {
            size_t at = (size_t)n * O + o;
            double d = (double)Z[at] - target[at];
            loss[n] += fabs(d) / O;
            dZ[at] = ((d > 0) - (d < 0)) / (double)O;
        }
    }
}

void dp_huber_ref(int N, int O, const float *Z, const float *target, double delta,
                  double *loss, double *dZ) {
    for (int n = 0; n < N; n++) {
        loss[n] = 0;
        for (int o = 0; o < O; o++) {
            size_t at = (size_t)n * O + o;
            double d = (double)Z[at] - target[at], size = fabs(d);
            loss[n] += (size <= delta ? d * d / 2 : delta * (size - delta / 2)) / O;
            dZ[at] = (size <= delta ? d : d > 0 ? delta : -delta) / O;
        }
    }
}

void dp_bce_ref(int N, int O, const float *Z, const float *target, double *loss,
                double *dZ) {
    for (int n = 0; n < N; n++) {
        loss[n] = 0;
        for (int o = 0; o < O; o++) {
            size_t at = (size_t)n * O + o;
            double z = Z[at], y = target[at];
            loss[n] += (fmax(z, 0) - z * y + log1p(exp(-fabs(z)))) / O;
            dZ[at] = (sigmoid(z) - y) / O;
        }
    }
}
