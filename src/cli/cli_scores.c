/* The figures of trainer eval, class by class or target by target: on the terminal, and as
 * CSV or HDF5. */
#include "base/log.h"
#include "base/memory.h"
#include "cli.h"
#include "h5/h5file.h"
#include "run/scores.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Classes whose confusion is shown as a matrix; rows where not all are shown; characters of
 * a name. */
enum { MATRIX = 20, SHOWN = 10, NAME = 14 };

/* The name of class, yes-or-no output or target c. */
static const char *name_of(const dp_session *s, int c, char buffer[16]) {
    if (s->loss->labels) {
        return dp_predict_name(s, c, buffer);
    }
    return dp_predict_column(s, s->data->train.features + c, buffer);
}

static void put_percent(FILE *out, double v) {
    if (isnan(v)) {
        fprintf(out, "  %9s", "");
    } else {
        fprintf(out, "  %8.2f%%", 100 * v);
    }
}

/* ---- the terminal ---- */

static void log_line(dp_strbuf *line) {
    dp_strbuf_close(line);
    dp_log("%s", line->text);
    free(line->text);
}

static void log_class(const char *name, int64_t samples, const dp_class_score *c,
                      bool auc) {
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    fprintf(out, "%-*.*s", NAME, NAME, name);
    if (samples >= 0) {
        fprintf(out, "  %8lld", (long long)samples);
    } else {
        fprintf(out, "  %8s", "");
    }
    put_percent(out, c->precision);
    put_percent(out, c->recall);
    put_percent(out, c->f1);
    if (auc) {
        put_percent(out, c->auc);
    }
    log_line(&line);
}

static void log_classes(const dp_session *s, const dp_scores *r) {
    char buffer[16];
    bool auc = !s->loss->labels;
    dp_class_score mean = {.auc = NAN};
    dp_log("%-*s  %8s  %9s  %9s  %9s%s", NAME, auc ? "output" : "class",
           auc ? "yes" : "samples", "precision", "recall", "F1",
           auc ? "    ROC-AUC" : "");
    for (int c = 0; c < r->nclasses; c++) {
        const dp_class_score *class = &r->class[c];
        mean.precision += class->precision / r->nclasses;
        mean.recall += class->recall / r->nclasses;
        mean.f1 += class->f1 / r->nclasses;
        if (c < 10 * SHOWN) {
            log_class(name_of(s, c, buffer), class->samples, class, auc);
        }
    }
    if (r->nclasses > 10 * SHOWN) {
        dp_log("... %d more; --output takes them all", r->nclasses - 10 * SHOWN);
    }
    if (r->nclasses > 1) {
        log_class("mean", -1, &mean, false);
    }
}

static void log_matrix(const dp_session *s, const dp_scores *r) {
    size_t C = (size_t)r->nclasses;
    char buffer[16];
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    fprintf(out, "%-*s", NAME, "is \\ taken for");
    for (int c = 0; c < r->nclasses; c++) {
        fprintf(out, " %6.6s", name_of(s, c, buffer));
    }
    log_line(&line);
    for (size_t i = 0; i < C; i++) {
        out = dp_strbuf_open(&line);
        fprintf(out, "%-*.*s", NAME, NAME, name_of(s, (int)i, buffer));
        for (size_t j = 0; j < C; j++) {
            fprintf(out, " %6lld", (long long)r->confusion[i * C + j]);
        }
        log_line(&line);
    }
}

/* Where there are too many classes for a matrix: what is confused most often. */
static void log_confused(const dp_session *s, const dp_scores *r) {
    size_t C = (size_t)r->nclasses;
    char is[16], taken[16];
    int64_t below = INT64_MAX;
    int shown = 0;
    for (int64_t most = 1; shown < SHOWN && most > 0; below = most) {
        most = 0;
        for (size_t at = 0; at < C * C; at++) {
            int64_t n = r->confusion[at];
            most = at / C != at % C && n < below && n > most ? n : most;
        }
        for (size_t at = 0; most > 0 && at < C * C && shown < SHOWN; at++) {
            if (at / C != at % C && r->confusion[at] == most) {
                dp_log("%s is taken for %s: %lld times", name_of(s, (int)(at / C), is),
                       name_of(s, (int)(at % C), taken), (long long)most);
                shown++;
            }
        }
    }
}

typedef struct deviation {
    int i, o;
    double size;
} deviation;

static int by_size(const void *a, const void *b) {
    const deviation *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size) - (x->size > y->size) : x->i - y->i;
}

