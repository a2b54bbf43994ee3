/** What predictions are worth, class by class or target by target. */
#ifndef DP_RUN_SCORES_H
#define DP_RUN_SCORES_H

#include "run/predict.h"
#include <stdint.h>

/** Of a class, or of a yes-or-no output: of its `samples`, `found` were predicted so, of
 *  `predicted` in all. Figures are fractions; 0 where nothing was predicted so, or there is
 *  none. */
typedef struct dp_class_score {
    int64_t samples, predicted, found;
    double precision, recall, f1;
    double auc; /* area under the ROC curve; NaN but for yes-or-no outputs with both */
} dp_class_score;

/** Of a target that is a number. */
typedef struct dp_value_score {
    double mae, rmse, r2; /* r2: NaN where the target is constant */
} dp_value_score;

typedef struct dp_scores {
    int n;                 /* samples */
    int nclasses;          /* classes, or yes-or-no outputs; else 0 */
    dp_class_score *class; /* [nclasses]; owner: this */
    int64_t *confusion;    /* [nclasses][nclasses]: how many of class i were taken for j;
                              NULL for yes-or-no outputs; owner: this */
    double calibration; /* expected calibration error of the predicted class, in 15 bins;
                              NaN for several outputs */
    double top5;        /* fraction whose class is among the five likeliest; NaN for up to
                              five classes */
    int nvalues;
    dp_value_score *value; /* [nvalues] targets that are numbers; owner: this */
} dp_scores;

/** The scores of predictions of session->data->test, which has labels or targets.
 *  MPI: local.  Owner: the caller, who frees with dp_scores_destroy.  Errors: DP_EINTERNAL
 *  (no memory) */
dp_status dp_scores_make(const dp_session *session, const dp_prediction *prediction,
                         dp_scores **out);
void dp_scores_destroy(dp_scores **scores);

#endif
