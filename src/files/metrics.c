/* The tables of metrics.h5 in memory, and when they are written. */
#include "files/metrics.h"
#include "base/log.h"
#include "base/memory.h"
#include "files_impl.h"
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char UNITS[] =
    "step, epoch: counted from 1; samples: number; loss, train_loss, val_loss, "
    "test_loss: mean over samples; lr: as used by the step; grad_norm: L2 norm before "
    "clipping; val_accuracy, test_accuracy: fraction of samples; seconds, *_seconds: s; "
    "samples_per_second: 1/s; val_mae, test_mae: the target's unit; val_r2, test_r2: "
    "none; skipped: fraction of operations; checkpoint: step of the newest when this was "
    "written, 0 before the first";

const dp_h5_column dp_step_columns[] = {
    DP_I64(dp_step_row, step),    DP_I64(dp_step_row, epoch),
    DP_I64(dp_step_row, samples), DP_F64(dp_step_row, loss),
    DP_F64(dp_step_row, lr),      DP_F64(dp_step_row, grad_norm),
    DP_F64(dp_step_row, seconds), DP_F64(dp_step_row, comm_seconds),
};

const dp_h5_column dp_profile_columns[] = {
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
    DP_F64(dp_profile_row, skipped),
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
    int64_t built, saved; /* rows in the newest image; known to be on the disk */
} table;

struct dp_metrics {
    char *path, *program, *commit, *config, *kernels; /* owner: this */
    dp_run_facts facts;                               /* its texts are the copies above */
    table table[TABLES];
    char status[16];
    bool tested; /* test_loss and test_accuracy are known */
    double test_loss, test_accuracy;
    bool dirty;
    struct {
        int64_t now, built, saved;
    } checkpoint; /* step of the newest: on the disk; as in the newest image; as in the file */
};

dp_status dp_metrics_create(const char *path, const dp_run_facts *facts, bool regression,
                            dp_metrics **out) {
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
    m->table[PROFILE] = (table){.name = "/profile",
                                .columns = dp_profile_columns,
                                .ncolumns = DP_PROFILE_COLUMNS,
                                .size = sizeof(dp_profile_row)};
    strcpy(m->status, "running");
    m->dirty = true;
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

/* How many rows at the table's begin have a key (column 0) of up to `last`: rows are in
 * order. */
static int64_t rows_upto(const table *t, int64_t last) {
    int64_t from = 0, to = t->n;
    while (from < to) {
        int64_t middle = from + (to - from) / 2, key = 0;
        memcpy(&key, t->rows + (size_t)middle * t->size + t->columns[0].offset, 8);
        if (key > last) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    return from;
}

/* The rows up to `last` that are not saved. */
static void *unsaved(const table *t, int64_t last, int64_t *n) {
    int64_t rows = rows_upto(t, last) - t->saved;
    *n = rows > 0 ? rows : 0;
    return *n > 0 ? t->rows + (size_t)t->saved * t->size : NULL;
}

dp_rows dp_metrics_unsaved(const dp_metrics *m, int64_t step, int64_t epoch) {
    dp_rows rows;
    rows.steps = unsaved(&m->table[STEPS], step, &rows.nsteps);
    rows.epochs = unsaved(&m->table[EPOCHS], epoch, &rows.nepochs);
    rows.profiles = unsaved(&m->table[PROFILE], epoch, &rows.nprofiles);
    return rows;
}

int64_t dp_metrics_bytes(const dp_metrics *m) {
    enum { HEAD = 16384 }; /* what is not rows: facts, texts, the first chunks */
    int64_t bytes = HEAD;
    for (int i = 0; i < TABLES; i++) {
        bytes += m->table[i].n * 8 * m->table[i].ncolumns;
    }
    return bytes;
}

int64_t dp_metrics_unsaved_bytes(const dp_metrics *m) {
    int64_t bytes = 0;
    for (int i = 0; i < TABLES; i++) {
        bytes += (m->table[i].n - m->table[i].saved) * 8 * m->table[i].ncolumns;
    }
    return bytes;
}

void dp_metrics_status(dp_metrics *metrics, const char *status) {
    if (strcmp(metrics->status, status) != 0) {
        snprintf(metrics->status, sizeof metrics->status, "%s", status);
        metrics->dirty = true;
    }
}

void dp_metrics_checkpoint(dp_metrics *metrics, int64_t step) {
    metrics->checkpoint.now = step;
    metrics->dirty = true;
}

bool dp_metrics_hides_checkpoint(const dp_metrics *metrics) {
    return metrics->checkpoint.now > 0 && metrics->checkpoint.saved == 0;
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
        {"checkpoint", m->checkpoint.now},
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

bool dp_metrics_dirty(const dp_metrics *metrics) {
    return metrics->dirty;
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
    m->checkpoint.built = m->checkpoint.now;
    for (int i = 0; i < TABLES; i++) {
        m->table[i].built = m->table[i].n;
    }
    *out = f;
    return DP_OK;
}

void dp_metrics_placed(dp_metrics *m, bool placed) {
    if (!placed) {
        m->dirty = true;
        return;
    }
    m->checkpoint.saved = m->checkpoint.built;
    for (int i = 0; i < TABLES; i++) {
        m->table[i].saved = m->table[i].built;
    }
}

dp_status dp_metrics_flush(dp_metrics *metrics) {
    dp_h5 *f = NULL;
    dp_status status = dp_metrics_build(metrics, &f);
    if (f != NULL) {
        status = dp_h5_place(f);
        dp_h5_close(&f);
        dp_metrics_placed(metrics, status == DP_OK);
    }
    return status;
}

/* ---- reading ---- */

/* Reads one table up to `last` in column 0. */
static dp_status load_table(dp_h5 *f, table *t, int64_t last) {
    void *rows = NULL;
    int64_t n = 0;
    dp_status status =
        dp_h5_get_table(f, t->name, t->ncolumns, t->columns, t->size, &n, &rows);
    if (status != DP_OK) {
        return status;
    }
    free(t->rows);
    t->rows = rows;
    t->room = t->n = n;
    t->n = rows_upto(t, last);
    return DP_OK;
}

static dp_status load_all(dp_metrics *m, int64_t step, int64_t epoch) {
    dp_h5 *f = NULL;
    dp_status status = dp_h5_open(m->path, &f);
    for (int i = 0; i < TABLES && status == DP_OK; i++) {
        status = load_table(f, &m->table[i], i == STEPS ? step : epoch);
    }
    if (status == DP_OK) {
        dp_h5_note(f);
    }
    dp_h5_close(&f);
    return status;
}

dp_status dp_metrics_load(dp_metrics *metrics, int64_t step, int64_t epoch) {
    if (access(metrics->path, F_OK) != 0 && errno == ENOENT) {
        dp_warn("%s is gone: of the steps up to %lld only the rows that the checkpoint "
                "carries are left",
                metrics->path, (long long)step);
        return DP_OK;
    }
    metrics->dirty = true;
    dp_status status = load_all(metrics, step, epoch);
    if (status != DP_OK) {
        for (int i = 0; i < TABLES; i++) {
            metrics->table[i].n = 0;
        }
    }
    if (dp_damaged(status, metrics->path)) {
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

dp_status dp_metrics_append(dp_metrics *m, const dp_rows *rows) {
    dp_status status = append(m, STEPS, rows->nsteps, (const char *)rows->steps);
    status =
        status ? status : append(m, EPOCHS, rows->nepochs, (const char *)rows->epochs);
    return status ? status
                  : append(m, PROFILE, rows->nprofiles, (const char *)rows->profiles);
}
