#include "cell.h"
#include "common.h"

#include <math.h>
#if defined(__x86_64__)
#include "target.h"
NZ_TARGET_BEGIN("avx2,fma")
#define ENGINE nz_cell_avx2
#include "cell_engine.inc"
NZ_TARGET_END
#endif
