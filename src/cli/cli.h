/* The commands. Each runs on every rank and returns the agreed status. */
#ifndef DP_CLI_CLI_H
#define DP_CLI_CLI_H

#include "run/session.h"

/* What a command works on: the words behind it, borrowed from argv, and what main.c made
 * of them. */
typedef struct dp_cli {
    dp_comm *comm;
    const char *file; /* CONFIG, CHECKPOINT, RUN or a topic; NULL: none */
    bool named;       /* argv has the command's name */
    int noverrides;
    char **overrides;                   /* section.key=value */
    const char *index, *input, *output; /* options; NULL: not given */
    const char *split;                  /* as given, else what the command takes */
    const char *augment; /* the epoch, as text; NULL: samples as they are */
    bool show, flat, params, gradient;
    dp_config config; /* train, check, show */
    dp_session
        *session; /* check, show: of the config; eval, predict: of the checkpoint */
} dp_cli;

/* cli_schedule.c: the course of the learning rate, and warnings on it, for `check`. */
void dp_cli_schedule(const dp_session *session);

dp_status dp_cli_check(const dp_cli *cli);
dp_status dp_cli_show(const dp_cli *cli);
dp_status dp_cli_eval(const dp_cli *cli);
dp_status dp_cli_predict(const dp_cli *cli);

/* cli_scores.c: eval's figures of each class or target, of rows[0..n) (NULL: all n) of the
 * test table; to --output too. MPI: collective. Errors: agreed */
dp_status dp_cli_scores(const dp_cli *cli, const int32_t *rows, int n);

/* cli_params.c: show --params and --gradient. */
dp_status dp_cli_params(const dp_cli *cli);

/* ---- samples.c: what show and predict share ---- */

/* "0,5,9-12" -> numbers of samples, each below `samples`. `split` names them in messages.
 * Owner: the caller frees *rows, also on an error. Errors: DP_EUSAGE */
dp_status dp_cli_index(const char *text, const char *split, int samples, int32_t **rows,
                       int *n);

/* A row of a table, an image of the shape that the session has, in characters: two to a
 * pixel, which is about square. */
void dp_cli_draw(const dp_session *session, const dp_table *table, int32_t row);

#endif
