/** Asking the run to stop: SIGINT, SIGTERM, SIGUSR1, SIGUSR2. */
#ifndef DP_RUN_SIGNALS_H
#define DP_RUN_SIGNALS_H

#include <stdbool.h>

/** From now on these signals only set a flag; a second SIGINT ends the process at once.
 */
void dp_signals_install(void);

/** The number of a signal that asked for the stop, or 0. */
int dp_signals_pending(void);

#endif
