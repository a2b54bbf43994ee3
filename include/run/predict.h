/** What a model makes of samples: classes with probabilities, or values.
 *  Softmax and sigmoid are applied here, never in training. */
#ifndef DP_RUN_PREDICT_H
#define DP_RUN_PREDICT_H

#include "run/session.h"
#include <stdio.h>

/** Predictions for rows of a table, in the order of `row`. */
typedef struct dp_prediction {
    int n, outputs;
    int32_t *row;  /* [n] rows of the table */
    int32_t *top;  /* [n] class: the largest logit, or with one output its sign; else 0 */
    double *value; /* [n][outputs] probabilities; regression: values */
} dp_prediction;

/** Runs rows[0..n) (NULL: 0..n-1) of session->data->test through the model. The same bits
 *  on any layout. MPI: collective, every rank gets all. Errors: DP_EINTERNAL (no memory),
 *  DP_EDIVERGED (an answer that is not finite), agreed. Owner: the caller, who frees with
 *  dp_prediction_destroy */
dp_status dp_predict(dp_session *session, const int32_t *rows, int n,
                     dp_prediction **out);
void dp_prediction_destroy(dp_prediction **prediction);

/** The name of class c: of data.classes, else its number in buffer[12]. */
const char *dp_predict_name(const dp_session *session, int c, char buffer[12]);

/** The name of input column (or target, behind the inputs) k: the table's, else x0, x1,
 *  ..., y or y0, y1, ... in buffer[16]. */
const char *dp_predict_column(const dp_session *session, int k, char buffer[16]);

/** Writes a name into CSV, text before and behind it, quoted where it must be. */
void dp_predict_put_name(FILE *file, const char *before, const char *name,
                         const char *behind);

/** Writes `index,label,prediction,name,p0,p1,...`; regression:
 *  `index,<inputs>,<target>_predicted`. What is unknown is empty. Several yes-or-no
 *  outputs: label and prediction are words of 0 and 1, p0, p1, ... the outputs'.
 *  The file is replaced as a whole.  MPI: local (rank 0 calls).  Errors: DP_EFILE */
dp_status dp_predict_write(const dp_session *session, const dp_prediction *prediction,
                           const char *path);

#endif
