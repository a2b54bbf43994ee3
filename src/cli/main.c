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
#include <unistd.h>

static const char usage[] =
    "usage: trainer [train] CONFIG [section.key=value ...]     train; resumes by itself\n"
    "                       [--json]                           --json: each line an "
    "object\n"
    "       trainer check   CONFIG [section.key=value ...]     validate config, data and "
    "launch\n"
    "       trainer show    CONFIG [section.key=value ...]     samples with their labels "
    "(images in characters;\n"
    "                       [--split train|val|test]           --flat: the vector), or "
    "the initial parameters;\n"
    "                       [--index 0,5,9-12]                 trains nothing\n"
    "                       [--flat] [--params] [--gradient]   --gradient: that of the "
    "first batch;\n"
    "                       [--augment EPOCH]                  --augment EPOCH: as "
    "training sees them then\n"
    "       trainer eval    CHECKPOINT|RUN [section.key=value ...]\n"
    "                       [--split train|val|test]           loss and accuracy on the "
    "test set, or on a split;\n"
    "                       [--output FILE.csv|FILE.h5]        each class, confusion; or "
    "each target\n"
    "                       [--json]\n"
    "       trainer predict CHECKPOINT|RUN [section.key=value ...]\n"
    "                       [--index 0,5,9-12 | --input FILE | --split train|val|test]\n"
    "                       [--output FILE.csv] [--show]       RUN: a run's folder, its "
    "best.h5, else last.h5\n"
    "       trainer help    [SECTION | SECTION.KEY]            every key of the config\n"
    "       trainer --version\n"
    "\n"
    "On many ranks: mpirun -np 4 ./trainer configs/mlp.ini\n"
    "Exit codes: 0 done; 1 internal error; 2 usage or config; 3 data; 4 checkpoint, "
    "metrics or\n"
    "other file; 5 diverged; 75 stopped after a checkpoint: run it again to go on.\n";

static dp_status train(const dp_cli *cli) {
    return dp_train(cli->comm, &cli->config);
}

/* Whether this process is the one that prints; help and --version may do without MPI. */
static bool prints(const dp_cli *cli) {
    return !cli->comm || dp_comm_rank(cli->comm) == 0;
}

static dp_status help(const dp_cli *cli) {
    dp_status s = DP_OK;
    if (prints(cli)) {
        if (!cli->file) {
            puts(usage);
        }
        s = dp_config_help(cli->file, stdout);
    }
    return cli->comm ? dp_comm_agree(cli->comm, s) : s;
}

static dp_status version(const dp_cli *cli) {
    if (prints(cli)) {
        printf("%s\ncommit   %s\ncompiler %s\nmpi      %s\nhdf5     %s\nkernels  %s\n",
               dp_version_program(), dp_version_commit(), dp_version_compiler(),
               dp_comm_library(), dp_h5_version(), dp_kernels_available());
    }
    return DP_OK;
}

/* What the words behind a command are, and what is made of them. */
typedef enum words {
    WORDS,      /* as they are */
    CONFIG,     /* CONFIG [section.key=value ...] -> config */
    MODEL,      /* the same -> config and session */
    CHECKPOINT, /* CHECKPOINT|RUN [section.key=value ...] -> session */
} words;

typedef struct command {
    const char *name;
    dp_status (*run)(const dp_cli *cli);
    words words;
    const char *options; /* that it takes, as parse has them */
    const char *split;   /* that it takes by itself */
} command;

static const command commands[] = {
    {"train", train, CONFIG, "j", NULL}, /* the first one's name may be left out */
    {"check", dp_cli_check, MODEL, "", NULL},
    {"show", dp_cli_show, MODEL, "ntfpga", "train"},
    {"eval", dp_cli_eval, CHECKPOINT, "toj", "test"},
    {"predict", dp_cli_predict, CHECKPOINT, "niots", "test"},
    {"help", help, WORDS, "", NULL},
    {"--help", help, WORDS, "", NULL},
    {"-h", help, WORDS, "", NULL},
    {"--version", version, WORDS, "", NULL},
};

