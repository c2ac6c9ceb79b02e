/* The inner loop of the matrix product. `product` computes PRODUCT_ROWS rows from `row` on, or the
   last NZ_ROWS, for several steps: out[step][row], Q8, within +-limit. `product_tile` computes
   NZ_ROWS rows for one step. */
#if NZ_AVX512
#define PRODUCT_ROWS 16
NZ_INLINE void product_steps(const nz_matrix *m, int row, const uint8_t *act, int stride,
                             int16_t *out, int16_t limit, const int steps) {
    const int8_t *w = m->weights + (size_t)row * (size_t)m->columns;
    const __m512i mult = _mm512_loadu_si512((const void *)(m->mult + row));
    const __m512i bias = _mm512_loadu_si512((const void *)(m->bias + row));
    const int parts =
        steps < 4 ? 4 / steps : 1; /* sums of a step: one alone would wait for itself */
    __m512i acc[8];
    for (int i = 0; i < steps * parts; i++) acc[i] = _mm512_setzero_si512();
    for (int k = 0; k < m->columns; k += 4 * parts)
        for (int i = 0; i < parts; i++, w += 64) {
            const __m512i weight = _mm512_loadu_si512((const void *)w);
            for (int l = 0; l < steps; l++) {
                int32_t a;
                memcpy(&a, act + l * stride + k + 4 * i, 4);
                __m512i *sum = &acc[l * parts + i];
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_set1_epi32(a), weight);
            }
        }
    for (int l = 0; l < steps; l++) {
        __m512i sum = acc[l * parts];
        for (int i = 1; i < parts; i++) sum = _mm512_add_epi32(sum, acc[l * parts + i]);
        __m512i z = _mm512_srai_epi32(_mm512_add_epi32(_mm512_mullo_epi32(sum, mult), bias),
                                      NZ_SCALE_SHIFT);
        z = _mm512_min_epi32(_mm512_max_epi32(z, _mm512_set1_epi32(-limit)),
                             _mm512_set1_epi32(limit));
        _mm256_storeu_si256((__m256i *)(void *)(out + l * m->rows), _mm512_cvtepi32_epi16(z));
    }
}

NZ_INLINE void product_tile(const nz_matrix *m, int row, const uint8_t *act, int16_t *out,
                            int16_t limit) {
    product_steps(m, row, act, 0, out, limit, 1);
}

NZ_INLINE void product(const nz_matrix *m, int row, const uint8_t *act, int stride, int16_t *out,
                       int16_t limit, int steps) {
    switch (steps) {
    case 1: product_steps(m, row, act, stride, out, limit, 1); break;
    case 2: product_steps(m, row, act, stride, out, limit, 2); break;
    case 4: product_steps(m, row, act, stride, out, limit, 4); break;
    default: product_steps(m, row, act, stride, out, limit, 8); break;
    }
}

#elif NZ_AVX2
#define PRODUCT_ROWS 32
/* One or two tiles of 16 rows. Two vpmaddubsw results are added as int16 before they are widened:
   at most 4 * 127 * 63 = 32,004, so nothing saturates. far: the weights are not in the first-level
   cache. */
