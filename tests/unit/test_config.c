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

/* A file in the test's own folder; returns its path. */
static const char *file_of(const char *name, const void *bytes, size_t length) {
    static char path[256];
    char folder[] = "/tmp/dp-config-XXXXXX";
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(bytes, 1, length, f), length);
    cr_assert_eq(fclose(f), 0);
    return path;
}

static void drop(const char *path) {
    char folder[256];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    unlink(path);
    rmdir(folder);
}

Test(config, suggests_the_nearest_name_for_an_unknown_one)
{
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"[optimizer]\nlrr = 1",
         "t.ini:9: unknown key 'optimizer.lrr'; did you mean 'lr'?"},
        {"[train]\nbatch_szie = 1",
         "t.ini:9: unknown key 'train.batch_szie'; did you mean 'batch_size'?"},
        {"[train]\nBatch-Size = 1",
         "t.ini:9: unknown key 'train.Batch-Size'; did you mean 'batch_size'?"},
        {"[optimizer]\nrl = 1",
         "t.ini:9: unknown key 'optimizer.rl'; did you mean 'lr'?"},
        {"[optimizer]\nLR = 1",
         "t.ini:9: unknown key 'optimizer.LR'; did you mean 'lr'?"},
        {"[optimizer]\nlearning_rate = 1",
         "t.ini:9: unknown key 'optimizer.learning_rate'; did you mean 'lr'?"},
        {"[train]\nlr = 1",
         "t.ini:9: unknown key 'train.lr'; 'lr' belongs to [optimizer]"},
        {"[train]\nname = x", "t.ini:9: unknown key 'train.name'; 'name' belongs to "
                              "[run], [loss], [optimizer]"},
        {"[train]\nmomentun = 1",
         "t.ini:9: unknown key 'train.momentun'; did you mean 'optimizer.momentum'?"},
        {"[metrics]\nfoo = 1", "t.ini:9: unknown key 'metrics.foo'; the nearest is "
                               "'flush', and 'trainer help metrics' lists all"},
        {"[optimiser]\nlr = 1",
         "t.ini:8: unknown section [optimiser]; did you mean [optimizer]?"},
        {"[Trian]", "t.ini:8: unknown section [Trian]; did you mean [train]?"},
        {"[xyz]", "t.ini:8: unknown section [xyz]; the nearest is [run], and 'trainer "
                  "help' lists all"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        snprintf(text, sizeof text, "%s%s\n", base, cases[i].line);
        refuse(text, NULL, cases[i].message);
    }
    refuse("lr = 1\n", NULL,
           "t.ini:1: 'lr' stands in no section; it belongs to [optimizer]");
    refuse("epoch = 1\n", NULL,
           "t.ini:1: 'epoch' stands in no section; the nearest key is 'train.epochs'");
}

Test(config, names_both_lines_of_a_duplicate_key)
{
    refuse("[train]\nepochs = 1\n[data]\n\n[train]\nepochs = 1\n", NULL,
           "t.ini:6: duplicate key 'train.epochs', already set on line 2");
}

Test(config, refuses_lines_that_are_neither_section_nor_key)
{
    refuse("[train]\nepochs\n", NULL, "t.ini:2: expected [section] or key = value");
    refuse("[train]\nepochs\nfoo = 1\n", NULL,
           "t.ini:2: expected [section] or key = value");
    refuse("[train\nepochs = 1\n", NULL,
           "t.ini:1: a section must end in ']', as in [optimizer]");
    refuse("[train] epochs = 1\n", NULL,
           "t.ini:1: 'epochs = 1' after a section's ']': put it on a line of its own");
}

