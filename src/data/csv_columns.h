/** The columns of a CSV file: their names, and which of them the table takes. */
#ifndef DP_DATA_CSV_COLUMNS_H
#define DP_DATA_CSV_COLUMNS_H

#include "csv_text.h"
#include "reader.h"

typedef struct dp_csv_columns {
    int n;       /* in the file */
    char **name; /* [n], into the text; owner: this */
    int *role;   /* [n] the table's column k, if k < features + targets; else, and below
                    0, not used; owner: this */
    int features, targets; /* of the table, in this order */
    char **taken;          /* [features + targets] their names; owner: this */
} dp_csv_columns;

/** Reads the header line, and gives the columns their roles: by the names of the training
 *  file where the schema has them; else data.target, or the last column, is the target,
 *  and all others are features, or those that data.columns and data.exclude leave.
 *  Errors: DP_EDATA, DP_EUSAGE (data.target, columns, exclude). *out is freed by
 *  dp_csv_columns_free in any case. */
dp_status dp_csv_columns_read(dp_csv_text *text, const dp_read_request *request,
                              dp_csv_columns *out);

void dp_csv_columns_free(dp_csv_columns *columns);

#endif