NZ_INLINE void product_tiles(const nz_matrix *m, int row, const uint8_t *act, int16_t *out,
                             int16_t limit, const int tiles, const int far) {
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t size = NZ_ROWS * (size_t)m->columns;
    const int8_t *w = m->weights + (size_t)row * (size_t)m->columns;
    __m256i acc[2][2];
    for (int i = 0; i < tiles; i++) acc[i][0] = acc[i][1] = _mm256_setzero_si256();
    for (int k = 0; k < m->columns; k += 8, w += 128) {
        int32_t a0, a1;
        memcpy(&a0, act + k, 4);
        memcpy(&a1, act + k + 4, 4);
        const __m256i b0 = _mm256_set1_epi32(a0), b1 = _mm256_set1_epi32(a1);
        for (int i = 0; i < tiles; i++) {
            const int8_t *at = w + (size_t)i * size;
            if (far) {
                NZ_PREFETCH(at + 1024);
                NZ_PREFETCH(at + 1088);
            }
            for (int half = 0; half < 2; half++, at += 32) {
                const __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)at);
                const __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(at + 64));
                const __m256i sum =
                    _mm256_add_epi16(_mm256_maddubs_epi16(b0, w0), _mm256_maddubs_epi16(b1, w1));
                acc[i][half] = _mm256_add_epi32(acc[i][half], _mm256_madd_epi16(sum, ones));
            }
        }
    }
    for (int i = 0; i < tiles; i++) {
        __m256i z[2];
        for (int half = 0; half < 2; half++) {
            const int r = row + NZ_ROWS * i + 8 * half;
            const __m256i mult = _mm256_loadu_si256((const __m256i *)(const void *)(m->mult + r));
            const __m256i bias = _mm256_loadu_si256((const __m256i *)(const void *)(m->bias + r));
            z[half] = _mm256_srai_epi32(
                _mm256_add_epi32(_mm256_mullo_epi32(acc[i][half], mult), bias), NZ_SCALE_SHIFT);
        }
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(z[0], z[1]), 0xd8);
        v_store(out + NZ_ROWS * i, v_clamp(packed, limit));
    }
}

NZ_INLINE void product_tile(const nz_matrix *m, int row, const uint8_t *act, int16_t *out,
                            int16_t limit) {
    product_tiles(m, row, act, out, limit, 1, 0);
}

NZ_INLINE void product(const nz_matrix *m, int row, const uint8_t *act, int stride, int16_t *out,
                       int16_t limit, int steps) {
    const int far = steps == 1 && m->columns > 64;
    for (int l = 0; l < steps; l++, act += stride, out += m->rows) {
        if (row + NZ_ROWS == m->rows) product_tiles(m, row, act, out, limit, 1, 0);
        else if (far) product_tiles(m, row, act, out, limit, 2, 1);
        else product_tiles(m, row, act, out, limit, 2, 0);
    }
}

#elif NZ_NEON
#define PRODUCT_ROWS 16
/* The results of four rows of a tile. */
NZ_INLINE void finish_rows(const nz_matrix *m, int row, int32x4_t acc, int16_t *out,
                           int16_t limit) {
    int32x4_t z = vshrq_n_s32(vmlaq_s32(vld1q_s32(m->bias + row), acc, vld1q_s32(m->mult + row)),
                              NZ_SCALE_SHIFT);
    z = vminq_s32(vmaxq_s32(z, vdupq_n_s32(-limit)), vdupq_n_s32(limit));
    vst1_s16(out, vmovn_s32(z));
}

#if NZ_NEON == 2
NZ_INLINE void product_tile(const nz_matrix *m, int row, const uint8_t *act, int16_t *out,
                            int16_t limit) {
    const int8_t *w = m->weights + (size_t)row * (size_t)m->columns;
    int32x4_t acc[4];
    for (int r = 0; r < 4; r++) acc[r] = vdupq_n_s32(0);
    for (int k = 0; k < m->columns; k += 16, w += 256) {
        const int8x16_t a = vreinterpretq_s8_u8(vld1q_u8(act + k));
        for (int r = 0; r < 4; r++) {
            acc[r] = vdotq_laneq_s32(acc[r], vld1q_s8(w + 16 * r), a, 0);
            acc[r] = vdotq_laneq_s32(acc[r], vld1q_s8(w + 64 + 16 * r), a, 1);
            acc[r] = vdotq_laneq_s32(acc[r], vld1q_s8(w + 128 + 16 * r), a, 2);
            acc[r] = vdotq_laneq_s32(acc[r], vld1q_s8(w + 192 + 16 * r), a, 3);
        }
    }
    for (int r = 0; r < 4; r++) finish_rows(m, row + 4 * r, acc[r], out + 4 * r, limit);
}
#else
/* The products of four columns, for two rows, are added in eight int16: at most 4 * 127 * 63 =
   32,004. */
