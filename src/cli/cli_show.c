/* trainer show: samples as the files have them. */
#include "base/log.h"
#include "base/memory.h"
#include "cli.h"
#include "data/augment.h"
#include "run/predict.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Samples and inputs of one, where not all are asked for; numbers on a line. */
enum { SAMPLES = 5, INPUTS = 24, LINE = 14 };

/* ---- samples ---- */

/* What the model takes for a value of the file. */
static double scaled(const dp_scale *scale, double v, int f) {
    v = scale->bytes && scale->unit ? v / 255 : v;
    int k = scale->columns > 1 ? f : 0;
    return scale->columns == 0 ? v
                               : (v - (double)scale->mean[k]) * (double)scale->inv_std[k];
}

static void print_vector(const dp_session *s, const dp_table *t, int32_t row) {
    for (int f = 0; f < t->features;) {
        dp_strbuf line;
        FILE *out = dp_strbuf_open(&line);
        for (int end = f + LINE; f < end && f < t->features; f++) {
            fprintf(out, " %g", scaled(&s->scale, dp_table_value(t, row, f), f));
        }
        dp_strbuf_close(&line);
        dp_log("%s", line.text);
        free(line.text);
    }
}

/* "  hours 2  slept 6" */
static void put_inputs(FILE *out, const dp_session *s, const dp_table *t, int32_t row) {
    char name[16];
    int shown = t->features < INPUTS ? t->features : INPUTS;
    for (int f = 0; f < shown; f++) {
        fprintf(out, "  %s %g", dp_predict_column(s, f, name), dp_table_value(t, row, f));
    }
    if (shown < t->features) {
        fprintf(out, "  and %d more inputs (--flat prints all)", t->features - shown);
    }
}

/* "  label 9 (Ankle boot)", or "  score 75" */
static void put_label(FILE *out, const dp_session *s, const dp_table *t, int32_t row) {
    char text[16];
    bool one = s->loss->labels || (s->loss->accuracy && t->ntargets == 1);
    if (one) {
        int c = t->label ? t->label[row] : t->target[row] > 0;
        fprintf(out, "  label %d", c);
        if (s->data->class_name) {
            fprintf(out, " (%s)", dp_predict_name(s, c, text));
        }
        return;
    }
    for (int o = 0; o < t->ntargets; o++) {
        fprintf(out, "  %s %g", dp_predict_column(s, t->features + o, text),
                (double)t->target[(size_t)row * (size_t)t->ntargets + (size_t)o]);
    }
}

/* Row `row` of the table is sample i of the split. */
static void print_sample(const dp_cli *cli, const dp_table *t, int i, int32_t row) {
    const dp_session *s = cli->session;
    bool image = t->nshape > 1;
    dp_strbuf line;
    FILE *out = dp_strbuf_open(&line);
    if (!image && !cli->flat) {
        put_inputs(out, s, t, row);
    }
    put_label(out, s, t, row);
    dp_strbuf_close(&line);
    dp_log("%s %d:%s", cli->split, i, line.text + 1);
    free(line.text);
    if (cli->flat) {
        print_vector(s, t, row);
    } else if (image) {
        dp_cli_draw(s, t, row);
    }
}

/* The samples of --augment, one at a time. */
typedef struct augmented {
    dp_augment *augment; /* NULL: as they are */
    int64_t epoch;
    void *raw;
} augmented;

static dp_status open_augmented(const dp_cli *cli, augmented *a) {
    const dp_table *t = &cli->session->data->train;
    char *end = NULL;
    if (!cli->augment) {
        return DP_OK;
    }
    a->epoch = strtol(cli->augment, &end, 10);
    if (*end || end == cli->augment || a->epoch < 1) {
        return dp_fail(DP_EUSAGE, "--augment %s: an epoch, from 1", cli->augment);
    }
    if (strcmp(cli->split, "train") != 0) {
        return dp_fail(DP_EUSAGE,
                       "--augment is for --split train: no other samples are changed");
    }
    DP_TRY(dp_augment_create(&cli->session->config, t, 1, &a->augment));
    if (!a->augment) {
        return dp_fail(DP_EUSAGE, "--augment: the config has no [augment] to show");
    }
    return dp_memory_alloc((size_t)t->features, t->bytes ? 1 : sizeof(float), &a->raw);
}

static void close_augmented(augmented *a) {
    dp_augment_destroy(&a->augment);
    dp_memory_free(&a->raw);
}

/* Sample i of the split, row `row` of the table, as it is or as it becomes. */
static void show_sample(const dp_cli *cli, const dp_table *t, const augmented *a, int i,
                        int32_t row) {
    dp_table one = *t;
    if (!a->augment) {
        print_sample(cli, t, i, row);
        return;
    }
    dp_augment_sample(a->augment, 0, t, a->epoch, row, a->raw);
    one.raw = a->raw;
    one.label = t->label ? t->label + row : NULL;
    one.target = t->target ? t->target + (size_t)row * (size_t)t->ntargets : NULL;
    print_sample(cli, &one, i, 0);
}

static dp_status show_samples(const dp_cli *cli, int32_t **rows, augmented *a) {
    const dp_dataset *data = cli->session->data;
    bool train = strcmp(cli->split, "train") == 0, val = strcmp(cli->split, "val") == 0;
    if (!train && !val && strcmp(cli->split, "test") != 0) {
        return dp_fail(DP_EUSAGE, "--split %s: must be train, val or test", cli->split);
    }
    const dp_table *t = train || val ? &data->train : &data->test;
    const int32_t *row = train ? data->train_row : val ? data->val_row : NULL;
    int samples = train ? data->train_n : val ? data->val_n : t->n;
    int n = samples < SAMPLES ? samples : SAMPLES;
    if (samples == 0) {
        return val ? dp_fail(DP_EUSAGE,
                             "--split val: nothing is held out: data.validation = 0")
                   : dp_fail(DP_EDATA, "there is no test set to show: set data.test");
    }
    if (cli->index) {
        DP_TRY(dp_cli_index(cli->index, cli->split, samples, rows, &n));
    }
    DP_TRY(open_augmented(cli, a));
    for (int k = 0; k < n; k++) {
        int i = *rows ? (*rows)[k] : k;
        show_sample(cli, t, a, i, row ? row[i] : i);
    }
    return DP_OK;
}

dp_status dp_cli_show(const dp_cli *cli) {
    int32_t *rows = NULL;
    augmented a = {0};
    dp_session_header(cli->session);
    dp_status s =
        cli->params || cli->gradient ? dp_cli_params(cli) : show_samples(cli, &rows, &a);
    free(rows);
    close_augmented(&a);
    return s;
}
