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
    "clipping; train_accuracy, val_accuracy, test_accuracy: fraction of samples; "
    "seconds, *_seconds: s; samples_per_second: 1/s; val_mae, test_mae: the target's "
    "unit; val_r2, test_r2: none; flops_per_second, skipped_flops_per_second: 1/s; "
    "checkpoint: step of the newest when this was written, 0 before the first";

/* The rows of one of dp_tables. */
typedef struct table {
    char *rows; /* owner: this */
    int64_t n, room;
    int64_t built, saved; /* rows in the newest image; known to be on the disk */
} table;

struct dp_metrics {
    char *path; /* owner: this */
    dp_run_facts facts;
    table table[DP_TABLES];
    bool regression; /* the columns of R2 and MAE are written */
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
    m->regression = regression;
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
    for (int i = 0; i < DP_TABLES; i++) {
        free(m->table[i].rows);
    }
    free(m->path);
    free(m);
    *metrics = NULL;
}

/* ---- rows ---- */

void dp_metrics_add(dp_metrics *m, int which, const void *row) {
    table *t = &m->table[which];
    size_t size = dp_tables[which].size;
    if (t->n == t->room) {
        t->room = t->room * 2 + 256;
        t->rows = dp_realloc(t->rows, (size_t)t->room, size);
    }
    memcpy(t->rows + (size_t)t->n * size, row, size);
    t->n++;
    m->dirty = true;
}

/* The key, column 0, of a row: rows are in its order. */
static int64_t key_of(const char *rows, int which, int64_t row) {
    int64_t key = 0;
    memcpy(&key, rows + (size_t)row * dp_tables[which].size, sizeof key);
    return key;
}

/* How many rows at the table's begin have a key of up to `last`. */
static int64_t rows_upto(const dp_metrics *m, int which, int64_t last) {
    const table *t = &m->table[which];
    int64_t from = 0, to = t->n;
    while (from < to) {
        int64_t middle = from + (to - from) / 2;
        if (key_of(t->rows, which, middle) > last) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    return from;
}

dp_rows dp_metrics_unsaved(const dp_metrics *m, int64_t step, int64_t epoch) {
    dp_rows rows = {0};
    for (int i = 0; i < DP_TABLES; i++) {
        const table *t = &m->table[i];
        int64_t n = rows_upto(m, i, i == DP_STEPS ? step : epoch) - t->saved;
        if (n > 0) {
            rows.n[i] = n;
            rows.of[i] = t->rows + (size_t)t->saved * dp_tables[i].size;
        }
    }
    return rows;
}

/* A row has 8 bytes a column in the file. */
static int64_t row_bytes(const dp_metrics *m, int which) {
    return 8 * dp_tables[which].ncolumns[m->regression];
}

int64_t dp_metrics_bytes(const dp_metrics *m) {
    enum { HEAD = 16384 }; /* what is not rows: facts, texts, the first chunks */
    int64_t bytes = HEAD;
    for (int i = 0; i < DP_TABLES; i++) {
        bytes += m->table[i].n * row_bytes(m, i);
    }
    return bytes;
}

int64_t dp_metrics_unsaved_bytes(const dp_metrics *m) {
    int64_t bytes = 0;
    for (int i = 0; i < DP_TABLES; i++) {
        bytes += (m->table[i].n - m->table[i].saved) * row_bytes(m, i);
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
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        DP_TRY(dp_h5_put_attr_text(f, "/", texts[i].name, texts[i].text));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        DP_TRY(dp_h5_put_attr(f, "/", numbers[i].name, DP_H5_I64, DP_H5_ONE,
                              &numbers[i].number));
    }
    if (!m->tested) {
        return DP_OK;
    }
    DP_TRY(dp_h5_put_attr(f, "/", "test_loss", DP_H5_F64, DP_H5_ONE, &m->test_loss));
    return dp_h5_put_attr(f, "/", "test_accuracy", DP_H5_F64, DP_H5_ONE,
                          &m->test_accuracy);
}

static dp_status put_all(dp_h5 *f, const dp_metrics *m) {
    DP_TRY(put_facts(f, m));
    for (int i = 0; i < DP_TABLES; i++) {
        DP_TRY(dp_table_put(f, "", i, m->regression, m->table[i].n, m->table[i].rows));
    }
    return dp_h5_finish(f);
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
    DP_TRY(dp_h5_create(m->path, &f));
    dp_status status = put_all(f, m);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    m->dirty = false;
    m->checkpoint.built = m->checkpoint.now;
    for (int i = 0; i < DP_TABLES; i++) {
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
    for (int i = 0; i < DP_TABLES; i++) {
        m->table[i].saved = m->table[i].built;
    }
}

dp_status dp_metrics_flush(dp_metrics *metrics) {
    dp_h5 *f = NULL;
    DP_TRY(dp_metrics_build(metrics, &f));
    if (f == NULL) {
        return DP_OK;
    }
    dp_status status = dp_h5_place(f);
    dp_h5_close(&f);
    dp_metrics_placed(metrics, status == DP_OK);
    return status;
}

/* ---- reading ---- */

/* Reads the tables up to `step` and `epoch`. */
static dp_status load_rows(dp_h5 *f, dp_metrics *m, int64_t step, int64_t epoch) {
    for (int i = 0; i < DP_TABLES; i++) {
        table *t = &m->table[i];
        void *rows = NULL;
        DP_TRY(dp_table_get(f, "", i, &t->room, &rows));
        free(t->rows);
        t->rows = rows;
        t->n = t->room;
        t->n = rows_upto(m, i, i == DP_STEPS ? step : epoch);
    }
    return DP_OK;
}

static dp_status load_file(dp_metrics *m, int64_t step, int64_t epoch) {
    dp_h5 *f = NULL;
    DP_TRY(dp_h5_open(m->path, &f));
    dp_status status = load_rows(f, m, step, epoch);
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
    dp_status status = load_file(metrics, step, epoch);
    if (status != DP_OK) {
        for (int i = 0; i < DP_TABLES; i++) {
            metrics->table[i].n = 0;
        }
    }
    return dp_damaged(status, metrics->path) ? dp_set_aside(metrics->path) : status;
}

void dp_metrics_append(dp_metrics *m, const dp_rows *rows) {
    for (int i = 0; i < DP_TABLES; i++) {
        const table *t = &m->table[i];
        int64_t last = t->n > 0 ? key_of(t->rows, i, t->n - 1) : 0;
        for (int64_t k = 0; k < rows->n[i]; k++) {
            if (key_of(rows->of[i], i, k) > last) {
                dp_metrics_add(m, i,
                               (const char *)rows->of[i] + (size_t)k * dp_tables[i].size);
            }
        }
    }
}