NZ_INLINE void product_tile(const nz_matrix *m, int row, const uint8_t *act, int16_t *out,
                            int16_t limit) {
    const int8_t *w = m->weights + (size_t)row * (size_t)m->columns;
    int32x4_t acc[8];
    for (int r = 0; r < 8; r++) acc[r] = vdupq_n_s32(0);
    for (int k = 0; k < m->columns; k += 16, w += 256) {
        int8x8_t a[4];
        for (int j = 0; j < 4; j++) {
            int32_t four;
            memcpy(&four, act + k + 4 * j, 4);
            a[j] = vreinterpret_s8_s32(vdup_n_s32(four));
        }
        for (int r = 0; r < 8; r++) {
            int16x8_t sum = vmull_s8(vld1_s8(w + 8 * r), a[0]);
            for (int j = 1; j < 4; j++) sum = vmlal_s8(sum, vld1_s8(w + 64 * j + 8 * r), a[j]);
            acc[r] = vpadalq_s16(acc[r], sum);
        }
    }
    for (int r = 0; r < 4; r++)
        finish_rows(m, row + 4 * r, vpaddq_s32(acc[2 * r], acc[2 * r + 1]), out + 4 * r, limit);
}
#endif

NZ_INLINE void product(const nz_matrix *m, int row, const uint8_t *act, int stride, int16_t *out,
                       int16_t limit, int steps) {
    for (int l = 0; l < steps; l++)
        product_tile(m, row, act + l * stride, out + l * m->rows, limit);
}

#else
#define PRODUCT_ROWS (1 << 20) /* all */
#if defined(__GNUC__) || defined(__clang__)
#define ALIGNED(p) __builtin_assume_aligned(p, 16)
#else
#define ALIGNED(p) (p)
#endif
/* For sums of products of int16 along a row, compilers have an instruction on most machines. */
NZ_INLINE void product_rows(const nz_matrix *m, int row, int rows, const uint8_t *act, int16_t *out,
                            int16_t limit) {
    const int columns =
        m->columns & ~15; /* no change, but tells the compiler that it is a multiple of 16 */
    const int16_t *w = (const int16_t *)(const void *)m->weights + (size_t)row * (size_t)columns;
    int16_t a[NZ_MAX_COLUMNS];
    for (int k = 0; k < columns; k++) a[k] = act[k];
    for (int r = 0; r < rows; r += 4, w += 4 * columns) {
        const int16_t *w0 = ALIGNED(w), *w1 = ALIGNED(w + columns), *w2 = ALIGNED(w + 2 * columns),
                      *w3 = ALIGNED(w + 3 * columns);
        int32_t acc[4] = {0}, acc0 = 0, acc1 = 0, acc2 = 0, acc3 = 0;
        for (int k = 0; k < columns; k++) {
            acc0 += a[k] * w0[k];
            acc1 += a[k] * w1[k];
            acc2 += a[k] * w2[k];
            acc3 += a[k] * w3[k];
        }
        acc[0] = acc0, acc[1] = acc1, acc[2] = acc2, acc[3] = acc3;
        for (int i = 0; i < 4; i++) {
            uint32_t z =
                (uint32_t)acc[i] * (uint32_t)m->mult[row + r + i] + (uint32_t)m->bias[row + r + i];
            out[r + i] = (int16_t)nz_clamp((int32_t)z >> NZ_SCALE_SHIFT, -limit, limit);
        }
    }
}

NZ_INLINE void product_tile(const nz_matrix *m, int row, const uint8_t *act, int16_t *out,
                            int16_t limit) {
    product_rows(m, row, NZ_ROWS, act, out, limit);
}

NZ_INLINE void product(const nz_matrix *m, int row, const uint8_t *act, int stride, int16_t *out,
                       int16_t limit, int steps) {
    for (int l = 0; l < steps; l++)
        product_rows(m, row, m->rows, act + l * stride, out + l * m->rows, limit);
}
#endif
