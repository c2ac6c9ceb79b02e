/* The engine for NEON with the dot products of ARMv8.4. */
#include "engine.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#include "target.h"
#include <stdlib.h>
#if defined(__clang__)
NZ_TARGET_BEGIN("dotprod")
#else
NZ_TARGET_BEGIN("arch=armv8.2-a+dotprod")
#endif
#define NZ_NEON 2
#define NZ_ENGINE nz_engine_dotprod
#define NZ_ENGINE_NAME "dotprod"
#include "engine.inc"
NZ_TARGET_END
#else
const nz_engine nz_engine_dotprod = {.name = "dotprod"};
#endif