static void log_deviations(const dp_session *s, const dp_prediction *p) {
    size_t O = (size_t)p->outputs;
    char buffer[16];
    deviation *all = dp_alloc((size_t)p->n, sizeof *all);
    for (int i = 0; i < p->n; i++) {
        all[i].i = i;
        for (int o = 0; o < p->outputs; o++) {
            size_t at = (size_t)p->row[i] * O + (size_t)o;
            double d =
                p->value[(size_t)i * O + (size_t)o] - (double)s->data->test.target[at];
            if (fabs(d) >= all[i].size) {
                all[i].size = fabs(d);
                all[i].o = o;
            }
        }
    }
    qsort(all, (size_t)p->n, sizeof *all, by_size);
    dp_log("largest errors:");
    for (int k = 0; k < p->n && k < 5; k++) {
        size_t o = (size_t)all[k].o;
        int row = p->row[all[k].i];
        dp_log("%8d: %s is %g, predicted %g", row, name_of(s, all[k].o, buffer),
               (double)s->data->test.target[(size_t)row * O + o],
               p->value[(size_t)all[k].i * O + o]);
    }
    free(all);
}

static void log_values(const dp_session *s, const dp_scores *r, const dp_prediction *p) {
    char buffer[16];
    dp_log("%-*s  %12s  %12s  %8s", NAME, "target", "MAE", "RMSE", "R2");
    for (int o = 0; o < r->nvalues && o < 10 * SHOWN; o++) {
        const dp_value_score *v = &r->value[o];
        dp_log("%-*.*s  %12.6g  %12.6g  %8.4f", NAME, NAME, name_of(s, o, buffer), v->mae,
               v->rmse, v->r2);
    }
    log_deviations(s, p);
}

/* --json: an event for each class or target, and one for what is of all. */
static void json_scores(const dp_session *s, const dp_scores *r) {
    char buffer[16];
    for (int c = 0; c < r->nclasses; c++) {
        const dp_class_score *class = &r->class[c];
        dp_log_event("class", 6,
                     (dp_fact[]){{"name", name_of(s, c, buffer), 0},
                                 {"samples", NULL, (double)class->samples},
                                 {"precision", NULL, class->precision},
                                 {"recall", NULL, class->recall},
                                 {"f1", NULL, class->f1},
                                 {"auc", NULL, class->auc}});
    }
    for (int o = 0; o < r->nvalues; o++) {
        const dp_value_score *v = &r->value[o];
        dp_log_event("target", 4,
                     (dp_fact[]){{"name", name_of(s, o, buffer), 0},
                                 {"mae", NULL, v->mae},
                                 {"rmse", NULL, v->rmse},
                                 {"r2", NULL, v->r2}});
    }
    if (r->nclasses > 0) {
        dp_log_event("classes", 2,
                     (dp_fact[]){{"top5", NULL, r->top5},
                                 {"calibration_error", NULL, r->calibration}});
    }
}

static void log_scores(const dp_session *s, const dp_scores *r, const dp_prediction *p) {
    if (dp_log_is_json()) {
        json_scores(s, r);
        return;
    }
    if (r->nvalues > 0) {
        log_values(s, r, p);
        return;
    }
    log_classes(s, r);
    if (r->confusion && r->nclasses <= MATRIX) {
        log_matrix(s, r);
    } else if (r->confusion) {
        log_confused(s, r);
    }
    if (!isnan(r->top5)) {
        dp_log("among the five likeliest: %.2f%%", 100 * r->top5);
    }
    if (!isnan(r->calibration)) {
        dp_log("calibration error: %.2f%%", 100 * r->calibration);
    }
}

/* ---- files ---- */

static void put_csv(FILE *f, const dp_session *s, const dp_scores *r) {
    char buffer[16];
    size_t C = (size_t)r->nclasses;
    if (r->nvalues > 0) {
        fputs("target,mae,rmse,r2\n", f);
    } else if (r->confusion) {
        fputs("class,name,samples,precision,recall,f1", f);
        for (size_t c = 0; c < C; c++) {
            fprintf(f, ",predicted_%zu", c);
        }
        fputc('\n', f);
    } else {
        fputs("output,yes,precision,recall,f1,auc\n", f);
    }
    for (int o = 0; o < r->nvalues; o++) {
        const dp_value_score *v = &r->value[o];
        dp_predict_put_name(f, "", name_of(s, o, buffer), "");
        fprintf(f, ",%.9g,%.9g,%.9g\n", v->mae, v->rmse, v->r2);
    }
    for (size_t c = 0; c < C; c++) {
        const dp_class_score *class = &r->class[c];
        if (r->confusion) {
            fprintf(f, "%zu,", c);
        }
        dp_predict_put_name(f, "", name_of(s, (int)c, buffer), "");
        fprintf(f, ",%lld,%.9g,%.9g,%.9g", (long long)class->samples, class->precision,
                class->recall, class->f1);
        for (size_t k = 0; r->confusion && k < C; k++) {
            fprintf(f, ",%lld", (long long)r->confusion[c * C + k]);
        }
        if (!r->confusion) {
            fprintf(f, ",%.9g", class->auc);
        }
        fputc('\n', f);
    }
}

