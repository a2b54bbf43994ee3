/* Update rules against steps worked out by hand, in double. */
#include "nn/optimizer.h"
#include "nn/schedule.h"
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static dp_config base(const char *name) {
    dp_config c = {0};
    strcpy(c.optimizer.name, name);
    strcpy(c.optimizer.schedule, "constant");
    c.optimizer.lr = 0.1;
    c.optimizer.beta1 = 0.9;
    c.optimizer.beta2 = 0.999;
    c.optimizer.eps = 1e-8;
    c.optimizer.alpha = 0.99;
    c.optimizer.trust = 0.001;
    c.train.epochs = 10;
    return c;
}

static dp_rates rates(const dp_config *c, double lr) {
    return (dp_rates){lr, c->optimizer.momentum};
}

enum { N = 37 }; /* more than any vector, and ragged */

/* Runs `steps` steps with gradients that change, and compares with `rule` on element i.
 */
static void compare(const dp_config *c, int steps,
                    void (*rule)(const dp_config *c, int t, double g, double *p,
                                 double s[2])) {
    const dp_optimizer *o = dp_optimizer_find(c->optimizer.name);
    cr_assert_not_null(o);
    const char *names[2];
    int slots = o->slots(c, names);
    float p[N], g[N], s0[N] = {0}, s1[N] = {0};
    float *const slot[2] = {slots > 0 ? s0 : NULL, slots > 1 ? s1 : NULL};
    double dp[N], ds[N][2];
    memset(ds, 0, sizeof ds);
    for (int i = 0; i < N; i++) {
        p[i] = 0.3F * (float)(i - 11);
        dp[i] = (double)p[i];
    }
    for (int t = 1; t <= steps; t++) {
        for (int i = 0; i < N; i++) {
            g[i] = sinf((float)(i + 3 * t)) * 8; /* a sum over 4 samples */
            rule(c, t, (double)g[i] / 4, &dp[i], ds[i]);
        }
        dp_update u = dp_optimizer_prepare(c, rates(c, c->optimizer.lr), t);
        u.scale = 0.25F;
        o->update(&u, N, g, p, slot);
    }
    for (int i = 0; i < N; i++) {
        cr_assert_float_eq((double)p[i], dp[i], 3e-6 * (1 + fabs(dp[i])),
                           "element %d: %.8g, %.8g", i, (double)p[i], dp[i]);
    }
}

static void sgd_rule(const dp_config *c, int t, double g, double *p, double s[2]) {
    g += c->optimizer.weight_decay * *p;
    double mu = c->optimizer.momentum;
    if (mu > 0) {
        s[0] = t == 1 ? g : mu * s[0] + g; /* PyTorch starts with the gradient itself */
        g = c->optimizer.nesterov ? g + mu * s[0] : s[0];
    }
    *p -= c->optimizer.lr * g;
}

static void adam_rule(const dp_config *c, int t, double g, double *p, double s[2]) {
    double b1 = c->optimizer.beta1, b2 = c->optimizer.beta2;
    if (strcmp(c->optimizer.name, "adam") == 0) {
        g += c->optimizer.weight_decay * *p;
    } else {
        *p -= c->optimizer.lr * c->optimizer.weight_decay * *p;
    }
    s[0] = b1 * s[0] + (1 - b1) * g;
    s[1] = b2 * s[1] + (1 - b2) * g * g;
    double m = s[0] / (1 - pow(b1, t)), v = s[1] / (1 - pow(b2, t));
    *p -= c->optimizer.lr * m / (sqrt(v) + c->optimizer.eps);
}

Test(sgd, plain_follows_the_rule)
{
    dp_config c = base("sgd");
    compare(&c, 5, sgd_rule);
}

Test(sgd, weight_decay_momentum_and_nesterov_follow_the_rule)
{
    dp_config c = base("sgd");
    c.optimizer.weight_decay = 0.01;
    compare(&c, 5, sgd_rule);
    c.optimizer.momentum = 0.9;
    compare(&c, 5, sgd_rule);
    c.optimizer.nesterov = true;
    compare(&c, 5, sgd_rule);
}

