#include "cell.h"
#include "common.h"

#include <math.h>
#if defined(__x86_64__)
#include "target.h"
NZ_TARGET_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#define ENGINE nz_cell_avx512
#include "cell_engine.inc"
NZ_TARGET_END
#endif
