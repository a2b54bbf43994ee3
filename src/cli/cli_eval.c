/* trainer eval: loss and accuracy of a checkpoint, then the figures of cli_scores.c. */
#include "base/log.h"
#include "base/open.h"
#include "cli.h"
#include "run/evaluate.h"
#include "step/team.h"
#include <math.h>
#include <stdlib.h>

typedef struct job {
    const dp_session *session;
    const char *split;
    int32_t *rows; /* [n] of the session's table; NULL: all n */
    int n;
} job;

static dp_status print_score(dp_evaluator *evaluator, const job *j) {
    dp_score score;
    DP_TRY(dp_evaluate(evaluator, &j->session->data->test, j->rows, j->n, &score));
    if (!isfinite(score.loss)) {
        return dp_fail(DP_EDIVERGED,
                       "the loss on the %s set is %g: the parameters are too large for "
                       "these samples",
                       j->split, score.loss);
    }
    bool classes = j->session->loss->accuracy;
    if (dp_log_is_json()) {
        dp_log_event("eval", classes ? 4 : 5,
                     (dp_fact[]){{"split", j->split, 0},
                                 {"samples", NULL, score.n},
                                 {"loss", NULL, score.loss},
                                 {classes ? "accuracy" : "r2", NULL,
                                  classes ? score.accuracy : score.r2},
                                 {"mae", NULL, score.mae}});
    } else if (classes) {
        dp_log("%s: loss %.4f  accuracy %.2f%%  (%d samples)", j->split, score.loss,
               100 * score.accuracy, score.n);
    } else {
        dp_log("%s: loss %.6g  R2 %.4f  MAE %.6g  (%d samples)", j->split, score.loss,
               score.r2, score.mae, score.n);
    }
    return DP_OK;
}

/* arg: a job. */
static dp_status in_team(void *arg) {
    const job *j = arg;
    const dp_session *session = j->session;
    dp_evaluator *evaluator = NULL;
    dp_status s = dp_comm_agree(session->comm, dp_evaluator_create(session, &evaluator));
    if (s == DP_OK) {
        s = print_score(evaluator, j);
    }
    dp_evaluator_destroy(&evaluator);
    return s;
}

static dp_status eval(const dp_cli *cli, job *j) {
    DP_TRY(dp_session_read_split(cli->session, j->split, &j->rows, &j->n));
    if (j->n == 0) {
        return dp_fail(DP_EDATA, "there is no test set to evaluate on: set data.test");
    }
    bool writes = cli->output && dp_comm_rank(cli->comm) == 0;
    DP_TRY(dp_comm_agree(cli->comm,
                         writes ? dp_open_check_target(cli->output, DP_EFILE) : DP_OK));
    DP_TRY(dp_team_open(cli->session->threads, in_team, j));
    return dp_cli_scores(cli, j->rows, j->n);
}

dp_status dp_cli_eval(const dp_cli *cli) {
    job j = {.session = cli->session, .split = cli->split};
    dp_status s = eval(cli, &j);
    free(j.rows);
    return s;
}
