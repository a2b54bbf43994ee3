#include "files/metrics.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "parts.h"
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Writing may take this part of the time. */
static const double SHARE = 0.01;

static const char UNITS[] =
    "step, epoch: counted from 1; samples: number; loss, train_loss, val_loss, "
    "test_loss: "
    "mean over samples; lr: as used by the step; grad_norm: L2 norm before clipping; "
    "val_accuracy, test_accuracy: fraction of samples; seconds, *_seconds: s; "
    "samples_per_second: 1/s; val_mae, test_mae: the target's unit; val_r2, test_r2: "
    "none";

const dp_h5_column dp_step_columns[] = {
    DP_I64(dp_step_row, step),    DP_I64(dp_step_row, epoch),
    DP_I64(dp_step_row, samples), DP_F64(dp_step_row, loss),
    DP_F64(dp_step_row, lr),      DP_F64(dp_step_row, grad_norm),
    DP_F64(dp_step_row, seconds), DP_F64(dp_step_row, comm_seconds),
};

static const dp_h5_column profile_columns[] = {
    DP_I64(dp_profile_row, epoch),
    DP_F64(dp_profile_row, data_seconds),
    DP_F64(dp_profile_row, forward_seconds),
    DP_F64(dp_profile_row, backward_seconds),
    DP_F64(dp_profile_row, reduce_seconds),
    DP_F64(dp_profile_row, update_seconds),
    DP_F64(dp_profile_row, idle_seconds),
    DP_F64(dp_profile_row, compute_min_seconds),
    DP_F64(dp_profile_row, compute_mean_seconds),
    DP_F64(dp_profile_row, compute_max_seconds),
    DP_F64(dp_profile_row, wait_min_seconds),
    DP_F64(dp_profile_row, wait_mean_seconds),
    DP_F64(dp_profile_row, wait_max_seconds),
};

enum { STEPS, EPOCHS, PROFILE, TABLES };

/* A table in memory, and how it lies in the file. */
typedef struct table {
    const char *name;
    const dp_h5_column *columns;
    int ncolumns;
    size_t size; /* bytes of a row */
    char *rows;  /* owner: this */
    int64_t n, room;
} table;

struct dp_metrics {
    char *path, *program, *commit, *config, *kernels; /* owner: this */
    dp_run_facts facts;                               /* its texts are the copies above */
    table table[TABLES];
    char status[16];
    bool tested; /* test_loss and test_accuracy are known */
    double test_loss, test_accuracy;
    bool dirty;
    int64_t built,
        saved; /* rows of /steps: in the newest image; known to be on the disk */
    double least, interval; /* seconds between two writes: as asked for, and as it came */
    double last;            /* when the last write ended */
};

dp_status dp_metrics_create(const char *path, const dp_run_facts *facts, bool regression,
                            double flush_seconds, dp_metrics **out) {
    dp_metrics *m = dp_alloc(1, sizeof *m);
    m->path = dp_strdup(path);
    m->facts = *facts;
    m->facts.program = m->program = dp_strdup(facts->program);
    m->facts.commit = m->commit = dp_strdup(facts->commit);
    m->facts.config = m->config = dp_strdup(facts->config);
    m->facts.kernels = m->kernels = dp_strdup(facts->kernels);
    m->table[STEPS] = (table){.name = "/steps",
                              .columns = dp_step_columns,
                              .ncolumns = DP_STEP_COLUMNS,
                              .size = sizeof(dp_step_row)};
    m->table[EPOCHS] = (table){.name = "/epochs",
                               .columns = dp_epoch_columns,
                               .ncolumns = regression ? DP_EPOCH_ALL : DP_EPOCH_PLAIN,
                               .size = sizeof(dp_epoch_row)};
    m->table[PROFILE] =
        (table){.name = "/profile",
                .columns = profile_columns,
                .ncolumns = sizeof profile_columns / sizeof profile_columns[0],
                .size = sizeof(dp_profile_row)};
    strcpy(m->status, "running");
    m->dirty = true;
    m->least = m->interval = flush_seconds;
    m->last = dp_clock();
    *out = m;
    return DP_OK;
}

