#include "config_cases.h"
#include <glob.h>
#include <math.h>
#include <stdlib.h>

Test(config_text, resolves_every_key_to_its_documented_default)
{
    dp_config config = accept(base, NULL);
    char *text = dp_config_text(&config);
    cr_assert_str_eq(
        text,
        "[run]\nname = t\noutput = runs/t\nseed = 42\nresume = auto\n"
        "log = false\noverwrite = false\n\n"
        "[data]\nformat = auto\ndir = d\ntrain =\ntest =\ntarget =\n"
        "columns =\nexclude =\nvalidation = 0\nstratify = false\nnormalize = unit\n"
        "memory = auto\nlayout = auto\nclasses =\nclass_weights = none\nlimit = 0\n\n"
        "[model]\nlayers =\ninit = torch\ninit_weight = 0\ninit_bias = 0\n"
        "init_file =\ninit_partial = false\nfreeze =\n\n"
        "[loss]\nname = cross_entropy\nlabel_smoothing = 0\ndelta = 1\n\n"
        "[optimizer]\nname = sgd\nlr = 0.1\nmomentum = 0\nnesterov = false\n"
        "weight_decay = 0\ndecay_all = true\nbeta1 = 0.9\nbeta2 = 0.999\neps = 1e-08\n"
        "alpha = 0.99\ntrust = 0.001\nclip_norm = 0\n"
        "schedule = constant\nwarmup = 0\nmin_lr = 0\nstep_epochs = 10\n"
        "milestones = 0\nstep_gamma = 0.1\npower = 1\npct_start = 0.3\n"
        "div_factor = 25\nfinal_momentum = 0\n\n"
        "[augment]\nshift = 0\nrotate = 0\nscale = 0\nshear = 0\nflip = 0\nelastic = 0\n"
        "elastic_sigma = 4\nerase = 0\n\n"
        "[train]\nepochs = 2\nbatch_size = 4\nshuffle = true\ndrop_last = false\n"
        "log_every = 100\nlog_from = 1\nquiet = false\neval_every = 1\npatience = 0\n"
        "max_steps = 0\nmax_time = 0\nema = 0\nzero_grad = true\n\n"
        "[checkpoint]\nevery = auto\nevery_steps = 0\nkeep = 3\nretries = 3\n"
        "best = auto\n\n"
        "[metrics]\nevery = 1\nflush = 10\n\n"
        "[parallel]\nthreads = auto\nkernels = auto\nallreduce = tree\nblock = 16\n"
        "overlap = auto\ntimeout = 300\n");
    free(text);
}

