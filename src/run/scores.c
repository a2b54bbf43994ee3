/* Precision, recall and the like, from predictions. */
#include "run/scores.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>

/* ---- classes ---- */

static int label_of(const dp_session *s, const dp_prediction *p, int i) {
    return s->data->test.label[p->row[i]];
}

static void rate(dp_class_score *c) {
    double found = (double)c->found;
    c->precision = c->predicted > 0 ? found / (double)c->predicted : 0;
    c->recall = c->samples > 0 ? found / (double)c->samples : 0;
    double both = c->precision + c->recall;
    c->f1 = both > 0 ? 2 * c->precision * c->recall / both : 0;
}

static void count_classes(const dp_session *s, const dp_prediction *p, dp_scores *out) {
    size_t C = (size_t)out->nclasses;
    for (int i = 0; i < p->n; i++) {
        out->confusion[(size_t)label_of(s, p, i) * C + (size_t)p->top[i]]++;
    }
    for (size_t c = 0; c < C; c++) {
        dp_class_score *class = &out->class[c];
        class->found = out->confusion[c * C + c];
        class->auc = NAN;
        for (size_t k = 0; k < C; k++) {
            class->samples += out->confusion[c * C + k];
            class->predicted += out->confusion[k * C + c];
        }
        rate(class);
    }
}

/* The gap between how sure the model is and how often it is right, over bins of the former.
 * Source: Guo et al., "On calibration of modern neural networks", ICML 2017 */
static double calibration(const double *sure, const bool *right, int n) {
    enum { BINS = 15 };
    double sum[BINS] = {0}, hits[BINS] = {0}, error = 0;
    for (int i = 0; i < n; i++) {
        int bin = (int)(sure[i] * BINS);
        bin = bin < BINS ? bin : BINS - 1;
        sum[bin] += sure[i];
        hits[bin] += right[i];
    }
    for (int b = 0; b < BINS; b++) {
        error += fabs(sum[b] - hits[b]);
    }
    return error / n;
}

/* How many of the five likeliest, the first ones of equals, hold the label. */
static double top5(const dp_session *s, const dp_prediction *p) {
    enum { TOP = 5 };
    int hits = 0;
    for (int i = 0; i < p->n; i++) {
        const double *value = p->value + (size_t)i * (size_t)p->outputs;
        int label = label_of(s, p, i), before = 0;
        for (int c = 0; c < p->outputs; c++) {
            before += value[c] > value[label] || (c < label && value[c] == value[label]);
        }
        hits += before < TOP;
    }
    return p->outputs > TOP ? (double)hits / p->n : NAN;
}

static dp_status score_classes(const dp_session *s, const dp_prediction *p, double *sure,
                               bool *right, dp_scores *out) {
    size_t C = (size_t)p->outputs;
    out->nclasses = p->outputs;
    DP_TRY(dp_memory_alloc(C, sizeof *out->class, (void **)&out->class));
    DP_TRY(dp_memory_alloc(C * C, sizeof *out->confusion, (void **)&out->confusion));
    count_classes(s, p, out);
    for (int i = 0; i < p->n; i++) {
        sure[i] = p->value[(size_t)i * C + (size_t)p->top[i]];
        right[i] = p->top[i] == label_of(s, p, i);
    }
    out->calibration = calibration(sure, right, p->n);
    out->top5 = top5(s, p);
    return DP_OK;
}

/* ---- yes or no ---- */

typedef struct ranked {
    double value;
    bool yes;
} ranked;

static int by_value(const void *a, const void *b) {
    double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
    return (x > y) - (x < y);
}

/* The chance that a yes has the larger value than a no, equals counting half. */
static double auc(ranked *r, int n) {
    double above = 0, noes = 0, yeses = 0;
    qsort(r, (size_t)n, sizeof *r, by_value);
    for (int i = 0, end = 0; i < n; i = end) {
        double yes = 0, no = 0;
        for (end = i; end < n && r[end].value == r[i].value; end++) {
            yes += r[end].yes;
            no += !r[end].yes;
        }
        above += yes * (noes + no / 2);
        yeses += yes;
        noes += no;
    }
    return yeses > 0 && noes > 0 ? above / (yeses * noes) : NAN;
}

