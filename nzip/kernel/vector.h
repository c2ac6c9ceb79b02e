/* The operations that the engines are written with, on vectors of int16: for AVX2, for NEON, and as
   plain loops, which compilers turn into the vectors of their machine. The inner loop of the matrix
   product (product.h) differs more. */
#if NZ_AVX2
#include <immintrin.h>

#define LANES 16
typedef __m256i vec;

NZ_INLINE vec v_load(const int16_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
NZ_INLINE void v_store(int16_t *p, vec v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }
NZ_INLINE vec v_set(int32_t x) { return _mm256_set1_epi16((int16_t)x); }
NZ_INLINE vec v_add(vec a, vec b) { return _mm256_add_epi16(a, b); }
NZ_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_epi16(a, b); }
NZ_INLINE vec v_adds(vec a, vec b) { return _mm256_adds_epi16(a, b); }
NZ_INLINE vec v_min(vec a, vec b) { return _mm256_min_epi16(a, b); }
NZ_INLINE vec v_max(vec a, vec b) { return _mm256_max_epi16(a, b); }
NZ_INLINE vec v_xor(vec a, vec b) { return _mm256_xor_si256(a, b); }
NZ_INLINE vec v_mulhrs(vec a, vec b) {
    return _mm256_mulhrs_epi16(a, b);
} /* (a * b) >> 15, rounded */
#define v_shl(v, n) _mm256_slli_epi16(v, n)
#define v_shr(v, n) _mm256_srai_epi16(v, n)

/* Stores activations within +-NZ_ACT_MAX, or loads them. */
NZ_INLINE void v_store_act(uint8_t *act, vec v) {
    v = v_add(v, v_set(NZ_ACT_ZERO));
    _mm_storeu_si128((__m128i *)(void *)act,
                     _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

NZ_INLINE vec v_load_act(const uint8_t *act) {
    return v_sub(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)act)),
                 v_set(NZ_ACT_ZERO));
}

/* (v * factor) >> shift, rounded and saturated. */
NZ_INLINE vec v_scale(vec v, int16_t factor, int shift) {
    const __m256i factors = _mm256_set1_epi16(factor), half = _mm256_set1_epi32(1 << (shift - 1));
    const __m128i count = _mm_cvtsi32_si128(shift);
    const __m256i low = _mm256_mullo_epi16(v, factors), high = _mm256_mulhi_epi16(v, factors);
    const __m256i a =
        _mm256_sra_epi32(_mm256_add_epi32(_mm256_unpacklo_epi16(low, high), half), count);
    const __m256i b =
        _mm256_sra_epi32(_mm256_add_epi32(_mm256_unpackhi_epi16(low, high), half), count);
    return _mm256_packs_epi32(a, b);
}

/* Entry i (0 to 7) of a table for each lane. */
typedef __m256i vec_index;
NZ_INLINE vec_index v_index(vec i) {
    return _mm256_add_epi16(_mm256_mullo_epi16(i, _mm256_set1_epi16(0x0202)),
                            _mm256_set1_epi16(0x0100));
}
NZ_INLINE vec v_pick(const int16_t *table, vec_index i) {
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table)), i);
}

/* Sum of n products, n a multiple of LANES; it wraps if it does not fit. */
NZ_INLINE int32_t v_dot(const int16_t *a, const int16_t *b, int n) {
    __m256i sum = _mm256_madd_epi16(v_load(a), v_load(b));
    for (int k = 16; k < n; k += 16)
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(v_load(a + k), v_load(b + k)));
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
}

NZ_INLINE uint64_t v_squares(const int16_t *x, int n) {
    __m256i sums = _mm256_setzero_si256(), low = _mm256_set1_epi64x(0xffffffff);
    for (int j = 0; j < n; j += 16) {
        const __m256i square = _mm256_madd_epi16(v_load(x + j), v_load(x + j));
        sums = _mm256_add_epi64(
            sums, _mm256_add_epi64(_mm256_and_si256(square, low), _mm256_srli_epi64(square, 32)));
    }
    uint64_t parts[4];
    memcpy(parts, &sums, sizeof parts);
    return parts[0] + parts[1] + parts[2] + parts[3];
}

/* Sums of the low nibbles and of the high nibbles of eight bytes, times scales. */
typedef struct {
    __m128i low, high;
} vec_rows;
NZ_INLINE vec_rows v_rows(int32_t start) {
    return (vec_rows){_mm_set1_epi16((int16_t)start), _mm_set1_epi16((int16_t)start)};
}
NZ_INLINE void v_add_rows(vec_rows *sum, const uint8_t *a, const uint8_t *b, uint8_t scale_a,
                          uint8_t scale_b) {
    const __m128i nibble = _mm_set1_epi8(15),
                  scale = _mm_set1_epi16((int16_t)(scale_a | scale_b << 8));
    const __m128i pair = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)a),
                                           _mm_loadl_epi64((const __m128i *)(const void *)b));
    sum->low = _mm_add_epi16(sum->low, _mm_maddubs_epi16(_mm_and_si128(pair, nibble), scale));
    sum->high = _mm_add_epi16(
        sum->high, _mm_maddubs_epi16(_mm_and_si128(_mm_srli_epi16(pair, 4), nibble), scale));
}
NZ_INLINE void v_store_rows(vec_rows sum, int shift, uint8_t *low, uint8_t *high) {
    uint8_t act[16];
    vec v = _mm256_sra_epi16(_mm256_set_m128i(sum.high, sum.low), _mm_cvtsi32_si128(shift));
    v_store_act(act, v_min(v_max(v, v_set(-NZ_ACT_MAX)), v_set(NZ_ACT_MAX)));
    memcpy(low, act, 8);
    memcpy(high, act + 8, 8);
}

