#include "config_cases.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* `message`: the whole of it. */
static void refuse(const char *text, const char *override, const char *message) {
    dp_config config, before;
    memset(&config, 0x5a, sizeof config);
    before = config;
    dp_status status = parse(text, override, &config);
    cr_assert_eq(status, DP_EUSAGE, "'%s' was not refused, or with code %d",
                 override ? override : text, status);
    cr_assert_str_eq(dp_status_message(), message);
    cr_assert_arr_eq(&config, &before, sizeof config, "a refusal changed the config");
}

/* As an override of key. */
static void refuse_value(const char *key, const char *value, const char *why) {
    char override[DP_TEXT * 2], message[DP_TEXT * 3];
    snprintf(override, sizeof override, "%s=%s", key, value);
    snprintf(message, sizeof message, "override '%s': %s = '%s' %s", override, key, value,
             why);
    refuse(base, override, message);
}

typedef struct values {
    const char *key, *text; /* what is allowed, or what the values are read as */
    const char *values[9];
} values;

static void expect_read(const values *v) {
    for (const char *const *value = v->values; *value; value++) {
        char override[128], line[128];
        snprintf(override, sizeof override, "%s=%s", v->key, *value);
        snprintf(line, sizeof line, "\n%s = %s\n", strchr(v->key, '.') + 1, v->text);
        dp_config config = accept(base, override);
        char *text = dp_config_text(&config);
        cr_assert(strstr(text, line), "%s gives\n%s", override, text);
        free(text);
    }
}

Test(config, suggests_the_nearest_names_for_an_unknown_one)
{
    static const struct {
        const char *section, *key, *nearest;
    } keys[] = {
        {"optimizer", "lrr", "'optimizer.lr'"},
        {"train", "batch_szie", "'train.batch_size'"},
        {"train", "Batch-Size", "'train.batch_size'"},
        {"train", "batch", "'train.batch_size'"},
        {"train", "num_epochs", "'train.epochs'"},
        {"optimizer", "rl", "'optimizer.lr'"},
        {"optimizer", "LR", "'optimizer.lr'"},
        {"optimizer", "learning_rate", "'optimizer.lr'"},
        {"train", "lr", "'optimizer.lr'"},
        {"train", "momentun", "'optimizer.momentum'"},
        {"train", "name", "'run.name', 'loss.name', 'optimizer.name'"},
        {"metrics", "foo", "'metrics.flush'"},
    };
    char text[512], message[512];
    for (size_t i = 0; i < COUNT(keys); i++) {
        snprintf(text, sizeof text, "%s[%s]\n%s = 1", base, keys[i].section, keys[i].key);
        snprintf(message, sizeof message,
                 "t.ini:9: unknown key '%s.%s'; did you mean %s? 'trainer help %s' lists "
                 "all",
                 keys[i].section, keys[i].key, keys[i].nearest, keys[i].section);
        refuse(text, NULL, message);
    }
    static const char *const sections[][2] = {{"optimiser", "[optimizer]"},
                                              {"Trian", "[train]"},
                                              {"xyz", "[run]"},
                                              {"", "[run]"}};
    for (size_t i = 0; i < COUNT(sections); i++) {
        snprintf(text, sizeof text, "%s[%s] ; no keys\n", base, sections[i][0]);
        snprintf(message, sizeof message,
                 "t.ini:8: unknown section [%s]; did you mean %s? 'trainer help' lists "
                 "all",
                 sections[i][0], sections[i][1]);
        refuse(text, NULL, message);
    }
    refuse("epoch = 1\n", NULL,
           "t.ini:1: 'epoch' stands in no section; did you mean 'train.epochs'?");
}

