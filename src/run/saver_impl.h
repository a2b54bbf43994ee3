/* A saver's inside: saver_open.c makes it, saver.c uses it. */
#ifndef DP_RUN_SAVER_IMPL_H
#define DP_RUN_SAVER_IMPL_H

#include "files/writer.h"
#include "run/budget.h"
#include "saver.h"

struct dp_saver {
    dp_comm *comm; /* borrowed, as are the next three */
    const dp_config *config;
    dp_stepper *stepper;
    const dp_progress_state *progress; /* of the run */
    dp_step_row last;                  /* of the last step */
    bool autosaves;                    /* checkpoint.every = auto, at the end of epochs */
    /* step of the newest checkpoint, which may still be being written; -1: none */
    int64_t newest;

    /* rank 0 only, NULL elsewhere */
    dp_rundir *dir;
    dp_metrics *metrics;
    dp_writer *writer;
    dp_budget budget;
    char *text;           /* the resolved config */
    char **classes;       /* names for classes that have none */
    dp_snapshot snapshot; /* of the run; its arrays are borrowed */
    size_t floats;        /* of each of its slabs */
    /* The state after the best epoch, as long as it is not on the disk: a resume from
     * before it finds it again, with the same bits, so no checkpoint of a later step may
     * come to the disk earlier. */
    dp_state_copy best;
    bool flush_failed;    /* metrics.h5 could not be written, and a warning was given */
    double handed_at;     /* clock when the writer got its last job */
    double build_seconds; /* of this thread, to build that job */
    int64_t writing_step; /* of the checkpoint that the writer has */
    int64_t durable;      /* step of the newest checkpoint on the disk, -1 if none */
    int64_t carried;      /* bytes of rows in checkpoints since metrics.h5 was written */
    int64_t checkpoints_handed; /* to the writer; a resume counts the one before, too */
    dp_status failure;          /* why the run must end after this step */
    char failure_text[2048];    /* and its message */
};

#endif