/* A dataset of one number for each class or target: the double at `offset` of each. */
static dp_status put_column(dp_h5 *f, const char *name, int n, const void *from,
                            size_t size, size_t offset) {
    int64_t dim = n;
    double *values = dp_alloc((size_t)n, sizeof *values);
    for (int i = 0; i < n; i++) {
        memcpy(&values[i], (const char *)from + (size_t)i * size + offset,
               sizeof *values);
    }
    dp_status status = dp_h5_put(f, name, DP_H5_F64, 1, &dim, values);
    free(values);
    return status;
}

#define PUT(array, n, field)                                                             \
    put_column(f, "/" #field, n, r->array, sizeof r->array[0],                           \
               (size_t)((char *)&r->array[0].field - (char *)&r->array[0]))

static dp_status put_names(dp_h5 *f, const dp_session *s, int n) {
    char **name = dp_alloc((size_t)n, sizeof *name);
    for (int c = 0; c < n; c++) {
        char buffer[16];
        name[c] = dp_strdup(name_of(s, c, buffer));
    }
    dp_status status = dp_h5_put_attr(f, "/", "names", DP_H5_TEXT, n, name);
    for (int c = 0; c < n; c++) {
        free(name[c]);
    }
    free(name);
    return status;
}

static dp_status put_hdf5(dp_h5 *f, const dp_session *s, const dp_scores *r) {
    int n = r->nvalues > 0 ? r->nvalues : r->nclasses;
    int64_t samples = r->n, dims[2] = {r->nclasses, r->nclasses};
    DP_TRY(dp_h5_put_attr(f, "/", "samples", DP_H5_I64, DP_H5_ONE, &samples));
    DP_TRY(put_names(f, s, n));
    if (r->nvalues > 0) {
        DP_TRY(PUT(value, n, mae));
        DP_TRY(PUT(value, n, rmse));
        return PUT(value, n, r2);
    }
    DP_TRY(PUT(class, n, precision));
    DP_TRY(PUT(class, n, recall));
    DP_TRY(PUT(class, n, f1));
    DP_TRY(dp_h5_put_attr(f, "/", "calibration_error", DP_H5_F64, DP_H5_ONE,
                          &r->calibration));
    if (!r->confusion) {
        return PUT(class, n, auc);
    }
    DP_TRY(dp_h5_put_attr(f, "/", "top5_accuracy", DP_H5_F64, DP_H5_ONE, &r->top5));
    return dp_h5_put(f, "/confusion", DP_H5_I64, 2, dims, r->confusion);
}

static dp_status write_hdf5(const char *path, const dp_session *s, const dp_scores *r) {
    dp_h5 *f = NULL;
    DP_TRY(dp_h5_create(path, &f));
    dp_status status = put_hdf5(f, s, r);
    status = status != DP_OK ? status : dp_h5_finish(f);
    status = status != DP_OK ? status : dp_h5_place(f);
    dp_h5_close(&f);
    return status;
}

static dp_status write_csv(const char *path, const dp_session *s, const dp_scores *r) {
    dp_strbuf b;
    put_csv(dp_strbuf_open(&b), s, r);
    dp_strbuf_close(&b);
    dp_status status = dp_file_replace(path, b.text, b.size);
    free(b.text);
    return status;
}

static bool is_hdf5(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot && (strcmp(dot, ".h5") == 0 || strcmp(dot, ".hdf5") == 0);
}

/* ---- the command's second half ---- */

static dp_status show_scores(const dp_cli *cli, const dp_prediction *p) {
    dp_scores *r = NULL;
    bool root = dp_comm_rank(cli->comm) == 0;
    dp_status status = root ? dp_scores_make(cli->session, p, &r) : DP_OK;
    if (status == DP_OK && root && cli->output) {
        status =
            (is_hdf5(cli->output) ? write_hdf5 : write_csv)(cli->output, cli->session, r);
    }
    status = dp_comm_agree(cli->comm, status);
    if (status == DP_OK && root) {
        log_scores(cli->session, r, p);
    }
    if (status == DP_OK && cli->output) {
        dp_log("written: %s", cli->output);
    }
    dp_scores_destroy(&r);
    return status;
}

dp_status dp_cli_scores(const dp_cli *cli, const int32_t *rows, int n) {
    const size_t most = (size_t)1 << 27; /* a GiB of predictions */
    const dp_session *s = cli->session;
    if ((size_t)n * (size_t)s->model->outputs > most) {
        dp_log("too many predictions for figures of each class or target");
        return DP_OK;
    }
    dp_prediction *p = NULL;
    DP_TRY(dp_predict(cli->session, rows, n, &p));
    dp_status status = show_scores(cli, p);
    dp_prediction_destroy(&p);
    return status;
}
