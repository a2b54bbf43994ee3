/** The run's configuration: INI text -> one validated struct, by one table of keys.
 *  The table (src/config/keys.c) gives the parser, the defaults, the ranges, the help,
 *  the resolved text and what may change on a resume. */
#ifndef DP_CONFIG_CONFIG_H
#define DP_CONFIG_CONFIG_H

#include "base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { DP_TEXT = 1024 }; /* bytes of a text value, with its end */

/** Plain data, no pointers: rank 0 fills it, its bytes are broadcast.
 *  Enumerated values are kept as their text, which is one of the table's list. Equal
 *  configs have equal bytes. */
typedef struct dp_config {
    struct {
        char name[DP_TEXT];   /* default: the config file's stem */
        char output[DP_TEXT]; /* default: runs/<name> */
        uint64_t seed;
        char resume[16]; /* auto | never */
        bool log, overwrite;
    } run;
    struct {
        char format[16]; /* auto | idx | csv | hdf5 | npy */
        char dir[DP_TEXT], train[DP_TEXT], test[DP_TEXT];
        char target[DP_TEXT];
        char columns[DP_TEXT], exclude[DP_TEXT]; /* names separated by commas */
        double validation;                       /* count, or fraction below 1 */
        char normalize[16];                      /* unit | standardize | none */
        char memory[16];                         /* auto | copy | map */
        char layout[16];             /* auto | channels_first | channels_last */
        bool stratify;               /* the validation split by class */
        char classes[DP_TEXT];       /* names separated by commas */
        char class_weights[DP_TEXT]; /* none | balanced | numbers */
        int64_t limit;
    } data;
    struct {
        char layers[DP_TEXT];
        char init[16];             /* torch | he | xavier | constant | file */
        char init_weight[DP_TEXT]; /* numbers separated by blanks or commas */
        char init_bias[DP_TEXT];
        char init_file[DP_TEXT];
        bool init_partial;
        char freeze[DP_TEXT]; /* indices of layers, separated by blanks */
    } model;
    struct {
        char name[16]; /* cross_entropy | mse | mae | huber | bce */
        double label_smoothing;
        double delta; /* huber */
    } loss;
    struct {
        char name[16]; /* sgd | adam | adamw | rmsprop | adagrad | lion | lars | lamb */
        double lr, momentum;
        bool nesterov;
        double weight_decay;
        bool decay_all; /* false: matrices only */
        double beta1, beta2, eps, alpha, trust, clip_norm;
        char schedule[16]; /* constant | step | multistep | exponential | linear |
                              polynomial | cosine | onecycle */
        double warmup;     /* epochs */
        double min_lr;
        int64_t step_epochs;      /* schedule = step: epochs between two drops */
        char milestones[DP_TEXT]; /* multistep: epochs of the drops, as numbers */
        double step_gamma;        /* step, multistep, exponential: factor of a drop */
        double power;             /* polynomial */
        double pct_start, div_factor, final_momentum; /* onecycle */
    } optimizer;
    struct {
        double shift, rotate, scale, shear; /* largest amounts: pixels, degrees, parts */
        double flip;                        /* share of the samples */
        double elastic, elastic_sigma;      /* pixels */
        double erase;                       /* share of the samples */
    } augment;
    struct {
        int64_t epochs, batch_size; /* batch_size 0 = the whole training split */
        bool shuffle, drop_last;
        int64_t log_every, log_from, eval_every, patience, max_steps;
        double max_time; /* seconds */
        double ema;      /* decay of the averaged parameters; 0: none */
        bool zero_grad;  /* false: earlier steps' gradients stay in the sum */
        bool quiet;      /* no lines of steps and epochs */
    } train;
    struct {
        char every[16]; /* auto | number of epochs, 0 = only at the end and on a stop */
        int64_t every_steps, keep, retries;
        char best[32]; /* auto | none | train_loss | train_accuracy | ... */
    } checkpoint;
    struct {
        int64_t every;
        double flush; /* seconds */
    } metrics;
    struct {
        char threads[16];   /* auto | number */
        char kernels[16];   /* auto | avx512 | avx2 | portable */
        char allreduce[16]; /* tree | mpi */
        int64_t block;
        char overlap[16]; /* auto | on | off */
        double timeout;   /* seconds */
    } parallel;
} dp_config;

/** Reads and validates a config file, then the overrides ("section.key=value"), which
 *  win; the last of several for one key wins. Resolves the defaults that depend on other
 *  keys: run.name from the path's stem, run.output from the name.
 *  Errors: DP_EUSAGE (*out unchanged); the message names file:line, or the override, and
 *  for an unknown section or key the nearest name.   MPI: local, one thread at a time */
dp_status dp_config_read(const char *path, int noverrides, char *const *overrides,
                         dp_config *out);

/** The same from text in memory (a checkpoint's /config); `name` stands in messages. */
dp_status dp_config_parse(const char *name, const char *text, int noverrides,
                          char *const *overrides, dp_config *out);

/** The resolved INI text: every key, in the table's order, in a form that parses to the
 *  same struct, bit for bit (doubles by the shortest text that reads back).
 *  Owner: the caller, who frees it */
char *dp_config_text(const dp_config *config);

/** Lists what differs between an existing run's config and a new one and may not change
 *  on a resume. DP_OK if nothing; else DP_EUSAGE with a message that lists each
 *  `section.key: old -> new` and says what to do. */
dp_status dp_config_may_resume(const dp_config *old, const dp_config *now);

/** Whether two configs give the same run: equal in every key that may not change on a
 *  resume. */
bool dp_config_same_run(const dp_config *a, const dp_config *b);

/** `trainer help`: topic NULL (all sections), "section" or "section.key".
 *  Errors: DP_EUSAGE for an unknown topic, with the nearest name. */
dp_status dp_config_help(const char *topic, FILE *out);

#endif
