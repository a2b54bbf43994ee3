/* Augmentation of images: one bilinear pass through an affine map and a smooth random
 * field, and erasing. Plain float arithmetic in a fixed order: the same bits anywhere. */
#include "data/augment.h"
#include "base/clones.h"
#include "base/dmath.h"
#include "base/memory.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The field's grid is half of sigma wide: so its Gaussian has always these taps. */
enum { RADIUS = 6, TAPS = 2 * RADIUS + 1 };

/* Along one axis of the image: the point of the field's grid before each pixel, and how
 * far the pixel is behind it. */
typedef struct axis {
    int pixels, points; /* points: of the grid that pixels lie between */
    int32_t *point;     /* [pixels]; owner: this */
    float *behind;      /* [pixels], 0 to 1; owner: this */
} axis;

/* What one thread works in. */
typedef struct scratch {
    float *padded;         /* [H+3][W+3]: an image between zeros */
    float *noise, *across; /* [rows+2R][columns+2R], [columns+2R] of the grid */
    float *grid;           /* [rows][columns] */
    float *fields;         /* [2][H*W]: where each pixel comes from: y, x */
    float *values;         /* [H*W] */
} scratch;

struct dp_augment {
    const dp_config *config;
    int channels, H, W;
    bool warps; /* else samples are only erased in */
    axis y, x;
    float tap[TAPS], last_tap[TAPS]; /* of the first and second pass; scaled */
    int threads;
    scratch *scratch; /* [threads]; owner: this */
};

static bool moves_pixels(const dp_config *config) {
    return config->augment.shift > 0 || config->augment.rotate > 0 ||
           config->augment.scale > 0 || config->augment.shear > 0 ||
           config->augment.flip > 0 || config->augment.elastic > 0;
}

bool dp_augment_wanted(const dp_config *config) {
    return moves_pixels(config) || config->augment.erase > 0;
}

dp_status dp_augment_check(const dp_config *config, const dp_table *table) {
    if (dp_augment_wanted(config) && table->nshape != 3) {
        return dp_fail(
            DP_EUSAGE,
            "[augment] moves the pixels of images, but a sample of the training "
            "data is a row of %d numbers: leave the section out",
            table->features);
    }
    return DP_OK;
}

/* ---- creating ---- */

static dp_status create_axis(axis *a, int pixels, double spacing) {
    size_t n = (size_t)pixels;
    a->pixels = pixels;
    a->points = (int)((pixels - 1) / spacing) + 2;
    DP_TRY(dp_memory_alloc(n, sizeof *a->point, (void **)&a->point));
    DP_TRY(dp_memory_alloc(n, sizeof *a->behind, (void **)&a->behind));
    for (int i = 0; i < pixels; i++) {
        a->point[i] = (int32_t)(i / spacing);
        a->behind[i] = (float)(i / spacing - a->point[i]);
    }
    return DP_OK;
}

/* A Gaussian of 2 points, and scaled so that the field's deviation is a third of
 * `elastic`: noise of the bytes' deviation, twice weighted by the taps. */
static void create_taps(dp_augment *a, double elastic) {
    double tap[TAPS], squares = 0, deviation = sqrt((256.0 * 256 - 1) / 12) / 127.5;
    for (int k = 0; k < TAPS; k++) {
        int from = k - RADIUS;
        tap[k] = dp_dexp(-from * from / 8.0);
        squares += tap[k] * tap[k];
    }
    for (int k = 0; k < TAPS; k++) {
        a->tap[k] = (float)tap[k];
        a->last_tap[k] = (float)(tap[k] * elastic / 3 / (deviation * squares));
    }
}

static dp_status create_scratch(const dp_augment *a, scratch *s) {
    size_t pixels = (size_t)a->H * (size_t)a->W;
    size_t rows = (size_t)a->y.points, columns = (size_t)a->x.points, edge = 2 * RADIUS;
    const struct {
        float **at;
        size_t n;
    } arrays[] = {{&s->padded, (size_t)(a->H + 3) * (size_t)(a->W + 3)},
                  {&s->noise, (rows + edge) * (columns + edge) + 16},
                  {&s->across, columns + edge},
                  {&s->grid, rows * columns},
                  {&s->fields, 2 * pixels},
                  {&s->values, pixels}};
    for (size_t k = 0; k < sizeof arrays / sizeof arrays[0]; k++) {
        DP_TRY(dp_memory_alloc(arrays[k].n, sizeof(float), (void **)arrays[k].at));
    }
    memset(s->padded, 0, arrays[0].n * sizeof(float));
    return DP_OK;
}

