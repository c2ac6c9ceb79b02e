/* Integer helpers that every part of the kernel shares. No floating point, no Python. */
#ifndef NZ_COMMON_H
#define NZ_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) || defined(__clang__)
#define NZ_INLINE static inline __attribute__((always_inline, unused))
#define NZ_HOT(x) __builtin_expect(!!(x), 1)
#define NZ_PREFETCH(p) __builtin_prefetch(p)
#else
#define NZ_INLINE static inline
#define NZ_HOT(x) (x)
#define NZ_PREFETCH(p) ((void)(p))
#endif

/* x / 2^n rounded to nearest, halves up. The right shift of a negative number floors on every
   supported compiler; tests compare this with reference.rshift_round. */
NZ_INLINE int32_t nz_rshift_round(int32_t x, int n) { return (x + (1 << (n - 1))) >> n; }

NZ_INLINE int32_t nz_clamp(int32_t x, int32_t lo, int32_t hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

NZ_INLINE int64_t nz_clamp64(int64_t x, int64_t lo, int64_t hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* The number of leading zero bits of x, which must not be 0. */
NZ_INLINE int nz_leading_zeros(uint32_t x) {
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_clz(x);
#else
    int zeros = 0;
    for (; !(x & 0x80000000u); x <<= 1) zeros++;
    return zeros;
#endif
}

NZ_INLINE uint32_t nz_load32_be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
