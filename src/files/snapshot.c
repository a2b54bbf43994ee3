/* A checkpoint's content, but for the model's: what writes a part of the file stands
 * beside what reads it. */
#include "base/memory.h"
#include "files_impl.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char FORMAT[] = "trainer-checkpoint";
enum { VERSION = 1 };

/* ---- facts ---- */

/* An attribute that is one value, and the snapshot's member that it is. */
typedef struct fact {
    enum {
        TEXT,
        REAL,
        INT,   /* int >= 0 */
        COUNT, /* int64 >= 0 */
        MAYBE, /* int64 >= 0, or -1: there is no such attribute */
        SEED,  /* uint64, stored as an int64 of the same bits */
        FLAG
    } kind;
    const char *group, *name;
    size_t offset, size;
} fact;

#define FACT(kind, group, name, member)                                                  \
    {                                                                                    \
        kind, group, name, offsetof(dp_snapshot, member),                                \
            sizeof(((dp_snapshot *)0)->member)                                           \
    }

static const fact facts[] = {
    FACT(TEXT, "/", "program", program),
    FACT(TEXT, "/", "commit", commit),
    FACT(INT, "/", "ranks", ranks),
    FACT(INT, "/", "threads", threads),
    FACT(TEXT, "/model", "layers", layers),
    FACT(TEXT, "/model", "loss", loss),
    FACT(TEXT, "/optimizer", "name", optimizer),
    FACT(COUNT, "/optimizer", "step", step),
    FACT(REAL, "/optimizer", "lr", lr),
    FACT(TEXT, "/data", "normalize", normalize),
    FACT(FLAG, "/data", "bytes", bytes),
    FACT(TEXT, "/data", "fingerprint", fingerprint),
    FACT(COUNT, "/data", "train_samples", train_samples),
    FACT(COUNT, "/data", "val_samples", val_samples),
    FACT(COUNT, "/data", "test_samples", test_samples),
    FACT(COUNT, "/state", "epoch", epoch),
    FACT(COUNT, "/state", "step", step),
    FACT(COUNT, "/state", "position", position),
    FACT(REAL, "/state", "loss_sum", loss_sum),
    FACT(COUNT, "/state", "samples", samples),
    FACT(MAYBE, "/state", "correct", correct),
    FACT(SEED, "/state", "seed", seed),
    FACT(REAL, "/state", "best", best),
    FACT(COUNT, "/state", "best_step", best_step),
    FACT(COUNT, "/state", "patience", patience),
    FACT(FLAG, "/metrics", "regression", regression),
};

static dp_status put_fact(dp_h5 *f, const fact *e, const dp_snapshot *s) {
    const void *p = (const char *)s + e->offset;
    if (e->kind == TEXT) {
        return dp_h5_put_attr_text(f, e->group, e->name, p);
    }
    if (e->kind == REAL) {
        return dp_h5_put_attr(f, e->group, e->name, DP_H5_F64, DP_H5_ONE, p);
    }
    int64_t v = e->kind == INT    ? *(const int *)p
                : e->kind == FLAG ? *(const bool *)p
                                  : *(const int64_t *)p;
    if (e->kind == MAYBE && v < 0) {
        return DP_OK;
    }
    return dp_h5_put_attr(f, e->group, e->name, DP_H5_I64, DP_H5_ONE, &v);
}

static dp_status get_fact(dp_h5 *f, const fact *e, dp_snapshot *s) {
    void *p = (char *)s + e->offset;
    if (e->kind == TEXT || e->kind == REAL) {
        dp_h5_type type = e->kind == TEXT ? DP_H5_TEXT : DP_H5_F64;
        return dp_h5_get_attr_one(f, e->group, e->name, type, e->size, p);
    }
    int64_t v = 0, max = e->kind == INT ? INT_MAX : e->kind == FLAG ? 1 : INT64_MAX;
    if (e->kind == MAYBE && !dp_h5_has_attr(f, e->group, e->name)) {
        *(int64_t *)p = -1;
        return DP_OK;
    }
    DP_TRY(dp_h5_get_attr_one(f, e->group, e->name, DP_H5_I64, sizeof v, &v));
    if (e->kind != SEED && (v < 0 || v > max)) {
        return dp_h5_wrong(f, "%s: %s = %lld is impossible", e->group, e->name,
                           (long long)v);
    }
    if (e->kind == INT) {
        *(int *)p = (int)v;
    } else if (e->kind == FLAG) {
        *(bool *)p = v != 0;
    } else {
        *(int64_t *)p = v;
    }
    return DP_OK;
}

static dp_status put_facts(dp_h5 *f, const dp_snapshot *s) {
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        DP_TRY(put_fact(f, &facts[i], s));
    }
    return DP_OK;
}

static dp_status get_facts(dp_h5 *f, dp_snapshot *s) {
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        DP_TRY(get_fact(f, &facts[i], s));
    }
    int64_t step = 0; /* it is there twice */
    DP_TRY(dp_h5_get_attr_one(f, "/optimizer", "step", DP_H5_I64, sizeof step, &step));
    return step == s->step
               ? DP_OK
               : dp_h5_wrong(f, "/optimizer: step = %lld, but /state: step = %lld",
                             (long long)step, (long long)s->step);
}

/* ---- the root ---- */