void dp_metrics_destroy(dp_metrics **metrics) {
    dp_metrics *m = *metrics;
    if (m == NULL) {
        return;
    }
    for (int i = 0; i < TABLES; i++) {
        free(m->table[i].rows);
    }
    free(m->path);
    free(m->program);
    free(m->commit);
    free(m->config);
    free(m->kernels);
    free(m);
    *metrics = NULL;
}

/* ---- rows ---- */

static dp_status add(dp_metrics *m, int which, const void *row) {
    table *t = &m->table[which];
    if (t->n == t->room) {
        int64_t room = t->room * 2 + 256;
        t->rows = dp_realloc(t->rows, (size_t)room, t->size);
        t->room = room;
    }
    memcpy(t->rows + (size_t)t->n * t->size, row, t->size);
    t->n++;
    m->dirty = true;
    return DP_OK;
}

dp_status dp_metrics_step(dp_metrics *metrics, const dp_step_row *row) {
    return add(metrics, STEPS, row);
}

dp_status dp_metrics_epoch(dp_metrics *metrics, const dp_epoch_row *row) {
    return add(metrics, EPOCHS, row);
}

dp_status dp_metrics_profile(dp_metrics *metrics, const dp_profile_row *row) {
    return add(metrics, PROFILE, row);
}

const dp_epoch_row *dp_metrics_epochs(const dp_metrics *metrics, int64_t *n) {
    *n = metrics->table[EPOCHS].n;
    return (const dp_epoch_row *)(const void *)metrics->table[EPOCHS].rows;
}

void dp_metrics_status(dp_metrics *metrics, const char *status) {
    if (strcmp(metrics->status, status) != 0) {
        snprintf(metrics->status, sizeof metrics->status, "%s", status);
        metrics->dirty = true;
    }
}

void dp_metrics_final_test(dp_metrics *metrics, double loss, double accuracy) {
    metrics->tested = true;
    metrics->test_loss = loss;
    metrics->test_accuracy = accuracy;
    metrics->dirty = true;
}

/* ---- writing ---- */

static dp_status put_facts(dp_h5 *f, const dp_metrics *m) {
    const dp_run_facts *facts = &m->facts;
    const struct {
        const char *name, *text;
    } texts[] = {
        {"format", "trainer-metrics"},
        {"status", m->status},
        {"program", facts->program},
        {"commit", facts->commit},
        {"config", facts->config},
        {"kernels", facts->kernels},
        {"units", UNITS},
    };
    const struct {
        const char *name;
        int64_t number;
    } numbers[] = {
        {"version", 1},
        {"ranks", facts->ranks},
        {"threads", facts->threads},
        {"nodes", facts->nodes},
        {"parameters", facts->parameters},
        {"train_samples", facts->train_samples},
        {"val_samples", facts->val_samples},
        {"test_samples", facts->test_samples},
    };
    dp_status status = DP_OK;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == DP_OK; i++) {
        status = dp_h5_attr_text(f, "/", texts[i].name, texts[i].text);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == DP_OK; i++) {
        status = dp_h5_attr_i64(f, "/", numbers[i].name, numbers[i].number);
    }
    if (status == DP_OK && m->tested) {
        status = dp_h5_attr_f64(f, "/", "test_loss", m->test_loss);
        status =
            status ? status : dp_h5_attr_f64(f, "/", "test_accuracy", m->test_accuracy);
    }
    return status;
}

dp_status dp_metrics_build(dp_metrics *m, dp_h5 **out) {
    dp_h5 *f = NULL;
    *out = NULL;
    if (!m->dirty) {
        return DP_OK;
    }
    dp_status status = dp_h5_create(m->path, &f);
    status = status ? status : put_facts(f, m);
    for (int i = 0; i < TABLES && status == DP_OK; i++) {
        const table *t = &m->table[i];
        status =
            dp_h5_put_table(f, t->name, t->ncolumns, t->columns, t->size, t->n, t->rows);
    }
    status = status ? status : dp_h5_finish(f);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    m->dirty = false;
    m->built = m->table[STEPS].n;
    m->last = dp_clock();
    *out = f;
    return DP_OK;
}

