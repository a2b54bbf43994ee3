/** Classes that the data name: texts in place of class numbers. */
#ifndef DP_DATA_CLASS_NAMES_H
#define DP_DATA_CLASS_NAMES_H

#include "reader.h"

/** Whether a file of this request may name its classes itself: it is the training file,
 *  its targets are classes, and neither data.classes nor the schema names them. */
bool dp_class_names_open(const dp_read_request *request);

/** Gives out->label (DP_CLASSES) or out->target (DP_BINARY), allocated for n samples, the
 *  classes of n texts: their places among the names of the request or, where it has none,
 *  among the different texts, which become out->class_name, sorted by their bytes. where:
 *  the file and what in it has the texts, for messages.
 *  Errors: DP_EDATA for a text that the request does not name; for another number than two
 *  with DP_BINARY; for too many to be classes: more than 1000, or more than 20 and half as
 *  many as there are samples */
dp_status dp_class_names_take(const dp_read_request *request, const char *where, int n,
                              char *const *text, dp_table *out);

#endif