static dp_status create(dp_augment *a) {
    double spacing = a->config->augment.elastic_sigma / 2;
    DP_TRY(create_axis(&a->y, a->H, spacing));
    DP_TRY(create_axis(&a->x, a->W, spacing));
    create_taps(a, a->config->augment.elastic);
    for (int t = 0; t < a->threads; t++) {
        DP_TRY(create_scratch(a, &a->scratch[t]));
    }
    return DP_OK;
}

dp_status dp_augment_create(const dp_config *config, const dp_table *table, int threads,
                            dp_augment **out) {
    *out = NULL;
    if (!dp_augment_wanted(config)) {
        return DP_OK;
    }
    dp_augment *a = dp_alloc(1, sizeof *a);
    a->config = config;
    a->channels = table->shape[0];
    a->H = table->shape[1];
    a->W = table->shape[2];
    a->warps = moves_pixels(config);
    a->threads = threads;
    a->scratch = dp_alloc((size_t)threads, sizeof *a->scratch);
    dp_status status = create(a);
    if (status != DP_OK) {
        dp_augment_destroy(&a);
        return status;
    }
    *out = a;
    return DP_OK;
}

void dp_augment_destroy(dp_augment **augment) {
    dp_augment *a = *augment;
    if (a) {
        for (int t = 0; t < a->threads; t++) {
            dp_memory_free(&a->scratch[t].padded);
            dp_memory_free(&a->scratch[t].noise);
            dp_memory_free(&a->scratch[t].across);
            dp_memory_free(&a->scratch[t].grid);
            dp_memory_free(&a->scratch[t].fields);
            dp_memory_free(&a->scratch[t].values);
        }
        dp_memory_free(&a->y.point);
        dp_memory_free(&a->y.behind);
        dp_memory_free(&a->x.point);
        dp_memory_free(&a->x.behind);
        free(a->scratch);
        free(a);
    }
    *augment = NULL;
}

/* ---- a sample's random numbers ---- */

/* What is drawn: words of these indices, four at each. */
enum { MAP, ERASE, PLACE, NOISE = 16 };

typedef struct draw {
    uint64_t seed;
    uint32_t epoch;
    int32_t row;
} draw;

static void words(draw d, uint64_t index, uint32_t out[4]) {
    dp_rng_words(d.seed, DP_FOR_AUGMENT, d.epoch, (uint64_t)d.row << 24 | index, out);
}

static double uniform(uint32_t word) {
    return (word >> 8) * 0x1p-24;
}

/* From -1 to 1. */
static double either_way(uint32_t word) {
    return 2 * uniform(word) - 1;
}

/* ---- where pixels come from ---- */

/* Of the output pixel (y, x): M (p - c - d) + c, x turned about c if mirrored. */
typedef struct affine {
    float yy, yx, y0, xy, xx, x0;
} affine;

static affine draw_affine(const dp_augment *a, draw d) {
    const dp_config *config = a->config;
    uint32_t w[4], more[4], last[4];
    words(d, MAP, w);
    words(d, ERASE, more);
    words(d, PLACE, last);
    double turn = config->augment.rotate / 360 * either_way(w[0]);
    double scale = 1 + config->augment.scale * either_way(w[1]);
    double shear = config->augment.shear * either_way(w[2]);
    double dx = config->augment.shift * either_way(w[3]);
    double dy = config->augment.shift * either_way(more[0]);
    double cos = dp_dcos2pi(turn), sin = dp_dcos2pi(turn - 0.25);
    /* forward: (x, y) -> scale R (x + shear y, y), R = [cos, -sin; sin, cos] */
    double xx = (cos - shear * -sin) / scale, xy = (sin - shear * cos) / scale;
    double yx = -sin / scale, yy = cos / scale;
    double cy = (a->H - 1) / 2.0, cx = (a->W - 1) / 2.0;
    double side = uniform(last[2]) < config->augment.flip ? -1 : 1;
    return (affine){.yy = (float)yy,
                    .yx = (float)yx,
                    .y0 = (float)(cy - yy * (cy + dy) - yx * (cx + dx)),
                    .xy = (float)(side * xy),
                    .xx = (float)(side * xx),
                    .x0 = (float)(cx - side * (xy * (cy + dy) + xx * (cx + dx)))};
}

