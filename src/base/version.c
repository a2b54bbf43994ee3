/* Version, commit and compiler: the only file that is compiled anew for each commit. */
#include "base/version.h"

#ifndef DP_COMMIT
#define DP_COMMIT "unknown"
#endif

const char *dp_version_program(void) {
    return "trainer 1.0";
}

const char *dp_version_commit(void) {
    return DP_COMMIT;
}

const char *dp_version_compiler(void) {
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}
