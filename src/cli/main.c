/* argv -> command -> exit code. The short commands are here: train, help, --version. */
#include "base/log.h"
#include "base/version.h"
#include "cli.h"
#include "h5/h5file.h"
#include "kernels/kernels.h"
#include "run/train.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: trainer [train] CONFIG [section.key=value ...]     train; resumes by itself\n"
    "       trainer check   CONFIG [section.key=value ...]     validate config, data and "
    "launch\n"
    "       trainer eval    CHECKPOINT [section.key=value ...] loss and accuracy on the "
    "test set\n"
    "       trainer predict CHECKPOINT [--index 0,5,100 | --input FILE] [--output "
    "FILE.csv] [--show]\n"
    "       trainer help    [SECTION | SECTION.KEY]            every key of the config\n"
    "       trainer --version\n"
    "\n"
    "On many ranks: mpirun -np 4 ./trainer configs/mlp.ini\n"
    "Exit codes: 0 done; 1 internal error; 2 usage or config; 3 data; 4 checkpoint, "
    "metrics or\n"
    "other file; 5 diverged; 75 stopped after a checkpoint: run it again to go on.\n";

dp_status dp_cli_config(dp_comm *comm, const dp_cli_args *args, dp_config *out) {
    dp_status s = DP_OK;
    if (dp_comm_rank(comm) == 0) {
        s = dp_config_read(args->file, args->noverrides, args->overrides, out);
    }
    DP_TRY(dp_comm_agree(comm, s));
    dp_comm_bcast(comm, out, sizeof *out);
    return DP_OK;
}

static dp_status train(dp_comm *comm, const dp_cli_args *args) {
    dp_config config = {0};
    DP_TRY(dp_cli_config(comm, args, &config));
    return dp_train(comm, &config);
}

static dp_status help(dp_comm *comm, const dp_cli_args *args) {
    dp_status s = DP_OK;
    if (dp_comm_rank(comm) == 0) {
        if (!args->file) {
            puts(usage);
        }
        s = dp_config_help(args->file, stdout);
    }
    return dp_comm_agree(comm, s);
}

static dp_status version(dp_comm *comm, const dp_cli_args *args) {
    (void)args;
    if (dp_comm_rank(comm) == 0) {
        printf("%s\ncommit   %s\ncompiler %s\nmpi      %s\nhdf5     %s\nkernels  %s\n",
               dp_version_program(), dp_version_commit(), dp_version_compiler(),
               dp_comm_library(), dp_h5_version(), dp_kernels_available());
    }
    return DP_OK;
}

typedef struct command {
    const char *name;
    dp_status (*run)(dp_comm *comm, const dp_cli_args *args);
    const char *file, *example; /* the first word behind it; NULL: may be missing */
    bool options;               /* takes those of parse */
} command;

#define CONFIG "a config file", "configs/mlp.ini"
#define CHECKPOINT "a checkpoint", "runs/mlp/checkpoints/last.h5"

static const command commands[] = {
    {"train", train, CONFIG, false}, /* the first one's name may be left out */
    {"check", dp_cli_check, CONFIG, false},
    {"eval", dp_cli_eval, CHECKPOINT, false},
    {"predict", dp_cli_predict, CHECKPOINT, true},
    {"help", help, NULL, NULL, false},
    {"--help", help, NULL, NULL, false},
    {"-h", help, NULL, NULL, false},
    {"--version", version, NULL, NULL, false},
};

/* argv[0] is skipped; options may stand anywhere behind it. */
static dp_status parse(const command *c, int argc, char **argv, dp_cli_args *args) {
    static const struct option options[] = {{"index", required_argument, NULL, 'n'},
                                            {"input", required_argument, NULL, 'i'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"show", no_argument, NULL, 's'},
                                            {0}};
    int option;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":", options, NULL)) != -1) {
        if (option == ':') {
            return dp_fail(DP_EUSAGE, "%s needs a value behind it", argv[optind - 1]);
        }
        if (option == '?' || !c->options) {
            return dp_fail(
                DP_EUSAGE,
                "unknown option '%s' of %s; `trainer help` lists what there is",
                argv[optind - 1], c->name);
        }
        args->index = option == 'n' ? optarg : args->index;
        args->input = option == 'i' ? optarg : args->input;
        args->output = option == 'o' ? optarg : args->output;
        args->show = option == 's' || args->show;
    }
    if (optind < argc) {
        args->file = argv[optind];
        args->overrides = argv + optind + 1;
        args->noverrides = argc - optind - 1;
    }
    return c->file && !args->file
               ? dp_fail(DP_EUSAGE, "%s is missing, as in: trainer %s %s", c->file,
                         c->name, c->example)
               : DP_OK;
}

static dp_status run(dp_comm *comm, int argc, char **argv) {
    if (argc < 2) {
        return dp_fail(DP_EUSAGE,
                       "what is to be trained? Give a config, as in: trainer "
                       "configs/mlp.ini (`trainer help` lists commands and keys)");
    }
    int named = 1;
    const command *c = commands, *end = c + sizeof commands / sizeof commands[0];
    while (c < end && strcmp(argv[1], c->name) != 0) {
        c++;
    }
    if (c == end) {
        c = commands;
        named = 0;
    }
    dp_cli_args args = {0};
    DP_TRY(parse(c, argc - named, argv + named, &args));
    return c->run(comm, &args);
}

int main(int argc, char **argv) {
    dp_comm *comm = NULL;
    dp_status status = dp_comm_init(&argc, &argv, &comm);
    if (status != DP_OK) {
        dp_error_line(dp_status_message());
        return status;
    }
    dp_log_enable(dp_comm_rank(comm) == 0);
    status = dp_comm_check_launch(comm);
    status = status != DP_OK ? status : run(comm, argc, argv);
    if (status != DP_OK && status != DP_STOPPED && dp_comm_reports_error(comm)) {
        dp_error_line(dp_status_message());
    }
    fflush(NULL);
    dp_comm_finalize(&comm);
    return status;
}
