/** Augmentation: samples of the training split changed anew each epoch, as [augment] says.
 *  What a sample becomes is a function of (seed, epoch, row) alone, never of a rank, a
 *  thread or a batch, and its bits are the same on any machine. */
#ifndef DP_DATA_AUGMENT_H
#define DP_DATA_AUGMENT_H

#include "data/dataset.h"

typedef struct dp_augment dp_augment;

/** Whether the config asks for any. */
bool dp_augment_wanted(const dp_config *config);

/** Whether these samples can be augmented.  Errors: DP_EUSAGE: they are no images.
 *  MPI: local */
dp_status dp_augment_check(const dp_config *config, const dp_table *table);

/** For images of the table's shape and type, by up to `threads` threads at once. NULL if
 *  the config asks for none. Borrows the config.  Errors: DP_EINTERNAL (no memory)
 *  Owner: the caller, who frees with dp_augment_destroy */
dp_status dp_augment_create(const dp_config *config, const dp_table *table, int threads,
                            dp_augment **out);
void dp_augment_destroy(dp_augment **augment);

/** What row `row` of `table` is in an epoch (from 1), into to[features] of the table's
 *  type. Each image [H,W] of a sample takes the same path:
 *    out(p) = in(c + M (p - c - d) + e(p)),  bilinear, 0 outside of the image
 *  c: the image's centre; d: the shift; M: the inverse of a rotation, a shear
 *  (x += shear y) and a scaling; e: a smooth random field. Then, in a share of the
 *  samples, a rectangle of 2 to 33% of the area and an aspect of 0.3 to 3.3 becomes 0.
 *  Bytes are rounded. Zeros stay +0.
 *  Source: Simard, Steinkraus, Platt, ICDAR 2003 (the field: uniform noise, smoothed by a
 *  Gaussian of elastic_sigma; here on a grid of half of that, scaled so that three
 *  standard deviations are `elastic` pixels, and cut there; their alpha of 34 at sigma 4
 *  is an `elastic` of 4.1); Zhong et al., AAAI 2020 (random erasing). */
void dp_augment_sample(const dp_augment *augment, int thread, const dp_table *table,
                       int64_t epoch, int32_t row, void *to);

#endif
