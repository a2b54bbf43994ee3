/* Defaults that depend on other keys, and the checks that need more than one key. */
#include "keys.h"
#include <math.h>
#include <string.h>

/* Where a key was set, to begin a message with. */
static const char *where(const dp_origin *origin, const char *section, const char *name,
                         char out[DP_TEXT]) {
    dp_origin_text(origin, dp_key_find(section, name), out);
    return out;
}

static dp_status name_run(const dp_origin *origin, dp_config *c) {
    char at[DP_TEXT], text[DP_TEXT + 8];
    const dp_key *name = &dp_keys[dp_key_find("run", "name")];
    const dp_key *output = &dp_keys[dp_key_find("run", "output")];
    where(origin, "run", "name", at);
    if (*c->run.name == '\0') {
        const char *slash = strrchr(origin->name, '/');
        const char *base = slash ? slash + 1 : origin->name;
        const char *dot = strrchr(base, '.');
        int length = dot && dot != base ? (int)(dot - base) : (int)strlen(base);
        snprintf(text, sizeof(text), "%.*s", length, base);
        dp_status status = dp_key_set(name, at, text, c);
        if (status != DP_OK)
            return status;
    }
    if (strchr(c->run.name, '/') || !strcmp(c->run.name, ".") ||
        !strcmp(c->run.name, ".."))
        return dp_fail(DP_EUSAGE,
                       "%s: run.name = '%.80s' can't name a folder: give a name without "
                       "'/', and the folder as run.output",
                       at, c->run.name);
    if (*c->run.output == '\0') {
        snprintf(text, sizeof(text), "runs/%s", c->run.name);
        return dp_key_set(output, at, text, c);
    }
    return DP_OK;
}

static dp_status require(const dp_origin *origin, const dp_config *c) {
    for (int k = 0; k < DP_KEYS; k++)
        if (!dp_keys[k].default_text && !origin->set[k])
            return dp_fail(
                DP_EUSAGE,
                "%s: %s.%s is missing: add '%s = ...' under [%s], or %s.%s=... to the "
                "command line ('trainer help %s.%s' says more)",
                origin->name, dp_keys[k].section, dp_keys[k].name, dp_keys[k].name,
                dp_keys[k].section, dp_keys[k].section, dp_keys[k].name,
                dp_keys[k].section, dp_keys[k].name);
    if (*c->data.dir == '\0' && *c->data.train == '\0')
        return dp_fail(
            DP_EUSAGE,
            "%s: the data is missing: add 'dir = FOLDER' (IDX files) or 'train = FILE' "
            "under [data], or data.dir=... or data.train=... to the command line",
            origin->name);
    return DP_OK;
}

dp_status dp_config_resolve(const dp_origin *origin, dp_config *c) {
    char at[DP_TEXT];
    dp_status status = require(origin, c);
    if (status == DP_OK)
        status = name_run(origin, c);
    if (status != DP_OK)
        return status;

    double validation = c->data.validation;
    if (validation >= 1 && validation != floor(validation))
        return dp_fail(DP_EUSAGE,
                       "%s: data.validation = %g must be a whole number of samples, or a "
                       "fraction below 1",
                       where(origin, "data", "validation", at), validation);
    if (!strcmp(c->model.init, "file") && *c->model.init_file == '\0')
        return dp_fail(DP_EUSAGE, "%s: model.init = file needs model.init_file, the file",
                       where(origin, "model", "init", at));
    if (!strcmp(c->optimizer.name, "sgd") && c->optimizer.nesterov &&
        c->optimizer.momentum == 0)
        return dp_fail(DP_EUSAGE,
                       "%s: optimizer.nesterov = true needs optimizer.momentum above 0",
                       where(origin, "optimizer", "nesterov", at));
    if (!strncmp(c->checkpoint.best, "val_", 4) && validation == 0)
        return dp_fail(DP_EUSAGE,
                       "%s: checkpoint.best = %s needs data.validation above 0",
                       where(origin, "checkpoint", "best", at), c->checkpoint.best);
    if (!strncmp(c->checkpoint.best, "test_", 5) && validation > 0)
        return dp_fail(DP_EUSAGE,
                       "%s: checkpoint.best = %s needs data.validation = 0: with a "
                       "validation split the test set is scored only at the end",
                       where(origin, "checkpoint", "best", at), c->checkpoint.best);
    return DP_OK;
}