Test(adam, with_and_without_decay_follows_the_rule)
{
    dp_config c = base("adam");
    compare(&c, 6, adam_rule);
    c.optimizer.weight_decay = 0.1;
    compare(&c, 6, adam_rule);
}

Test(adamw, decay_is_decoupled)
{
    dp_config c = base("adamw");
    c.optimizer.weight_decay = 0.1;
    compare(&c, 6, adam_rule);
}

Test(adam, first_step_by_hand)
{
    /* g = 2: m/(1-b1) = 2, sqrt(v/(1-b2)) = 2, so the step is lr whatever the gradient.
     */
    dp_config c = base("adam");
    dp_update u = dp_optimizer_prepare(&c, rates(&c, 0.1), 1);
    u.scale = 1;
    float p = 1, g = 2, m = 0, v = 0;
    float *const slot[2] = {&m, &v};
    dp_optimizer_find("adam")->update(&u, 1, &g, &p, slot);
    cr_assert_float_eq((double)p, 0.9, 1e-6);
    cr_assert_float_eq((double)m, 0.2, 1e-6);
    cr_assert_float_eq((double)v, 0.004, 1e-7);
}

static void rmsprop_rule(const dp_config *c, int t, double g, double *p, double s[2]) {
    (void)t;
    double alpha = c->optimizer.alpha;
    g += c->optimizer.weight_decay * *p;
    s[0] = alpha * s[0] + (1 - alpha) * g * g;
    s[1] = c->optimizer.momentum * s[1] + g / (sqrt(s[0]) + c->optimizer.eps);
    *p -= c->optimizer.lr * s[1];
}

static void adagrad_rule(const dp_config *c, int t, double g, double *p, double s[2]) {
    (void)t;
    g += c->optimizer.weight_decay * *p;
    s[0] += g * g;
    *p -= c->optimizer.lr * g / (sqrt(s[0]) + c->optimizer.eps);
}

static void lion_rule(const dp_config *c, int t, double g, double *p, double s[2]) {
    (void)t;
    double b1 = c->optimizer.beta1, b2 = c->optimizer.beta2;
    double mean = b1 * s[0] + (1 - b1) * g;
    double sign = (mean > 0) - (mean < 0);
    *p -= c->optimizer.lr * (sign + c->optimizer.weight_decay * *p);
    s[0] = b2 * s[0] + (1 - b2) * g;
}

Test(rmsprop, with_decay_and_momentum_follows_the_rule)
{
    dp_config c = base("rmsprop");
    compare(&c, 6, rmsprop_rule);
    c.optimizer.weight_decay = 0.1;
    c.optimizer.alpha = 0.9;
    compare(&c, 6, rmsprop_rule);
    c.optimizer.momentum = 0.8;
    compare(&c, 6, rmsprop_rule);
}

Test(adagrad, with_and_without_decay_follows_the_rule)
{
    dp_config c = base("adagrad");
    c.optimizer.eps = 1e-10;
    compare(&c, 6, adagrad_rule);
    c.optimizer.weight_decay = 0.1;
    compare(&c, 6, adagrad_rule);
}

Test(lion, with_and_without_decay_follows_the_rule)
{
    dp_config c = base("lion");
    c.optimizer.beta2 = 0.99;
    compare(&c, 6, lion_rule);
    c.optimizer.weight_decay = 0.1;
    compare(&c, 6, lion_rule);
}

/* One element each, worked out by hand: {optimizer, gradient, p after a step at lr 0.5
 * from p = 2, after a second one with the gradient -1}. */
