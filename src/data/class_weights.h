/** data.class_weights. */
#ifndef DP_DATA_CLASS_WEIGHTS_H
#define DP_DATA_CLASS_WEIGHTS_H

#include "data/dataset.h"

/** Fills data->class_weight, where the config asks for weights. balanced: samples of the
 *  training split / (classes * those of the class).  Errors: DP_EUSAGE, DP_EINTERNAL */
dp_status dp_class_weights_take(const dp_config *config, dp_dataset *data);

#endif
