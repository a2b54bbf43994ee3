/* The table of keys: a new key is a row here and a field in dp_config. */
#include "keys.h"
#include <math.h>
#include <string.h>

#define KEY(s, n, t)                                                                     \
    .section = #s, .name = #n, .offset = offsetof(dp_config, s.n),                       \
    .size = sizeof(((dp_config *)0)->s.n), .type = &dp_type_##t

/* Counts of samples, epochs and the like fit an int; steps may be more. */
#define COUNT 2147483647.0
#define STEPS 1e15

const dp_section dp_sections[] = {
    {"run", "its name, its folder, and what happens when it starts again"},
    {"data", "what to train on"},
    {"model", "the layers and how their parameters start"},
    {"loss", "what to minimise"},
    {"optimizer", "how gradients change the parameters, and the learning rate's course"},
    {"augment", "how the images of the training split change from epoch to epoch"},
    {"train", "epochs, batches, and when to stop"},
    {"checkpoint", "which states of the run are kept, and when they are written"},
    {"metrics", "the tables in metrics.h5"},
    {"parallel", "how the work is shared out over threads and ranks"},
};

const dp_key dp_keys[] = {
    {KEY(run, name, text), "", DP_FREE, "Name of the run, without '/'.",
     .shown = "file's stem"},
    {KEY(run, output, path), "", DP_FREE, "Folder of the run's files.",
     .shown = "runs/<name>"},
    {KEY(run, seed, seed), "42", DP_FIXED,
     "Seed of all random numbers: initial parameters, shuffling, validation split."},
    {KEY(run, resume, choice), "auto", DP_FREE,
     "auto: continues the newest valid checkpoint in run.output; never: does not.",
     .choices = "auto | never"},
    {KEY(run, log, bool), "false", DP_FREE,
     "Writes what is printed to log.txt in run.output too; a run that goes on adds to "
     "it."},
    {KEY(run, overwrite, bool), "false", DP_FREE,
     "Lets a new run replace what an older one with another config left in run.output."},

    {KEY(data, format, choice), "auto", DP_FIXED,
     "Format of the files; auto tells it from their names.",
     .choices = "auto | idx | csv | hdf5 | npy"},
    {KEY(data, dir, path), "", DP_FREE,
     "Folder with the four IDX files under their standard names, .gz or not; this or "
     "train is required."},
    {KEY(data, train, path), "", DP_FREE,
     "Training file, in place of dir's. IDX and NPY: the samples, with their labels in "
     "the "
     "file beside them (images and labels, or x and y, in their names); HDF5: file.h5, "
     "file.h5:/group or file.h5:/dataset, with datasets of these names.",
     .shown = "dir's"},
    {KEY(data, test, path), "", DP_FREE,
     "Test file, in place of dir's; a run without test set is fine.", .shown = "dir's"},
    {KEY(data, target, text), "", DP_FIXED,
     "CSV: the column or columns to predict; others: the dataset (HDF5), or the file "
     "beside the samples, that holds the labels."},
    {KEY(data, columns, text), "", DP_FIXED,
     "CSV: the columns that are inputs, separated by commas; empty: all but the "
     "targets."},
    {KEY(data, exclude, text), "", DP_FIXED,
     "CSV: columns to leave out, such as a number of the row."},
    {KEY(data, validation, real), "0", DP_FIXED,
     "Samples of the training set to hold out: a count, or a fraction below 1.",
     .hi = COUNT},
    {KEY(data, stratify, bool), "false", DP_FIXED,
     "Holds out of each class its share of data.validation, not what chance gives."},
    {KEY(data, normalize, choice), "unit", DP_FIXED,
     "unit: bytes / 255, other data unchanged; standardize: mean 0 and deviation 1 over "
     "the training split (one pair for images, one a column for tables).",
     .choices = "unit | standardize | none"},
    {KEY(data, memory, choice), "auto", DP_FREE,
     "Samples of IDX, NPY and contiguous HDF5 files that need no conversion: copy reads "
     "them; map takes them from the file as they are needed, so that they may be more "
     "than "
     "the memory; auto maps from 1 GiB on.",
     .choices = "auto | copy | map"},
    {KEY(data, layout, choice), "auto", DP_FIXED,
     "Arrays of four dimensions: channels_first (N x C x H x W) or channels_last (N x H "
     "x "
     "W x C); auto: as an HDF5 dataset's attribute layout (NCHW or NHWC) says, else the "
     "first of the two axes that is 1, 3 or 4 long counts the channels.",
     .choices = "auto | channels_first | channels_last"},
    {KEY(data, classes, text), "", DP_FIXED,
     "Names of the classes, separated by commas, where labels are numbers; where they "
     "are "
     "texts, in the order that class numbers are to have.",
     .shown = "the texts"},
    {KEY(data, class_weights, text), "none", DP_FIXED,
     "cross_entropy and bce: how much a sample of each class counts in training, a "
     "number "
     "a class, or balanced (samples / (classes * samples of the class)). A batch's loss "
     "is the weighted mean, as with PyTorch's weight; scores count all samples alike."},
    {KEY(data, limit, whole), "0", DP_FIXED,
     "Uses the first n training samples only; 0: all of them.", .hi = COUNT},

    {KEY(model, layers, text), "", DP_FIXED,
     "Hidden layers, such as dense:512 relu or conv:24@5 relu maxpool:2; the output "
     "layer "
     "is added, and none gives a linear model. There are dense:N, conv:C@K[/S][+P] (C "
     "outputs, kernel K x K, stride S, zero padding P), maxpool:K[/S] and avgpool:K[/S] "
     "(stride K unless S), flatten, dropout:P, layernorm, relu, tanh, sigmoid, gelu, "
     "leaky_relu and softplus."},
    {KEY(model, init, choice), "torch", DP_FIXED,
     "How parameters start: torch (as nn.Linear does), he, xavier, constant "
     "(init_weight, init_bias), or from a file (init_file).",
     .choices = "torch | he | xavier | constant | file"},
    {KEY(model, init_weight, numbers), "0", DP_FIXED,
     "init = constant: one value for all weights, or each weight's."},
    {KEY(model, init_bias, numbers), "0", DP_FIXED,
     "init = constant: one value for all biases, or each bias's."},
    {KEY(model, init_file, path), "", DP_FIXED,
     "init = file: an HDF5 file with a group /model as in our checkpoints."},
    {KEY(model, init_partial, bool), "false", DP_FIXED,
     "Takes from init_file the tensors that fit by name and shape; the others start as "
     "init says (file: as torch does)."},
    {KEY(model, freeze, indices), "", DP_FIXED,
     "Layers that training leaves as they are, by their numbers in the tensors' names "
     "(0.weight), such as 0 3."},

    {KEY(loss, name, choice), "cross_entropy", DP_FIXED,
     "cross_entropy (classes, on logits), mse, mae or huber (regression: squared error, "
     "absolute error, or squared up to delta), or bce (two classes, on a logit).",
     .choices = "cross_entropy | mse | mae | huber | bce"},
    {KEY(loss, label_smoothing, real), "0", DP_FIXED,
     "cross_entropy: the share of a label that is spread over all classes.", .hi = 1,
     .below = true},
    {KEY(loss, delta, real), "1", DP_FIXED,
     "huber: the error from which on its loss grows like the error, not its square.",
     .above = true, .hi = INFINITY},

    {KEY(optimizer, name, choice), "sgd", DP_FIXED,
     "Update rule: PyTorch's where it has it, else that of the paper.",
     .choices = "sgd | adam | adamw | rmsprop | adagrad | lion | lars | lamb"},
    {KEY(optimizer, lr, real), NULL, DP_FIXED, "Learning rate.", .hi = INFINITY},
    {KEY(optimizer, momentum, real), "0", DP_FIXED, "sgd, rmsprop, lars: momentum.",
     .hi = 1, .below = true},
    {KEY(optimizer, nesterov, bool), "false", DP_FIXED,
     "sgd: Nesterov's form of momentum, which must then be above 0."},
    {KEY(optimizer, weight_decay, real), "0", DP_FIXED,
     "L2 penalty (sgd, adam, rmsprop, adagrad, lars), or decoupled decay (adamw, lion, "
     "lamb).",
     .hi = INFINITY},
    {KEY(optimizer, decay_all, bool), "true", DP_FIXED,
     "Whether weight_decay is for all parameters; false: not for biases and norms."},
    {KEY(optimizer, beta1, real), "0.9", DP_FIXED,
     "adam, adamw, lamb: decay of the gradient's running mean; lion: its share in the "
     "step.",
     .hi = 1, .below = true},
    {KEY(optimizer, beta2, real), "0.999", DP_FIXED,
     "adam, adamw, lamb: decay of the squared gradient's running mean; lion: of the "
     "gradient's.",
     .variant = {{"lion", "0.99"}}, .hi = 1, .below = true},
    {KEY(optimizer, eps, real), "1e-08", DP_FIXED,
     "adam, adamw, rmsprop, adagrad, lamb: added to the denominator.",
     .variant = {{"adagrad", "1e-10"}, {"lamb", "1e-06"}}, .hi = INFINITY, .above = true},
    {KEY(optimizer, alpha, real), "0.99", DP_FIXED,
     "rmsprop: decay of the squared gradient's running mean.", .hi = 1, .below = true},
    {KEY(optimizer, trust, real), "0.001", DP_FIXED,
     "lars: the length of a tensor's step, in parts of the tensor's own, at lr 1.",
     .hi = INFINITY, .above = true},
    {KEY(optimizer, clip_norm, real), "0", DP_FIXED,
     "Scales a gradient with a larger norm down to this one; 0: no clipping.",
     .hi = INFINITY},
    {KEY(optimizer, schedule, choice), "constant", DP_FIXED,
     "The learning rate's course after the warmup: constant; step (times step_gamma each "
     "step_epochs); multistep (times step_gamma at milestones); exponential (times "
     "step_gamma each epoch); linear, polynomial or cosine (down to min_lr at the last "
     "epoch's end); onecycle (up to lr, then down to min_lr). trainer check draws it.",
     .choices = "constant | step | multistep | exponential | linear | polynomial | "
                "cosine | onecycle"},
    {KEY(optimizer, warmup, real), "0", DP_FIXED,
     "Epochs, or parts of one, in which the learning rate rises linearly to where the "
     "schedule begins.",
     .hi = COUNT},
    {KEY(optimizer, min_lr, real), "0", DP_FIXED,
     "The learning rate does not fall below this, unless schedule = constant.",
     .hi = INFINITY},
    {KEY(optimizer, step_epochs, whole), "10", DP_FIXED,
     "schedule = step: epochs between two drops.", .lo = 1, .hi = COUNT},
    {KEY(optimizer, milestones, numbers), "0", DP_FIXED,
     "schedule = multistep: the epochs after which it drops, as in 30, 60, 80; 0: none."},
    {KEY(optimizer, step_gamma, real), "0.1", DP_FIXED,
     "schedule = step, multistep or exponential: the factor of a drop.", .hi = INFINITY,
     .above = true},
    {KEY(optimizer, power, real), "1", DP_FIXED,
     "schedule = polynomial: of the part of the run that is left.", .hi = 100,
     .above = true},
    {KEY(optimizer, pct_start, real), "0.3", DP_FIXED,
     "schedule = onecycle: the part of the run in which the learning rate rises.",
     .hi = 1},
    {KEY(optimizer, div_factor, real), "25", DP_FIXED,
     "schedule = onecycle: it begins with lr divided by this.", .lo = 1, .hi = INFINITY},
    {KEY(optimizer, final_momentum, real), "0", DP_FIXED,
     "schedule = onecycle: the momentum at both ends, which is momentum where the "
     "learning rate is highest; 0: the same all along.",
     .hi = 1, .below = true},

    {KEY(augment, shift, real), "0", DP_FIXED,
     "Moves an image by up to so many pixels, up or down and left or right.", .hi = 1000},
    {KEY(augment, rotate, real), "0", DP_FIXED,
     "Turns it by up to so many degrees either way.", .hi = 180},
    {KEY(augment, scale, real), "0", DP_FIXED,
     "Makes it larger or smaller by up to this part: 0.1 is 90% to 110%.", .hi = 1,
     .below = true},
    {KEY(augment, shear, real), "0", DP_FIXED,
     "Slants it: moves each row by up to this part of its height above the centre.",
     .hi = 2},
    {KEY(augment, flip, real), "0", DP_FIXED,
     "The share of the samples that are mirrored, left for right.", .hi = 1},
    {KEY(augment, elastic, real), "0", DP_FIXED,
     "Bends it: a smooth random field moves each pixel by up to so many pixels (Simard's "
     "elastic distortion; 4 is about his alpha of 34 at sigma 4).",
     .hi = 1000},
    {KEY(augment, elastic_sigma, real), "4", DP_FIXED,
     "How smooth that field is: the deviation of its Gaussian in pixels.", .lo = 0.5,
     .hi = 1000},
    {KEY(augment, erase, real), "0", DP_FIXED,
     "The share of the samples in which a rectangle of 2% to 33% of the area becomes 0.",
     .hi = 1},

    {KEY(train, epochs, whole), NULL, DP_FREE_UNLESS_NEEDED,
     "Passes over the training split.", .lo = 1, .hi = COUNT},
    {KEY(train, batch_size, whole), NULL, DP_FIXED,
     "Samples in a step, over all ranks together; 0: the whole training split.",
     .hi = COUNT},
    {KEY(train, shuffle, bool), "true", DP_FIXED,
     "A new order of the samples each epoch."},
    {KEY(train, drop_last, bool), "false", DP_FIXED,
     "Leaves out an epoch's last batch where it is short."},
    {KEY(train, log_every, whole), "100", DP_FREE,
     "Steps from one line with the loss to the next; epochs with full batches.", .lo = 1,
     .hi = COUNT},
    {KEY(train, log_from, whole), "1", DP_FREE,
     "The first epoch with a line, with full batches; 100 and log_every = 100 print "
     "epochs "
     "100, 200, ... The last one always has a line.",
     .lo = 1, .hi = COUNT},
    {KEY(train, quiet, bool), "false", DP_FREE,
     "Prints the first and the last lines of a run only, none of steps and epochs."},
    {KEY(train, eval_every, whole), "1", DP_FIXED,
     "Epochs from one evaluation to the next.", .lo = 1, .hi = COUNT},
    {KEY(train, patience, whole), "0", DP_FIXED,
     "Stops after this many evaluations without a better one; 0: never.", .hi = COUNT},
    {KEY(train, max_steps, whole), "0", DP_FREE,
     "Stops with a checkpoint, exit code 75, after so many steps of this start, not of "
     "the run; 0: no limit.",
     .hi = STEPS},
    {KEY(train, max_time, real), "0", DP_FREE,
     "Stops with a checkpoint, exit code 75, after so many seconds of this start, those "
     "in which the job is suspended too; 0: no limit.",
     .hi = INFINITY},
    {KEY(train, ema, real), "0", DP_FIXED,
     "Decay of an exponential moving average of the parameters, such as 0.999, taken "
     "after "
     "each step from the first one's on: evaluation, best.h5 and a checkpoint's /model "
     "are "
     "the average's, and training goes on from /optimizer/raw; 0: no average.",
     .hi = 1, .below = true},
    {KEY(train, zero_grad, bool), "true", DP_FIXED,
     "false leaves older gradients in the sum, as forgetting zero_grad() does."},

    {KEY(checkpoint, every, auto), "auto", DP_FREE,
     "Epochs between checkpoints; 0: only at the end and on a stop; auto: each epoch, or "
     "fewer, so that writing takes 1% of the time at most and a kill loses a minute or "
     "5% of the run, but 0 with full batches.",
     .hi = COUNT},
    {KEY(checkpoint, every_steps, whole), "0", DP_FREE,
     "Steps between checkpoints inside an epoch; 0: none.", .hi = COUNT},
    {KEY(checkpoint, keep, whole), "3", DP_FREE,
     "Newest checkpoints to keep, beside the best.", .lo = 1, .hi = COUNT},
    {KEY(checkpoint, retries, whole), "3", DP_FREE,
     "Further attempts after a checkpoint could not be written.", .hi = COUNT},
    {KEY(checkpoint, best, choice), "auto", DP_FIXED,
     "The metric by which best.h5 is chosen; auto: val_loss, else test_loss, else "
     "train_loss. It is written when that is cheap, and is exact once the run has "
     "stopped.",
     .choices = "auto | none | train_loss | train_accuracy | val_loss | val_accuracy | "
                "test_loss | test_accuracy | val_r2 | val_mae | test_r2 | test_mae"},

    {KEY(metrics, every, whole), "1", DP_FREE,
     "Steps from one row of /steps to the next.", .lo = 1, .hi = COUNT},
    {KEY(metrics, flush, real), "10", DP_FREE,
     "Seconds between two writes of metrics.h5, at least; more where that takes over 1% "
     "of the time or the file is large.",
     .hi = INFINITY},

    {KEY(parallel, threads, auto), "auto", DP_FREE,
     "Threads a rank; auto: OMP_NUM_THREADS if set, else the rank's share of the cores, "
     "and fewer for steps too small for them.",
     .lo = 1, .hi = 1024},
    {KEY(parallel, kernels, choice), "auto", DP_FREE,
     "Instruction set; auto: the widest this machine has; all give the same bits.",
     .choices = "auto | avx512 | avx2 | portable"},
    {KEY(parallel, allreduce, choice), "tree", DP_FIXED,
     "tree: the same bits on any number of ranks; mpi: plain MPI_Iallreduce, to compare.",
     .choices = "tree | mpi"},
    {KEY(parallel, block, whole), "16", DP_FIXED,
     "Samples in a block, the unit in which sums over samples are cut.", .lo = 1,
     .hi = 65536},
    {KEY(parallel, overlap, choice), "auto", DP_FREE,
     "Whether hosts exchange gradients, with allreduce=tree, while those of lower "
     "layers are computed; auto: those of large layers.",
     .choices = "auto | on | off"},
    {KEY(parallel, timeout, real), "300", DP_FREE,
     "Seconds without a sign of a rank before the job is ended; those in which the job "
     "itself is suspended do not count.",
     .hi = INFINITY, .above = true},
};

const int dp_nkeys = sizeof dp_keys / sizeof *dp_keys;
const int dp_nsections = sizeof dp_sections / sizeof *dp_sections;

const dp_key *dp_key_find(const char *section, const char *name) {
    for (const dp_key *key = dp_keys; key < dp_keys + dp_nkeys; key++) {
        if (strcmp(key->section, section) == 0 && strcmp(key->name, name) == 0) {
            return key;
        }
    }
    return NULL;
}

const dp_section *dp_section_find(const char *name) {
    for (const dp_section *s = dp_sections; s < dp_sections + dp_nsections; s++) {
        if (strcmp(s->name, name) == 0) {
            return s;
        }
    }
    return NULL;
}
