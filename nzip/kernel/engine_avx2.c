/* The engine for AVX2. */
#include "engine.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include "target.h"
#include <stdlib.h>
NZ_TARGET_BEGIN("avx2,bmi,bmi2")
#define NZ_AVX2 1
#define NZ_ENGINE nz_engine_avx2
#define NZ_ENGINE_NAME "avx2"
#include "engine.inc"
NZ_TARGET_END
#else
const nz_engine nz_engine_avx2 = {.name = "avx2"};
#endif
