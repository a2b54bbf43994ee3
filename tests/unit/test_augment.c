/* Augmentation against its formula in double, and what must never happen to a sample. */
#include "base/dmath.h"
#include "base/rng.h"
#include "data/augment.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 11, W = 14, C = 3, ROWS = 400, FEATURES = C * H * W };

/* Noise, with zeros in it. */
static dp_table table_of(bool bytes) {
    dp_table t = {.n = ROWS, .features = FEATURES, .nshape = 3, .shape = {C, H, W}};
    t.bytes = bytes;
    t.raw = calloc((size_t)ROWS * FEATURES, bytes ? 1 : sizeof(float));
    for (int i = 0; i < ROWS * FEATURES; i++) {
        float v = dp_rng_uniform(3, DP_FOR_INIT, 0, (uint64_t)i) * 300 - 45;
        v = v < 0 ? 0 : v > 255 ? 255 : v;
        if (bytes) {
            ((uint8_t *)t.raw)[i] = (uint8_t)v;
        } else {
            ((float *)t.raw)[i] = v;
        }
    }
    return t;
}

static dp_config config_of(double affine, double elastic, double erase) {
    dp_config c = {.run.seed = 7};
    c.augment.shift = 3 * affine;
    c.augment.rotate = 40 * affine;
    c.augment.scale = 0.3 * affine;
    c.augment.shear = 0.4 * affine;
    c.augment.elastic = elastic;
    c.augment.elastic_sigma = 3;
    c.augment.erase = erase;
    return c;
}

static dp_augment *create(const dp_config *config, const dp_table *table) {
    dp_augment *a = NULL;
    cr_assert_eq(dp_augment_create(config, table, 2, &a), DP_OK);
    return a;
}

/* ---- the formula, in double ---- */

static double two_ways(uint32_t word) {
    return 2 * ((word >> 8) * 0x1p-24) - 1;
}

/* The smooth field of axis k (0: y, 1: x) at the pixel (i, j). */
static double field(const dp_config *c, int64_t epoch, int row, int k, int i, int j) {
    enum { R = 6 };
    double spacing = c->augment.elastic_sigma / 2, sum[2][2] = {{0}}, squares = 0;
    int rows = (int)((H - 1) / spacing) + 2, columns = (int)((W - 1) / spacing) + 2;
    int wide = columns + 2 * R, n = (rows + 2 * R) * wide, groups = (n + 15) / 16;
    int y = (int)(i / spacing), x = (int)(j / spacing);
    for (int d = -R; d <= R; d++) {
        squares += exp(-d * d / 8.0) * exp(-d * d / 8.0);
    }
    for (int corner = 0; corner < 4; corner++) {
        for (int dy = -R; dy <= R; dy++) {
            for (int dx = -R; dx <= R; dx++) {
                int at = (y + corner / 2 + dy + R) * wide + x + corner % 2 + dx + R;
                uint32_t w[4];
                dp_rng_words(7, DP_FOR_AUGMENT, (uint32_t)epoch,
                             (uint64_t)row << 24 | (uint64_t)(16 + k * groups + at / 16),
                             w);
                double noise = ((w[at % 16 / 4] >> at % 4 * 8 & 255) - 127.5) / 127.5;
                sum[corner / 2][corner % 2] += exp(-(dy * dy + dx * dx) / 8.0) * noise;
            }
        }
    }
    double down = i / spacing - y, right = j / spacing - x;
    double above = sum[0][0] * (1 - right) + sum[0][1] * right;
    double below = sum[1][0] * (1 - right) + sum[1][1] * right;
    double deviation = sqrt(65535 / 12.0) / 127.5 * squares;
    double e = (above * (1 - down) + below * down) / deviation * c->augment.elastic / 3;
    return fmax(-c->augment.elastic, fmin(c->augment.elastic, e));
}

static double pixel(const dp_table *t, int row, int c, int i, int j) {
    return i < 0 || j < 0 || i >= H || j >= W
               ? 0
               : dp_table_value(t, row, (c * H + i) * W + j);
}

