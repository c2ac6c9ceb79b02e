/* Chooses the instruction set for cell.inc at run time. */
#include "cell.h"
#include "common.h"

#include <math.h>

#define ACT_MAX 63.0f
#define ACT_SCALE 21.0f
#define VALUE_MAX 2.0f

/* To the nearest integer, halves to even, for |x| < 2^22. */
NZ_INLINE float round_float(float x) { return (x + 12582912.0f) - 12582912.0f; }
NZ_INLINE float clamp_float(float x, float limit) {
    x = x < limit ? x : limit;
    return x > -limit ? x : -limit;
}
NZ_INLINE float round_activation(float x) {
    return clamp_float(round_float(clamp_float(x, 4.0f) * ACT_SCALE), ACT_MAX) * (1.0f / ACT_SCALE);
}

/* Within 2e-7 of the true value. */
NZ_INLINE float sigmoid(float x) {
    float t = clamp_float(x, 80.0f) * -1.44269504f; /* e^-x = 2^t */
    float whole = round_float(t), f = t - whole;
    float p = 1.5353362e-4f;
    p = p * f + 1.3398874e-3f;
    p = p * f + 9.6184373e-3f;
    p = p * f + 5.5503273e-2f;
    p = p * f + 2.4022648e-1f;
    p = p * f + 6.9314720e-1f;
    p = p * f + 1.0f;
    union { int32_t i; float f; } power = {((int32_t)whole + 127) << 23};
    return 1.0f / (1.0f + p * power.f);
}

#define CELL(name) name##_portable
#include "cell.inc"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include "target.h"
NZ_TARGET_BEGIN("avx2,fma")
#define CELL(name) name##_avx2
#include "cell.inc"
NZ_TARGET_END
#define CALL(name, ...)                                                          \
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))         \
        name##_avx2(__VA_ARGS__);                                                \
    else                                                                         \
        name##_portable(__VA_ARGS__)
#else
#define CALL(name, ...) name##_portable(__VA_ARGS__)
#endif

void nz_recurrence_forward(float *z, float *hs, float *y, nz_cells c) { CALL(recurrence_forward, z, hs, y, c); }
void nz_recurrence_backward(const float *dy, const float *z, const float *hs, float *dz, float *dh, nz_cells c) {
    CALL(recurrence_backward, dy, z, hs, dz, dh, c);
}
void nz_normalise_forward(const float *x, float *inverse, float *y, nz_cells c) {
    CALL(normalise_forward, x, inverse, y, c);
}
void nz_normalise_backward(const float *grad, const float *x, const float *inverse, float *dx, nz_cells c) {
    CALL(normalise_backward, grad, x, inverse, dx, c);
}
