/* trainer predict: which samples, and predictions on the terminal. */
#include "base/log.h"
#include "base/memory.h"
#include "base/open.h"
#include "cli.h"
#include "run/predict.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows, input columns and outputs on the terminal, at most. */
enum { SHOWN = 20, COLUMNS = 6, OUTPUTS = 24 };

/* ---- the terminal ---- */

/* Whether the prediction of the row is the label; *known: it has one. */
static bool is_correct(const dp_session *s, const dp_prediction *p, int i, bool *known) {
    const dp_table *t = &s->data->test;
    size_t O = (size_t)p->outputs, row = (size_t)p->row[i];
    *known = t->label || t->target;
    if (t->label) {
        return t->label[row] == p->top[i];
    }
    for (size_t o = 0; t->target && o < O; o++) {
        if ((p->value[(size_t)i * O + o] > 0.5) != (t->target[row * O + o] > 0)) {
            return false;
        }
    }
    return *known;
}

static void print_class(const dp_session *s, const dp_prediction *p, int i) {
    const dp_table *t = &s->data->test;
    size_t row = (size_t)p->row[i];
    char label[16] = "", number[12];
    bool known = false, hit = is_correct(s, p, i, &known);
    if (known) {
        snprintf(label, sizeof label, "%d",
                 t->label ? t->label[row] : t->target[row] > 0);
    }
    double v =
        p->value[(size_t)i * (size_t)p->outputs + (p->outputs > 1 ? p->top[i] : 0)];
    dp_log("%8d %6s %11d  %-14s %10.2f%%%s", p->row[i], label, p->top[i],
           dp_predict_name(s, p->top[i], number),
           100 * (p->outputs > 1 || p->top[i] == 1 ? v : 1 - v),
           known && !hit ? "  wrong" : "");
}

/* A value under the name of its column, or the name. */
static void print_cell(FILE *line, bool heading, const char *name, const char *suffix,
                       double value) {
    if (heading) {
        fprintf(line, "  %12.12s%s", name, suffix);
    } else {
        fprintf(line, "  %*g", 12 + (int)strlen(suffix), value);
    }
}

/* Several outputs of a kind: numbers, or probabilities of yes. heading: their names. */
static void print_values(const dp_session *s, const dp_prediction *p, int i,
                         bool heading) {
    const float *target = s->data->test.target;
    int row = p->row[i], features = s->data->train.features;
    int inputs = !s->loss->accuracy && features <= COLUMNS ? features : 0;
    size_t O = (size_t)p->outputs;
    char name[16], index[16] = "index";
    if (!heading) {
        snprintf(index, sizeof index, "%d", row);
    }
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    fprintf(out, "%8s", index);
    for (int f = 0; f < inputs; f++) {
        print_cell(out, heading, dp_predict_column(s, f, name), "",
                   dp_table_value(&s->data->test, row, f));
    }
    for (size_t o = 0; o < O && o < OUTPUTS; o++) {
        const char *column = dp_predict_column(s, features + (int)o, name);
        if (target) {
            print_cell(out, heading, column, "", target[(size_t)row * O + o]);
        }
        print_cell(out, heading, column, "_predicted", p->value[(size_t)i * O + o]);
    }
    dp_strbuf_close(&line);
    dp_log("%s", line.text);
    free(line.text);
}

static void print_table(const dp_cli *cli, const dp_prediction *p) {
    const dp_session *s = cli->session;
    bool classes = s->loss->labels || (s->loss->accuracy && p->outputs == 1);
    if (classes) {
        dp_log("%8s %6s %11s  %-14s %11s", "index", "label", "prediction", "name",
               "probability");
    } else {
        print_values(s, p, 0, true);
    }
    for (int i = 0; i < p->n && i < SHOWN; i++) {
        if (classes) {
            print_class(s, p, i);
        } else {
            print_values(s, p, i, false);
        }
        if (cli->show) {
            dp_cli_draw(s, &s->data->test, p->row[i]);
        }
    }
    if (p->n > SHOWN) {
        dp_log("     ... %d more%s", p->n - SHOWN,
               cli->output ? "" : "; --output FILE.csv takes them all");
    }
    int hits = 0;
    bool known = false;
    for (int i = 0; s->loss->accuracy && i < p->n; i++) {
        hits += is_correct(s, p, i, &known);
    }
    if (known) {
        dp_log("right: %d of %d, %.2f%%", hits, p->n, 100.0 * hits / p->n);
    }
}

/* ---- the command ---- */

static dp_status predict(const dp_cli *cli, int32_t **rows, dp_prediction **p) {
    dp_session *session = cli->session;
    int n = 0;
    if (cli->input) {
        DP_TRY(dp_session_read(session, cli->input, true));
        n = session->data->test.n;
    } else {
        DP_TRY(dp_session_read_split(session, cli->split, rows, &n));
    }
    if (n == 0) {
        return dp_fail(
            DP_EDATA,
            "there is no test set to take samples from: name a file behind --input");
    }
    if (cli->show && session->data->train.nshape < 2) {
        return dp_fail(DP_EUSAGE,
                       "--show draws images, but a sample is a row of numbers here");
    }
    bool writes = cli->output && dp_comm_rank(cli->comm) == 0;
    DP_TRY(dp_comm_agree(cli->comm,
                         writes ? dp_open_check_target(cli->output, DP_EFILE) : DP_OK));
    if (cli->index) {
        DP_TRY(dp_cli_index(cli->index, "test", session->data->test.n, rows, &n));
    }
    DP_TRY(dp_predict(session, *rows, n, p));
    DP_TRY(dp_comm_agree(cli->comm,
                         writes ? dp_predict_write(session, *p, cli->output) : DP_OK));
    print_table(cli, *p);
    if (cli->output) {
        dp_log("written: %s, %d rows", cli->output, n);
    }
    return DP_OK;
}

dp_status dp_cli_predict(const dp_cli *cli) {
    int32_t *rows = NULL;
    dp_prediction *p = NULL;
    dp_status s = predict(cli, &rows, &p);
    dp_prediction_destroy(&p);
    free(rows);
    return s;
}
