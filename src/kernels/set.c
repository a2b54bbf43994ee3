/* One kernel set: compiled once for each instruction set, with -DDP_SET=<name> and
 * -DDP_SET_<name>. Everything here is written in the vectors of vec.h. */
#include "kernels/kernels.h"

#include "vec.h"

#include "vmath.h"

#include "act_gelu.h"
#include "act_leaky_relu.h"
#include "act_relu.h"
#include "act_sigmoid.h"
#include "act_softplus.h"
#include "act_tanh.h"
#include "conv.h"
#include "conv_dweight.h"
#include "dinput.h"
#include "dropout.h"
#include "dweight.h"
#include "forward.h"
#include "layernorm.h"
#include "lit.h"
#include "load.h"
#include "loss.h"
#include "pool.h"
#include "rows.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

static const dp_act acts[] = {
    {"relu", false, relu_forward, relu_backward},
    {"tanh", false, tanh_forward, tanh_backward},
    {"sigmoid", false, sigmoid_forward, sigmoid_backward},
    {"gelu", true, gelu_forward, gelu_backward},
    {"leaky_relu", false, leaky_relu_forward, leaky_relu_backward},
    {"softplus", true, softplus_forward, softplus_backward},
    {0},
};

static ALWAYS_INLINE void map_any(vf (*f)(vf), const float *x, float *y, size_t n) {
    size_t k = 0;
    for (; k + LANES <= n; k += LANES) {
        vf_storeu(y + k, f(vf_loadu(x + k)));
    }
    vf_store_partial(y + k, f(vf_load_partial(x + k, n - k)), n - k);
}

static void map_exp(const float *x, float *y, size_t n) {
    map_any(vf_exp, x, y, n);
}

static void map_log(const float *x, float *y, size_t n) {
    map_any(vf_log, x, y, n);
}

static void map_tanh(const float *x, float *y, size_t n) {
    map_any(vf_tanh, x, y, n);
}

static void map_sigmoid(const float *x, float *y, size_t n) {
    map_any(vf_sigmoid, x, y, n);
}

/* 12 chains hide the latency of an FMA in two pipes on every CPU so far. */
static double fma_chains(long rounds) {
    enum { CHAINS = 12 };
    vf acc[CHAINS], a = vf_set(0.5f), b = vf_set(1.0f);
#pragma GCC unroll 12
    for (int c = 0; c < CHAINS; c++) {
        acc[c] = vf_set((float)c);
    }
    for (long k = 0; k < rounds; k++) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++) {
            acc[c] = vf_fma(acc[c], a, b);
        }
    }
    vf sum = vf_set(0.0f);
    for (int c = 0; c < CHAINS; c++) {
        sum = sum + acc[c];
    }
    /* The sum is used, so the compiler can't drop the chains. */
    volatile float seen = sum[0];
    (void)seen;
    return 2.0 * CHAINS * LANES * (double)rounds;
}

extern const dp_kernels JOIN(dp_kernels_, DP_SET);
const dp_kernels JOIN(dp_kernels_, DP_SET) = {
    .name = TEXT(DP_SET),
    .lanes = LANES,
    .supported = set_supported,
    .scan = scan,
    .list = list,
    .load = load,
    .rows = rows,
    .forward = forward,
    .dinput = dinput,
    .dweight = dweight,
    .conv_forward = conv_forward,
    .conv_dinput = conv_dinput,
    .conv_dweight = conv_dweight,
    .maxpool_forward = maxpool_forward,
    .maxpool_backward = maxpool_backward,
    .avgpool_forward = avgpool_forward,
    .avgpool_backward = avgpool_backward,
    .layernorm_forward = layernorm_forward,
    .layernorm_dinput = layernorm_dinput,
    .layernorm_dweight = layernorm_dweight,
    .dropout = dropout,
    .cross_entropy = cross_entropy,
    .weigh = weigh,
    .mse = mse,
    .mae = mae,
    .huber = huber,
    .bce = bce,
    .softmax = softmax,
    .exp = map_exp,
    .log = map_log,
    .tanh = map_tanh,
    .sigmoid = map_sigmoid,
    .fma_chains = fma_chains,
    .acts = acts,
};
