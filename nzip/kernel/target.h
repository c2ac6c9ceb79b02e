/* Compiles the rest of a file for an instruction set that the caller checks at run time.
   The system's vector header must come before, so that its own targets stay as they are. */
#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif
#if defined(__clang__)
#define NZ_PRAGMA(x) _Pragma(#x)
#define NZ_TARGET_BEGIN(set)                                                                       \
    NZ_PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define NZ_TARGET_END _Pragma("clang attribute pop")
#else
#define NZ_PRAGMA(x) _Pragma(#x)
#define NZ_TARGET_BEGIN(set) _Pragma("GCC push_options") NZ_PRAGMA(GCC target(set))
#define NZ_TARGET_END _Pragma("GCC pop_options")
#endif
