/** Small data files for the tests, in a folder of the test's own. */
#ifndef DP_TESTS_DATA_FILES_H
#define DP_TESTS_DATA_FILES_H

#include "config/config.h"
#include "data/dataset.h"
#include "scratch.h"
#include <zlib.h>

static const dp_schema any = {0};
static dp_table table;

static const char *put_file(const char *name, const void *bytes, size_t n) {
    put_bytes(name, bytes, n);
    return in(name);
}

__attribute__((unused)) static const char *put_text(const char *name, const char *text) {
    return put_file(name, text, strlen(text));
}

__attribute__((unused)) static const char *put_gz(const char *name, const void *bytes,
                                                  size_t n) {
    gzFile gz = gzopen(in(name), "wb");
    cr_assert(gz);
    cr_assert_eq(gzwrite(gz, bytes, (unsigned)n), (int)n);
    gzclose(gz);
    return in(name);
}

/* An IDX file in memory: dimensions, then bytes 0, 7, 14, ... modulo `range`. */
__attribute__((unused)) static size_t make_idx(unsigned char *out, int ndim,
                                               const uint32_t *dim, int range) {
    size_t n = 4, total = 1;
    memcpy(out, (unsigned char[]){0, 0, 8, (unsigned char)ndim}, 4);
    for (int d = 0; d < ndim; d++) {
        total *= dim[d];
        for (int b = 24; b >= 0; b -= 8) {
            out[n++] = (unsigned char)(dim[d] >> b);
        }
    }
    for (size_t i = 0; i < total; i++) {
        out[n++] = (unsigned char)(i * 7 % (size_t)range);
    }
    return n;
}

__attribute__((unused)) static const char *put_idx(const char *name, int ndim,
                                                   const uint32_t *dim, int range) {
    static unsigned char bytes[4096];
    return put_file(name, bytes, make_idx(bytes, ndim, dim, range));
}

__attribute__((unused)) static void set(char *field, const char *value) {
    snprintf(field, DP_TEXT, "%s", value);
}

/* The config of a run on one of these files. */
static dp_config *config_for(const char *loss, const char *train) {
    static dp_config config;
    config = (dp_config){.run.seed = 42, .parallel.block = 16};
    snprintf(config.data.format, sizeof config.data.format, "auto");
    snprintf(config.data.normalize, sizeof config.data.normalize, "unit");
    snprintf(config.data.class_weights, sizeof config.data.class_weights, "none");
    snprintf(config.loss.name, sizeof config.loss.name, "%s", loss);
    snprintf(config.data.train, sizeof config.data.train, "%s", train ? train : "");
    return &config;
}

/* Reads a file into `table`, as such a run would. */
__attribute__((unused)) static dp_status read_file(const char *loss, const char *target,
                                                   const char *path,
                                                   const dp_schema *schema) {
    dp_config *config = config_for(loss, NULL);
    set(config->data.target, target);
    return dp_dataset_read(config, path, schema, &table);
}

/* The call failed with `code` and its message holds `text`. */
#define assert_failed(call, code, text)                                                  \
    do {                                                                                 \
        dp_status status_ = (call);                                                      \
        cr_assert_eq(status_, code, "exit code %d: %s", (int)status_,                    \
                     dp_status_message());                                               \
        cr_assert(strstr(dp_status_message(), text), "no \"%s\" in: %s", text,           \
                  dp_status_message());                                                  \
        cr_assert_not(strchr(dp_status_message(), '\n'));                                \
    } while (0)

#define assert_ok(call)                                                                  \
    do {                                                                                 \
        dp_status status_ = (call);                                                      \
        cr_assert_eq(status_, DP_OK, "exit code %d: %s", (int)status_,                   \
                     dp_status_message());                                               \
    } while (0)

#endif