static double expected(const dp_config *c, const dp_table *t, int64_t epoch, int row,
                       int channel, int i, int j) {
    uint32_t w[4], v[4];
    dp_rng_words(7, DP_FOR_AUGMENT, (uint32_t)epoch, (uint64_t)row << 24, w);
    dp_rng_words(7, DP_FOR_AUGMENT, (uint32_t)epoch, (uint64_t)row << 24 | 1, v);
    double turn = c->augment.rotate / 180 * M_PI * two_ways(w[0]);
    double scale = 1 + c->augment.scale * two_ways(w[1]);
    double shear = c->augment.shear * two_ways(w[2]);
    double x = j - (W - 1) / 2.0 - c->augment.shift * two_ways(w[3]);
    double y = i - (H - 1) / 2.0 - c->augment.shift * two_ways(v[0]);
    /* what a turn, after a shear, after a scaling has brought to (x, y) */
    double back_x = (cos(turn) * x + sin(turn) * y) / scale;
    double back_y = (-sin(turn) * x + cos(turn) * y) / scale;
    double from_x = back_x - shear * back_y + (W - 1) / 2.0;
    double from_y = back_y + (H - 1) / 2.0;
    if (c->augment.elastic > 0) {
        from_y += field(c, epoch, row, 0, i, j);
        from_x += field(c, epoch, row, 1, i, j);
    }
    int top = (int)floor(from_y), left = (int)floor(from_x);
    double down = from_y - top, right = from_x - left;
    return (1 - down) * ((1 - right) * pixel(t, row, channel, top, left) +
                         right * pixel(t, row, channel, top, left + 1)) +
           down * ((1 - right) * pixel(t, row, channel, top + 1, left) +
                   right * pixel(t, row, channel, top + 1, left + 1));
}

Test(augment, is_its_formula)
{
    for (int k = 0; k < 6; k++) {
        dp_config config = config_of(k % 3 != 1, k % 3 == 0 ? 0 : 2.5, 0);
        dp_table t = table_of(k >= 3), out = t;
        dp_augment *a = create(&config, &t);
        out.raw = calloc(FEATURES, sizeof(float));
        for (int row = 0; row < 12; row++) {
            dp_augment_sample(a, row % 2, &t, 5, row, out.raw);
            for (int f = 0; f < FEATURES; f++) {
                double want =
                    expected(&config, &t, 5, row, f / (H * W), f / W % H, f % W);
                cr_assert_float_eq(dp_table_value(&out, 0, f), want,
                                   t.bytes ? 0.51 : 0.01,
                                   "case %d, row %d, feature %d: %g, not %g", k, row, f,
                                   dp_table_value(&out, 0, f), want);
            }
        }
        dp_augment_destroy(&a);
        free(t.raw), free(out.raw);
    }
}

Test(augment, of_almost_nothing_changes_no_byte)
{
    dp_config config = config_of(1e-9, 1e-9, 0);
    dp_table t = table_of(true);
    dp_augment *a = create(&config, &t);
    uint8_t out[FEATURES];
    for (int row = 0; row < ROWS; row++) {
        dp_augment_sample(a, 0, &t, 1, row, out);
        cr_assert_eq(memcmp(out, (uint8_t *)t.raw + row * FEATURES, FEATURES), 0);
    }
    dp_augment_destroy(&a);
    free(t.raw);
}

Test(augment, keeps_zeros_and_depends_on_seed_epoch_and_row_alone)
{
    dp_config config = config_of(1, 4, 0.5);
    dp_table t = table_of(false);
    memset(t.raw, 0, FEATURES * sizeof(float)); /* row 0 is black */
    dp_augment *a = create(&config, &t);
    float out[FEATURES], again[FEATURES], other[FEATURES], none[FEATURES] = {0};
    dp_augment_sample(a, 0, &t, 1, 0, out);
    cr_assert_eq(memcmp(out, none, sizeof out), 0, "+0 everywhere");
    for (int row = 1; row < 40; row++) {
        dp_augment_sample(a, 0, &t, 1, row, out);
        dp_augment_sample(a, 1, &t, 2, row, other);
        dp_augment_sample(a, 1, &t, 1, row, again);
        cr_assert_eq(memcmp(out, again, sizeof out), 0);
        cr_assert_neq(memcmp(out, other, sizeof out), 0, "another epoch");
    }
    dp_augment_destroy(&a);
    free(t.raw);
}

