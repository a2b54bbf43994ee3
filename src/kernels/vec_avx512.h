/* AVX-512: 16 lanes, 32 registers. */
#include <immintrin.h>

enum { LANES = 16 };

typedef float vf __attribute__((vector_size(64), may_alias));
typedef float vf_unaligned __attribute__((vector_size(64), may_alias, aligned(4)));
typedef int32_t vi __attribute__((vector_size(64), may_alias));
typedef uint32_t vu __attribute__((vector_size(64), may_alias)); /* wraps */
typedef __mmask16 vm;

static bool set_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
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
    return (vf)_mm512_set1_ps(x);
}
/* a b + c, rounded once */
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
static ALWAYS_INLINE vm vf_lt(vf a, vf b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ);
}
static ALWAYS_INLINE vm vf_le(vf a, vf b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ);
}
static ALWAYS_INLINE vm vf_eq(vf a, vf b) {
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
}
static ALWAYS_INLINE vm vi_eq(vi a, vi b) {
    return _mm512_cmpeq_epi32_mask((__m512i)a, (__m512i)b);
}
/* yes where m, else no */
static ALWAYS_INLINE vf vf_select(vm m, vf yes, vf no) {
    return (vf)_mm512_mask_blend_ps(m, (__m512)no, (__m512)yes);
}
static ALWAYS_INLINE vi vi_select(vm m, vi yes, vi no) {
    return (vi)_mm512_mask_blend_epi32(m, (__m512i)no, (__m512i)yes);
}
static ALWAYS_INLINE vf vf_sqrt(vf x) {
    return (vf)_mm512_sqrt_ps((__m512)x);
}
/* a < b, unsigned */
static ALWAYS_INLINE vm vu_lt(vu a, vu b) {
    return _mm512_cmplt_epu32_mask((__m512i)a, (__m512i)b);
}
/* The upper halves of the 64-bit products a b; *low: the lower ones. */
static ALWAYS_INLINE vu vu_multiply(vu a, vu b, vu *low) {
    __m512i even = _mm512_mul_epu32((__m512i)a, (__m512i)b);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32),
                                   _mm512_srli_epi64((__m512i)b, 32));
    *low = (vu)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
    return (vu)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
}
/* LANES bytes as floats */
static ALWAYS_INLINE vf vf_bytes(const uint8_t *p) {
    return (vf)_mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
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
    __m512i lane =
        _mm512_cvtepi8_epi32(_mm_load_si128((const __m128i *)(const void *)from));
    __mmask16 some = _mm512_cmpge_epi32_mask(lane, _mm512_setzero_si512());
    return (vf)_mm512_maskz_permutexvar_ps(some, lane, (__m512)x);
}

/* dst[j][i] = src[i][j] for i, j < 16; rows `ss` and `ds` floats apart, aligned. */
static ALWAYS_INLINE void transpose_quarter(const float *src, ptrdiff_t ss, float *dst,
                                            ptrdiff_t ds) {
    __m512 r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        r[i] = _mm512_load_ps(src + i * ss);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    /* r[4k + j]: column j of each 128-bit lane, rows 4k..4k+3 */
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 2]);
        __m512d c = _mm512_castps_pd(t[i + 1]), d = _mm512_castps_pd(t[i + 3]);
        r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512 even0 = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);
        __m512 even1 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
        __m512 odd0 = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);
        __m512 odd1 = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
        _mm512_store_ps(dst + j * ds, _mm512_shuffle_f32x4(even0, even1, 0x88));
        _mm512_store_ps(dst + (4 + j) * ds, _mm512_shuffle_f32x4(odd0, odd1, 0x88));
        _mm512_store_ps(dst + (8 + j) * ds, _mm512_shuffle_f32x4(even0, even1, 0xdd));
        _mm512_store_ps(dst + (12 + j) * ds, _mm512_shuffle_f32x4(odd0, odd1, 0xdd));
    }
}

/* Tiles held in registers, measured: outputs by vectors of 16 samples; dW: outputs by
 * vectors of inputs. */
enum { TILE_QUARTERS = 4, DW_ROWS = 14, DW_VECS = 2 };
static ALWAYS_INLINE int tile_rows(bool columns, int quarters) {
    /* With few samples each weight is used once a load, which is faster down columns,
     * where they share a cache line. */
    return quarters == 1 && columns ? 24 : quarters <= 2 ? 12 : quarters == 3 ? 8 : 6;
}
