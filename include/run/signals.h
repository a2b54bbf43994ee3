/** Asking a training run to stop: SIGINT, SIGTERM, SIGUSR1, SIGUSR2. Other commands have
 *  nothing to save, so these signals end them as they end any process. */
#ifndef DP_RUN_SIGNALS_H
#define DP_RUN_SIGNALS_H

#include <stdbool.h>

/** From now on these signals end the process with DP_STOPPED, at once: nothing is trained
 *  yet that could be lost. The one that `reports` says so. */
void dp_signals_install(bool reports);

/** From now on they only set a flag, and the run stops after a checkpoint; a second
 *  SIGINT ends the process at once. */
void dp_signals_defer(void);

/** The number of a signal that asked for the stop, or 0. */
int dp_signals_pending(void);

#endif