Test(config_text, a_default_that_differs_by_optimizer_is_none_that_was_written)
{
    static const struct {
        const char *text, *eps, *beta2;
    } cases[] = {
        {"name = adam\n", "eps = 1e-08\n", "beta2 = 0.999\n"},
        {"name = adagrad\n", "eps = 1e-10\n", "beta2 = 0.999\n"},
        {"name = lamb\n", "eps = 1e-06\n", "beta2 = 0.999\n"},
        {"name = lion\n", "eps = 1e-08\n", "beta2 = 0.99\n"},
        {"beta2 = 0.999\nname = lion\n", "eps = 1e-08\n", "beta2 = 0.999\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[DP_TEXT];
        snprintf(text, sizeof text, "%s[optimizer]\n%s",
                 "[data]\ndir = d\n[train]\nepochs = 2\nbatch_size = 4\n"
                 "[optimizer]\nlr = 0.1\n",
                 cases[i].text);
        dp_config config = accept(text, NULL), again;
        char *resolved = dp_config_text(&config);
        cr_assert(strstr(resolved, cases[i].eps), "%s", cases[i].text);
        cr_assert(strstr(resolved, cases[i].beta2), "%s", cases[i].text);
        again = accept(resolved, NULL);
        cr_assert_arr_eq(&config, &again, sizeof config);
        free(resolved);
    }
}

/* A config in which every key may change. */
static const char plain[] = "[data]\ndir = d\n"
                            "[model]\ninit_file = f.h5\n"
                            "[optimizer]\nlr = 0.1\nmomentum = 0.5\n"
                            "[train]\nepochs = 2\nbatch_size = 4\n";

/* A value for each key that differs from plain's, and whether a resume lets it change. */
static const struct {
    const char *override;
    bool free;
} changes[] = {
    {"run.name=other", true},
    {"run.output=there", true},
    {"run.seed=18446744073709551615", false},
    {"run.resume=never", true},
    {"run.log=true", true},
    {"run.overwrite=yes", true},
    {"data.format=csv", false},
    {"data.dir=a = b: [c] \"q\" %d \xc3\xbc;#", true},
    {"data.train=file.h5:/path", true},
    {"data.test=t", true},
    {"data.target=y", false},
    {"data.columns=a, b", false},
    {"data.exclude=c", false},
    {"data.validation=0.1", false},
    {"data.stratify=true", false},
    {"data.normalize=standardize", false},
    {"data.memory=map", true},
    {"data.layout=channels_last", false},
    {"data.classes=T-shirt/top, Trouser", false},
    {"data.class_weights=balanced", false},
    {"data.limit=2147483647", false},
    {"model.layers=dense:512 relu", false},
    {"model.init=constant", false},
    {"model.init_weight=0.3367, -1e-3 .5", false},
    {"model.init_bias=1", false},
    {"model.init_file=w.h5", false},
    {"model.init_partial=true", false},
    {"model.freeze=0 3", false},
    {"loss.name=mse", false},
    {"loss.delta=2", false},
    {"loss.label_smoothing=0.1", false},
    {"optimizer.name=adamw", false},
    {"optimizer.lr=0.30000000000000004", false},
    {"optimizer.momentum=0.9", false},
    {"optimizer.nesterov=yes", false},
    {"optimizer.weight_decay=1.5e-45", false},
    {"optimizer.decay_all=no", false},
    {"optimizer.beta1=0.85", false},
    {"optimizer.beta2=0.99", false},
    {"optimizer.eps=1e-7", false},
    {"optimizer.alpha=0.9", false},
    {"optimizer.trust=0.01", false},
    {"optimizer.clip_norm=3.4028234663852886e38", false},
    {"optimizer.schedule=step", false},
    {"optimizer.warmup=0.5", false},
    {"optimizer.min_lr=1e-4", false},
    {"optimizer.step_epochs=3", false},
    {"optimizer.milestones=1, 2.5", false},
    {"optimizer.step_gamma=0.5", false},
    {"optimizer.power=0.9", false},
    {"optimizer.pct_start=0.25", false},
    {"optimizer.div_factor=10", false},
    {"optimizer.final_momentum=0.95", false},
    {"augment.shift=2", false},
    {"augment.rotate=15", false},
    {"augment.scale=0.1", false},
    {"augment.shear=0.2", false},
    {"augment.flip=0.5", false},
    {"augment.elastic=4", false},
    {"augment.elastic_sigma=6", false},
    {"augment.erase=0.5", false},
    {"train.epochs=3", true},
    {"train.batch_size=8", false},
    {"train.shuffle=off", false},
    {"train.drop_last=on", false},
    {"train.log_every=1", true},
    {"train.log_from=3", true},
    {"train.quiet=true", true},
    {"train.eval_every=2", false},
    {"train.patience=2", false},
    {"train.max_steps=5", true},
    {"train.max_time=0.5", true},
    {"train.ema=0.999", false},
    {"train.zero_grad=no", false},
    {"checkpoint.every=2", true},
    {"checkpoint.every_steps=7", true},
    {"checkpoint.keep=1", true},
    {"checkpoint.retries=0", true},
    {"checkpoint.best=none", false},
    {"metrics.every=2", true},
    {"metrics.flush=0", true},
    {"parallel.threads=2", true},
    {"parallel.kernels=portable", true},
    {"parallel.allreduce=mpi", false},
    {"parallel.block=32", false},
    {"parallel.overlap=off", true},
    {"parallel.timeout=1", true},
};

Test(config_text, lets_a_resume_change_what_the_contract_names_and_nothing_else)
{
    dp_config old = accept(plain, NULL);
    for (size_t i = 0; i < COUNT(changes); i++) {
        const char *override = changes[i].override;
        dp_config now = accept(plain, override);
        cr_assert_arr_neq(&old, &now, sizeof old, "%s changes nothing", override);
        dp_status expected = changes[i].free ? DP_OK : DP_EUSAGE;
        cr_assert_eq(dp_config_may_resume(&old, &now), expected, "%s", override);
        cr_assert_eq(dp_config_may_resume(&now, &old), expected, "%s back", override);
        cr_assert_eq(dp_config_same_run(&old, &now), changes[i].free, "%s", override);
    }
}

Test(config_text, lets_epochs_grow_only_where_the_schedule_does_not_look)
{
    char *two[] = {"optimizer.schedule=step", "train.epochs=9"};
    dp_config old, now;
    static const struct {
        char *schedule;
        dp_status expected;
    } cases[] = {{"optimizer.schedule=constant", DP_OK},
                 {"optimizer.schedule=step", DP_OK},
                 {"optimizer.schedule=exponential", DP_OK},
                 {"optimizer.schedule=linear", DP_EUSAGE},
                 {"optimizer.schedule=polynomial", DP_EUSAGE},
                 {"optimizer.schedule=cosine", DP_EUSAGE},
                 {"optimizer.schedule=onecycle", DP_EUSAGE}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        two[0] = cases[i].schedule;
        cr_assert_eq(dp_config_parse("t.ini", base, 1, two, &old), DP_OK);
        cr_assert_eq(dp_config_parse("t.ini", base, 2, two, &now), DP_OK);
        cr_assert_eq(dp_config_may_resume(&old, &now), cases[i].expected, "%s",
                     cases[i].schedule);
    }
}

Test(config_text, lists_all_that_a_resume_refuses_and_says_what_to_do)
{
    char *list[] = {"optimizer.lr=0.2", "model.layers=relu", "train.log_every=7",
                    "run.output=runs/x"};
    dp_config old = accept(base, NULL), now;
    cr_assert_eq(dp_config_parse("t.ini", base, 4, list, &now), DP_OK);
    cr_assert_eq(dp_config_may_resume(&old, &now), DP_EUSAGE);
    cr_assert_str_eq(dp_status_message(),
                     "runs/x holds a run of another config, so it can't be continued: "
                     "model.layers: (empty) -> relu; optimizer.lr: 0.1 -> 0.2; set "
                     "run.overwrite=true to start anew there, or another run.output");
}

Test(config_text, text_parses_back_to_the_same_bytes)
{
    for (size_t i = 0; i < COUNT(changes); i++) {
        dp_config config = accept(plain, changes[i].override), again;
        char *text = dp_config_text(&config);
        memset(&again, 0x5a, sizeof again);
        cr_assert_eq(dp_config_parse("elsewhere/u.h5", text, 0, NULL, &again), DP_OK,
                     "%s: %s", changes[i].override, dp_status_message());
        cr_assert_arr_eq(&again, &config, sizeof config, "%s", changes[i].override);
        free(text);
    }
}

Test(config_text, text_keeps_every_bit_of_a_double_and_is_short)
{
    dp_config config = accept(base, NULL), again;
    uint64_t state = 1;
    for (int i = 0; i < 2000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        /* any digits, and a size that a float can hold */
        uint64_t bits = (state ^ state >> 29) >> 12 | 1023ull << 52;
        double value;
        memcpy(&value, &bits, sizeof value);
        value = ldexp(value, (int)(state >> 40) % 250 - 125);
        config.optimizer.lr = value;
        char *text = dp_config_text(&config);
        cr_assert_eq(dp_config_parse("t.ini", text, 0, NULL, &again), DP_OK, "%s",
                     dp_status_message());
        cr_assert_arr_eq(&again.optimizer.lr, &value, sizeof value);
        free(text);
    }
    config.optimizer.lr = 0.1;
    config.optimizer.weight_decay = 1e-4;
    char *text = dp_config_text(&config);
    cr_assert_not_null(strstr(text, "\nlr = 0.1\n"));
    cr_assert_not_null(strstr(text, "\nweight_decay = 0.0001\n"));
    free(text);
}

Test(config_text, finds_every_config_that_is_shipped_valid)
{
    glob_t found;
    cr_assert_eq(glob("configs/*.ini", 0, NULL, &found), 0,
                 "run this from the top folder");
    for (size_t i = 0; i < found.gl_pathc; i++) {
        dp_config config;
        if (strstr(found.gl_pathv[i], "/sweep_")) {
            continue; /* a spec of scripts/sweep.py */
        }
        cr_assert_eq(dp_config_read(found.gl_pathv[i], 0, NULL, &config), DP_OK, "%s",
                     dp_status_message());
    }
    globfree(&found);
}

static char *help_of(const char *topic) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    dp_status status = dp_config_help(topic, stream);
    fclose(stream);
    cr_assert_eq(status, DP_OK, "%s: %s", topic ? topic : "", dp_status_message());
    cr_assert_gt(size, 0);
    return text;
}

