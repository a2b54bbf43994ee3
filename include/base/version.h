/** Version, commit and compiler of this program. */
#ifndef DP_BASE_VERSION_H
#define DP_BASE_VERSION_H

/** Texts for ever, never NULL. */
const char *dp_version_program(void);  /* "trainer 1.0" */
const char *dp_version_commit(void);   /* git commit, "unknown" outside a checkout */
const char *dp_version_compiler(void); /* "gcc 12.2.0" */

#endif
