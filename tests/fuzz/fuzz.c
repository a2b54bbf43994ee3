/* Fuzzing: what strangers write is parsed, and either taken or refused in one message.
 *
 * One program, whose targets are named by the variable FUZZ: ini (a config), override (one word of
 * the command line), layers (model.layers), csv, idx, npy (data files), gz (any of them, packed). `make
 * fuzz` runs each in turn. A finding is a crash, a report of a sanitizer, or a hang. */
#include "config/config.h"
#include "data/dataset.h"
#include "nn/model.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char BASE[] =
    "[data]\ntrain = t\n[optimizer]\nlr = 1\n[train]\nepochs = 1\nbatch_size = 0\n";

/* A copy with a NUL behind it. Owner: the caller. */
static char *as_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static void ini(const uint8_t *data, size_t size) {
    dp_config config;
    char *text = as_text(data, size);
    dp_config_parse("fuzz.ini", text, 0, NULL, &config);
    free(text);
}

static void override(const uint8_t *data, size_t size) {
    dp_config config;
    char *word = as_text(data, size);
    dp_config_parse("fuzz.ini", BASE, 1, &word, &config);
    free(word);
}

static void layers(const uint8_t *data, size_t size) {
    static const int shapes[][3] = {{1, 28, 28}, {3, 5, 4}};
    char *text = as_text(data, size);
    for (int k = 0; k < 2; k++) {
        dp_model *model = NULL;
        int features = shapes[k][0] * shapes[k][1] * shapes[k][2];
        dp_model_create(dp_kernels_find("portable"), text,
                        dp_model_input(3, shapes[k], features), 10, &model);
        dp_model_destroy(&model);
    }
    free(text);
}

static void put(const char *path, const uint8_t *data, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    close(fd);
}

/* The first byte chooses the loss, and whether the config helps; the rest is the file. Labels lie
 * beside it, or not. */
static void file(const char *name, const char *labels, const uint8_t *data, size_t size) {
    static const char *const losses[] = {"cross_entropy", "bce", "mse"};
    static char folder[64];
    char path[128], line[256], beside[128];
    if (size < 1) {
        return;
    }
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "/dev/shm/trainer-fuzz-%d", (int)getpid());
        mkdir(folder, 0700);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    put(path, data + 1, size - 1);
    if (labels) {
        snprintf(beside, sizeof beside, "%s/%s", folder, labels);
        put(beside, data + 1, size - 1);
    }
    char *words[3] = {line, NULL, NULL};
    char loss[64], memory[64];
    snprintf(line, sizeof line, "data.train=%s", path);
    snprintf(loss, sizeof loss, "loss.name=%s", losses[data[0] % 3]);
    snprintf(memory, sizeof memory, "data.memory=%s", data[0] & 64 ? "map" : "copy");
    words[1] = loss;
    words[2] = memory;
    dp_config config;
    dp_dataset *found = NULL;
    if (dp_config_parse("fuzz.ini", BASE, 3, words, &config) == DP_OK &&
        dp_dataset_open(&config, &found) == DP_OK) {
        dp_dataset_destroy(&found);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *target = getenv("FUZZ");
    if (!target || strcmp(target, "ini") == 0) {
        ini(data, size);
    } else if (strcmp(target, "override") == 0) {
        override(data, size);
    } else if (strcmp(target, "layers") == 0) {
        layers(data, size);
    } else if (strcmp(target, "csv") == 0) {
        file("f.csv", NULL, data, size);
    } else if (strcmp(target, "idx") == 0) {
        file("images-idx3-ubyte", "labels-idx1-ubyte", data, size);
    } else if (strcmp(target, "npy") == 0) {
        file("x.npy", "y.npy", data, size);
    } else if (strcmp(target, "gz") == 0) {
        file("f.csv.gz", NULL, data, size);
    } else {
        fprintf(stderr, "FUZZ=%s: no such target\n", target);
        exit(2);
    }
    return 0;
}