Test(augment, mirrors_its_share_of_the_samples_and_leaves_the_others_alone)
{
    dp_config config = config_of(0, 0, 0);
    config.augment.flip = 0.25;
    for (int bytes = 0; bytes < 2; bytes++) {
        dp_table t = table_of(bytes);
        size_t size = bytes ? 1 : sizeof(float);
        dp_augment *a = create(&config, &t);
        int mirrored = 0;
        for (int i = 0; i < 5 * ROWS; i++) {
            float out[FEATURES], turned[FEATURES];
            const char *from = (const char *)t.raw + (size_t)(i % ROWS) * FEATURES * size;
            for (size_t f = 0; f < FEATURES; f++) {
                size_t opposite = f / W * W + (W - 1 - f % W);
                memcpy((char *)turned + f * size, from + opposite * size, size);
            }
            dp_augment_sample(a, 0, &t, 1 + i / ROWS, i % ROWS, out);
            bool is_turned = memcmp(out, turned, FEATURES * size) == 0;
            cr_assert(is_turned || memcmp(out, from, FEATURES * size) == 0, "%d", i);
            mirrored += is_turned;
        }
        cr_assert_float_eq(mirrored, 0.25 * 5 * ROWS, 4 * sqrt(5 * ROWS * 0.25 * 0.75));
        dp_augment_destroy(&a);
        free(t.raw);
    }
}

Test(augment, erases_one_rectangle_of_all_channels_in_its_share_of_the_samples)
{
    dp_config config = config_of(0, 0, 0.25);
    dp_table t = table_of(true);
    memset(t.raw, 200, (size_t)ROWS * FEATURES);
    dp_augment *a = create(&config, &t);
    int erased = 0;
    for (int i = 0; i < 5 * ROWS; i++) {
        uint8_t out[FEATURES];
        int area[C] = {0}, top = H, bottom = -1, left = W, right = -1;
        dp_augment_sample(a, 0, &t, 1 + i / ROWS, i % ROWS, out);
        for (int f = 0; f < FEATURES; f++) {
            cr_assert(out[f] == 200 || out[f] == 0);
            if (out[f] == 0) {
                int y = f / W % H, x = f % W;
                area[f / (H * W)]++;
                top = y < top ? y : top;
                bottom = y > bottom ? y : bottom;
                left = x < left ? x : left;
                right = x > right ? x : right;
            }
        }
        if (area[0] > 0) {
            int box = (bottom - top + 1) * (right - left + 1);
            cr_assert(area[0] == box && area[1] == box && area[2] == box);
            cr_assert(box >= 0.02 * H * W * 0.5 && box <= 0.33 * H * W * 1.3, "%d", box);
            erased++;
        }
    }
    cr_assert_float_eq(erased, 0.25 * 5 * ROWS, 4 * sqrt(5 * ROWS * 0.25 * 0.75));
    dp_augment_destroy(&a);
    free(t.raw);
}

Test(augment, is_not_made_where_nothing_is_asked_for_and_not_for_tables)
{
    dp_config config = config_of(0, 0, 0);
    dp_table t = {.features = 5, .nshape = 1, .shape = {5}};
    cr_assert_null(create(&config, &t));
    cr_assert_eq(dp_augment_check(&config, &t), DP_OK);
    config.augment.erase = 0.1;
    cr_assert_eq(dp_augment_check(&config, &t), DP_EUSAGE);
    cr_assert_not_null(strstr(dp_status_message(), "row of 5 numbers"));
}
