/* AVX2 with FMA: 8 lanes, 16 registers. */
#include <immintrin.h>

enum { LANES = 8 };

typedef float vf __attribute__((vector_size(32), may_alias));
typedef float vf_unaligned __attribute__((vector_size(32), may_alias, aligned(4)));
typedef int32_t vi __attribute__((vector_size(32), may_alias));
typedef uint32_t vu __attribute__((vector_size(32), may_alias)); /* wraps */
typedef vi vm;                                                   /* all bits or none */

static bool set_supported(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static ALWAYS_INLINE vf vf_load(const float *p) {
    return *(const vf *)p;
}
static ALWAYS_INLINE vf vf_loadu(const float *p) {
    return (vf) * (const vf_unaligned *)p;
}
static ALWAYS_INLINE void vf_store(float *p, vf x) {
    *(vf *)p = x;
}
static ALWAYS_INLINE void vf_storeu(float *p, vf x) {
    *(vf_unaligned *)p = (vf_unaligned)x;
}
static ALWAYS_INLINE vf vf_set(float x) {
    return (vf)_mm256_set1_ps(x);
}
/* a b + c, rounded once */
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
static ALWAYS_INLINE vm vf_lt(vf a, vf b) {
    return a < b;
}
static ALWAYS_INLINE vm vf_le(vf a, vf b) {
    return a <= b;
}
static ALWAYS_INLINE vm vf_eq(vf a, vf b) {
    return a == b;
}
static ALWAYS_INLINE vm vi_eq(vi a, vi b) {
    return a == b;
}
/* yes where m, else no */
static ALWAYS_INLINE vf vf_select(vm m, vf yes, vf no) {
    return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)m);
}
static ALWAYS_INLINE vi vi_select(vm m, vi yes, vi no) {
    return (vi)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)m);
}
static ALWAYS_INLINE vf vf_sqrt(vf x) {
    return (vf)_mm256_sqrt_ps((__m256)x);
}
/* a < b, unsigned */
static ALWAYS_INLINE vm vu_lt(vu a, vu b) {
    return (vm)(a < b);
}
/* The upper halves of the 64-bit products a b; *low: the lower ones. */
static ALWAYS_INLINE vu vu_multiply(vu a, vu b, vu *low) {
    __m256i even = _mm256_mul_epu32((__m256i)a, (__m256i)b);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32),
                                   _mm256_srli_epi64((__m256i)b, 32));
    *low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    return (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}
/* LANES bytes as floats */
static ALWAYS_INLINE vf vf_bytes(const uint8_t *p) {
    return (vf)_mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* to[l] = from[lane[l]] for 16 bytes */
static ALWAYS_INLINE void bytes_take(const uint8_t *from, const uint8_t *lane,
                                     uint8_t *to) {
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)from);
    __m128i at = _mm_load_si128((const __m128i *)(const void *)lane);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_shuffle_epi8(x, at));
}

/* lane from[l] of x in each lane l; 0 where it is negative */
static ALWAYS_INLINE vf vf_take(vf x, const int8_t *from) {
    vi lane =
        (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
    return (vf)((vi)_mm256_permutevar8x32_ps((__m256)x, (__m256i)lane) & ~(lane >> 31));
}

static ALWAYS_INLINE void transpose8(const float *src, ptrdiff_t ss, float *dst,
                                     ptrdiff_t ds) {
    __m256 r[8], t[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        r[i] = _mm256_load_ps(src + i * ss);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        _mm256_store_ps(dst + j * ds, _mm256_permute2f128_ps(r[j], r[4 + j], 0x20));
        _mm256_store_ps(dst + (4 + j) * ds, _mm256_permute2f128_ps(r[j], r[4 + j], 0x31));
    }
}

/* dst[j][i] = src[i][j] for i, j < 16; rows `ss` and `ds` floats apart, aligned. */
static ALWAYS_INLINE void transpose_quarter(const float *src, ptrdiff_t ss, float *dst,
                                            ptrdiff_t ds) {
    for (int i = 0; i < 16; i += 8) {
        for (int j = 0; j < 16; j += 8) {
            transpose8(src + i * ss + j, ss, dst + j * ds + i, ds);
        }
    }
}

enum { TILE_QUARTERS = 1, DW_ROWS = 6, DW_VECS = 2 };
static ALWAYS_INLINE int tile_rows(bool columns, int quarters) {
    return 6;
}