Test(config, refuses_lines_that_are_wrong_and_names_them)
{
    static const char *const cases[][2] = {
        {"[train]\nepochs = 1\n[data]\n\n[train]\nepochs = 1\n",
         "t.ini:6: duplicate key 'train.epochs', already set on line 2"},
        {"[train]\nepochs\nfoo = 1\n", "t.ini:2: expected [section] or key = value"},
        {"\xef\xbb\xbf[train\nepochs = 1\n",
         "t.ini:1: a section must end in ']', as in [optimizer]"},
        {"[train] epochs = 1\n",
         "t.ini:1: 'epochs = 1' after a section's ']': put it on a line of its own"},
        {"[optimizer]\nlr = 0.1\nmomentum = 1.5\n",
         "t.ini:3: optimizer.momentum = '1.5' is wrong; allowed: number >= 0 and < 1"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        refuse(cases[i][0], NULL, cases[i][1]);
    }
}

Test(config, refuses_a_wrong_value_with_what_is_allowed)
{
    static const values cases[] = {
        {"optimizer.lr",
         "number >= 0",
         {"", "fast", "0x1p-3", "nan", "inf", "0,1", "0.1 0.2", "-0.1"}},
        {"optimizer.momentum", "number >= 0 and < 1", {"1", "-1"}},
        {"optimizer.beta1", "number >= 0 and < 1", {"1"}},
        {"optimizer.beta2", "number >= 0 and < 1", {"1.5"}},
        {"optimizer.eps", "number > 0", {"0"}},
        {"optimizer.min_lr", "number >= 0", {"-1"}},
        {"optimizer.nesterov", "true | false", {"", "maybe"}},
        {"optimizer.name",
         "sgd | adam | adamw | rmsprop | adagrad | lion | lars | lamb",
         {"", "SGD", "sg", "adam | adamw", "|"}},
        {"optimizer.schedule",
         "constant | step | multistep | exponential | linear | polynomial | cosine | "
         "onecycle",
         {"cosinus"}},
        {"loss.name", "cross_entropy | mse | mae | huber | bce", {"entropy"}},
        {"loss.label_smoothing", "number >= 0 and < 1", {"1"}},
        {"run.resume", "auto | never", {"always"}},
        {"parallel.kernels", "auto | avx512 | avx2 | portable", {"sse9"}},
        {"train.shuffle", "true | false", {"maybe", "2"}},
        {"checkpoint.best",
         "auto | none | train_loss | train_accuracy | val_loss | val_accuracy | "
         "test_loss | "
         "test_accuracy | val_r2 | val_mae | test_r2 | test_mae",
         {"nothing_known", "loss"}},
        {"data.validation", "number >= 0 and <= 2147483647", {"-1"}},
        {"data.limit", "whole number >= 0 and <= 2147483647", {"-1"}},
        {"train.epochs",
         "whole number >= 1 and <= 2147483647",
         {"", "0", "2147483648", "99999999999999999999", "1.5"}},
        {"train.batch_size", "whole number >= 0 and <= 2147483647", {"-64", "64x"}},
        {"checkpoint.keep", "whole number >= 1 and <= 2147483647", {"0"}},
        {"checkpoint.every",
         "auto | whole number >= 0 and <= 2147483647",
         {"", "-1", "often"}},
        {"parallel.threads", "auto | whole number >= 1 and <= 1024", {"0", "1025"}},
        {"parallel.block", "whole number >= 1 and <= 65536", {"0", "65537"}},
        {"parallel.timeout", "number > 0", {"0"}},
        {"run.seed", "whole number >= 0 and < 2^64", {"", "-1", "18446744073709551616"}},
        {"model.init_weight",
         "numbers, separated by blanks or commas",
         {"", ",", "1, two"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char why[256];
        snprintf(why, sizeof why, "is wrong; allowed: %s", cases[i].text);
        for (const char *const *value = cases[i].values; *value; value++) {
            refuse_value(cases[i].key, *value, why);
        }
    }
}

Test(config, refuses_numbers_that_single_precision_cannot_hold)
{
    static const char *const beyond[][2] = {
        {"optimizer.lr", "1e39"},         {"optimizer.lr", "1e999"},
        {"optimizer.lr", "1e-400"},       {"optimizer.lr", "0.1e-45"},
        {"optimizer.eps", "1e-50"},       {"optimizer.min_lr", "-1e-400"},
        {"train.max_time", "1e39"},       {"model.init_weight", "1e39"},
        {"model.init_bias", "0 -1e39 1"}, {"model.init_bias", "0, 1e-99"},
    };
    for (size_t i = 0; i < COUNT(beyond); i++) {
        refuse_value(beyond[i][0], beyond[i][1],
                     "is out of range: a number is 0, or from 1.4e-45 to 3.4e+38, as "
                     "single precision holds it");
    }
}

Test(config, refuses_other_homes_than_ones_own)
{
    refuse_value("data.dir", "~bob/data",
                 "begins with '~': only ~/ is known, your home folder; give the whole "
                 "path, or ./~... if that is the name");
    char home[DP_TEXT];
    memset(home, 'h', sizeof home - 1);
    home[sizeof home - 1] = '\0';
    setenv("HOME", home, 1);
    refuse_value("data.dir", "~/data", "is too long: a value has at most 1023 bytes");
    unsetenv("HOME");
    refuse_value("data.dir", "~/data",
                 "begins with '~', but HOME is not set: give the whole path");
    accept(base, NULL);
}

Test(config, reads_edges_of_ranges_zeros_paths_and_words_for_bool)
{
    setenv("HOME", "/home/ann", 1);
    static const values cases[] = {
        {"optimizer.momentum", "0.999", {".999"}},
        {"parallel.block", "65536", {"65536"}},
        {"train.batch_size", "0", {"0"}},
        {"data.validation", "10000", {"10000"}},
        {"parallel.threads", "1024", {"1024"}},
        {"parallel.threads", "2", {"02"}},
        {"checkpoint.every", "0", {"0"}},
        {"checkpoint.best", "auto", {"auto"}},
        {"checkpoint.best", "train_loss", {"train_loss"}},
        {"checkpoint.best", "test_mae", {"test_mae"}},
        {"optimizer.lr", "3.4028234e+38", {"3.4028234e38"}},
        {"optimizer.lr", "1.5e-45", {"1.5e-45"}},
        {"optimizer.lr", "0", {"0", "0.000", "-.0e5", "+0e-999"}},
        {"model.init_weight", "0 0.0 -0 1e-45", {"0 0.0 -0 1e-45"}},
        {"run.output", "/home/ann/runs/a", {"~/runs/a"}},
        {"data.dir", "/home/ann", {"~"}},
        {"data.dir", "./~bob", {"./~bob"}},
        {"data.train", "/home/ann/t.csv", {"~/t.csv"}},
        {"data.test", "/home/ann/a~b.h5:/~x", {"~/a~b.h5:/~x"}},
        {"data.target", "~x", {"~x"}},
        {"model.init_file", "/home/ann/w.h5", {"~/w.h5"}},
        {"model.freeze", "0 12", {"0 12", "0,12", " 00 ,  12, "}},
        {"train.drop_last", "true", {"true", "yes", "on", "1", "True"}},
        {"train.shuffle", "false", {"false", "no", "off", "0", "OFF"}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_read(&cases[i]);
    }
}

Test(config, overrides_win_and_the_last_one_most)
{
    char *list[] = {"optimizer.lr=0.2", " train . epochs = 7 ", "optimizer.lr=0.3"};
    dp_config config;
    cr_assert_eq(dp_config_parse("t.ini", base, 3, list, &config), DP_OK);
    cr_assert_eq(config.optimizer.lr, 0.3);
    cr_assert_eq(config.train.epochs, 7);
}

Test(config, names_the_override_that_is_wrong)
{
    refuse(base, "optimizer.lrr=1",
           "override 'optimizer.lrr=1': unknown key 'optimizer.lrr'; did you mean "
           "'optimizer.lr'? 'trainer help optimizer' lists all");
    refuse(base, "trian.epochs=1",
           "override 'trian.epochs=1': unknown section [trian]; did you mean [train]? "
           "'trainer help' lists all");
    refuse(base, "lr=1",
           "override 'lr=1': 'lr' stands in no section; did you mean 'optimizer.lr'?");
    refuse(
        base, "optimizer.lr",
        "override 'optimizer.lr': expected section.key=value, such as optimizer.lr=0.1");
    refuse(base, "run.name=\xff",
           "override 'run.name=\xff': not text (byte 0xff on line 1): a config is an INI "
           "file in UTF-8, such as configs/mlp.ini");
}

Test(config, refuses_text_that_an_ini_file_could_not_keep)
{
    static const char *const texts[] = {"#1", ";x", "a ;b", "a #b", "a\t#b"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        refuse_value("data.dir", texts[i],
                     "can't be kept in a config: a ';' or '#' at the start or after a "
                     "blank begins a comment there");
    }
    refuse_value("run.name", "a\nb", "has a line end in it: a value is one line");
}

Test(config, says_which_required_key_is_missing_and_how_to_set_it)
{
    static const char *const keys[][2] = {
        {"optimizer", "lr"}, {"train", "epochs"}, {"train", "batch_size"}};
    char text[256] = "\n# lr = 1\n[data]\ndir = d\n", message[512];
    for (size_t i = 0; i < COUNT(keys); i++) {
        const char *section = keys[i][0], *key = keys[i][1];
        snprintf(
            message, sizeof message,
            "t.ini: %s.%s is missing: add '%s = ...' under [%s], or %s.%s=... to the "
            "command line ('trainer help %s.%s' says more)",
            section, key, key, section, section, key, section, key);
        refuse(text, NULL, message);
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "[%s]\n%s = 1\n", section, key);
    }
    refuse(text, "data.dir=",
           "t.ini: the data is missing: add 'dir = FOLDER' (IDX files) or 'train = FILE' "
           "under [data], or data.dir=... or data.train=... to the command line");
    accept("[data]\ntrain = f\n[train]\nepochs = 1\nbatch_size = 1\n", "optimizer.lr=1");
}

Test(config, refuses_what_does_not_go_together)
{
    refuse_value("optimizer.nesterov", "true", "needs optimizer.momentum above 0");
    refuse_value("data.validation", "1.5",
                 "must be a whole number of samples, or a fraction below 1");
    refuse_value("model.init", "file", "needs model.init_file, the file");
    refuse_value("model.init_partial", "true", "needs model.init_file, the file");
    refuse_value("checkpoint.best", "val_loss", "needs data.validation above 0");
    char text[512];
    snprintf(text, sizeof text, "%s[checkpoint]\nbest = test_loss\n", base);
    refuse(text, "data.validation=0.2",
           "t.ini:9: checkpoint.best = 'test_loss' needs data.validation = 0: with a "
           "validation split the test set is scored only at the end");
    snprintf(text, sizeof text, "%s[data]\nvalidation = 0.5\n", base);
    accept(text, "checkpoint.best=val_accuracy");
    snprintf(text, sizeof text, "%s[optimizer]\nmomentum = 0.5\n", base);
    accept(text, "optimizer.nesterov=true");
    snprintf(text, sizeof text, "%s[optimizer]\nname = adam\n", base);
    accept(text, "optimizer.nesterov=true");
}

Test(config, names_the_run_after_the_file)
{
    dp_config config;
    static const char *const cases[][2] = {{"configs/mlp.ini", "runs/mlp"},
                                           {"a.b/mlp", "runs/mlp"},
                                           {"mlp.v2.ini", "runs/mlp.v2"},
                                           {"x/.hidden", "runs/.hidden"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        cr_assert_eq(dp_config_parse(cases[i][0], base, 0, NULL, &config), DP_OK);
        cr_assert_str_eq(config.run.name, cases[i][1] + strlen("runs/"));
        cr_assert_str_eq(config.run.output, cases[i][1]);
    }
    config = accept(base, "run.name=other");
    cr_assert_str_eq(config.run.output, "runs/other");
    config = accept(base, "run.output=../there/");
    cr_assert_str_eq(config.run.output, "../there/");
    cr_assert_str_eq(config.run.name, "t");
    refuse_value("run.name", "a/b",
                 "can't name a folder: give a name without '/', and the folder as "
                 "run.output");
}

Test(config, reads_comments_indents_colons_and_foreign_line_ends)
{
    dp_config config =
        accept("\xef\xbb\xbf[data] ; where\r\n  dir : d#1 ; ours\r\n# lr = 9\r\n"
               "[optimizer]\r\n  lr = 0.5 # half\r\n  momentum=0.9\r\n[train]\r\n"
               "epochs = 3\r\nbatch_size = 8",
               NULL);
    cr_assert_str_eq(config.data.dir, "d#1");
    cr_assert_eq(config.optimizer.lr, 0.5);
    cr_assert_eq(config.optimizer.momentum, 0.9);
    cr_assert_eq(config.train.batch_size, 8);
}

/* base, and model.layers with n times `fill` before "relu". */
static const char *with_layers(int n, char fill) {
    static char text[6000];
    char *end = text + snprintf(text, sizeof text, "%s[model]\nlayers=", base);
    memset(end, fill, (size_t)n);
    strcpy(end + n, "relu\n");
    return text;
}

Test(config, keeps_long_values_whole_and_refuses_longer_ones)
{
    enum { MOST = DP_TEXT - 1 - 4, LINE = 4094 - 4 - 7 };
    dp_config config = accept(with_layers(MOST, 'x'), NULL);
    cr_assert_eq(strspn(config.model.layers, "x"), MOST);
    cr_assert_str_eq(config.model.layers + MOST, "relu");
    char message[256];
    snprintf(
        message, sizeof message,
        "t.ini:9: model.layers = '%.80s' is too long: a value has at most 1023 bytes",
        config.model.layers);
    refuse(with_layers(MOST + 1, 'x'), NULL, message);
    cr_assert_str_eq(accept(with_layers(LINE, ' '), NULL).model.layers, "relu");
    refuse(with_layers(LINE + 1, ' '), NULL,
           "t.ini:9: the line is 4095 bytes long: at most 4094 are read");
}

static void refuse_file(const void *bytes, size_t length, const char *message) {
    dp_config config;
    char path[] = "/tmp/dp-config-XXXXXX", expected[1024];
    int file = mkstemp(path);
    cr_assert_eq(write(file, bytes, length), (ssize_t)length);
    cr_assert_eq(close(file), 0);
    snprintf(expected, sizeof expected, "%s%s", path, message);
    dp_status status = dp_config_read(path, 0, NULL, &config);
    unlink(path);
    cr_assert_eq(status, DP_EUSAGE);
    cr_assert_str_eq(dp_status_message(), expected);
}

Test(config, refuses_files_that_are_no_config)
{
    static char large[(1 << 20) + 1];
    memset(large, '\n', sizeof large);
    refuse_file(large, sizeof large,
                ": is larger than 1024 KiB; give the path of an INI file, such as "
                "configs/mlp.ini");
    static const struct {
        const char *bytes;
        size_t length;
        int byte, line;
    } cases[] = {{"[run]\n\0\n", 8, 0x00, 2},
                 {"\x89HDF\r\n\x1a\n", 8, 0x89, 1},
                 {"[run]\rseed = 1\r", 15, 0x0d, 1},
                 {"[run]\r\n\r\nname = \xe9", 17, 0xe9, 3},
                 {"\xe2\x82", 2, 0xe2, 1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[128];
        snprintf(message, sizeof message,
                 ": not text (byte 0x%02x on line %d): a config is an INI file in UTF-8, "
                 "such as configs/mlp.ini",
                 (unsigned)cases[i].byte, cases[i].line);
        refuse_file(cases[i].bytes, cases[i].length, message);
    }
}
