/** Small data files for the tests, in a folder of the test's own. */
#ifndef DP_TESTS_DATA_FILES_H
#define DP_TESTS_DATA_FILES_H

#include "config/config.h"
#include "data/dataset.h"
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { NAME_MOST = 512 };

static char folder[64];

__attribute__((unused)) static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/dp-test-XXXXXX");
    cr_assert(mkdtemp(folder));
}

static int remove_one(const char *path, const struct stat *info, int kind,
                      struct FTW *at) {
    return remove(path);
}

__attribute__((unused)) static void remove_folder(void) {
    cr_assert_eq(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* The path of a file in the folder; five may be held at a time. */
static const char *in_folder(const char *name) {
    static char path[5][NAME_MOST];
    static int next = 0;
    char *p = path[next++ % 5];
    snprintf(p, NAME_MOST, "%s/%s", folder, name);
    return p;
}

static const char *put_file(const char *name, const void *bytes, size_t n) {
    const char *path = in_folder(name);
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    cr_assert_eq(fwrite(bytes, 1, n, file), n);
    fclose(file);
    return path;
}

__attribute__((unused)) static const char *put_text(const char *name, const char *text) {
    return put_file(name, text, strlen(text));
}

__attribute__((unused)) static const char *put_gz(const char *name, const void *bytes,
                                                  size_t n) {
    const char *path = in_folder(name);
    gzFile gz = gzopen(path, "wb");
    cr_assert(gz);
    cr_assert_eq(gzwrite(gz, bytes, (unsigned)n), (int)n);
    gzclose(gz);
    return path;
}

/* The config of a run on one of these files. */
__attribute__((unused)) static dp_config *config_for(const char *loss,
                                                     const char *train) {
    static dp_config config;
    config = (dp_config){.run.seed = 42, .parallel.block = 16};
    snprintf(config.data.format, sizeof config.data.format, "auto");
    snprintf(config.data.normalize, sizeof config.data.normalize, "unit");
    snprintf(config.loss.name, sizeof config.loss.name, "%s", loss);
    snprintf(config.data.train, sizeof config.data.train, "%s", train ? train : "");
    return &config;
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
