/* Mean and deviation along the block tree, and the fingerprint of a data set. */
#include "statistics.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/tree.h"
#include "reader.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a sample adds to the sums: v[width], from `mean` (first pass: NULL). */
typedef void value_fn(const dp_table *t, int row, const double *mean, double *v);

/* Sums of bytes and of their squares: integers, exact in any order. The fixed count lets
 * the compiler vectorize. */
static void sums_of_64(const uint8_t *x, uint32_t *sum, uint32_t *squares) {
    for (int i = 0; i < 64; i++) {
        *sum += x[i];
        *squares += (uint32_t)x[i] * x[i];
    }
}

static void image_of_bytes(const dp_table *t, int row, const double *mean, double *v) {
    const uint8_t *x = (const uint8_t *)t->raw + (size_t)row * t->features;
    uint64_t sum = 0, squares = 0;
    for (int i = 0; i < t->features; i += 64) {
        uint8_t rest[64] = {0};
        bool whole = t->features - i >= 64;
        if (!whole) {
            memcpy(rest, x + i, (size_t)(t->features - i));
        }
        uint32_t some = 0, more = 0;
        sums_of_64(whole ? x + i : rest, &some, &more);
        sum += some;
        squares += more;
    }
    /* sum (x - m)^2 = sum x^2 - 2 m sum x + F m^2, with m in steps of a byte */
    double m = mean ? *mean * 255.0 : 0.0;
    v[0] = mean ? ((double)squares - 2.0 * m * (double)sum + t->features * m * m) /
                      (255.0 * 255.0)
                : (double)sum / 255.0;
}

static void image_of_floats(const dp_table *t, int row, const double *mean, double *v) {
    const float *x = (const float *)t->raw + (size_t)row * t->features;
    v[0] = 0;
    for (int i = 0; i < t->features; i++) {
        double d = mean ? x[i] - *mean : x[i];
        v[0] += mean ? d * d : d;
    }
}

static double cell(const dp_table *t, int row, int column) {
    size_t at = (size_t)row * t->features + column;
    return t->bytes ? ((const uint8_t *)t->raw)[at] / 255.0 : ((const float *)t->raw)[at];
}

static void columns(const dp_table *t, int row, const double *mean, double *v) {
    for (int c = 0; c < t->features; c++) {
        double d = cell(t, row, c);
        v[c] = mean ? (d - mean[c]) * (d - mean[c]) : d;
    }
}

static void add(double *to, const double *from, int width) {
    for (int i = 0; i < width; i++) {
        to[i] += from[i];
    }
}

/* sum[width] over the training split along the block tree. stack[DP_TREE_DEPTH +
 * 2][width]: partial sums, and one sample's values. */
static void tree_sums(const dp_dataset *data, int block, int width, value_fn *value,
                      const double *mean, double *stack, double *sum) {
    int blocks = dp_tree_blocks(data->train_n, block);
    double *sample = stack + (size_t)(DP_TREE_DEPTH + 1) * width;
    double *top = stack;
    for (int b = 0; b < blocks; b++, top += width) {
        memset(top, 0, (size_t)width * sizeof *top);
        int64_t end = (int64_t)(b + 1) * block;
        for (int i = b * block; i < end && i < data->train_n; i++) {
            value(&data->train, data->train_row[i], mean, sample);
            add(top, sample, width);
        }
        for (int m = dp_tree_merges(blocks, b); m > 0; m--, top -= width) {
            add(top - width, top, width);
        }
    }
    memcpy(sum, stack, (size_t)width * sizeof *sum);
}

/* Whether columns [begin, end) take more than one value in the training split. */
static bool vary(const dp_dataset *data, int begin, int end) {
    const dp_table *t = &data->train;
    double first = cell(t, data->train_row[0], begin);
    for (int i = 0; i < data->train_n; i++) {
        for (int c = begin; c < end; c++) {
            if (cell(t, data->train_row[i], c) != first) {
                return true;
            }
        }
    }
    return false;
}

static void warn_constant_columns(const dp_dataset *data, int constants, int first) {
    const dp_table *t = &data->train;
    char name[256];
    if (data->nmean == 1 && t->nshape > 1) {
        snprintf(name, sizeof name, "every pixel");
    } else if (t->column) {
        snprintf(name, sizeof name, "column '%.200s'", t->column[first]);
    } else {
        snprintf(name, sizeof name, "column %d (from 0)", first);
    }
    if (constants == 1) {
        dp_warn("%s has one value in the whole training split: centred, but not scaled",
                name);
    } else if (constants > 1) {
        dp_warn("%d columns have one value in the whole training split, %s first: "
                "centred, but not scaled",
                constants, name);
    }
}

