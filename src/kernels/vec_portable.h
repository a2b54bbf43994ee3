/* Any CPU: 4 lanes, and the FMA of C99. Where the CPU has one it is an instruction (on
 * Arm the compiler makes NEON of it); elsewhere a function that is slow and right. */

enum { LANES = 4 };

typedef float vf __attribute__((vector_size(16), may_alias));
typedef float vf_unaligned __attribute__((vector_size(16), may_alias, aligned(4)));
typedef int32_t vi __attribute__((vector_size(16), may_alias));
typedef uint32_t vu __attribute__((vector_size(16), may_alias)); /* wraps */
typedef vi vm;                                                   /* all bits or none */

static bool set_supported(void) {
    return true;
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
    return (vf){x, x, x, x};
}
/* a b + c, rounded once */
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) {
    return (vf){__builtin_fmaf(a[0], b[0], c[0]), __builtin_fmaf(a[1], b[1], c[1]),
                __builtin_fmaf(a[2], b[2], c[2]), __builtin_fmaf(a[3], b[3], c[3])};
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
static ALWAYS_INLINE vi vi_select(vm m, vi yes, vi no) {
    return (yes & m) | (no & ~m);
}
static ALWAYS_INLINE vf vf_select(vm m, vf yes, vf no) {
    return (vf)vi_select(m, (vi)yes, (vi)no);
}
static ALWAYS_INLINE vf vf_sqrt(vf x) {
    return (vf){__builtin_sqrtf(x[0]), __builtin_sqrtf(x[1]), __builtin_sqrtf(x[2]),
                __builtin_sqrtf(x[3])};
}
/* a < b, unsigned */
static ALWAYS_INLINE vm vu_lt(vu a, vu b) {
    return (vm)(a < b);
}
/* The upper halves of the 64-bit products a b; *low: the lower ones. */
static ALWAYS_INLINE vu vu_multiply(vu a, vu b, vu *low) {
    vu high = {0};
    for (int k = 0; k < LANES; k++) {
        high[k] = (uint32_t)((uint64_t)a[k] * b[k] >> 32);
    }
    *low = a * b;
    return high;
}
/* LANES bytes as floats */
static ALWAYS_INLINE vf vf_bytes(const uint8_t *p) {
    return (vf){p[0], p[1], p[2], p[3]};
}

/* to[l] = from[lane[l]] for 16 bytes */
static ALWAYS_INLINE void bytes_take(const uint8_t *from, const uint8_t *lane,
                                     uint8_t *to) {
    for (int l = 0; l < 16; l++) {
        to[l] = from[lane[l]];
    }
}

/* lane from[l] of x in each lane l; 0 where it is negative */
static ALWAYS_INLINE vf vf_take(vf x, const int8_t *from) {
    return (vf){from[0] < 0 ? 0 : x[from[0] & 3], from[1] < 0 ? 0 : x[from[1] & 3],
                from[2] < 0 ? 0 : x[from[2] & 3], from[3] < 0 ? 0 : x[from[3] & 3]};
}

/* dst[j][i] = src[i][j] for i, j < 16; rows `ss` and `ds` floats apart, aligned. */
static ALWAYS_INLINE void transpose_quarter(const float *src, ptrdiff_t ss, float *dst,
                                            ptrdiff_t ds) {
    for (int j = 0; j < 16; j++) {
        for (int i = 0; i < 16; i++) {
            dst[j * ds + i] = src[i * ss + j];
        }
    }
}

/* Where an FMA is a function call, tall tiles only grow the code. */
#ifdef __FP_FAST_FMAF
enum { TILE_QUARTERS = 1, DW_ROWS = 6, DW_VECS = 4 };
#else
enum { TILE_QUARTERS = 1, DW_ROWS = 2, DW_VECS = 4 };
#endif
static ALWAYS_INLINE int tile_rows(bool columns, int quarters) {
    return DW_ROWS;
}
