#define ENGINE nz_cell_portable
#include "cell_engine.inc"
