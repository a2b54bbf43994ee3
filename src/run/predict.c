/* Predictions, and their CSV file. */
#include "run/predict.h"
#include "base/memory.h"
#include "h5/h5file.h"
#include "step/forward.h"
#include "step/team.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dp_prediction_destroy(dp_prediction **prediction) {
    if (*prediction) {
        dp_memory_free(&(*prediction)->row);
        dp_memory_free(&(*prediction)->top);
        dp_memory_free(&(*prediction)->value);
        free(*prediction);
    }
    *prediction = NULL;
}

static dp_status allocate(const int32_t *rows, dp_prediction *p) {
    size_t n = (size_t)p->n;
    DP_TRY(dp_memory_alloc(n, sizeof *p->row, (void **)&p->row));
    DP_TRY(dp_memory_alloc(n, sizeof *p->top, (void **)&p->top));
    DP_TRY(dp_memory_alloc(n * (size_t)p->outputs, sizeof *p->value, (void **)&p->value));
    for (int i = 0; i < p->n; i++) {
        p->row[i] = rows ? rows[i] : i;
    }
    return DP_OK;
}

/* The first of the largest. */
static int argmax(const float *v, int n) {
    int best = 0;
    for (int k = 1; k < n; k++) {
        best = v[k] > v[best] ? k : best;
    }
    return best;
}

/* This rank's rows, [begin, end), and its buffers. */
typedef struct work {
    const dp_session *s;
    dp_prediction *p;
    int begin, end;
    dp_net *net;
    float *logit, *value; /* [DP_MICROBATCH][O] */
} work;

/* N rows from `first` on; the net has their logits. */
static void take_answers(const work *w, int first, int N) {
    const dp_session *s = w->s;
    dp_prediction *p = w->p;
    int O = p->outputs;
    bool labels = s->loss->labels, binary = !labels && s->loss->accuracy;
    for (int k = 0; k < N * O; k++) {
        w->logit[k] = dp_activation_at(dp_net_logits(w->net), k / O, k % O);
    }
    if (binary) {
        s->set->sigmoid(w->logit, w->value, (size_t)N * (size_t)O);
    }
    const float *from = labels || binary ? w->value : w->logit;
    for (int k = 0; k < N * O; k++) {
        p->value[(size_t)first * (size_t)O + (size_t)k] = (double)from[k];
    }
    for (int n = 0; n < N; n++) {
        p->top[first + n] = labels             ? argmax(w->logit + n * O, O)
                            : binary && O == 1 ? w->logit[n] > 0
                                               : 0;
    }
}

/* arg: the work. */
static dp_status predict_rows(void *arg) {
    work *w = arg;
    const dp_session *s = w->s;
    int most = dp_net_samples(s->model, false);
    size_t count = (size_t)most * (size_t)w->p->outputs;
    DP_TRY(dp_memory_alloc(count, sizeof *w->logit, (void **)&w->logit));
    DP_TRY(dp_memory_alloc(count, sizeof *w->value, (void **)&w->value));
    DP_TRY(dp_net_create(s->model, most, false, &w->net));
    const dp_forward forward = {.net = w->net,
                                .scale = &s->scale,
                                .threads = s->threads,
                                .probability = s->loss->labels ? w->value : NULL};
    for (int i = w->begin; i < w->end; i += most) {
        int N = w->end - i < most ? w->end - i : most;
        dp_forward_run(&forward, &s->data->test, w->p->row + i, N);
        take_answers(w, i, N);
    }
    return DP_OK;
}

/* Collects the ranks' rows: each number comes from one rank, zero from the others. */
static void gather(dp_comm *comm, dp_prediction *p) {
    dp_comm_sum(comm, p->value, (size_t)p->n * (size_t)p->outputs);
    for (int at = 0; at < p->n; at += DP_MICROBATCH) {
        double top[DP_MICROBATCH];
        int n = p->n - at < DP_MICROBATCH ? p->n - at : DP_MICROBATCH;
        for (int k = 0; k < n; k++) {
            top[k] = p->top[at + k];
        }
        dp_comm_sum(comm, top, (size_t)n);
        for (int k = 0; k < n; k++) {
            p->top[at + k] = (int32_t)top[k];
        }
    }
}

/* All ranks have the same numbers here. */
static dp_status check_finite(const dp_prediction *p) {
    size_t O = (size_t)p->outputs;
    for (size_t i = 0; i < (size_t)p->n * O; i++) {
        if (!isfinite(p->value[i])) {
            return dp_fail(
                DP_EDIVERGED,
                "sample %d: output %zu is %g: the parameters are too large for it",
                p->row[i / O], i % O, p->value[i]);
        }
    }
    return DP_OK;
}

static dp_status predict(dp_session *s, const int32_t *rows, dp_prediction *p) {
    long rank = dp_comm_rank(s->comm), ranks = dp_comm_size(s->comm);
    work w = {.s = s,
              .p = p,
              .begin = (int)(p->n * rank / ranks),
              .end = (int)(p->n * (rank + 1) / ranks)};
    dp_status status = allocate(rows, p);
    status = status != DP_OK ? status : dp_team_open(s->threads, predict_rows, &w);
    dp_net_destroy(&w.net);
    dp_memory_free(&w.logit);
    dp_memory_free(&w.value);
    DP_TRY(dp_comm_agree(s->comm, status));
    gather(s->comm, p);
    return check_finite(p);
}

