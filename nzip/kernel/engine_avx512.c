/* The engine for AVX-512 with VNNI. */
#include "engine.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include "target.h"
#include <stdlib.h>
NZ_TARGET_BEGIN("avx2,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512vnni")
#define NZ_AVX2 1
#define NZ_AVX512 1
#define NZ_ENGINE nz_engine_avx512
#define NZ_ENGINE_NAME "avx512"
#include "engine.inc"
NZ_TARGET_END
#else
const nz_engine nz_engine_avx512 = {.name = "avx512"};
#endif
