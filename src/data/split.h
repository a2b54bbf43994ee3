/** The split of the training file into what is trained on and what is held out. */
#ifndef DP_DATA_SPLIT_H
#define DP_DATA_SPLIT_H

#include "data/dataset.h"

/** Cuts data->train.n to data.limit, then fills train_row and val_row by data.validation
 *  and the seed. Errors: DP_EUSAGE where the split leaves nothing on a side, DP_EINTERNAL
 *  (no memory) */
dp_status dp_split(const dp_config *config, dp_dataset *data);

#endif
