/* What a run prints while it trains. MPI: local, rank 0 writes */
#ifndef DP_RUN_LINES_H
#define DP_RUN_LINES_H

#include "epoch.h"

/* The line of PyTorch's tutorials, after steps 1, 1 + log_every, ... of an epoch that has
 * several. Where all of an epoch is shorter than log_every, a terminal has the lines of one
 * epoch a second, and of the last one. train.quiet: none. loss: the step's, from before its update. */
void dp_lines_step(const dp_run *run, double loss);

/* What an epoch's row says. With full batches only where train.log_from and log_every say
 * so, and at the end of the run; then the loss has a line of its own. */
void dp_lines_epoch(dp_run *run, const dp_epoch_row *row, const dp_score *score);

/* What the best checkpoint, else the last one, reaches on the test set. */
void dp_lines_test(const dp_run *run, const dp_score *score, bool best);

/* The progress bar, with the step's loss, the rate and the time that is left. */
void dp_lines_progress(const dp_run *run, double loss);

#endif