static void finish(dp_dataset *data, double count) {
    int constants = 0, first = 0;
    for (int c = 0; c < data->nmean; c++) {
        double deviation = sqrt(data->std[c] / count);
        int end = data->train.nshape > 1 ? data->train.features : c + 1;
        /* The mean of equal values is rounded: their deviation need not be 0. */
        if (!vary(data, c, end) || deviation < 1.0 / (double)FLT_MAX) {
            deviation = 1.0;
            first = constants++ ? first : c;
        }
        data->std[c] = deviation;
        data->mean_f[c] = (float)data->mean[c];
        data->inv_std_f[c] = (float)(1.0 / deviation);
    }
    warn_constant_columns(data, constants, first);
}

dp_status dp_statistics_take(dp_dataset *data, int block) {
    const dp_table *t = &data->train;
    bool image = t->nshape > 1;
    int width = image ? 1 : t->features;
    value_fn *value = !image ? columns : t->bytes ? image_of_bytes : image_of_floats;
    void **array[] = {(void **)&data->mean, (void **)&data->std, (void **)&data->mean_f,
                      (void **)&data->inv_std_f};
    for (int i = 0; i < 4; i++) {
        size_t size = i < 2 ? sizeof(double) : sizeof(float);
        DP_TRY(dp_memory_alloc((size_t)width, size, array[i]));
    }
    double *stack = NULL;
    DP_TRY(dp_memory_alloc((size_t)(DP_TREE_DEPTH + 2) * width, sizeof *stack,
                           (void **)&stack));
    data->nmean = width;
    double count = (double)data->train_n * (image ? t->features : 1);
    tree_sums(data, block, width, value, NULL, stack, data->mean);
    for (int c = 0; c < width; c++) {
        data->mean[c] /= count;
    }
    tree_sums(data, block, width, value, data->mean, stack, data->std);
    dp_memory_free(&stack);
    finish(data, count);
    return DP_OK;
}

/* ---- fingerprint ---- */

static uint64_t mix(uint64_t h, uint64_t word) {
    h = (h ^ word) * 0x9E3779B97F4A7C15u; /* odd, so each word's change stays */
    return h << 29 | h >> 35; /* the upper bits come down to be multiplied again */
}

/* Eight bytes of elements of 1, 4 or 8 bytes, as a little-endian machine has them. */
static uint64_t little_endian(uint64_t word, size_t element) {
    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ || element == 8) {
        return word;
    }
    return element == 1 ? __builtin_bswap64(word) : word << 32 | word >> 32;
}

/* Four lanes hide the multiplication's latency: the speed of memory. */
static void stripe(uint64_t lane[4], const unsigned char *p, size_t element) {
    uint64_t word[4];
    memcpy(word, p, sizeof word);
    for (int i = 0; i < 4; i++) {
        lane[i] = mix(lane[i], little_endian(word[i], element));
    }
}

/* Of n bytes. */
static uint64_t digest(uint64_t h, const void *data, size_t n, size_t element) {
    uint64_t lane[4] = {mix(h, 1), mix(h, 2), mix(h, 3), mix(h, 4)};
    size_t whole = n / 32 * 32;
    for (size_t at = 0; at < whole; at += 32) {
        stripe(lane, (const unsigned char *)data + at, element);
    }
    unsigned char rest[32] = {0};
    if (n > whole) {
        memcpy(rest, (const unsigned char *)data + whole, n - whole);
    }
    stripe(lane, rest, element);
    for (int i = 0; i < 4; i++) {
        h = mix(h, lane[i]);
    }
    return mix(h, n);
}

static uint64_t digest_table(uint64_t h, const dp_table *t) {
    const int64_t facts[] = {t->n,        t->features,     t->nshape,   t->shape[0],
                             t->shape[1], t->shape[2],     t->shape[3], t->bytes,
                             t->ntargets, t->label != NULL};
    size_t n = (size_t)t->n, row = dp_table_row_bytes(t);
    h = digest(h, facts, sizeof facts, sizeof *facts);
    for (int k = 0; k < dp_table_stretches(t); k++) {
        int begin = 0, end = 0;
        dp_table_stretch(t, k, &begin, &end);
        const char *from =
            end > begin ? (const char *)t->raw + (size_t)begin * row : NULL;
        h = digest(h, from, (size_t)(end - begin) * row, t->bytes ? 1 : sizeof(float));
    }
    h = digest(h, t->label, t->label ? n * sizeof *t->label : 0, sizeof *t->label);
    return digest(h, t->target, t->target ? n * t->ntargets * sizeof *t->target : 0,
                  sizeof *t->target);
}

void dp_statistics_fingerprint(dp_dataset *data) {
    uint64_t h = digest_table(0, &data->train);
    uint64_t both = digest_table(mix(h, 5), &data->test);
    snprintf(data->fingerprint, sizeof data->fingerprint, "%016" PRIx64 "%016" PRIx64, h,
             mix(mix(both, 6), 7));
}
