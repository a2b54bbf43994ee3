/** Means, deviations and digests of tables. */
#ifndef DP_DATA_STATISTICS_H
#define DP_DATA_STATISTICS_H

#include "data/dataset.h"

/** Fills nmean, mean, std, mean_f, inv_std_f of the training split: one pair for images
 *  (samples of more than one dimension), one a column for tables; bytes count as value /
 *  255. Population deviation, in two passes. Per-sample values (images: the sum over the
 *  pixels) are added in double within blocks of `block` samples in order, then along the
 *  block tree. A constant column keeps std = 1 (so it is centred), with a warning.
 *  Errors: DP_EINTERNAL (no memory). */
dp_status dp_statistics_take(dp_dataset *data, int block);

/** data->fingerprint from shapes, values, labels and targets of both tables. */
void dp_statistics_fingerprint(dp_dataset *data);

#endif