#elif NZ_NEON
#include <arm_neon.h>

#define LANES 8
typedef int16x8_t vec;

NZ_INLINE vec v_load(const int16_t *p) { return vld1q_s16(p); }
NZ_INLINE void v_store(int16_t *p, vec v) { vst1q_s16(p, v); }
NZ_INLINE vec v_set(int32_t x) { return vdupq_n_s16((int16_t)x); }
NZ_INLINE vec v_add(vec a, vec b) { return vaddq_s16(a, b); }
NZ_INLINE vec v_sub(vec a, vec b) { return vsubq_s16(a, b); }
NZ_INLINE vec v_adds(vec a, vec b) { return vqaddq_s16(a, b); }
NZ_INLINE vec v_min(vec a, vec b) { return vminq_s16(a, b); }
NZ_INLINE vec v_max(vec a, vec b) { return vmaxq_s16(a, b); }
NZ_INLINE vec v_xor(vec a, vec b) { return veorq_s16(a, b); }
NZ_INLINE vec v_mulhrs(vec a, vec b) { return vqrdmulhq_s16(a, b); }
#define v_shl(v, n) vshlq_n_s16(v, n)
#define v_shr(v, n) vshrq_n_s16(v, n)

NZ_INLINE void v_store_act(uint8_t *act, vec v) {
    vst1_u8(act, vmovn_u16(vreinterpretq_u16_s16(v_add(v, v_set(NZ_ACT_ZERO)))));
}
NZ_INLINE vec v_load_act(const uint8_t *act) {
    return v_sub(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(act))), v_set(NZ_ACT_ZERO));
}

NZ_INLINE vec v_scale(vec v, int16_t factor, int shift) {
    const int32x4_t half = vdupq_n_s32(1 << (shift - 1)), right = vdupq_n_s32(-shift);
    const int32x4_t a = vshlq_s32(vaddq_s32(vmull_n_s16(vget_low_s16(v), factor), half), right);
    const int32x4_t b = vshlq_s32(vaddq_s32(vmull_high_n_s16(v, factor), half), right);
    return vqmovn_high_s32(vqmovn_s32(a), b);
}

typedef uint8x16_t vec_index;
NZ_INLINE vec_index v_index(vec i) {
    return vreinterpretq_u8_s16(vaddq_s16(vmulq_n_s16(i, 0x0202), vdupq_n_s16(0x0100)));
}
NZ_INLINE vec v_pick(const int16_t *table, vec_index i) {
    return vreinterpretq_s16_u8(vqtbl1q_u8(vreinterpretq_u8_s16(vld1q_s16(table)), i));
}

NZ_INLINE int32_t v_dot(const int16_t *a, const int16_t *b, int n) {
    int32x4_t sum = vdupq_n_s32(0);
    for (int k = 0; k < n; k += 8)
        sum =
            vmlal_high_s16(vmlal_s16(sum, vget_low_s16(v_load(a + k)), vget_low_s16(v_load(b + k))),
                           v_load(a + k), v_load(b + k));
    return vaddvq_s32(sum);
}

NZ_INLINE uint64_t v_squares(const int16_t *x, int n) {
    uint64x2_t sums = vdupq_n_u64(0);
    for (int j = 0; j < n; j += 8) {
        const vec v = v_load(x + j);
        sums =
            vpadalq_u32(sums, vreinterpretq_u32_s32(vmull_s16(vget_low_s16(v), vget_low_s16(v))));
        sums = vpadalq_u32(sums, vreinterpretq_u32_s32(vmull_high_s16(v, v)));
    }
    return vaddvq_u64(sums);
}

typedef struct {
    int16x8_t low, high;
} vec_rows;
NZ_INLINE vec_rows v_rows(int32_t start) { return (vec_rows){v_set(start), v_set(start)}; }
NZ_INLINE void v_add_row(vec_rows *sum, const uint8_t *a, uint8_t scale) {
    const int8x8_t scales = vdup_n_s8((int8_t)scale);
    sum->low = vmlal_s8(sum->low, vreinterpret_s8_u8(vand_u8(vld1_u8(a), vdup_n_u8(15))), scales);
    sum->high = vmlal_s8(sum->high, vreinterpret_s8_u8(vshr_n_u8(vld1_u8(a), 4)), scales);
}
NZ_INLINE void v_add_rows(vec_rows *sum, const uint8_t *a, const uint8_t *b, uint8_t scale_a,
                          uint8_t scale_b) {
    v_add_row(sum, a, scale_a);
    v_add_row(sum, b, scale_b);
}
NZ_INLINE void v_store_rows(vec_rows sum, int shift, uint8_t *low, uint8_t *high) {
    const vec right = v_set(-shift), most = v_set(NZ_ACT_MAX), least = v_set(-NZ_ACT_MAX);
    v_store_act(low, v_min(v_max(vshlq_s16(sum.low, right), least), most));
    v_store_act(high, v_min(v_max(vshlq_s16(sum.high, right), least), most));
}