static void fits_the_page(const char *text) {
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        cr_assert_leq(strcspn(line, "\n"), 90, "too wide: %.100s", line);
}

Test(config_text, help_tells_of_every_key_within_90_columns)
{
    dp_config config = accept(base, NULL);
    char *text = dp_config_text(&config), *all = help_of(NULL), section[32] = "",
         *rest = text;
    int keys = 0;
    fits_the_page(all);
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (*line == '[') {
            snprintf(section, sizeof section, "%.*s", (int)strcspn(line, "]") - 1,
                     line + 1);
            cr_assert_not_null(strstr(all, section), "%s", section);
            free(help_of(section));
        } else if (*line) {
            char topic[64], row[64];
            int n = (int)strcspn(line, " ");
            snprintf(topic, sizeof topic, "%s.%.*s", section, n, line);
            snprintf(row, sizeof row, "\n  %.*s ", n, line);
            cr_assert_not_null(strstr(strstr(all, section), row), "%s", topic);
            char *one = help_of(topic);
            fits_the_page(one);
            cr_assert_not_null(strstr(one, "\n  type     "), "%s", topic);
            cr_assert_not_null(strstr(one, "\n  default  "), "%s", topic);
            free(one);
            keys++;
        }
    }
    cr_assert_eq(keys, (int)COUNT(changes), "a key is missing in the list of changes");
    free(text);
    free(all);
}