dp_status dp_predict(dp_session *s, const int32_t *rows, int n, dp_prediction **out) {
    dp_prediction *p = dp_alloc(1, sizeof *p);
    p->n = n;
    p->outputs = s->model->outputs;
    dp_status status = predict(s, rows, p);
    if (status != DP_OK) {
        dp_prediction_destroy(&p);
        return status;
    }
    *out = p;
    return DP_OK;
}

const char *dp_predict_name(const dp_session *s, int c, char buffer[12]) {
    if (s->data->class_name) {
        return s->data->class_name[c];
    }
    snprintf(buffer, 12, "%d", c);
    return buffer;
}

const char *dp_predict_column(const dp_session *s, int k, char buffer[16]) {
    const dp_table *t = &s->data->train;
    if (t->column) {
        return t->column[k];
    }
    if (k >= t->features && s->data->outputs == 1) {
        return "y";
    }
    bool input = k < t->features;
    snprintf(buffer, 16, "%c%d", input ? 'x' : 'y', input ? k : k - t->features);
    return buffer;
}

/* ---- the file ---- */

/* The shortest decimal text that reads back as the same float. */
static void put_number(FILE *f, double v) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v) {
            break;
        }
    }
    fputs(text, f);
}

void dp_predict_put_name(FILE *f, const char *before, const char *name,
                         const char *behind) {
    fputs(before, f);
    if (!strpbrk(name, ",\"\r\n")) {
        fprintf(f, "%s%s", name, behind);
        return;
    }
    fputc('"', f);
    for (const char *c = name; *c; c++) {
        fprintf(f, *c == '"' ? "\"\"" : "%c", *c);
    }
    fprintf(f, "%s\"", behind);
}

static void put_values(FILE *f, const dp_session *s, const dp_prediction *p) {
    char text[16];
    int features = s->data->train.features;
    fputs("index", f);
    for (int k = 0; k < features; k++) {
        dp_predict_put_name(f, ",", dp_predict_column(s, k, text), "");
    }
    for (int o = 0; o < p->outputs; o++) {
        dp_predict_put_name(f, ",", dp_predict_column(s, features + o, text),
                            "_predicted");
    }
    fputc('\n', f);
    for (int i = 0; i < p->n; i++) {
        fprintf(f, "%d", p->row[i]);
        for (int k = 0; k < features; k++) {
            fputc(',', f);
            put_number(f, dp_table_value(&s->data->test, p->row[i], k));
        }
        for (int o = 0; o < p->outputs; o++) {
            fputc(',', f);
            put_number(f, p->value[(size_t)i * (size_t)p->outputs + (size_t)o]);
        }
        fputc('\n', f);
    }
}

/* Label and prediction of a sample with several yes-or-no outputs; no one name fits. */
static void put_words(FILE *f, const dp_session *s, const double *value, int32_t row) {
    const float *target = s->data->test.target;
    size_t O = (size_t)s->data->outputs;
    for (size_t o = 0; target && o < O; o++) {
        fprintf(f, "%s%d", o > 0 ? " " : "", target[(size_t)row * O + o] > 0);
    }
    for (size_t o = 0; o < O; o++) {
        fprintf(f, "%c%d", o > 0 ? ' ' : ',', value[o] > 0.5);
    }
    fputc(',', f);
}

static void put_classes(FILE *f, const dp_session *s, const dp_prediction *p) {
    const dp_table *t = &s->data->test;
    int O = p->outputs;
    bool one = O == 1; /* the probability of 1; that of 0 is the rest */
    bool words = !s->loss->labels && O > 1;
    char text[12];
    fputs("index,label,prediction,name", f);
    for (int o = 0; o < O + one; o++) {
        fprintf(f, ",p%d", o);
    }
    fputc('\n', f);
    for (int i = 0; i < p->n; i++) {
        const double *value = p->value + (size_t)i * (size_t)O;
        int32_t row = p->row[i];
        fprintf(f, "%d,", row);
        if (words) {
            put_words(f, s, value, row);
        } else {
            if (t->label || t->target) {
                fprintf(f, "%d", t->label ? t->label[row] : t->target[row] > 0);
            }
            fprintf(f, ",%d", p->top[i]);
            dp_predict_put_name(f, ",", dp_predict_name(s, p->top[i], text), "");
        }
        if (one) {
            fputc(',', f);
            put_number(f, 1 - value[0]);
        }
        for (int o = 0; o < O; o++) {
            fputc(',', f);
            put_number(f, value[o]);
        }
        fputc('\n', f);
    }
}

dp_status dp_predict_write(const dp_session *s, const dp_prediction *p,
                           const char *path) {
    dp_strbuf b;
    (s->loss->accuracy ? put_classes : put_values)(dp_strbuf_open(&b), s, p);
    dp_strbuf_close(&b);
    dp_status status = dp_file_replace(path, b.text, b.size);
    free(b.text);
    return status;
}
