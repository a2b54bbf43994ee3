/* Losses fused with their gradients. Lanes run over samples, so every sum over classes is
 * one chain in the order of the classes. A NaN logit must end in a NaN loss: no maximum
 * hides it, since it is a term of the sum as well. */
#include "split.h"
#include "vmath.h"

static inline void sample_range(dp_team team, int N, int *begin, int *end) {
    int quarters = ceil_div(N, QUARTER);
    *begin = partition_begin(quarters, team.id, team.n) * QUARTER;
    *end = partition_begin(quarters, team.id + 1, team.n) * QUARTER;
}

/* Of LANES samples at n, those below N; else LANES. Never negative. */
static inline int valid_lanes(int N, int n) {
    return N <= n ? 0 : imin(N - n, LANES);
}

static ALWAYS_INLINE void store_valid(float *p, vf x, int valid) {
    if (valid == LANES) {
        vf_storeu(p, x);
    } else {
        vf_store_partial(p, x, (size_t)valid);
    }
}

static ALWAYS_INLINE vf mask_valid(vf x, int valid) {
    if (valid == LANES) {
        return x;
    }
    float tmp[LANES] __attribute__((aligned(64))) = {0};
    vf_store_partial(tmp, x, (size_t)valid);
    return vf_load(tmp);
}

static ALWAYS_INLINE void store_correct(uint8_t *correct, vm right, int valid) {
    int32_t yes[LANES] __attribute__((aligned(64)));
    vi ones = vi_select(right, vi_set(1), vi_set(0));
    memcpy(yes, &ones, sizeof ones);
    for (int l = 0; l < valid; l++) {
        correct[l] = (uint8_t)yes[l];
    }
}

/* -inf, or the largest of the logits that are not NaN; *arg is the first class that has
 * it. */
static ALWAYS_INLINE vf max_logit(int C, const float *z, vi *arg) {
    vf m = vf_set(-__builtin_inff());
    vi at = vi_set(-1);
    for (int c = 0; c < C; c++) {
        vf zc = vf_load(z + c * DP_STRIP);
        vm more = vf_lt(m, zc);
        m = vf_select(more, zc, m);
        at = vi_select(more, vi_set(c), at);
    }
    *arg = at;
    return m;
}

typedef struct entropy {
    int C;
    float on, off; /* targets of the label's class and of the others */
    float smoothing;
} entropy;

/* One vector of samples; dz may be NULL. */
static ALWAYS_INLINE vf entropy_lanes(entropy e, const float *z, vi label, float *dz,
                                      int valid, vm *right) {
    vi arg;
    vf m = max_logit(e.C, z, &arg);
    vf sum = vf_set(0.0f), below = vf_set(0.0f), gap = vf_set(0.0f);
    for (int c = 0; c < e.C; c++) {
        vf zc = vf_load(z + c * DP_STRIP);
        vf p = vf_exp(zc - m);
        sum = sum + p;
        gap = vf_select(vi_eq(label, vi_set(c)), m - zc, gap);
        below = below + (m - zc);
        if (dz) {
            vf_store(dz + c * DP_STRIP, p);
        }
    }
    if (dz) {
        vf inverse = 1.0f / sum;
        for (int c = 0; c < e.C; c++) {
            vf target = vf_select(vi_eq(label, vi_set(c)), vf_set(e.on), vf_set(e.off));
            vf d = vf_load(dz + c * DP_STRIP) * inverse - target;
            vf_store(dz + c * DP_STRIP, mask_valid(d, valid));
        }
    }
    *right = vi_eq(arg, label);
    if (e.smoothing != 0.0f) {
        gap = gap * (1.0f - e.smoothing) + below * e.off;
    }
    return vf_log(sum) + gap;
}

static void cross_entropy(dp_team team, int N, int C, const float *zt,
                          const int32_t *label, float smoothing, float *loss,
                          uint8_t *correct, float *dzt) {
    float off = smoothing / (float)C;
    entropy e = {
        .C = C, .on = (1.0f - smoothing) + off, .off = off, .smoothing = smoothing};
    int begin = 0, end = 0;
    sample_range(team, N, &begin, &end);
    for (int n = begin; n < end; n += LANES) {
        int valid = valid_lanes(N, n);
        vi labels = {0};
        memcpy(&labels, label + n, (size_t)valid * sizeof *label);
        size_t at = dp_strip_at(C, n, 0);
        vm right;
        vf l = entropy_lanes(e, zt + at, labels, dzt ? dzt + at : NULL, valid, &right);
        store_valid(loss + n, l, valid);
        if (correct) {
            store_correct(correct + n, right, valid);
        }
    }
}

/* target[n..n+valid)[o] as a vector */
static ALWAYS_INLINE vf targets(const float *target, int O, int o, int valid) {
    float y[LANES] __attribute__((aligned(64))) = {0};
    for (int l = 0; l < valid; l++) {
        y[l] = target[(size_t)l * O + o];
    }
    return vf_load(y);
}

/* The losses of regression: what an output's error d adds to the loss, and its slope. */
typedef struct regression {
    enum { SQUARED, ABSOLUTE, HUBER } kind;
    float delta;
} regression;