Test(config_text, help_shows_type_default_range_and_sentence_of_a_key)
{
    char *text = help_of("optimizer.momentum");
    cr_assert_str_eq(text, "optimizer.momentum\n"
                           "  sgd, rmsprop, lars: momentum.\n\n"
                           "  type     number >= 0 and < 1\n"
                           "  default  0\n"
                           "  resume   stays as it is when a run is continued\n"
                           "  set by   'momentum = ...' under [optimizer], or "
                           "optimizer.momentum=... after the CONFIG\n");
    free(text);
    text = help_of("train.max_steps");
    cr_assert_not_null(strstr(text, "so many steps of this start, not of the"));
    cr_assert_not_null(strstr(text, "number >= 0 and <= 1000000000000000\n"));
    free(text);
    text = help_of("checkpoint");
    cr_assert_not_null(strstr(text,
                              "\n  keep             3              whole number >= 1\n"
                              "                                  Newest checkpoints to "
                              "keep, beside the best.\n"));
    free(text);
}

Test(config_text, help_suggests_the_nearest_topic)
{
    static const char *const cases[][2] = {
        {"optimiser", "unknown section [optimiser]; did you mean [optimizer]? 'trainer "
                      "help' lists all"},
        {"lr", "'lr' stands in no section; did you mean 'optimizer.lr'?"},
        {"optimizer.lrr", "unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'? "
                          "'trainer help optimizer' lists all"},
        {"optimise.lr", "unknown section [optimise]; did you mean [optimizer]? 'trainer "
                        "help' lists all"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[256];
        snprintf(message, sizeof message, "trainer help: %s", cases[i][1]);
        cr_assert_eq(dp_config_help(cases[i][0], stdout), DP_EUSAGE);
        cr_assert_str_eq(dp_status_message(), message);
    }
}
