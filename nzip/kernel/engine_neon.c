/* The engine for NEON, which every 64-bit ARM has. */
#include "engine.h"

#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define NZ_NEON 1
#define NZ_ENGINE nz_engine_neon
#define NZ_ENGINE_NAME "neon"
#include "engine.inc"
#else
const nz_engine nz_engine_neon = {.name = "neon"};
#endif
