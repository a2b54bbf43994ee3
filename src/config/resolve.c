/* Defaults that depend on other keys, and the checks that need more than one key. */
#include "keys.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dp_origin_text(const dp_origin *origin, int set, char out[DP_TEXT]) {
    if (set > 0) {
        snprintf(out, DP_TEXT, "%.900s:%d", origin->name, set);
    } else if (set < 0) {
        snprintf(out, DP_TEXT, "override '%.200s'", origin->overrides[-1 - set]);
    } else {
        snprintf(out, DP_TEXT, "%.900s", origin->name);
    }
}

/* DP_EUSAGE, naming the key, its value and where it was set. */
static dp_status refuse(const dp_origin *origin, const dp_config *config,
                        const char *section, const char *name, const char *why) {
    char where[DP_TEXT], value[DP_TEXT];
    const dp_key *key = dp_key_find(section, name);
    dp_origin_text(origin, origin->set[key - dp_keys], where);
    dp_key_text(key, config, value);
    return dp_key_refuse(key, where, value, why);
}

static dp_status require(const dp_origin *origin, const dp_config *c) {
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        if (!key->default_text && !origin->set[key - dp_keys]) {
            return dp_fail(DP_EUSAGE,
                           "%s: %s.%s is missing: add '%s = ...' under [%s], or "
                           "%s.%s=... to the command line ('trainer help %s.%s' says "
                           "more)",
                           origin->name, key->section, key->name, key->name, key->section,
                           key->section, key->name, key->section, key->name);
        }
    }
    if (*c->data.dir == '\0' && *c->data.train == '\0') {
        return dp_fail(
            DP_EUSAGE,
            "%s: the data is missing: add 'dir = FOLDER' (IDX files) or 'train = FILE' "
            "under [data], or data.dir=... or data.train=... to the command line",
            origin->name);
    }
    return DP_OK;
}

/* "configs/mlp.ini" -> mlp, runs/mlp */
static dp_status name_run(const dp_origin *origin, dp_config *c) {
    char text[DP_TEXT + 8];
    if (*c->run.name == '\0') {
        const char *slash = strrchr(origin->name, '/');
        const char *base = slash ? slash + 1 : origin->name;
        const char *dot = strrchr(base, '.');
        int length = dot && dot != base ? (int)(dot - base) : (int)strlen(base);
        snprintf(text, sizeof text, "%.*s", length, base);
        DP_TRY(dp_key_set(dp_key_find("run", "name"), origin->name, text, c));
    }
    if (strchr(c->run.name, '/') || strcmp(c->run.name, ".") == 0 ||
        strcmp(c->run.name, "..") == 0) {
        return refuse(origin, c, "run", "name",
                      "can't name a folder: give a name without '/', and the folder as "
                      "run.output");
    }
    if (*c->run.output == '\0') {
        snprintf(text, sizeof text, "runs/%s", c->run.name);
        DP_TRY(dp_key_set(dp_key_find("run", "output"), origin->name, text, c));
    }
    return DP_OK;
}

/* The defaults that the optimizer has of its own. */
static dp_status set_variants(const dp_origin *origin, dp_config *c) {
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        for (int k = 0; k < DP_VARIANTS && key->variant[k].optimizer; k++) {
            if (!origin->set[key - dp_keys] &&
                strcmp(key->variant[k].optimizer, c->optimizer.name) == 0) {
                DP_TRY(dp_key_set(key, origin->name, key->variant[k].text, c));
            }
        }
    }
    return DP_OK;
}

static dp_status check_schedule(const dp_origin *origin, const dp_config *c) {
    bool drops = false;
    for (const char *p = c->optimizer.milestones; *p;) {
        char *end = NULL;
        double milestone = strtod(p, &end);
        if (end != p && milestone < 0) {
            return refuse(origin, c, "optimizer", "milestones",
                          "has an epoch below 0: give epochs of the run, as in 30, 60");
        }
        drops = drops || (end != p && milestone > 0);
        p = end == p ? p + 1 : end;
    }
    if (strcmp(c->optimizer.schedule, "multistep") == 0 && !drops) {
        return refuse(origin, c, "optimizer", "schedule",
                      "needs optimizer.milestones, the epochs after which the learning "
                      "rate drops, as in 30, 60");
    }
    if (c->optimizer.final_momentum > 0 && c->optimizer.momentum == 0) {
        return refuse(origin, c, "optimizer", "final_momentum",
                      "needs optimizer.momentum above 0");
    }
    return DP_OK;
}

dp_status dp_config_resolve(const dp_origin *origin, dp_config *c) {
    DP_TRY(require(origin, c));
    DP_TRY(name_run(origin, c));
    DP_TRY(set_variants(origin, c));
    double validation = c->data.validation;
    if (validation >= 1 && validation != floor(validation)) {
        return refuse(origin, c, "data", "validation",
                      "must be a whole number of samples, or a fraction below 1");
    }
    if (strcmp(c->model.init, "file") == 0 && *c->model.init_file == '\0') {
        return refuse(origin, c, "model", "init", "needs model.init_file, the file");
    }
    if (c->model.init_partial && *c->model.init_file == '\0') {
        return refuse(origin, c, "model", "init_partial",
                      "needs model.init_file, the file");
    }
    if (strcmp(c->optimizer.name, "sgd") == 0 && c->optimizer.nesterov &&
        c->optimizer.momentum == 0) {
        return refuse(origin, c, "optimizer", "nesterov",
                      "needs optimizer.momentum above 0");
    }
    DP_TRY(check_schedule(origin, c));
    if (strncmp(c->checkpoint.best, "val_", 4) == 0 && validation == 0) {
        return refuse(origin, c, "checkpoint", "best", "needs data.validation above 0");
    }
    if (strncmp(c->checkpoint.best, "test_", 5) == 0 && validation > 0) {
        return refuse(origin, c, "checkpoint", "best",
                      "needs data.validation = 0: with a validation split the test set "
                      "is scored only at the end");
    }
    return DP_OK;
}
