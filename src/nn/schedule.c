/* The schedules: the learning rate and the momentum of a step. */
#include "nn/schedule.h"
#include "base/dmath.h"
#include "base/log.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where in the run a step is. */
typedef struct position {
    int64_t step, steps;  /* from the run's start; an epoch's */
    int64_t after, whole; /* from the warmup's end; from there to the run's end */
    double t;             /* after / whole, up to 1 */
} position;

typedef struct schedule {
    const char *name;
    dp_rates (*rates)(const dp_config *c, const position *at); /* after the warmup */
    bool low;                                                  /* begins below lr */
} schedule;

static dp_rates plain(const dp_config *c, double lr) {
    return (dp_rates){lr, c->optimizer.momentum};
}

static dp_rates constant(const dp_config *c, const position *at) {
    (void)at;
    return plain(c, c->optimizer.lr);
}

/* ---- an epoch at a time ---- */

static dp_rates dropped(const dp_config *c, int64_t drops) {
    double lr = c->optimizer.lr * dp_dpow(c->optimizer.step_gamma, (long)drops);
    return plain(c, lr > c->optimizer.min_lr ? lr : c->optimizer.min_lr);
}

static dp_rates step(const dp_config *c, const position *at) {
    return dropped(c, at->step / at->steps / c->optimizer.step_epochs);
}

/* The milestones above 0, up to `limit` epochs. */
static int count_milestones(const char *text, double limit) {
    int n = 0;
    for (const char *p = text; *p;) {
        char *end = NULL;
        double milestone = strtod(p, &end);
        n += end != p && milestone > 0 && milestone <= limit;
        p = end == p ? p + 1 : end;
    }
    return n;
}

static dp_rates multistep(const dp_config *c, const position *at) {
    double epochs = (double)at->step / (double)at->steps;
    return dropped(c, count_milestones(c->optimizer.milestones, epochs));
}

static dp_rates exponential(const dp_config *c, const position *at) {
    return dropped(c, at->after / at->steps);
}

/* ---- a step at a time, to the run's end ---- */

/* share 1: lr; 0: min_lr */
static dp_rates between(const dp_config *c, double share) {
    double min_lr = c->optimizer.min_lr;
    return plain(c, min_lr + (c->optimizer.lr - min_lr) * share);
}

static dp_rates linear(const dp_config *c, const position *at) {
    return between(c, 1 - at->t);
}

static dp_rates polynomial(const dp_config *c, const position *at) {
    double power = c->optimizer.power;
    return between(c, at->t < 1 ? dp_dexp(power * dp_dlog(1 - at->t)) : 0);
}

static dp_rates cosine(const dp_config *c, const position *at) {
    double lr = c->optimizer.lr, min_lr = c->optimizer.min_lr;
    return plain(c, min_lr + (lr - min_lr) * (1.0 + dp_dcos2pi(at->t / 2)) / 2);
}

/* Half a cosine from a (t = 0) to b (t = 1). */
static double anneal(double a, double b, double t) {
    return b + (a - b) / 2 * (1 + dp_dcos2pi(t / 2));
}

static dp_rates onecycle(const dp_config *c, const position *at) {
    double lr = c->optimizer.lr, low = lr / c->optimizer.div_factor;
    double middle = c->optimizer.momentum;
    double ends = c->optimizer.final_momentum > 0 ? c->optimizer.final_momentum : middle;
    double top = c->optimizer.pct_start * (double)at->whole - 1;
    double last = (double)at->whole - 1, now = (double)at->after;
    now = now < last ? now : last;
    if (now <= top) {
        double t = top > 0 ? now / top : 1;
        return (dp_rates){anneal(low, lr, t), anneal(ends, middle, t)};
    }
    double t = (now - top) / (last - top);
    return (dp_rates){anneal(lr, c->optimizer.min_lr, t), anneal(middle, ends, t)};
}

/* ---- the table ---- */

static const schedule table[] = {
    {"constant", constant, false},   {"step", step, false},
    {"multistep", multistep, false}, {"exponential", exponential, false},
    {"linear", linear, false},       {"polynomial", polynomial, false},
    {"cosine", cosine, false},       {"onecycle", onecycle, true},
};

static const schedule *find(const char *name) {
    const schedule *s = table;
    while (strcmp(s->name, name) != 0) {
        s++; /* the table of keys has no other names */
    }
    return s;
}

dp_rates dp_schedule_rates(const dp_config *c, int64_t now, int64_t steps) {
    int64_t warm = (int64_t)ceil(c->optimizer.warmup * (double)steps);
    int64_t total = c->train.epochs * steps;
    const schedule *s = find(c->optimizer.schedule);
    position at = {.step = now,
                   .steps = steps,
                   .after = now > warm ? now - warm : 0,
                   .whole = total > warm ? total - warm : 1};
    at.t = at.after < at.whole ? (double)at.after / (double)at.whole : 1;
    bool warming = now < warm;
    dp_rates r = warming && !s->low ? plain(c, c->optimizer.lr) : s->rates(c, &at);
    if (warming) {
        r.lr = r.lr * (double)(now + 1) / (double)warm;
    }
    return r;
}

void dp_schedule_check(const dp_config *c) {
    const char *name = c->optimizer.schedule;
    double epochs = (double)c->train.epochs;
    if (c->optimizer.warmup >= epochs) {
        dp_warn("optimizer.warmup = %g, but the run ends after train.epochs = %g: the "
                "learning rate only rises, and schedule = %s never begins",
                c->optimizer.warmup, epochs, name);
    }
    if (strcmp(name, "step") == 0 && c->optimizer.step_epochs >= c->train.epochs) {
        dp_warn("optimizer.step_epochs = %lld, but the run ends after train.epochs = %g: "
                "the learning rate never drops",
                (long long)c->optimizer.step_epochs, epochs);
    }
    int all = count_milestones(c->optimizer.milestones, INFINITY);
    int late = all - count_milestones(c->optimizer.milestones, nextafter(epochs, 0));
    if (strcmp(name, "multistep") == 0 && late > 0) {
        dp_warn(
            "optimizer.milestones = %.200s, but the run ends after train.epochs = %g: "
            "%d of %d never come",
            c->optimizer.milestones, epochs, late, all);
    }
    if (strcmp(name, "constant") != 0 && c->optimizer.min_lr > c->optimizer.lr) {
        dp_warn(
            "optimizer.min_lr = %g is above optimizer.lr = %g: the learning rate rises "
            "to it",
            c->optimizer.min_lr, c->optimizer.lr);
    }
}