#else
#define LANES 8
typedef struct {
    int16_t at[LANES];
} vec;
#if defined(__GNUC__) && !defined(__clang__)
#define EACH                                                                                       \
    _Pragma("GCC unroll 1") for (int i = 0; i < LANES;                                             \
                                 i++) /* if unrolled, it would not be vectorised */
#else
#define EACH for (int i = 0; i < LANES; i++)
#endif

NZ_INLINE vec v_load(const int16_t *p) {
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
NZ_INLINE void v_store(int16_t *p, vec v) { memcpy(p, &v, sizeof v); }
NZ_INLINE vec v_set(int32_t x) {
    vec v;
    EACH v.at[i] = (int16_t)x;
    return v;
}
#define BOTH(name, expression)                                                                     \
    NZ_INLINE vec name(vec a, vec b) {                                                             \
        vec v;                                                                                     \
        EACH v.at[i] = (int16_t)(expression);                                                      \
        return v;                                                                                  \
    }
BOTH(v_add, a.at[i] + b.at[i])
BOTH(v_sub, a.at[i] - b.at[i])
BOTH(v_adds, nz_clamp(a.at[i] + b.at[i], -32768, 32767))
BOTH(v_min, a.at[i] < b.at[i] ? a.at[i] : b.at[i])
BOTH(v_max, a.at[i] > b.at[i] ? a.at[i] : b.at[i])
BOTH(v_xor, a.at[i] ^ b.at[i])
BOTH(v_mulhrs, (a.at[i] * b.at[i] + 16384) >> 15)
#undef BOTH
NZ_INLINE vec v_shl(vec a, int n) {
    EACH a.at[i] = (int16_t)(a.at[i] * (1 << n));
    return a;
}
NZ_INLINE vec v_shr(vec a, int n) {
    EACH a.at[i] = (int16_t)(a.at[i] >> n);
    return a;
}

NZ_INLINE void v_store_act(uint8_t *act, vec v) { EACH act[i] = (uint8_t)(v.at[i] + NZ_ACT_ZERO); }
NZ_INLINE vec v_load_act(const uint8_t *act) {
    vec v;
    EACH v.at[i] = (int16_t)(act[i] - NZ_ACT_ZERO);
    return v;
}

NZ_INLINE vec v_scale(vec v, int16_t factor, int shift) {
    EACH v.at[i] = (int16_t)nz_clamp(nz_rshift_round(v.at[i] * factor, shift), -32768, 32767);
    return v;
}

typedef vec vec_index;
NZ_INLINE vec_index v_index(vec i) { return i; }
NZ_INLINE vec v_pick(const int16_t *table, vec_index index) {
    EACH index.at[i] = table[index.at[i]];
    return index;
}

NZ_INLINE int32_t v_dot(const int16_t *a, const int16_t *b, int n) {
    uint32_t sum = 0;
    for (int k = 0; k < n; k++) sum += (uint32_t)(a[k] * b[k]);
    return (int32_t)sum;
}

NZ_INLINE uint64_t v_squares(const int16_t *x, int n) {
    uint64_t sum = 0;
    for (int j = 0; j < n; j++) sum += (uint32_t)(x[j] * x[j]);
    return sum;
}

typedef struct {
    vec low, high;
} vec_rows;
NZ_INLINE vec_rows v_rows(int32_t start) { return (vec_rows){v_set(start), v_set(start)}; }
NZ_INLINE void v_add_rows(vec_rows *sum, const uint8_t *a, const uint8_t *b, uint8_t scale_a,
                          uint8_t scale_b) {
    EACH sum->low.at[i] =
        (int16_t)(sum->low.at[i] + (a[i] & 15) * (int8_t)scale_a + (b[i] & 15) * (int8_t)scale_b);
    EACH sum->high.at[i] =
        (int16_t)(sum->high.at[i] + (a[i] >> 4) * (int8_t)scale_a + (b[i] >> 4) * (int8_t)scale_b);
}
NZ_INLINE void v_store_rows(vec_rows sum, int shift, uint8_t *low, uint8_t *high) {
    const vec most = v_set(NZ_ACT_MAX), least = v_set(-NZ_ACT_MAX);
    v_store_act(low, v_min(v_max(v_shr(sum.low, shift), least), most));
    v_store_act(high, v_min(v_max(v_shr(sum.high, shift), least), most));
}
#undef EACH
#endif

NZ_INLINE vec v_clamp(vec v, int32_t limit) { return v_min(v_max(v, v_set(-limit)), v_set(limit)); }
