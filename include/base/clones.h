#ifndef DP_BASE_CLONES_H
#define DP_BASE_CLONES_H

/** Elementwise loops are compiled for each vector width and chosen by the CPU; the bits
 *  are the same, since no operation is contracted or reordered. For static functions
 *  whose names no other file uses: of others clang 14 makes symbols that no file finds, and
 *  of static ones symbols that clash with their namesakes. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer) /* what chooses comes before the sanitizer is there */
#define __SANITIZE_THREAD__
#endif
#endif
#if !defined(__x86_64__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DP_CLONES
#elif defined(__clang__) /* vectorizes such loops at -O2 */
#define DP_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DP_CLONES                                                                        \
    __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif

#endif