static ALWAYS_INLINE vf regression_term(regression r, vf d, vf sum, vf *slope) {
    vf zero = vf_set(0.0f), one = vf_set(1.0f), size = vf_abs(d), delta = vf_set(r.delta);
    if (r.kind == SQUARED) {
        *slope = d * 2.0f;
        return vf_fma(d, d, sum);
    }
    /* NaN stays NaN, and no zero is negative. */
    vf sign = vf_select(vf_lt(zero, d), one, vf_select(vf_lt(d, zero), -one, d + zero));
    if (r.kind == ABSOLUTE) {
        *slope = sign;
        return sum + size;
    }
    vm far = vf_lt(delta, size);
    *slope = vf_select(far, sign * delta, d);
    return sum + vf_select(far, delta * (size - delta * 0.5f), d * d * 0.5f);
}

static ALWAYS_INLINE void regress(regression r, dp_team team, int N, int O,
                                  const float *zt, const float *target, float *loss,
                                  float *dzt) {
    int begin = 0, end = 0;
    sample_range(team, N, &begin, &end);
    for (int n = begin; n < end; n += LANES) {
        int valid = valid_lanes(N, n);
        size_t at = dp_strip_at(O, n, 0);
        vf sum = vf_set(0.0f), slope;
        for (int o = 0; o < O; o++) {
            vf y = targets(target + (size_t)n * O, O, o, valid);
            vf d = vf_load(zt + at + (size_t)o * DP_STRIP) - y;
            sum = regression_term(r, d, sum, &slope);
            if (dzt) {
                vf_store(dzt + at + (size_t)o * DP_STRIP,
                         mask_valid(slope / (float)O, valid));
            }
        }
        store_valid(loss + n, sum / (float)O, valid);
    }
}

/* Each sample's loss and gradient times its weight: the range of samples that this thread
 * has in every loss, so there is no barrier between. */
static void weigh(dp_team team, int N, int O, const float *weight, float *loss,
                  float *dzt) {
    int begin = 0, end = 0;
    sample_range(team, N, &begin, &end);
    for (int n = begin; n < end; n += LANES) {
        int valid = valid_lanes(N, n);
        size_t at = dp_strip_at(O, n, 0);
        vf w = targets(weight + n, 1, 0, valid);
        store_valid(loss + n, targets(loss + n, 1, 0, valid) * w, valid);
        for (int o = 0; o < O; o++) {
            float *dz = dzt + at + (size_t)o * DP_STRIP;
            vf_store(dz, vf_load(dz) * w);
        }
    }
}

static void mse(dp_team team, int N, int O, const float *zt, const float *target,
                float *loss, float *dzt) {
    regress((regression){.kind = SQUARED}, team, N, O, zt, target, loss, dzt);
}

static void mae(dp_team team, int N, int O, const float *zt, const float *target,
                float *loss, float *dzt) {
    regress((regression){.kind = ABSOLUTE}, team, N, O, zt, target, loss, dzt);
}

static void huber(dp_team team, int N, int O, const float *zt, const float *target,
                  float delta, float *loss, float *dzt) {
    regress((regression){HUBER, delta}, team, N, O, zt, target, loss, dzt);
}

static void bce(dp_team team, int N, int O, const float *zt, const float *target,
                float *loss, uint8_t *correct, float *dzt) {
    vf zero = vf_set(0.0f), one = vf_set(1.0f);
    int begin = 0, end = 0;
    sample_range(team, N, &begin, &end);
    for (int n = begin; n < end; n += LANES) {
        int valid = valid_lanes(N, n);
        size_t at = dp_strip_at(O, n, 0);
        vf sum = zero;
        vi wrong = vi_set(0);
        for (int o = 0; o < O; o++) {
            vf z = vf_load(zt + at + (size_t)o * DP_STRIP);
            vf y = targets(target + (size_t)n * O, O, o, valid);
            vf positive = vf_select(vf_lt(z, zero), zero, z);
            sum = sum + (vf_fma(-z, y, positive) + vf_log1p(vf_exp(-vf_abs(z))));
            vm agrees = vf_eq(vf_select(vf_lt(zero, z), one, zero), y);
            wrong = vi_select(agrees, wrong, vi_set(1));
            if (dzt) {
                vf_store(dzt + at + (size_t)o * DP_STRIP,
                         mask_valid((vf_sigmoid(z) - y) / (float)O, valid));
            }
        }
        store_valid(loss + n, sum / (float)O, valid);
        if (correct) {
            store_correct(correct + n, vi_eq(wrong, vi_set(0)), valid);
        }
    }
}

static void softmax(dp_team team, int N, int C, const float *zt, float *p) {
    int begin = 0, end = 0;
    sample_range(team, N, &begin, &end);
    for (int n = begin; n < end; n += LANES) {
        int valid = valid_lanes(N, n);
        const float *z = zt + dp_strip_at(C, n, 0);
        vi arg;
        vf m = max_logit(C, z, &arg), sum = vf_set(0.0f);
        for (int c = 0; c < C; c++) {
            sum = sum + vf_exp(vf_load(z + c * DP_STRIP) - m);
        }
        for (int c = 0; c < C; c++) {
            float pc[LANES] __attribute__((aligned(64)));
            vf_store(pc, vf_exp(vf_load(z + c * DP_STRIP) - m) / sum);
            for (int l = 0; l < valid; l++) {
                p[(size_t)(n + l) * C + c] = pc[l];
            }
        }
    }
}