static dp_status put_root(dp_h5 *f, const dp_snapshot *s) {
    const int64_t version = VERSION;
    char created[sizeof s->created] = "";
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", &utc);
    DP_TRY(dp_h5_put_attr_text(f, "/", "format", FORMAT));
    DP_TRY(dp_h5_put_attr(f, "/", "version", DP_H5_I64, DP_H5_ONE, &version));
    DP_TRY(dp_h5_put_attr_text(f, "/", "created", created));
    return dp_h5_put_text(f, "/config", s->config);
}

static dp_status get_root(dp_h5 *f, dp_snapshot *s) {
    char format[64] = "";
    int64_t version = 0;
    DP_TRY(dp_h5_get_attr_one(f, "/", "format", DP_H5_TEXT, sizeof format, format));
    if (strcmp(format, FORMAT) != 0) {
        return dp_h5_wrong(f, "is not a checkpoint: it has another format");
    }
    DP_TRY(dp_h5_get_attr_one(f, "/", "version", DP_H5_I64, sizeof version, &version));
    if (version != VERSION) {
        return dp_h5_wrong(f,
                           "has checkpoint format %lld (version), this trainer reads "
                           "format %d: use the trainer that wrote it",
                           (long long)version, VERSION);
    }
    DP_TRY(
        dp_h5_get_attr_one(f, "/", "created", DP_H5_TEXT, sizeof s->created, s->created));
    return dp_h5_get_text(f, "/config", &s->config);
}

/* ---- statistics and rows ---- */

static dp_status put_statistics(dp_h5 *f, const dp_snapshot *s) {
    DP_TRY(dp_h5_group(f, "/data"));
    DP_TRY(dp_h5_put_attr(f, "/data", "mean", DP_H5_F64, s->nmean, s->mean));
    return dp_h5_put_attr(f, "/data", "std", DP_H5_F64, s->nmean, s->std);
}

static dp_status get_statistics(dp_h5 *f, dp_snapshot *s) {
    int nstd = 0;
    DP_TRY(dp_h5_get_attr(f, "/data", "mean", DP_H5_F64, &s->nmean, &s->mean));
    DP_TRY(dp_h5_get_attr(f, "/data", "std", DP_H5_F64, &nstd, &s->std));
    return nstd == s->nmean ? DP_OK
                            : dp_h5_wrong(f, "/data: mean and std differ in length");
}

/* /metrics/epochs is there even if it is empty; the others only with rows. */
static dp_status put_rows(dp_h5 *f, const dp_snapshot *s) {
    for (int t = 0; t < DP_TABLES; t++) {
        if (t == DP_EPOCHS || s->rows.n[t] > 0) {
            DP_TRY(dp_table_put(f, "/metrics", t, s->regression, s->rows.n[t],
                                s->rows.of[t]));
        }
    }
    return DP_OK;
}

static dp_status get_rows(dp_h5 *f, dp_rows *r) {
    for (int t = 0; t < DP_TABLES; t++) {
        char name[64];
        snprintf(name, sizeof name, "/metrics%s", dp_tables[t].name);
        if (t == DP_EPOCHS || dp_h5_has(f, name)) {
            DP_TRY(dp_table_get(f, "/metrics", t, &r->n[t], &r->of[t]));
        }
    }
    return DP_OK;
}

/* ---- the whole ---- */

static dp_status put_all(dp_h5 *f, const dp_snapshot *s) {
    DP_TRY(put_root(f, s));
    DP_TRY(dp_snapshot_put_model(f, s));
    DP_TRY(put_statistics(f, s));
    DP_TRY(dp_h5_group(f, "/state"));
    DP_TRY(put_rows(f, s));
    DP_TRY(put_facts(f, s));
    return dp_h5_finish(f);
}

static dp_status get_all(dp_h5 *f, dp_snapshot *s) {
    DP_TRY(get_root(f, s));
    DP_TRY(dp_snapshot_get_model(f, s));
    DP_TRY(get_statistics(f, s));
    DP_TRY(get_facts(f, s));
    return get_rows(f, &s->rows);
}

dp_status dp_snapshot_build(const char *path, const dp_snapshot *s, dp_h5 **out) {
    dp_h5 *f = NULL;
    DP_TRY(dp_h5_create(path, &f));
    dp_status status = put_all(f, s);
    if (status != DP_OK) {
        dp_h5_close(&f);
        return status;
    }
    *out = f;
    return DP_OK;
}

dp_status dp_checkpoint_read(const char *path, dp_checkpoint_check *check,
                             dp_snapshot **out) {
    dp_h5 *f = NULL;
    DP_TRY(dp_h5_open(path, &f));
    dp_snapshot *s = dp_alloc(1, sizeof *s);
    dp_status status = get_all(f, s);
    status = status ? status : check(path, s);
    if (status == DP_OK) {
        dp_h5_note(f);
    }
    dp_h5_close(&f);
    if (status != DP_OK) {
        dp_snapshot_destroy(&s);
        return status;
    }
    *out = s;
    return DP_OK;
}

void dp_snapshot_destroy(dp_snapshot **snapshot) {
    dp_snapshot *s = *snapshot;
    if (s == NULL) {
        return;
    }
    dp_memory_free(&s->tensors);
    dp_memory_free(&s->params);
    for (int k = 0; k < DP_SLOTS; k++) {
        dp_memory_free(&s->slot[k]);
    }
    for (int t = 0; t < DP_TABLES; t++) {
        dp_memory_free(&s->rows.of[t]);
    }
    free(s->config);
    free(s->classes);
    free(s->columns);
    free(s->mean);
    free(s->std);
    free(s);
    *snapshot = NULL;
}