static dp_status unknown_option(const command *c, const struct option *options,
                                const char *word) {
    char takes[128] = "";
    for (const struct option *o = options; o->name; o++) {
        if (strchr(c->options, o->val)) {
            size_t used = strlen(takes);
            snprintf(takes + used, sizeof takes - used, "%s--%s", used ? " " : "",
                     o->name);
        }
    }
    return dp_fail(DP_EUSAGE, "unknown option '%s': %s takes %s", word, c->name,
                   takes[0] ? takes : "none; `trainer help` lists what there is");
}

/* argv[0] is skipped; options may stand anywhere behind it, whatever POSIXLY_CORRECT says.
 * The other words are moved to the beginning of argv. */
static dp_status parse(const command *c, int argc, char **argv, dp_cli *cli) {
    enum { WORD = 1 }; /* what "-" makes of a word that is no option */
    static const struct option options[] = {{"index", required_argument, NULL, 'n'},
                                            {"input", required_argument, NULL, 'i'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"split", required_argument, NULL, 't'},
                                            {"show", no_argument, NULL, 's'},
                                            {"flat", no_argument, NULL, 'f'},
                                            {"params", no_argument, NULL, 'p'},
                                            {"gradient", no_argument, NULL, 'g'},
                                            {"augment", required_argument, NULL, 'a'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    int option, nwords = 0;
    const char *word = argv[1];
    opterr = 0;
    for (; (option = getopt_long_only(argc, argv, "-:", options, NULL)) != -1;
         word = argv[optind]) {
        if (option == WORD) {
            argv[nwords++] = optarg;
            continue;
        }
        if (option == ':') {
            return dp_fail(DP_EUSAGE, "%s needs a value behind it", word);
        }
        if (option == '?' || !strchr(c->options, option)) {
            return unknown_option(c, options, word);
        }
        cli->index = option == 'n' ? optarg : cli->index;
        cli->input = option == 'i' ? optarg : cli->input;
        cli->output = option == 'o' ? optarg : cli->output;
        cli->split = option == 't' ? optarg : cli->split;
        cli->show = option == 's' || cli->show;
        cli->flat = option == 'f' || cli->flat;
        cli->params = option == 'p' || cli->params;
        cli->gradient = option == 'g' || cli->gradient;
        cli->augment = option == 'a' ? optarg : cli->augment;
        if (option == 'j') {
            dp_log_json();
        }
    }
    while (optind < argc) { /* behind "--" */
        argv[nwords++] = argv[optind++];
    }
    bool predicts = strchr(c->options, 'i') != NULL;
    if (predicts &&
        (cli->index != NULL) + (cli->input != NULL) + (cli->split != NULL) > 1) {
        return dp_fail(DP_EUSAGE,
                       "--index takes samples of the test set, --input those of "
                       "a file, --split a whole split: give one of them");
    }
    cli->split = cli->split ? cli->split : c->split;
    if (predicts && nwords > 1 && !strchr(argv[1], '=')) {
        return dp_fail(DP_EUSAGE,
                       "'%s' is one word too many; new samples go behind --input",
                       argv[1]);
    }
    if (nwords > 0) {
        cli->file = argv[0];
        cli->overrides = argv + 1;
        cli->noverrides = nwords - 1;
    }
    return DP_OK;
}

/* A config's path without the word train before it, or a command that there isn't. */
static dp_status check_first_word(const char *word) {
    if (word[strcspn(word, "./_0123456789")] != '\0' || access(word, F_OK) == 0) {
        return DP_OK;
    }
    char names[128] = "";
    for (const command *c = commands; c < commands + sizeof commands / sizeof commands[0];
         c++) {
        size_t used = strlen(names);
        if (c->name[0] != '-') {
            snprintf(names + used, sizeof names - used, " %s", c->name);
        }
    }
    return dp_fail(
        DP_EUSAGE,
        "'%s' is neither a command nor a file; there are:%s, or give the path of "
        "an INI file, such as configs/mlp.ini",
        word, names);
}

static dp_status read_config(dp_cli *cli) {
    DP_TRY(cli->named ? DP_OK : check_first_word(cli->file));
    return dp_config_read(cli->file, cli->noverrides, cli->overrides, &cli->config);
}

/* MPI: collective. Errors: agreed */
static dp_status prepare(const command *c, bool config_read, dp_cli *cli) {
    if (c->words == WORDS) {
        return DP_OK;
    }
    if (c->words == CHECKPOINT) {
        return dp_session_open(cli->comm, cli->file, cli->noverrides, cli->overrides,
                               &cli->session);
    }
    bool reads = dp_comm_rank(cli->comm) == 0 && !config_read;
    DP_TRY(dp_comm_agree(cli->comm, reads ? read_config(cli) : DP_OK));
    dp_comm_bcast(cli->comm, &cli->config, sizeof cli->config);
    return c->words == CONFIG ? DP_OK
                              : dp_session_create(cli->comm, &cli->config, &cli->session);
}

/* argv -> the command and what is behind it. */
static dp_status understand(int argc, char **argv, const command **chosen, dp_cli *cli) {
    if (argc < 2) {
        return dp_fail(DP_EUSAGE,
                       "what is to be trained? Give a config, as in: trainer "
                       "configs/mlp.ini (`trainer help` lists commands and keys)");
    }
    const command *c = commands, *end = c + sizeof commands / sizeof commands[0];
    while (c < end && strcmp(argv[1], c->name) != 0) {
        c++;
    }
    cli->named = c < end;
    c = cli->named ? c : commands;
    *chosen = c;
    DP_TRY(parse(c, argc - cli->named, argv + cli->named, cli));
    if (c->words != WORDS && !cli->file) {
        return dp_fail(DP_EUSAGE, "%s is missing, as in: trainer %s %s",
                       c->words == CHECKPOINT ? "a checkpoint or a run's folder"
                                              : "a config file",
                       c->name, c->words == CHECKPOINT ? "runs/mlp" : "configs/mlp.ini");
    }
    return DP_OK;
}

/* What can be said without MPI, whose start may take seconds; only where nobody has started
 * other ranks, which would be ended by the first that leaves. */
static dp_status run_alone(const command *c, dp_status status, dp_cli *cli, bool *done) {
    bool config = status == DP_OK && (c->words == CONFIG || c->words == MODEL);
    dp_log_enable(true);
    status = config ? read_config(cli) : status;
    *done = status != DP_OK || c->words == WORDS;
    return *done && status == DP_OK ? c->run(cli) : status;
}

static dp_status run_with_mpi(const command *c, dp_status status, bool config_read,
                              dp_cli *cli) {
    dp_log_enable(dp_comm_rank(cli->comm) == 0);
    DP_TRY(dp_comm_check_launch(cli->comm));
    DP_TRY(status);
    DP_TRY(prepare(c, config_read, cli));
    return c->run(cli);
}

int main(int argc, char **argv) {
    dp_cli cli = {0};
    const command *c = commands;
    bool alone = dp_comm_alone(), done = false;
    dp_status status = understand(argc, argv, &c, &cli);
    if (alone) {
        status = run_alone(c, status, &cli, &done);
    }
    if (!done) {
        dp_status mpi = dp_comm_init(&argc, &argv, &cli.comm);
        status = mpi != DP_OK ? mpi : run_with_mpi(c, status, alone, &cli);
    }
    dp_session_destroy(&cli.session);
    bool reports = !cli.comm || dp_comm_reports_error(cli.comm);
    if (status != DP_OK && status != DP_STOPPED && reports) {
        dp_error_line(dp_status_message());
    }
    fflush(NULL);
    dp_comm_finalize(&cli.comm);
    return status;
}