DP_CLONES static void augment_map(affine m, int H, int W, float *restrict y,
                                  float *restrict x) {
    for (int i = 0; i < H; i++) {
        for (int j = 0; j < W; j++) {
            y[i * W + j] = m.yy * (float)i + m.yx * (float)j + m.y0;
            x[i * W + j] = m.xy * (float)i + m.xx * (float)j + m.x0;
        }
    }
}

/* Each sum is over the taps in their order; the loops inside run over sums. */
DP_CLONES static void augment_smooth(const float *restrict tap,
                                     const float *restrict last_tap, int rows,
                                     int columns, const float *restrict noise,
                                     float *restrict across, float *restrict grid) {
    int wide = columns + 2 * RADIUS;
    for (int i = 0; i < rows; i++) {
        float *to = grid + i * columns;
        for (int j = 0; j < wide; j++) {
            across[j] = 0;
        }
        for (int k = 0; k < TAPS; k++) {
            for (int j = 0; j < wide; j++) {
                across[j] += tap[k] * noise[(i + k) * wide + j];
            }
        }
        for (int j = 0; j < columns; j++) {
            to[j] = 0;
        }
        for (int k = 0; k < TAPS; k++) {
            for (int j = 0; j < columns; j++) {
                to[j] += last_tap[k] * across[j + k];
            }
        }
    }
}

/* Adds a row of the field to a row of the map: the field is bilinear in the grid. */
DP_CLONES static void augment_add(float most, float down, const float *restrict above,
                                  const float *restrict below, int W,
                                  const int32_t *restrict point,
                                  const float *restrict behind, float *restrict map) {
    for (int j = 0; j < W; j++) {
        int k = point[j];
        float left = above[k] + down * (below[k] - above[k]);
        float right = above[k + 1] + down * (below[k + 1] - above[k + 1]);
        float e = left + behind[j] * (right - left);
        e = e < -most ? -most : e;
        e = e > most ? most : e;
        map[j] += e;
    }
}

static void add_field(const dp_augment *a, const float *grid, float *map) {
    int columns = a->x.points;
    for (int i = 0; i < a->H; i++) {
        const float *above = grid + a->y.point[i] * columns;
        augment_add((float)a->config->augment.elastic, a->y.behind[i], above,
                    above + columns, a->W, a->x.point, a->x.behind, map + i * a->W);
    }
}

/* Uniform noise of 16 bytes of each index. */
static uint64_t make_noise(draw d, uint64_t index, size_t n, float *noise) {
    for (size_t i = 0; i < n; i += 16, index++) {
        uint32_t w[4];
        words(d, index, w);
        for (size_t k = 0; k < 16; k++) {
            float byte = (float)(w[k / 4] >> k % 4 * 8 & 255);
            noise[i + k] = (byte - 127.5F) / 127.5F;
        }
    }
    return index;
}

static void add_elastic(const dp_augment *a, draw d, const scratch *s) {
    int rows = a->y.points, columns = a->x.points;
    size_t n = (size_t)(rows + 2 * RADIUS) * (size_t)(columns + 2 * RADIUS);
    uint64_t index = NOISE;
    for (int k = 0; k < 2; k++) {
        index = make_noise(d, index, n, s->noise);
        augment_smooth(a->tap, a->last_tap, rows, columns, s->noise, s->across, s->grid);
        add_field(a, s->grid, s->fields + k * a->H * a->W);
    }
}

/* ---- values ---- */

/* The image between zeros: a row and a column before it, two behind. */
DP_CLONES static void augment_pad(int H, int W, const uint8_t *restrict bytes,
                                  const float *restrict floats, float *restrict padded) {
    for (int i = 0; i < H; i++) {
        float *to = padded + (i + 1) * (W + 3) + 1;
        for (int j = 0; j < W && bytes; j++) {
            to[j] = (float)bytes[i * W + j];
        }
        for (int j = 0; j < W && floats; j++) {
            to[j] = floats[i * W + j];
        }
    }
}

