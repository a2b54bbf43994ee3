/** What the tests of config share: a small valid config and its parsing. */
#ifndef DP_TESTS_CONFIG_CASES_H
#define DP_TESTS_CONFIG_CASES_H

#include "config/config.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

static const char base[] = "[data]\ndir = d\n"
                           "[optimizer]\nlr = 0.1\n"
                           "[train]\nepochs = 2\nbatch_size = 4\n";

static inline dp_status parse(const char *text, const char *override, dp_config *out) {
    char copy[DP_TEXT * 2];
    snprintf(copy, sizeof copy, "%s", override ? override : "");
    char *list[] = {copy};
    return dp_config_parse("t.ini", text, override != NULL, list, out);
}

static inline dp_config accept(const char *text, const char *override) {
    dp_config config;
    dp_status status = parse(text, override, &config);
    cr_assert_eq(status, DP_OK, "%s: %s", override ? override : text,
                 dp_status_message());
    return config;
}

#endif