Test(optimizer, first_two_steps_by_hand)
{
    static const struct {
        const char *name;
        double after[2];
    } cases[] = {
        /* v = 0.16: 2 - 0.5 * 4 / 0.4;  v = 0.1684: + 0.5 / 0.41036569 */
        {"rmsprop", {-3, -1.7815758}},
        /* s = 16: 2 - 0.5 * 4 / 4;  s = 17: + 0.5 / 4.1231056 */
        {"adagrad", {1.5, 1.6212678}},
        /* m = 0.04 (beta2 0.99): c = 0.4, then 0.036 - 0.1 */
        {"lion", {1.5, 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dp_config c = base(cases[i].name);
        c.optimizer.beta2 = 0.99;
        float p = 2, s0 = 0, s1 = 0;
        for (int t = 1; t <= 2; t++) {
            dp_update u = dp_optimizer_prepare(&c, rates(&c, 0.5), t);
            u.scale = 1;
            float g = t == 1 ? 4 : -1;
            float *const slot[2] = {&s0,
                                    strcmp(c.optimizer.name, "rmsprop") ? &s1 : NULL};
            dp_optimizer_find(c.optimizer.name)->update(&u, 1, &g, &p, slot);
            cr_assert_float_eq((double)p, cases[i].after[t - 1], 1e-5,
                               "%s, step %d: %.8g", c.optimizer.name, t, (double)p);
        }
    }
}

/* A tensor of N elements through measure, ratio and update, as the step does it, beside
 * the paper's algorithm in double. */
static void compare_layerwise(const dp_config *c, int steps) {
    const dp_optimizer *o = dp_optimizer_find(c->optimizer.name);
    double lr = c->optimizer.lr, wd = c->optimizer.weight_decay;
    double b1 = c->optimizer.beta1, b2 = c->optimizer.beta2, mu = c->optimizer.momentum;
    bool lamb = strcmp(o->name, "lamb") == 0;
    const char *names[2];
    float p[N], g[N], s0[N] = {0}, s1[N] = {0};
    float *const slot[2] = {o->slots(c, names) > 0 ? s0 : NULL, lamb ? s1 : NULL};
    double q[N], m[N] = {0}, v[N] = {0};
    for (int i = 0; i < N; i++) {
        q[i] = (double)(p[i] = 0.3F * (float)(i - 11));
    }
    for (int t = 1; t <= steps; t++) {
        double d[N], pp = 0, dd = 0, gg = 0;
        for (int i = 0; i < N; i++) {
            g[i] = sinf((float)(i + 3 * t)) * 8;
            d[i] = (double)g[i] / 4;
            gg += d[i] * d[i];
            if (lamb) {
                m[i] = b1 * m[i] + (1 - b1) * d[i];
                v[i] = b2 * v[i] + (1 - b2) * d[i] * d[i];
                d[i] = m[i] / (1 - pow(b1, t)) /
                       (sqrt(v[i] / (1 - pow(b2, t))) + c->optimizer.eps);
            }
            d[i] += wd * q[i];
            pp += q[i] * q[i];
            dd += d[i] * d[i];
        }
        double ratio = lamb ? sqrt(pp / dd)
                            : c->optimizer.trust * sqrt(pp) / (sqrt(gg) + wd * sqrt(pp));
        for (int i = 0; i < N; i++) {
            if (lamb) {
                q[i] -= lr * ratio * d[i];
            } else {
                m[i] = mu * m[i] + lr * ratio * d[i];
                q[i] -= m[i];
            }
        }
        dp_update u = dp_optimizer_prepare(c, rates(c, lr), t);
        u.scale = 0.25F;
        double squares[2];
        o->measure(&u, N, g, p, slot, squares);
        u.rate = (float)(lr * o->ratio(&u, sqrt(squares[0]), sqrt(squares[1])));
        o->update(&u, N, g, p, slot);
    }
    for (int i = 0; i < N; i++) {
        cr_assert_float_eq((double)p[i], q[i], 3e-6 * (1 + fabs(q[i])),
                           "element %d: %.8g, %.8g", i, (double)p[i], q[i]);
    }
}

Test(lars, with_momentum_and_decay_follows_the_paper)
{
    dp_config c = base("lars");
    c.optimizer.trust = 0.2;
    compare_layerwise(&c, 6);
    c.optimizer.momentum = 0.9;
    compare_layerwise(&c, 6);
    c.optimizer.weight_decay = 0.1;
    compare_layerwise(&c, 6);
}

Test(lamb, with_and_without_decay_follows_the_paper)
{
    dp_config c = base("lamb");
    c.optimizer.eps = 1e-6;
    compare_layerwise(&c, 6);
    c.optimizer.weight_decay = 0.1;
    compare_layerwise(&c, 6);
}

Test(layerwise, rates_by_hand_and_of_tensors_that_are_zero)
{
    dp_update u = {.trust = 0.02, .weight_decay = 0.5F};
    const dp_optimizer *lars = dp_optimizer_find("lars"),
                       *lamb = dp_optimizer_find("lamb");
    cr_assert_float_eq(lars->ratio(&u, 4, 3), 0.016, 1e-15); /* 0.02 * 4 / (3 + 2) */
    cr_assert_float_eq(lamb->ratio(&u, 4, 8), 0.5, 1e-15);
    cr_assert_eq(lars->ratio(&u, 0, 3), 1);
    cr_assert_eq(lars->ratio(&u, 4, 0), 1);
    cr_assert_eq(lamb->ratio(&u, 0, 8), 1);
    cr_assert_eq(lamb->ratio(&u, 4, 0), 1);
}

Test(optimizer, unknown_name_is_null)
{ cr_assert_null(dp_optimizer_find("sgdd")); }

Test(sum_squares, is_the_same_from_any_vector_width)
{
    float v[1000];
    for (int i = 0; i < 1000; i++) {
        v[i] = sinf((float)i) * 100;
    }
    for (size_t n = 0; n < 1000; n += n < 130 ? 1 : 101) {
        float chain[64] = {0};
        double sum = 0;
        for (size_t i = 0; i < n; i++) {
            volatile float g = v[i] * 0.125F, square = g * g;
            chain[i % 64] += square;
        }
        for (int k = 0; k < 64; k++) {
            sum += (double)chain[k];
        }
        cr_assert_eq(dp_sum_squares(v, n, 0.125F), sum, "n = %zu", n);
    }
}

Test(schedule, warms_up_in_equal_steps_to_lr)
{
    dp_config c = base("sgd");
    c.optimizer.warmup = 0.5;
    for (int s = 0; s < 10; s++) {
        cr_assert_float_eq(dp_schedule_rates(&c, s, 20).lr, 0.1 * (s + 1) / 10, 1e-15);
    }
    cr_assert_eq(dp_schedule_rates(&c, 10, 20).lr, 0.1);
    cr_assert_eq(dp_schedule_rates(&c, 199, 20).lr, 0.1);
}

Test(schedule, cosine_goes_from_lr_to_min_lr)
{
    dp_config c = base("sgd");
    strcpy(c.optimizer.schedule, "cosine");
    c.optimizer.min_lr = 0.01;
    for (int s = 0; s < 200; s++) {
        double expect = 0.01 + 0.09 * (1 + cos(acos(-1) * s / 200)) / 2;
        cr_assert_float_eq(dp_schedule_rates(&c, s, 20).lr, expect, 1e-15, "step %d", s);
    }
}

Test(schedule, step_drops_by_gamma_and_stays_above_min_lr)
{
    dp_config c = base("sgd");
    strcpy(c.optimizer.schedule, "step");
    c.optimizer.step_epochs = 3;
    c.optimizer.step_gamma = 0.1;
    c.optimizer.min_lr = 2e-4;
    const double expect[] = {0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 1e-3, 1e-3, 1e-3, 2e-4};
    for (int e = 0; e < 10; e++) {
        cr_assert_float_eq(dp_schedule_rates(&c, e * 20, 20).lr, expect[e], 1e-16,
                           "epoch %d", e);
        cr_assert_float_eq(dp_schedule_rates(&c, e * 20 + 19, 20).lr, expect[e], 1e-16);
    }
}

/* 10 epochs of 20 steps at lr 0.1. */
static dp_config scheduled(const char *name) {
    dp_config c = base("sgd");
    strcpy(c.optimizer.schedule, name);
    c.optimizer.step_gamma = 0.5;
    c.optimizer.power = 2;
    c.optimizer.pct_start = 0.3;
    c.optimizer.div_factor = 25;
    return c;
}

Test(schedule, multistep_drops_at_its_milestones_in_any_order)
{
    dp_config c = scheduled("multistep");
    strcpy(c.optimizer.milestones, "7, 2.5 4");
    const struct {
        int step;
        double lr;
    } expect[] = {{0, 0.1},    {49, 0.1},    {50, 0.05},    {79, 0.05},
                  {80, 0.025}, {139, 0.025}, {140, 0.0125}, {199, 0.0125}};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++) {
        cr_assert_float_eq(dp_schedule_rates(&c, expect[i].step, 20).lr, expect[i].lr,
                           1e-16, "step %d", expect[i].step);
    }
    c.optimizer.min_lr = 0.03;
    cr_assert_eq(dp_schedule_rates(&c, 199, 20).lr, 0.03);
}

Test(schedule, exponential_drops_each_epoch_after_the_warmup)
{
    dp_config c = scheduled("exponential");
    for (int e = 0; e < 10; e++) {
        cr_assert_float_eq(dp_schedule_rates(&c, e * 20, 20).lr, 0.1 * pow(0.5, e),
                           1e-16);
        cr_assert_float_eq(dp_schedule_rates(&c, e * 20 + 19, 20).lr, 0.1 * pow(0.5, e),
                           1e-16);
    }
    c.optimizer.warmup = 2;
    cr_assert_eq(dp_schedule_rates(&c, 40, 20).lr, 0.1);
    cr_assert_eq(dp_schedule_rates(&c, 60, 20).lr, 0.05);
}

Test(schedule, linear_and_polynomial_end_at_min_lr)
{
    for (int power = 1; power <= 2; power++) {
        dp_config c = scheduled(power == 1 ? "linear" : "polynomial");
        c.optimizer.min_lr = 0.02;
        c.optimizer.warmup = 1;
        cr_assert_float_eq(dp_schedule_rates(&c, 9, 20).lr, 0.05, 1e-16);
        for (int s = 20; s < 220; s++) {
            double left = s < 200 ? (200 - s) / 180.0 : 0;
            cr_assert_float_eq(dp_schedule_rates(&c, s, 20).lr,
                               0.02 + 0.08 * pow(left, power), 1e-15, "step %d", s);
        }
    }
}

Test(schedule, onecycle_by_hand)
{
    dp_config c = scheduled("onecycle");
    c.optimizer.momentum = 0.85;
    c.optimizer.final_momentum = 0.95;
    c.optimizer.min_lr = 0.001;
    /* 0.3 of 200 steps: up in steps 0 to 59, down in 59 to 199. */
    const struct {
        int step;
        double lr, momentum;
    } expect[] = {{0, 0.004, 0.95},
                  {59, 0.1, 0.85},
                  {129, 0.0505, 0.9}, /* half way down */
                  {199, 0.001, 0.95},
                  {500, 0.001, 0.95}};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++) {
        dp_rates r = dp_schedule_rates(&c, expect[i].step, 20);
        cr_assert_float_eq(r.lr, expect[i].lr, 1e-15, "step %d", expect[i].step);
        cr_assert_float_eq(r.momentum, expect[i].momentum, 1e-15, "step %d",
                           expect[i].step);
    }
    c.optimizer.final_momentum = 0;
    c.optimizer.warmup = 1;
    dp_rates first = dp_schedule_rates(&c, 0, 20), begin = dp_schedule_rates(&c, 20, 20);
    cr_assert_float_eq(first.lr, 0.004 / 20, 1e-16);
    cr_assert_float_eq(begin.lr, 0.004, 1e-16);
    cr_assert_eq(first.momentum, 0.85);
    cr_assert_eq(begin.momentum, 0.85);
}

Test(schedule, is_finite_in_runs_of_a_step_or_two)
{
    static const char *const names[] = {"constant",    "step",    "multistep",
                                        "exponential", "linear",  "polynomial",
                                        "cosine",      "onecycle"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        dp_config c = scheduled(names[i]);
        c.optimizer.step_epochs = 1;
        strcpy(c.optimizer.milestones, "1");
        for (int k = 0; k < 24; k++) {
            c.train.epochs = 1 + k % 2;
            c.optimizer.warmup = (double[]){0, 0.5, 3}[k / 2 % 3];
            c.optimizer.pct_start = (double[]){0, 0.5, 1, 0.3}[k / 6];
            for (int s = 0; s < 2; s++) {
                double lr = dp_schedule_rates(&c, s, 1).lr;
                cr_assert(lr >= 0 && lr <= 0.1 * (1 + 1e-15), "%s, case %d: %g", names[i],
                          k, lr);
            }
        }
    }
}