/* Coordinates end a pixel outside of the image, where all is 0. y becomes the values. */
DP_CLONES static void augment_sample(int H, int W, const float *restrict padded,
                                     float *restrict y, const float *restrict x) {
    int wide = W + 3;
    float bottom = (float)(H + 1), end = (float)(W + 1);
    for (int i = 0; i < H * W; i++) {
        float v = y[i] + 1, u = x[i] + 1; /* in `padded` */
        v = v < 0 ? 0 : v;
        v = v > bottom ? bottom : v;
        u = u < 0 ? 0 : u;
        u = u > end ? end : u;
        int top = (int)v, left = (int)u, at = top * wide + left;
        float down = v - (float)top, right = u - (float)left;
        float above = padded[at] + right * (padded[at + 1] - padded[at]);
        float below =
            padded[at + wide] + right * (padded[at + wide + 1] - padded[at + wide]);
        y[i] = above + down * (below - above);
    }
}

DP_CLONES static void augment_round(int n, const float *restrict from,
                                    uint8_t *restrict to) {
    for (int i = 0; i < n; i++) {
        to[i] = (uint8_t)(int)(from[i] + 0.5F);
    }
}

/* One channel, by the map in s->fields. */
static void warp(const dp_augment *a, bool bytes, const scratch *s, const void *from,
                 void *to) {
    size_t pixels = (size_t)a->H * (size_t)a->W;
    memcpy(s->values, s->fields, pixels * sizeof(float));
    augment_pad(a->H, a->W, bytes ? from : NULL, bytes ? NULL : from, s->padded);
    augment_sample(a->H, a->W, s->padded, s->values, s->fields + pixels);
    if (bytes) {
        augment_round((int)pixels, s->values, to);
    } else {
        memcpy(to, s->values, pixels * sizeof(float));
    }
}

/* A rectangle of all channels. */
static void erase(const dp_augment *a, draw d, size_t size, void *to) {
    uint32_t w[4], place[4];
    words(d, ERASE, w);
    words(d, PLACE, place);
    if (uniform(w[1]) >= a->config->augment.erase) {
        return;
    }
    double area = (0.02 + 0.31 * uniform(w[2])) * a->H * a->W;
    double aspect = dp_dexp(dp_dlog(0.3) + uniform(w[3]) * dp_dlog(11)); /* 0.3 to 3.3 */
    int h = (int)(sqrt(area * aspect) + 0.5), wide = (int)(sqrt(area / aspect) + 0.5);
    h = h < 1 ? 1 : h > a->H ? a->H : h;
    wide = wide < 1 ? 1 : wide > a->W ? a->W : wide;
    int top = (int)(uniform(place[0]) * (a->H - h + 1));
    int left = (int)(uniform(place[1]) * (a->W - wide + 1));
    for (int c = 0; c < a->channels; c++) {
        for (int i = top; i < top + h; i++) {
            size_t at =
                ((size_t)c * (size_t)a->H + (size_t)i) * (size_t)a->W + (size_t)left;
            memset((char *)to + at * size, 0, (size_t)wide * size);
        }
    }
}

void dp_augment_sample(const dp_augment *a, int thread, const dp_table *table,
                       int64_t epoch, int32_t row, void *to) {
    const scratch *s = &a->scratch[thread];
    const draw d = {a->config->run.seed, (uint32_t)epoch, row};
    size_t pixels = (size_t)a->H * (size_t)a->W, size = table->bytes ? 1 : sizeof(float);
    const char *from =
        (const char *)table->raw + (size_t)row * (size_t)table->features * size;
    if (a->warps) {
        augment_map(draw_affine(a, d), a->H, a->W, s->fields, s->fields + pixels);
        if (a->config->augment.elastic > 0) {
            add_elastic(a, d, s);
        }
    } else {
        memcpy(to, from, (size_t)table->features * size);
    }
    for (int c = 0; c < a->channels && a->warps; c++) {
        size_t at = (size_t)c * pixels * size;
        warp(a, table->bytes, s, from + at, (char *)to + at);
    }
    if (a->config->augment.erase > 0) {
        erase(a, d, size, to);
    }
}
