/* trainer predict: which samples, and predictions on the terminal. */
#include "base/log.h"
#include "base/memory.h"
#include "base/open.h"
#include "cli.h"
#include "run/predict.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows, input columns and outputs on the terminal, at most. */
enum { SHOWN = 20, COLUMNS = 6, OUTPUTS = 24 };

/* "0,5,100" -> rows. Owner: the caller frees *rows. */
static dp_status read_index(const char *text, int samples, int32_t **rows, int *n) {
    int32_t *row = *rows = dp_alloc(strlen(text) / 2 + 1, sizeof *row);
    *n = 0;
    for (const char *p = text; *n == 0 || *p++ == ',';) {
        char *end = NULL;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',')) {
            return dp_fail(DP_EUSAGE,
                           "--index %s: numbers with commas between them, as in 0,5,100",
                           text);
        }
        if (errno || v < 0 || v >= samples) {
            return dp_fail(DP_EUSAGE,
                           "--index %.*s: the test set has %d samples, 0 to %d",
                           (int)(end - p), p, samples, samples - 1);
        }
        row[(*n)++] = (int32_t)v;
        p = end;
    }
    return DP_OK;
}

/* ---- the terminal ---- */

/* A digit in characters, two to a pixel, which is about square. */
static void draw(const dp_session *s, int32_t row) {
    static const char shades[] = " .:-=+*#%@";
    const dp_table *t = &s->data->train;
    /* Colours come first, or last where only there are few enough of them. */
    bool last = t->nshape > 2 && t->shape[0] > 4 && t->shape[t->nshape - 1] <= 4;
    const int *side = t->shape + t->nshape - 2 - last;
    int H = side[0], W = side[1];
    int channels = t->nshape < 3 ? 1 : last ? side[2] : t->shape[0];
    double low = 0, high = 255;
    for (int f = 0; !t->bytes && f < t->features; f++) {
        double v = dp_predict_input(s, row, f);
        low = f == 0 || v < low ? v : low;
        high = f == 0 || v > high ? v : high;
    }
    char *line = dp_alloc(2 * (size_t)W + 1, 1);
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            double v = 0;
            for (int c = 0; c < channels; c++) {
                int f = last ? (y * W + x) * channels + c : (c * H + y) * W + x;
                v += dp_predict_input(s, row, f) / channels;
            }
            double level = high > low ? (v - low) / (high - low) : 0;
            line[2 * x] = line[2 * x + 1] = shades[(int)(level * 9.999)];
        }
        line[2 * W] = '\0';
        dp_log("%s", line);
    }
    free(line);
}

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

/* Several outputs of a kind: numbers, or probabilities of yes. i < 0: their names. */
static void print_values(const dp_session *s, const dp_prediction *p, int i) {
    const dp_table *t = &s->data->test;
    const dp_table *columns = &s->data->train;
    int inputs =
        !s->loss->accuracy && columns->features <= COLUMNS ? columns->features : 0;
    char name[16];
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    bool head = i < 0;
    size_t row = head ? 0 : (size_t)p->row[i], O = (size_t)p->outputs;
    head ? fprintf(out, "%8s", "index") : fprintf(out, "%8zu", row);
    for (int f = 0; f < inputs; f++) {
        head ? fprintf(out, "  %12.12s", dp_predict_column(s, f, name))
             : fprintf(out, "  %12g", dp_predict_input(s, (int32_t)row, f));
    }
    for (size_t o = 0; o < O && o < OUTPUTS; o++) {
        const char *column = dp_predict_column(s, columns->features + (int)o, name);
        if (t->target) {
            head ? fprintf(out, "  %12.12s", column)
                 : fprintf(out, "  %12g", (double)t->target[row * O + o]);
        }
        head ? fprintf(out, "  %12.12s_predicted", column)
             : fprintf(out, "  %22g", p->value[(size_t)i * O + o]);
    }
    dp_strbuf_close(&line);
    dp_log("%s", line.text);
    free(line.text);
}

static void print_table(const dp_session *s, const dp_prediction *p,
                        const dp_cli_args *args) {
    bool classes = s->loss->labels || (s->loss->accuracy && p->outputs == 1);
    if (classes) {
        dp_log("%8s %6s %11s  %-14s %11s", "index", "label", "prediction", "name",
               "probability");
    } else {
        print_values(s, p, -1);
    }
    for (int i = 0; i < p->n && i < SHOWN; i++) {
        (classes ? print_class : print_values)(s, p, i);
        if (args->show) {
            draw(s, p->row[i]);
        }
    }
    if (p->n > SHOWN) {
        dp_log("     ... %d more%s", p->n - SHOWN,
               args->output ? "" : "; --output FILE.csv takes them all");
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

static dp_status predict(const dp_cli_args *args, dp_session *session, int32_t **rows,
                         dp_prediction **p) {
    DP_TRY(dp_session_read(session, args->input, args->input != NULL));
    int n = session->data->test.n;
    if (n == 0) {
        return dp_fail(
            DP_EDATA,
            "there is no test set to take samples from: name a file behind --input");
    }
    if (args->show && session->data->train.nshape < 2) {
        return dp_fail(DP_EUSAGE,
                       "--show draws images, but a sample is a row of numbers here");
    }
    bool writes = args->output && dp_comm_rank(session->comm) == 0;
    DP_TRY(dp_comm_agree(session->comm,
                         writes ? dp_open_check_target(args->output, DP_EFILE) : DP_OK));
    if (args->index) {
        DP_TRY(read_index(args->index, session->data->test.n, rows, &n));
    }
    DP_TRY(dp_predict(session, *rows, n, p));
    DP_TRY(dp_comm_agree(session->comm,
                         writes ? dp_predict_write(session, *p, args->output) : DP_OK));
    print_table(session, *p, args);
    if (args->output) {
        dp_log("written: %s, %d rows", args->output, n);
    }
    return DP_OK;
}

dp_status dp_cli_predict(dp_comm *comm, const dp_cli_args *args) {
    if (args->index && args->input) {
        return dp_fail(DP_EUSAGE,
                       "--index takes samples of the test set, --input those of "
                       "a file: give one of the two");
    }
    for (int i = 0; i < args->noverrides; i++) {
        if (!strchr(args->overrides[i], '=')) {
            return dp_fail(DP_EUSAGE,
                           "'%s' is one word too many; new samples go behind --input",
                           args->overrides[i]);
        }
    }
    dp_session *session = NULL;
    int32_t *rows = NULL;
    dp_prediction *p = NULL;
    dp_status s =
        dp_session_open(comm, args->file, args->noverrides, args->overrides, &session);
    if (s == DP_OK) {
        s = predict(args, session, &rows, &p);
    }
    dp_prediction_destroy(&p);
    free(rows);
    dp_session_destroy(&session);
    return s;
}
