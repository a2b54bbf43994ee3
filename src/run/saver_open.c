/* The beginning and the end of a saver: the files that a run starts with. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "h5/h5file.h"
#include "saver_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "0", "1", ... Owner: the caller. */
static char **number_names(int n) {
    char **names = dp_alloc((size_t)n + 1, sizeof *names + 12);
    for (int c = 0; c < n; c++) {
        names[c] = (char *)(names + n + 1) + 12 * c;
        snprintf(names[c], 12, "%d", c);
    }
    return names;
}

/* The rows of the run so far. */
static dp_status load_rows(dp_saver *saver, const dp_snapshot *from) {
    DP_TRY(dp_metrics_load(saver->metrics, from->step, from->epoch));
    dp_metrics_append(saver->metrics, &from->rows);
    dp_metrics_checkpoint(saver->metrics, from->step);
    saver->checkpoints_handed = 1;
    return DP_OK;
}

/* On rank 0: the folder's files. */
static dp_status open_files(dp_saver *saver, const dp_session *session, dp_start *start) {
    saver->dir = start->dir;
    start->dir = NULL;
    saver->text = dp_config_text(saver->config);
    saver->classes = number_names(session->data->classes);
    saver->floats = session->model->floats;
    dp_state_snapshot(session, saver->stepper, saver->text, saver->classes,
                      &saver->snapshot);
    dp_run_facts facts = {.program = dp_version_program(),
                          .commit = dp_version_commit(),
                          .config = saver->text,
                          .kernels = session->set->name,
                          .ranks = dp_comm_size(saver->comm),
                          .threads = dp_session_step_threads(session),
                          .nodes = dp_comm_topology(saver->comm)->nodes,
                          .parameters = (int64_t)session->model->parameters,
                          .train_samples = session->data->train_n,
                          .val_samples = session->data->val_n,
                          .test_samples = session->data->test.n};
    DP_TRY(
        dp_file_replace(dp_rundir_config(saver->dir), saver->text, strlen(saver->text)));
    DP_TRY(dp_metrics_create(dp_rundir_metrics(saver->dir), &facts,
                             !session->loss->accuracy, &saver->metrics));
    if (start->how == DP_START_RESUME) {
        DP_TRY(load_rows(saver, start->from));
    }
    dp_snapshot_destroy(&start->from);
    dp_budget_begin(&saver->budget, dp_clock(), saver->config->metrics.flush);
    double begin = dp_clock_thread();
    DP_TRY(dp_metrics_flush(saver->metrics));
    dp_budget_note(&saver->budget, DP_WRITE_METRICS, dp_clock(),
                   dp_clock_thread() - begin, dp_metrics_bytes(saver->metrics));
    return dp_writer_create(&saver->writer);
}

dp_status dp_saver_create(const dp_session *session, dp_stepper *stepper,
                          const dp_progress_state *progress, int steps, dp_start *start,
                          dp_saver **out) {
    dp_saver *saver = dp_alloc(1, sizeof *saver);
    saver->comm = session->comm;
    saver->config = &session->config;
    saver->stepper = stepper;
    saver->progress = progress;
    saver->autosaves = strcmp(saver->config->checkpoint.every, "auto") == 0 && steps > 1;
    saver->newest = saver->durable = start->how == DP_START_RESUME ? progress->step : -1;
    dp_status s = dp_comm_agree(saver->comm,
                                start->dir ? open_files(saver, session, start) : DP_OK);
    if (s != DP_OK) {
        dp_saver_destroy(&saver);
        return s;
    }
    *out = saver;
    return DP_OK;
}

void dp_saver_destroy(dp_saver **saver) {
    if (*saver) {
        dp_writer_destroy(&(*saver)->writer);
        dp_metrics_destroy(&(*saver)->metrics);
        dp_state_copy_free(&(*saver)->best);
        dp_rundir_close(&(*saver)->dir);
        free((*saver)->classes);
        free((*saver)->text);
        free(*saver);
    }
    *saver = NULL;
}