void dp_metrics_placed(dp_metrics *metrics, bool placed) {
    metrics->dirty = metrics->dirty || !placed;
    metrics->saved = placed ? metrics->built : metrics->saved;
}

const dp_step_row *dp_metrics_unsaved(const dp_metrics *metrics, int64_t *n) {
    const table *t = &metrics->table[STEPS];
    *n = t->n - metrics->saved;
    return (const dp_step_row *)(const void *)t->rows + metrics->saved;
}

dp_status dp_metrics_flush(dp_metrics *metrics) {
    dp_h5 *f = NULL;
    double start = dp_clock();
    dp_status status = dp_metrics_build(metrics, &f);
    if (f != NULL) {
        status = dp_h5_place(f);
        dp_h5_close(&f);
        dp_metrics_placed(metrics, status == DP_OK);
        metrics->last = dp_clock();
        metrics->interval = fmax(metrics->least, (metrics->last - start) / SHARE);
    }
    return status;
}

dp_status dp_metrics_tick(dp_metrics *metrics) {
    bool due = dp_clock() - metrics->last >= metrics->interval;
    return due ? dp_metrics_flush(metrics) : DP_OK;
}

/* ---- reading ---- */

/* Reads one table; its rows are in order, so those up to `last` in column 0 are a prefix.
 */
static dp_status load_table(dp_h5 *f, table *t, int64_t last) {
    void *rows = NULL;
    int64_t n = 0;
    dp_status status =
        dp_h5_get_table(f, t->name, t->ncolumns, t->columns, t->size, &n, &rows);
    if (status != DP_OK) {
        return status;
    }
    int64_t kept = 0;
    for (; kept < n; kept++) {
        int64_t key = 0;
        memcpy(&key, (char *)rows + (size_t)kept * t->size + t->columns[0].offset, 8);
        if (key > last) {
            break;
        }
    }
    free(t->rows);
    t->rows = rows;
    t->n = kept;
    t->room = n;
    return DP_OK;
}

static dp_status load_all(dp_metrics *m, int64_t step, int64_t epoch) {
    dp_h5 *f = NULL;
    dp_status status = dp_h5_open(m->path, &f);
    for (int i = 0; i < TABLES && status == DP_OK; i++) {
        status = load_table(f, &m->table[i], i == STEPS ? step : epoch);
    }
    dp_h5_close(&f);
    return status;
}

dp_status dp_metrics_load(dp_metrics *metrics, int64_t step, int64_t epoch) {
    if (access(metrics->path, F_OK) != 0) {
        return DP_OK;
    }
    metrics->dirty = true;
    dp_status status = load_all(metrics, step, epoch);
    if (status != DP_OK) {
        for (int i = 0; i < TABLES; i++) {
            metrics->table[i].n = 0;
        }
    }
    if (status == DP_EFILE && dp_damaged(metrics->path)) {
        return dp_set_aside(metrics->path);
    }
    return status;
}

/* Adds the rows that come after those in the table. */
static dp_status append(dp_metrics *m, int which, int64_t n, const char *rows) {
    table *t = &m->table[which];
    int64_t last = 0, key = 0;
    if (t->n > 0) {
        memcpy(&last, t->rows + (size_t)(t->n - 1) * t->size, sizeof last);
    }
    dp_status status = DP_OK;
    for (int64_t i = 0; i < n && status == DP_OK; i++) {
        memcpy(&key, rows + (size_t)i * t->size, sizeof key);
        status = key > last ? add(m, which, rows + (size_t)i * t->size) : DP_OK;
    }
    return status;
}

dp_status dp_metrics_append(dp_metrics *metrics, int64_t nsteps, const dp_step_row *steps,
                            int64_t nepochs, const dp_epoch_row *epochs) {
    dp_status status = append(metrics, STEPS, nsteps, (const char *)steps);
    return status ? status : append(metrics, EPOCHS, nepochs, (const char *)epochs);
}

void dp_metrics_read_status(const char *path, char *out, int size) {
    dp_h5 *f = NULL;
    if (dp_h5_open(path, &f) != DP_OK ||
        dp_h5_get_attr_text(f, "/", "status", out, (size_t)size) != DP_OK) {
        out[0] = '\0';
    }
    dp_h5_close(&f);
}
