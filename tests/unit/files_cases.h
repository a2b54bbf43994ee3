/** What the tests of files share. */
#ifndef FILES_CASES_H
#define FILES_CASES_H

#include "base/status.h"
#include "h5/h5file.h"
#include "scratch.h"

static void must(dp_status status) {
    cr_assert_eq(status, DP_OK, "%s", dp_status_message());
}

/* The last message has `what` in it. */
__attribute__((unused)) static void says(const char *what) {
    cr_assert_not_null(strstr(dp_status_message(), what), "\"%s\" lacks \"%s\"",
                       dp_status_message(), what);
}

/* The call failed with DP_EFILE and a message that has `what` in it. */
__attribute__((unused)) static void fails(dp_status status, const char *what) {
    cr_assert_eq(status, DP_EFILE, "status %d, wanted a failure about %s", status, what);
    says(what);
}

/* Finishes, places and closes a file. */
__attribute__((unused)) static dp_status commit(dp_h5 **file) {
    dp_status status = dp_h5_finish(*file);
    status = status ? status : dp_h5_place(*file);
    dp_h5_close(file);
    return status;
}

#endif