static dp_status score_yes(const dp_session *s, const dp_prediction *p, double *sure,
                           bool *right, dp_scores *out) {
    size_t O = (size_t)p->outputs;
    ranked *r = NULL;
    out->nclasses = p->outputs;
    DP_TRY(dp_memory_alloc(O, sizeof *out->class, (void **)&out->class));
    DP_TRY(dp_memory_alloc((size_t)p->n, sizeof *r, (void **)&r));
    for (size_t o = 0; o < O; o++) {
        dp_class_score *class = &out->class[o];
        for (int i = 0; i < p->n; i++) {
            double v = p->value[(size_t)i * O + o];
            bool yes = s->data->test.target[(size_t)p->row[i] * O + o] > 0;
            bool said = v > 0.5;
            r[i] = (ranked){v, yes};
            class->samples += yes;
            class->predicted += said;
            class->found += yes && said;
            sure[i] = said ? v : 1 - v;
            right[i] = yes == said;
        }
        rate(class);
        class->auc = auc(r, p->n);
    }
    out->calibration = O == 1 ? calibration(sure, right, p->n) : NAN;
    dp_memory_free(&r);
    return DP_OK;
}

/* ---- numbers ---- */

static dp_status score_values(const dp_session *s, const dp_prediction *p,
                              dp_scores *out) {
    size_t O = (size_t)p->outputs;
    const float *target = s->data->test.target;
    out->nvalues = p->outputs;
    DP_TRY(dp_memory_alloc(O, sizeof *out->value, (void **)&out->value));
    for (size_t o = 0; o < O; o++) {
        double mean = 0, absolute = 0, squares = 0, total = 0;
        for (int i = 0; i < p->n; i++) {
            mean += (double)target[(size_t)p->row[i] * O + o] / p->n;
        }
        for (int i = 0; i < p->n; i++) {
            double y = (double)target[(size_t)p->row[i] * O + o];
            double error = p->value[(size_t)i * O + o] - y;
            absolute += fabs(error);
            squares += error * error;
            total += (y - mean) * (y - mean);
        }
        out->value[o] = (dp_value_score){absolute / p->n, sqrt(squares / p->n),
                                         total > 0 ? 1 - squares / total : NAN};
    }
    return DP_OK;
}

/* ---- all ---- */

static dp_status score(const dp_session *s, const dp_prediction *p, dp_scores *out) {
    double *sure = NULL;
    bool *right = NULL;
    out->n = p->n;
    out->calibration = out->top5 = NAN;
    if (!s->loss->accuracy) {
        return score_values(s, p, out);
    }
    dp_status status = dp_memory_alloc((size_t)p->n, sizeof *sure, (void **)&sure);
    status = status != DP_OK
                 ? status
                 : dp_memory_alloc((size_t)p->n, sizeof *right, (void **)&right);
    if (status == DP_OK) {
        status = (s->loss->labels ? score_classes : score_yes)(s, p, sure, right, out);
    }
    dp_memory_free(&sure);
    dp_memory_free(&right);
    return status;
}

dp_status dp_scores_make(const dp_session *session, const dp_prediction *prediction,
                         dp_scores **out) {
    dp_scores *scores = dp_alloc(1, sizeof *scores);
    dp_status status = score(session, prediction, scores);
    if (status != DP_OK) {
        dp_scores_destroy(&scores);
        return status;
    }
    *out = scores;
    return DP_OK;
}

void dp_scores_destroy(dp_scores **scores) {
    if (*scores) {
        dp_memory_free(&(*scores)->class);
        dp_memory_free(&(*scores)->confusion);
        dp_memory_free(&(*scores)->value);
        free(*scores);
    }
    *scores = NULL;
}