Test(config, refuses_a_wrong_value_with_what_is_allowed)
{
    static const struct {
        const char *override, *why;
    } cases[] = {
        {"optimizer.lr=", "it must be a number >= 0"},
        {"optimizer.lr=fast", "it must be a number >= 0"},
        {"optimizer.lr=0x1p-3", "it must be a number >= 0"},
        {"optimizer.lr=nan", "it must be a number >= 0"},
        {"optimizer.lr=inf", "it must be a number >= 0"},
        {"optimizer.lr=0,1", "it must be a number >= 0"},
        {"optimizer.lr=0.1 0.2", "it must be a number >= 0"},
        {"optimizer.lr=-0.1", "it must be >= 0"},
        {"optimizer.momentum=1", "it must be >= 0 and < 1"},
        {"optimizer.beta1=1", "it must be >= 0 and < 1"},
        {"optimizer.beta2=1.5", "it must be >= 0 and < 1"},
        {"optimizer.eps=0", "it must be > 0"},
        {"optimizer.min_lr=-1", "it must be >= 0"},
        {"optimizer.nesterov=maybe", "it must be true | false"},
        {"optimizer.name=SGD", "it must be one of sgd | adam | adamw"},
        {"optimizer.name=adam|adamw", "it must be one of sgd | adam | adamw"},
        {"optimizer.name=", "it must be one of sgd | adam | adamw"},
        {"loss.label_smoothing=1", "it must be >= 0 and < 1"},
        {"data.validation=-1", "it must be >= 0 and <= 2147483647"},
        {"data.limit=-1", "it must be >= 0 and <= 2147483647"},
        {"train.epochs=0", "it must be >= 1 and <= 2147483647"},
        {"train.epochs=2147483648", "it must be >= 1 and <= 2147483647"},
        {"train.epochs=99999999999999999999", "it must be a whole number >= 1"},
        {"train.epochs=1.5", "it must be a whole number >= 1"},
        {"train.batch_size=-64", "it must be >= 0 and <= 2147483647"},
        {"train.batch_size=64x", "it must be a whole number >= 0"},
        {"checkpoint.keep=0", "it must be >= 1 and <= 2147483647"},
        {"checkpoint.every=-1", "it must be >= 0 and <= 2147483647"},
        {"checkpoint.every=often", "it must be auto | whole number >= 0"},
        {"parallel.threads=0", "it must be >= 1 and <= 1024"},
        {"parallel.threads=1025", "it must be >= 1 and <= 1024"},
        {"parallel.block=0", "it must be >= 1 and <= 65536"},
        {"parallel.block=65537", "it must be >= 1 and <= 65536"},
        {"parallel.timeout=0", "it must be > 0"},
        {"run.seed=-1", "it must be a whole number >= 0 and < 2^64"},
        {"run.seed=18446744073709551616", "it must be a whole number >= 0 and < 2^64"},
        {"model.init_weight=", "it must be numbers, separated by blanks or commas"},
        {"model.init_weight=1, two", "it must be numbers, separated by blanks or commas"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char message[512];
        const char *equals = strchr(cases[i].override, '=');
        bool range = !strncmp(cases[i].why, "it must be >", 12);
        snprintf(message, sizeof message, "override '%s': %.*s = '%s' is %s: %s",
                 cases[i].override, (int)(equals - cases[i].override), cases[i].override,
                 equals + 1, range ? "out of range" : "wrong", cases[i].why);
        refuse(base, cases[i].override, message);
    }
    refuse(
        "[optimizer]\nlr = 0.1\nmomentum = 1.5\n", NULL,
        "t.ini:3: optimizer.momentum = '1.5' is out of range: it must be >= 0 and < 1");
}

Test(config, refuses_numbers_that_single_precision_cannot_hold)
{
    static const char *const beyond[] = {
        "optimizer.lr=1e39",        "optimizer.lr=1e999",     "optimizer.lr=1e-400",
        "optimizer.lr=0.1e-45",     "optimizer.eps=1e-50",    "optimizer.min_lr=-1e-400",
        "train.max_time=1e39",      "model.init_weight=1e39", "model.init_bias=0 -1e39 1",
        "model.init_bias=0, 1e-99",
    };
    for (size_t i = 0; i < COUNT(beyond); i++) {
        char message[512];
        const char *equals = strchr(beyond[i], '=');
        snprintf(message, sizeof message,
                 "override '%s': %.*s = '%s' is out of range: a number is 0, or from "
                 "1.4e-45 to 3.4e+38, as single precision holds it",
                 beyond[i], (int)(equals - beyond[i]), beyond[i], equals + 1);
        refuse(base, beyond[i], message);
    }
    cr_assert_eq(accept(base, "optimizer.lr=3.4028234e38").optimizer.lr, 3.4028234e38);
    cr_assert_eq(accept(base, "optimizer.lr=1.5e-45").optimizer.lr, 1.5e-45);
    static const char *const zero[] = {"optimizer.lr=0", "optimizer.lr=0.000",
                                       "optimizer.lr=-.0e5", "optimizer.lr=+0e-999"};
    for (size_t i = 0; i < COUNT(zero); i++)
        cr_assert_eq(accept(base, zero[i]).optimizer.lr, 0, "%s", zero[i]);
    accept(base, "model.init_weight=0 0.0 -0 1e-45");
}

Test(config, takes_a_leading_tilde_for_the_home_folder_and_no_other)
{
    setenv("HOME", "/home/ann", 1);
    dp_config c = accept("[run]\noutput = ~/runs/a\n[data]\ndir = ~\ntrain = ~/t.csv\n"
                         "[optimizer]\nlr = 0.1\n[train]\nepochs = 2\nbatch_size = 4\n",
                         "data.test=~/a~b.h5:/~x");
    cr_assert_str_eq(c.run.output, "/home/ann/runs/a");
    cr_assert_str_eq(c.data.dir, "/home/ann");
    cr_assert_str_eq(c.data.train, "/home/ann/t.csv");
    cr_assert_str_eq(c.data.test, "/home/ann/a~b.h5:/~x");
    cr_assert_str_eq(accept(base, "model.init_file=~/w.h5").model.init_file,
                     "/home/ann/w.h5");
    cr_assert_str_eq(accept(base, "data.dir=./~bob").data.dir, "./~bob");
    cr_assert_str_eq(accept(base, "data.target=~x").data.target, "~x");
    refuse(
        base, "data.dir=~bob/data",
        "override 'data.dir=~bob/data': data.dir = '~bob/data' begins with '~': only ~/ "
        "is known, your home folder; give the whole path, or ./~... if that is the name");
    char home[DP_TEXT];
    memset(home, 'h', sizeof home - 1);
    home[sizeof home - 1] = '\0';
    setenv("HOME", home, 1);
    refuse(base, "data.dir=~/data",
           "override 'data.dir=~/data': data.dir is 1028 bytes long: it must be at most "
           "1023");
    unsetenv("HOME");
    refuse(base, "data.dir=~/data",
           "override 'data.dir=~/data': data.dir = '~/data' begins with '~', but HOME is "
           "not set: give the whole path");
    accept(base, NULL);
}

Test(config, accepts_the_edges_of_ranges_and_all_words_for_bool)
{
    cr_assert_eq(accept(base, "optimizer.lr=0").optimizer.lr, 0);
    cr_assert_not(signbit(accept(base, "optimizer.lr=-0").optimizer.lr));
    cr_assert_eq(accept(base, "optimizer.momentum=.999").optimizer.momentum, .999);
    cr_assert_eq(accept(base, "parallel.block=65536").parallel.block, 65536);
    cr_assert_eq(accept(base, "train.batch_size=0").train.batch_size, 0);
    cr_assert_eq(accept(base, "data.validation=10000").data.validation, 10000);
    cr_assert_str_eq(accept(base, "parallel.threads=1024").parallel.threads, "1024");
    cr_assert_str_eq(accept(base, "parallel.threads=02").parallel.threads, "2");
    cr_assert_str_eq(accept(base, "checkpoint.every=0").checkpoint.every, "0");
    static const char *const best[] = {"auto",      "none",          "train_loss",
                                       "test_loss", "test_accuracy", "test_r2",
                                       "test_mae"};
    for (size_t i = 0; i < COUNT(best); i++) {
        char override[64];
        snprintf(override, sizeof override, "checkpoint.best=%s", best[i]);
        cr_assert_str_eq(accept(base, override).checkpoint.best, best[i]);
    }
    static const char *const yes[] = {"true", "yes", "on", "1", "True"};
    static const char *const no[] = {"false", "no", "off", "0", "OFF"};
    for (size_t i = 0; i < COUNT(yes); i++) {
        char override[64];
        snprintf(override, sizeof override, "train.drop_last=%s", yes[i]);
        cr_assert_eq(accept(base, override).train.drop_last, true);
        snprintf(override, sizeof override, "train.shuffle=%s", no[i]);
        cr_assert_eq(accept(base, override).train.shuffle, false);
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
           "override 'optimizer.lrr=1': unknown key 'optimizer.lrr'; did you mean 'lr'?");
    refuse(base, "trian.epochs=1",
           "override 'trian.epochs=1': unknown section [trian]; did you mean [train]?");
    refuse(base, "lr=1",
           "override 'lr=1': 'lr' stands in no section; it belongs to [optimizer]");
    refuse(
        base, "optimizer.lr",
        "override 'optimizer.lr': expected section.key=value, such as optimizer.lr=0.1");
    refuse(base, "run.name=a\nb", "override of run.name: a value is one line");
    refuse(base, "run.name=\xff", "override of run.name: the value is not text in UTF-8");
}

Test(config, refuses_text_that_an_ini_file_could_not_keep)
{
    static const char why[] = "can't be kept in a config: a ';' or '#' at the start or "
                              "after a blank begins a comment there";
    static const char *const values[] = {"#1", ";x", "a ;b", "a #b", "a\t#b"};
    for (size_t i = 0; i < COUNT(values); i++) {
        char override[64], message[256];
        snprintf(override, sizeof override, "data.dir=%s", values[i]);
        snprintf(message, sizeof message, "override '%s': data.dir = '%s' %s", override,
                 values[i], why);
        refuse(base, override, message);
    }
}

Test(config, says_which_required_key_is_missing_and_how_to_set_it)
{
    refuse(
        "[data]\ndir = d\n[train]\nepochs = 1\nbatch_size = 1\n", NULL,
        "t.ini: optimizer.lr is missing: add 'lr = ...' under [optimizer], or "
        "optimizer.lr=... to the command line ('trainer help optimizer.lr' says more)");
    refuse(
        "[data]\ndir = d\n[train]\nbatch_size = 1\n", "optimizer.lr=1",
        "t.ini: train.epochs is missing: add 'epochs = ...' under [train], or "
        "train.epochs=... to the command line ('trainer help train.epochs' says more)");
    refuse("[data]\ndir = d\n[train]\nepochs = 1\n", "optimizer.lr=1",
           "t.ini: train.batch_size is missing: add 'batch_size = ...' under [train], or "
           "train.batch_size=... to the command line ('trainer help train.batch_size' "
           "says more)");
    refuse(base, "data.dir=",
           "t.ini: the data is missing: add 'dir = FOLDER' (IDX files) or 'train = FILE' "
           "under [data], or data.dir=... or data.train=... to the command line");
    accept("[data]\ntrain = f\n[train]\nepochs = 1\nbatch_size = 1\n", "optimizer.lr=1");
}

Test(config, refuses_what_does_not_go_together)
{
    refuse(base, "optimizer.nesterov=true",
           "override 'optimizer.nesterov=true': optimizer.nesterov = true needs "
           "optimizer.momentum above 0");
    refuse(base, "data.validation=1.5",
           "override 'data.validation=1.5': data.validation = 1.5 must be a whole number "
           "of samples, or a fraction below 1");
    refuse(
        base, "model.init=file",
        "override 'model.init=file': model.init = file needs model.init_file, the file");
    refuse(base, "checkpoint.best=val_loss",
           "override 'checkpoint.best=val_loss': checkpoint.best = val_loss needs "
           "data.validation above 0");
    char text[512];
    snprintf(text, sizeof text, "%s[checkpoint]\nbest = test_loss\n", base);
    refuse(text, "data.validation=0.2",
           "t.ini:9: checkpoint.best = test_loss needs data.validation = 0: with a "
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
    static const struct {
        const char *file, *name;
    } cases[] = {{"configs/mlp.ini", "mlp"},
                 {"a.b/mlp", "mlp"},
                 {"mlp.v2.ini", "mlp.v2"},
                 {"x/.hidden", ".hidden"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char output[64];
        snprintf(output, sizeof output, "runs/%s", cases[i].name);
        cr_assert_eq(dp_config_parse(cases[i].file, base, 0, NULL, &config), DP_OK);
        cr_assert_str_eq(config.run.name, cases[i].name);
        cr_assert_str_eq(config.run.output, output);
    }
    config = accept(base, "run.name=other");
    cr_assert_str_eq(config.run.output, "runs/other");
    config = accept(base, "run.output=../there/");
    cr_assert_str_eq(config.run.output, "../there/");
    cr_assert_str_eq(config.run.name, "t");
    refuse(base, "run.name=a/b",
           "override 'run.name=a/b': run.name = 'a/b' can't name a folder: give a name "
           "without '/', and the folder as run.output");
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

Test(config, keeps_long_values_whole_and_refuses_longer_ones)
{
    static char value[5000], text[6000], message[128];
    memset(value, 'x', sizeof value);
    value[DP_TEXT - 1] = '\0';
    snprintf(text, sizeof text, "%s[model]\nlayers = %s\n", base, value);
    cr_assert_str_eq(accept(text, NULL).model.layers, value);
    value[DP_TEXT - 1] = 'x';
    value[DP_TEXT] = '\0';
    snprintf(text, sizeof text, "%s[model]\nlayers = %s\n", base, value);
    refuse(text, NULL,
           "t.ini:9: model.layers is 1024 bytes long: it must be at most 1023");
    value[DP_TEXT] = 'x';
    value[4999] = '\0';
    snprintf(text, sizeof text, "%s[model]\nlayers = %s\n", base, value);
    snprintf(message, sizeof message,
             "t.ini:9: the line is 5008 bytes long: at most 4094 are read");
    refuse(text, NULL, message);

    memset(value, ' ', sizeof value);
    value[4094 - strlen("layers=relu")] = '\0';
    snprintf(text, sizeof text, "%s[model]\nlayers=%srelu\n", base, value);
    cr_assert_str_eq(accept(text, NULL).model.layers, "relu");
    snprintf(text, sizeof text, "%s[model]\nlayers= %srelu\n", base, value);
    refuse(text, NULL, "t.ini:9: the line is 4095 bytes long: at most 4094 are read");
}

static void refuse_file(const char *name, const void *bytes, size_t length,
                        const char *message) {
    dp_config config;
    char expected[1024];
    const char *path = file_of(name, bytes, length);
    snprintf(expected, sizeof expected, "%s%s", path, message);
    dp_status status = dp_config_read(path, 0, NULL, &config);
    drop(path);
    cr_assert_eq(status, DP_EUSAGE);
    cr_assert_str_eq(dp_status_message(), expected);
}

#define NO_TEXT ": a config is an INI file in UTF-8, such as configs/mlp.ini"

Test(config, refuses_files_that_are_no_config)
{
    static char large[(1 << 20) + 1];
    memset(large, '\n', sizeof large);
    refuse_file("empty.ini", "", 0,
                ": is empty: a config needs at least optimizer.lr, train.epochs, "
                "train.batch_size and the data; see configs/mlp.ini");
    refuse_file("blank.ini", "\n# lr = 1\n", 10,
                ": is empty: a config needs at least optimizer.lr, train.epochs, "
                "train.batch_size and the data; see configs/mlp.ini");
    refuse_file("nul.ini", "[run]\n\0\n", 8,
                ": not a text file (byte 0x00 on line 2)" NO_TEXT);
    refuse_file("last.h5", "\x89HDF\r\n\x1a\n", 8,
                ": not a text file (byte 0x89 on line 1)" NO_TEXT);
    static const char *const wrong[] = {
        "\xe9",         "\xe2\x82",         "\xe0\x80\x80", "\xf0\x80\x80\x80",
        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80",     "\xf5\x80\x80\x80",
        "\xc3\xc3"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char message[128];
        snprintf(message, sizeof message,
                 ": not a text file (byte 0x%02x on line 1)" NO_TEXT,
                 (unsigned char)wrong[i][0]);
        refuse_file("old.ini", wrong[i], strlen(wrong[i]), message);
    }
    refuse_file("mac.ini", "[run]\rseed = 1\r", 15,
                ": not a text file (byte 0x0d on line 1)" NO_TEXT);
    refuse_file("large.ini", large, sizeof large,
                ": is larger than 1024 KiB; give the path of an INI file, such as "
                "configs/mlp.ini");
}

Test(config, says_that_a_file_is_missing_or_a_folder)
{
    dp_config config;
    cr_assert_eq(dp_config_read("/no/such.ini", 0, NULL, &config), DP_EUSAGE);
    cr_assert_str_eq(dp_status_message(),
                     "/no/such.ini: can't be opened: No such file or directory; give the "
                     "path of an INI file, such as configs/mlp.ini");
    cr_assert_eq(dp_config_read("/tmp", 0, NULL, &config), DP_EUSAGE);
    cr_assert_str_eq(dp_status_message(), "/tmp: is a folder, not a file; give the path "
                                          "of an INI file, such as configs/mlp.ini");
}

Test(config, reads_a_file_as_it_reads_its_text)
{
    dp_config from_file, from_text;
    const char *path = file_of("some.ini", base, strlen(base));
    dp_status status = dp_config_read(path, 0, NULL, &from_file);
    drop(path);
    cr_assert_eq(status, DP_OK, "%s", dp_status_message());
    cr_assert_eq(dp_config_parse("some.ini", base, 0, NULL, &from_text), DP_OK);
    cr_assert_arr_eq(&from_file, &from_text, sizeof from_file);
}
