/** A folder of its own for a test, and what tests do to files in it. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static void scratch_make(void) {
    strcpy(scratch, "/tmp/trainer-test-XXXXXX");
    cr_assert_not_null(mkdtemp(scratch));
}

static int scratch_take(const char *path, const struct stat *info, int type,
                        struct FTW *ftw) {
    return remove(path);
}

static void scratch_remove(void) {
    nftw(scratch, scratch_take, 16, FTW_DEPTH | FTW_PHYS);
}

/* scratch/name; of the last 8 calls. */
__attribute__((unused)) static const char *in(const char *name) {
    static char path[8][512];
    static int next = 0;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "%s/%s", scratch, name);
    return path[next];
}

__attribute__((unused)) static bool there(const char *name) {
    struct stat info;
    return stat(in(name), &info) == 0;
}

__attribute__((unused)) static void put_bytes(const char *name, const void *bytes,
                                              size_t n) {
    FILE *f = fopen(in(name), "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(bytes, 1, n, f), n);
    cr_assert_eq(fclose(f), 0);
}

/* The caller frees. */
__attribute__((unused)) static unsigned char *get_bytes(const char *name, size_t *n) {
    FILE *f = fopen(in(name), "rb");
    cr_assert_not_null(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *bytes = malloc(*n + 1);
    cr_assert_eq(fread(bytes, 1, *n, f), *n);
    fclose(f);
    return bytes;
}

__attribute__((unused)) static bool same_bytes(const char *a, const char *b) {
    size_t na = 0, nb = 0;
    unsigned char *x = get_bytes(a, &na), *y = get_bytes(b, &nb);
    bool same = na == nb && memcmp(x, y, na) == 0;
    free(x);
    free(y);
    return same;
}

/* Flips one bit at `offset`. */
__attribute__((unused)) static void flip(const char *name, long offset) {
    FILE *f = fopen(in(name), "r+b");
    cr_assert_not_null(f);
    fseek(f, offset, SEEK_SET);
    int c = fgetc(f);
    fseek(f, offset, SEEK_SET);
    fputc(c ^ 4, f);
    fclose(f);
}

/* Names in a folder of scratch ("" itself), without . and .. */
__attribute__((unused)) static int count_names(const char *folder) {
    DIR *d = opendir(in(folder));
    cr_assert_not_null(d);
    int n = 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    closedir(d);
    return n;
}

#endif
