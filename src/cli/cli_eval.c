/* trainer eval: loss and accuracy of a checkpoint. */
#include "base/log.h"
#include "cli.h"
#include "run/evaluate.h"
#include "step/team.h"
#include <math.h>

static dp_status print_score(dp_evaluator *evaluator, const dp_session *session) {
    const dp_table *test = &session->data->test;
    dp_score score;
    DP_TRY(dp_evaluate(evaluator, test, NULL, test->n, &score));
    if (!isfinite(score.loss)) {
        return dp_fail(DP_EDIVERGED,
                       "the loss on the test set is %g: the parameters are too large for "
                       "these samples",
                       score.loss);
    }
    if (session->loss->accuracy) {
        dp_log("test: loss %.4f  accuracy %.2f%%  (%d samples)", score.loss,
               100 * score.accuracy, score.n);
    } else {
        dp_log("test: loss %.6g  R2 %.4f  MAE %.6g  (%d samples)", score.loss, score.r2,
               score.mae, score.n);
    }
    return DP_OK;
}

/* arg: a session with its data. */
static dp_status in_team(void *arg) {
    const dp_session *session = arg;
    if (session->data->test.n == 0) {
        return dp_fail(DP_EDATA, "there is no test set to evaluate on: set data.test");
    }
    dp_evaluator *evaluator = NULL;
    dp_status s = dp_comm_agree(session->comm, dp_evaluator_create(session, &evaluator));
    if (s == DP_OK) {
        s = print_score(evaluator, session);
    }
    dp_evaluator_destroy(&evaluator);
    return s;
}

dp_status dp_cli_eval(const dp_cli *cli) {
    DP_TRY(dp_session_read(cli->session, NULL, false));
    return dp_team_open(cli->session->threads, in_team, cli->session);
}
