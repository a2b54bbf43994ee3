/* trainer eval: loss and accuracy of a checkpoint. */
#include "base/log.h"
#include "cli.h"
#include "run/evaluate.h"
#include "run/session.h"
#include "step/team.h"
#include <math.h>

/* arg: a session with its data. */
static dp_status score(void *arg) {
    const dp_session *session = arg;
    const dp_dataset *data = session->data;
    if (data->test.n == 0) {
        return dp_fail(DP_EDATA, "there is no test set to evaluate on: set data.test");
    }
    dp_evaluator *evaluator = NULL;
    dp_status s = dp_comm_agree(session->comm, dp_evaluator_create(session, &evaluator));
    dp_score score;
    if (s == DP_OK) {
        s = dp_evaluate(evaluator, &data->test, NULL, data->test.n, &score);
    }
    if (s == DP_OK && !isfinite(score.loss)) {
        s = dp_fail(DP_EDIVERGED,
                    "the loss on the test set is %g: the parameters are too large for "
                    "these samples",
                    score.loss);
    }
    if (s == DP_OK && session->loss->accuracy) {
        dp_log("test: loss %.4f  accuracy %.2f%%  (%d samples)", score.loss,
               100 * score.accuracy, score.n);
    } else if (s == DP_OK) {
        dp_log("test: loss %.6g  R2 %.4f  MAE %.6g  (%d samples)", score.loss, score.r2,
               score.mae, score.n);
    }
    dp_evaluator_destroy(&evaluator);
    return s;
}

dp_status dp_cli_eval(dp_comm *comm, int argc, char **argv) {
    if (argc < 1) {
        return dp_fail(
            DP_EUSAGE,
            "a checkpoint is missing, as in: trainer eval runs/mlp/checkpoints/last.h5");
    }
    dp_session *session = NULL;
    dp_status s = dp_session_open(comm, argv[0], argc - 1, argv + 1, &session);
    s = s != DP_OK ? s : dp_session_read(session, NULL, false);
    s = s != DP_OK ? s : dp_team_open(session->threads, score, session);
    dp_session_destroy(&session);
    return s;
}
