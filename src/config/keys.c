/* The table of keys: a new key is a row here and a field in dp_config. */
#include "keys.h"
#include <math.h>
#include <string.h>

#define KEY(section, name)                                                               \
#section, #name, offsetof(dp_config, section.name),                                  \
        sizeof(((dp_config *)0)->section.name)

/* Counts of samples, epochs and the like fit an int; steps may be more. */
#define COUNT 2147483647.0
#define STEPS 1e15

const dp_section dp_sections[DP_SECTIONS] = {
    {"run", "its name, its folder, and what happens when it starts again"},
    {"data", "what to train on"},
    {"model", "the layers and how their parameters start"},
    {"loss", "what to minimise"},
    {"optimizer", "how gradients change the parameters, and the learning rate's course"},
    {"train", "epochs, batches, and when to stop"},
    {"checkpoint", "which states of the run are kept, and when they are written"},
    {"metrics", "the tables in metrics.h5"},
    {"parallel", "how the work is shared out over threads and ranks"},
};

const dp_key dp_keys[] = {
    {KEY(run, name), DP_KIND_TEXT, "", .help = "Name of the run, without '/'.",
     .change = DP_CHANGE_FREE, .shown = "file's stem"},
    {KEY(run, output), DP_KIND_PATH, "", .help = "Folder of the run's files.",
     .change = DP_CHANGE_FREE, .shown = "runs/<name>"},
    {KEY(run, seed), DP_KIND_SEED, "42",
     .help =
         "Seed of all random numbers: initial parameters, shuffling, validation split."},
    {KEY(run, resume), DP_KIND_CHOICE, "auto",
     .help =
         "auto: continues the newest valid checkpoint in run.output; never: does not.",
     .change = DP_CHANGE_FREE, .choices = "auto|never"},
    {KEY(run, overwrite), DP_KIND_BOOL, "false",
     .help = "Lets a new run replace what an older one with another config left in "
             "run.output.",
     .change = DP_CHANGE_FREE},

    {KEY(data, format), DP_KIND_CHOICE, "auto",
     .help = "Format of the files; auto tells it from their names.",
     .choices = "auto|idx|csv|hdf5"},
    {KEY(data, dir), DP_KIND_PATH, "",
     .help = "Folder with the four IDX files under their standard names, .gz or not; "
             "this or train is required.",
     .change = DP_CHANGE_FREE, .shown = "none"},
    {KEY(data, train), DP_KIND_PATH, "",
     .help = "Training file, in place of dir's; IDX: the images, with their labels "
             "beside them.",
     .change = DP_CHANGE_FREE, .shown = "dir's"},
    {KEY(data, test), DP_KIND_PATH, "",
     .help = "Test file, in place of dir's; a run without test set is fine.",
     .change = DP_CHANGE_FREE, .shown = "dir's"},
    {KEY(data, target), DP_KIND_TEXT, "",
     .help = "CSV and HDF5: the column or columns to predict.", .shown = "none"},
    {KEY(data, validation), DP_KIND_REAL, "0",
     .help = "Samples of the training set to hold out: a count, or a fraction below 1.",
     .hi = COUNT},
    {KEY(data, normalize), DP_KIND_CHOICE, "unit",
     .help = "unit: bytes / 255, other data unchanged; standardize: mean 0 and deviation "
             "1 over the training split (one pair for images, one a column for tables).",
     .choices = "unit|standardize|none"},
    {KEY(data, classes), DP_KIND_TEXT, "",
     .help = "Names of the classes, separated by commas.", .shown = "none"},
    {KEY(data, limit), DP_KIND_INT, "0",
     .help = "Uses the first n training samples only; 0: all of them.", .hi = COUNT},

    {KEY(model, layers), DP_KIND_TEXT, "",
     .help = "Hidden layers, such as dense:512 relu or conv:24@5 relu maxpool:2; the "
             "output layer is added, and none gives a linear model. There are dense:N, "
             "conv:C@K[/S][+P] (C outputs, kernel K x K, stride S, zero padding P), "
             "maxpool:K[/S] and avgpool:K[/S] (stride K unless S), flatten, dropout:P, "
             "layernorm, relu, tanh, sigmoid, gelu, leaky_relu and softplus.",
     .shown = "none"},
    {KEY(model, init), DP_KIND_CHOICE, "torch",
     .help = "How parameters start: torch (as nn.Linear does), he, xavier, constant "
             "(init_weight, init_bias), or from a file (init_file).",
     .choices = "torch|he|xavier|constant|file"},
    {KEY(model, init_weight), DP_KIND_NUMBERS, "0",
     .help = "init = constant: one value for all weights, or each weight's."},
    {KEY(model, init_bias), DP_KIND_NUMBERS, "0",
     .help = "init = constant: one value for all biases, or each bias's."},
    {KEY(model, init_file), DP_KIND_PATH, "",
     .help = "init = file: an HDF5 file with a group /model as in our checkpoints.",
     .shown = "none"},

    {KEY(loss, name), DP_KIND_CHOICE, "cross_entropy",
     .help = "cross_entropy (classes, on logits), mse (regression), or bce (two classes, "
             "on a logit).",
     .choices = "cross_entropy|mse|bce"},
    {KEY(loss, label_smoothing), DP_KIND_REAL, "0",
     .help = "cross_entropy: the share of a label that is spread over all classes.",
     .hi = 1, .below = true},

    {KEY(optimizer, name), DP_KIND_CHOICE, "sgd",
     .help = "Update rule, as PyTorch defines it.", .choices = "sgd|adam|adamw"},
    {KEY(optimizer, lr), DP_KIND_REAL, NULL, .help = "Learning rate.", .hi = INFINITY},
    {KEY(optimizer, momentum), DP_KIND_REAL, "0", .help = "sgd: momentum.", .hi = 1,
     .below = true},
    {KEY(optimizer, nesterov), DP_KIND_BOOL, "false",
     .help = "sgd: Nesterov's form of momentum, which must then be above 0."},
    {KEY(optimizer, weight_decay), DP_KIND_REAL, "0",
     .help = "L2 penalty (sgd, adam), or decoupled decay (adamw).", .hi = INFINITY},
    {KEY(optimizer, beta1), DP_KIND_REAL, "0.9",
     .help = "adam, adamw: decay of the gradient's running mean.", .hi = 1,
     .below = true},
    {KEY(optimizer, beta2), DP_KIND_REAL, "0.999",
     .help = "adam, adamw: decay of the squared gradient's running mean.", .hi = 1,
     .below = true},
    {KEY(optimizer, eps), DP_KIND_REAL, "1e-08",
     .help = "adam, adamw: added to the denominator.", .hi = INFINITY, .above = true},
    {KEY(optimizer, clip_norm), DP_KIND_REAL, "0",
     .help = "Scales a gradient with a larger norm down to this one; 0: no clipping.",
     .hi = INFINITY},
    {KEY(optimizer, schedule), DP_KIND_CHOICE, "constant",
     .help =
         "The learning rate's course after the warmup: constant; step (times step_gamma "
         "each step_epochs); cosine (down to min_lr at the last epoch's end).",
     .choices = "constant|step|cosine"},
    {KEY(optimizer, warmup), DP_KIND_REAL, "0",
     .help = "Epochs, or parts of one, in which the learning rate rises linearly to lr.",
     .hi = COUNT},
    {KEY(optimizer, min_lr), DP_KIND_REAL, "0",
     .help = "schedule = step or cosine: the learning rate does not fall below this.",
     .hi = INFINITY},
    {KEY(optimizer, step_epochs), DP_KIND_INT, "10",
     .help = "schedule = step: epochs between two drops.", .lo = 1, .hi = COUNT},
    {KEY(optimizer, step_gamma), DP_KIND_REAL, "0.1",
     .help = "schedule = step: the factor of a drop.", .hi = INFINITY, .above = true},

    {KEY(train, epochs), DP_KIND_INT, NULL, .help = "Passes over the training split.",
     .change = DP_CHANGE_UNLESS_SCHEDULED, .lo = 1, .hi = COUNT},
    {KEY(train, batch_size), DP_KIND_INT, NULL,
     .help = "Samples in a step, over all ranks together; 0: the whole training split.",
     .hi = COUNT},
    {KEY(train, shuffle), DP_KIND_BOOL, "true",
     .help = "A new order of the samples each epoch."},
    {KEY(train, drop_last), DP_KIND_BOOL, "false",
     .help = "Leaves out an epoch's last batch where it is short."},
    {KEY(train, log_every), DP_KIND_INT, "100",
     .help = "Steps from one line with the loss to the next; epochs with full batches.",
     .change = DP_CHANGE_FREE, .lo = 1, .hi = COUNT},
    {KEY(train, eval_every), DP_KIND_INT, "1",
     .help = "Epochs from one evaluation to the next.", .lo = 1, .hi = COUNT},
    {KEY(train, patience), DP_KIND_INT, "0",
     .help = "Stops after this many evaluations without a better one; 0: never.",
     .hi = COUNT},
    {KEY(train, max_steps), DP_KIND_INT, "0",
     .help = "Stops with a checkpoint, exit code 75, after so many steps of this start, "
             "not of the run; 0: no limit.",
     .change = DP_CHANGE_FREE, .hi = STEPS},
    {KEY(train, max_time), DP_KIND_REAL, "0",
     .help = "Stops with a checkpoint, exit code 75, after so many seconds of this "
             "start, those in which the job is suspended too; 0: no limit.",
     .change = DP_CHANGE_FREE, .hi = INFINITY},
    {KEY(train, zero_grad), DP_KIND_BOOL, "true",
     .help = "false leaves older gradients in the sum, as forgetting zero_grad() does."},

    {KEY(checkpoint, every), DP_KIND_AUTO, "auto",
     .help = "Epochs between checkpoints; 0: only at the end and on a stop; auto: each "
             "epoch, or fewer, so that writing takes 1% of the time at most and a kill "
             "loses a minute or 5% of the run, but 0 with full batches.",
     .change = DP_CHANGE_FREE, .hi = COUNT},
    {KEY(checkpoint, every_steps), DP_KIND_INT, "0",
     .help = "Steps between checkpoints inside an epoch; 0: none.",
     .change = DP_CHANGE_FREE, .hi = COUNT},
    {KEY(checkpoint, keep), DP_KIND_INT, "3",
     .help = "Newest checkpoints to keep, beside the best.", .change = DP_CHANGE_FREE,
     .lo = 1, .hi = COUNT},
    {KEY(checkpoint, retries), DP_KIND_INT, "3",
     .help = "Further attempts after a checkpoint could not be written.",
     .change = DP_CHANGE_FREE, .hi = COUNT},
    {KEY(checkpoint, best), DP_KIND_CHOICE, "auto",
     .help = "The metric by which best.h5 is chosen; auto: val_loss, else test_loss, "
             "else train_loss. It is written when that is cheap, and is exact once the "
             "run has stopped.",
     .choices = "auto|none|train_loss|val_loss|val_accuracy|test_loss|test_accuracy|val_"
                "r2|val_mae|test_r2|test_mae"},

    {KEY(metrics, every), DP_KIND_INT, "1",
     .help = "Steps from one row of /steps to the next.", .change = DP_CHANGE_FREE,
     .lo = 1, .hi = COUNT},
    {KEY(metrics, flush), DP_KIND_REAL, "10",
     .help = "Seconds between two writes of metrics.h5, at least; more where that takes "
             "over 1% of the time or the file is large.",
     .change = DP_CHANGE_FREE, .hi = INFINITY},

    {KEY(parallel, threads), DP_KIND_AUTO, "auto",
     .help = "Threads a rank; auto: OMP_NUM_THREADS if set, else the rank's share of the "
             "cores, and fewer for steps too small for them.",
     .change = DP_CHANGE_FREE, .lo = 1, .hi = 1024},
    {KEY(parallel, kernels), DP_KIND_CHOICE, "auto",
     .help =
         "Instruction set; auto: the widest this machine has; all give the same bits.",
     .change = DP_CHANGE_FREE, .choices = "auto|avx512|avx2|portable"},
    {KEY(parallel, allreduce), DP_KIND_CHOICE, "tree",
     .help = "tree: the same bits on any number of ranks; mpi: plain MPI_Iallreduce, to "
             "compare.",
     .choices = "tree|mpi"},
    {KEY(parallel, block), DP_KIND_INT, "16",
     .help = "Samples in a block, the unit in which sums over samples are cut.", .lo = 1,
     .hi = 65536},
    {KEY(parallel, overlap), DP_KIND_CHOICE, "auto",
     .help = "Whether gradients travel between hosts, with allreduce=tree, while lower "
             "layers are computed; auto: those of large layers.",
     .change = DP_CHANGE_FREE, .choices = "auto|on|off"},
    {KEY(parallel, timeout), DP_KIND_REAL, "300",
     .help = "Seconds without a sign of a rank before the job is ended; those in which "
             "the job itself is suspended do not count.",
     .change = DP_CHANGE_FREE, .hi = INFINITY, .above = true},
};

_Static_assert(sizeof(dp_keys) / sizeof(*dp_keys) == DP_KEYS, "DP_KEYS counts the rows");

int dp_key_find(const char *section, const char *name) {
    for (int k = 0; k < DP_KEYS; k++)
        if (!strcmp(dp_keys[k].section, section) && !strcmp(dp_keys[k].name, name))
            return k;
    return -1;
}

int dp_section_find(const char *name) {
    for (int s = 0; s < DP_SECTIONS; s++)
        if (!strcmp(dp_sections[s].name, name))
            return s;
    return -1;
}
