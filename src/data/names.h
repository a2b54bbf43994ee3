/** Lists of names: an array of pointers and the texts behind it, in one allocation, which
 *  the caller frees with dp_memory_free. */
#ifndef DP_DATA_NAMES_H
#define DP_DATA_NAMES_H

#include "base/status.h"
#include <stdbool.h>

char **dp_names_copy(int n, char *const *names);

/** Cuts text at commas, blanks around trimmed. "" gives n = 0. Errors: DP_EUSAGE for an
 *  empty name (outputs unchanged) */
dp_status dp_names_split(const char *text, int *n, char ***out);

/** Whether it is UTF-8, as what is stored in files must be. */
bool dp_names_is_utf8(const char *name);

/** The first place of the name, or -1. */
int dp_names_find(int n, char *const *names, const char *name);

#endif
