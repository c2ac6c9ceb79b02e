/* The engine in plain C11: the one that runs anywhere. */
#define NZ_ENGINE nz_engine_portable
#define NZ_ENGINE_NAME "portable"
#include "engine.inc"
