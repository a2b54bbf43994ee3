/* trainer predict: options, and predictions on the terminal. */
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

enum { SHOWN = 20, COLUMNS = 6 }; /* rows and input columns on the terminal, at most */

/* ---- the command line ---- */

typedef struct request {
    const char *checkpoint, *index, *input, *output, *split;
    bool show;
    int noverrides;
    char **overrides;
} request;

static dp_status parse(int argc, char **argv, request *r) {
    const struct {
        const char *name;
        const char **value;
    } options[] = {{"--index", &r->index},
                   {"--input", &r->input},
                   {"--output", &r->output},
                   {"--split", &r->split}};
    for (int i = 0; i < argc; i++) {
        size_t o = 0, n = sizeof options / sizeof options[0];
        while (o < n && strcmp(argv[i], options[o].name) != 0) {
            o++;
        }
        if (o < n && i + 1 == argc) {
            return dp_fail(DP_EUSAGE, "%s needs a value behind it", argv[i]);
        }
        if (o < n) {
            *options[o].value = argv[++i];
        } else if (strcmp(argv[i], "--show") == 0) {
            r->show = true;
        } else if (argv[i][0] == '-') {
            return dp_fail(DP_EUSAGE,
                           "unknown option '%s'; predict takes --index, --input, "
                           "--split, --output and --show",
                           argv[i]);
        } else if (!r->checkpoint) {
            r->checkpoint = argv[i];
        } else if (strchr(argv[i], '=')) {
            r->overrides[r->noverrides++] = argv[i];
        } else {
            return dp_fail(DP_EUSAGE,
                           "'%s' is one word too many; new samples go behind --input",
                           argv[i]);
        }
    }
    if (!r->checkpoint) {
        return dp_fail(DP_EUSAGE, "a checkpoint is missing, as in: trainer predict "
                                  "runs/mlp/checkpoints/last.h5 --index 0,5,100");
    }
    if (r->split && strcmp(r->split, "test") == 0) {
        r->split = NULL;
    }
    return (r->index != NULL) + (r->input != NULL) + (r->split != NULL) > 1
               ? dp_fail(DP_EUSAGE, "--index takes samples of the test set, --input "
                                    "those of a file, --split those of the training "
                                    "file: give one of them")
               : DP_OK;
}

/* "0,5,100" -> rows. Owner: the caller frees *rows. */
static dp_status read_index(const char *text, int samples, int32_t **rows, int *n) {
    int32_t *row = *rows = dp_alloc(strlen(text) / 2 + 1, sizeof *row);
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

/* Several outputs of a kind: numbers, or probabilities of yes. */
static void print_values(const dp_session *s, const dp_prediction *p, int i) {
    const dp_table *t = &s->data->test;
    int features = s->data->train.features;
    int inputs = !s->loss->accuracy && features <= COLUMNS ? features : 0;
    char line[1024], name[16];
    bool head = i < 0;
    int used = head ? snprintf(line, sizeof line, "%8s", "index")
                    : snprintf(line, sizeof line, "%8d", p->row[i]);
    for (int f = 0; f < inputs; f++) {
        used += head ? snprintf(line + used, sizeof line - (size_t)used, "  %12.12s",
                                dp_predict_column(s, f, name))
                     : snprintf(line + used, sizeof line - (size_t)used, "  %12g",
                                dp_predict_input(s, p->row[i], f));
    }
    for (int o = 0; o < p->outputs && used < (int)sizeof line - 80; o++) {
        const char *column = dp_predict_column(s, features + o, name);
        size_t k = (size_t)o, O = (size_t)p->outputs;
        if (t->target) {
            used += head ? snprintf(line + used, sizeof line - (size_t)used, "  %12.12s",
                                    column)
                         : snprintf(line + used, sizeof line - (size_t)used, "  %12g",
                                    (double)t->target[(size_t)p->row[i] * O + k]);
        }
        used += head ? snprintf(line + used, sizeof line - (size_t)used,
                                "  %12.12s_predicted", column)
                     : snprintf(line + used, sizeof line - (size_t)used, "  %22g",
                                p->value[(size_t)i * O + k]);
    }
    dp_log("%s", line);
}

static void print_table(const dp_session *s, const dp_prediction *p, const request *r) {
    bool classes = s->loss->labels || (s->loss->accuracy && p->outputs == 1);
    if (classes) {
        dp_log("%8s %6s %11s  %-14s %11s", "index", "label", "prediction", "name",
               "probability");
    } else {
        print_values(s, p, -1);
    }
    for (int i = 0; i < p->n && i < SHOWN; i++) {
        (classes ? print_class : print_values)(s, p, i);
        if (r->show) {
            draw(s, p->row[i]);
        }
    }
    if (p->n > SHOWN) {
        dp_log("     ... %d more%s", p->n - SHOWN,
               r->output ? "" : "; --output FILE.csv takes them all");
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

static dp_status predict(dp_session *s, const request *r) {
    if (r->show && s->data->train.nshape < 2) {
        return dp_fail(DP_EUSAGE,
                       "--show draws images, but a sample is a row of numbers here");
    }
    int32_t *rows = NULL;
    int asked = 0;
    DP_TRY(r->split ? dp_session_read_split(s, r->split, &rows, &asked)
                    : dp_session_read(s, r->input, r->input != NULL));
    int n = s->data->test.n;
    if (n == 0) {
        return dp_fail(
            DP_EDATA,
            "there is no test set to take samples from: name a file behind --input");
    }
    dp_prediction *p = NULL;
    dp_status status = DP_OK;
    if (r->output && dp_comm_rank(s->comm) == 0) {
        status = dp_open_check_target(r->output, DP_EFILE);
    }
    if (status == DP_OK && r->index) {
        status = read_index(r->index, n, &rows, &asked);
    }
    status = dp_comm_agree(s->comm, status);
    status = status != DP_OK ? status : dp_predict(s, rows, rows ? asked : n, &p);
    if (status == DP_OK && dp_comm_rank(s->comm) == 0 && r->output) {
        status = dp_predict_write(s, p, r->output);
    }
    status = dp_comm_agree(s->comm, status);
    if (status == DP_OK) {
        print_table(s, p, r);
    }
    if (status == DP_OK && r->output) {
        dp_log("written: %s, %d rows", r->output, p->n);
    }
    dp_prediction_destroy(&p);
    free(rows);
    return status;
}

dp_status dp_cli_predict(dp_comm *comm, int argc, char **argv) {
    request r = {.overrides = dp_alloc((size_t)argc, sizeof(char *))};
    dp_session *session = NULL;
    dp_status s = parse(argc, argv, &r);
    if (s == DP_OK) {
        s = dp_session_open(comm, r.checkpoint, r.noverrides, r.overrides, &session);
    }
    s = s != DP_OK ? s : predict(session, &r);
    dp_session_destroy(&session);
    free(r.overrides);
    return s;
}
