/* Elementwise work of M1's training: float32, contiguous, hidden a multiple of 16. */
#ifndef NZ_CELL_H
#define NZ_CELL_H

#include <stddef.h>

typedef struct {
    size_t steps, batch, hidden;
    size_t first, last; /* the lanes (recurrence) or rows (normalise) to work on */
    int quantise;
} nz_cells;

/* z [steps][batch][3 hidden]: logits of a and o, and v; a and o give way to their sigmoids, v is
   clamped. hs [steps + 1][batch][hidden], the first given; y [steps][batch][hidden]. */
void nz_recurrence_forward(float *z, float *hs, float *y, nz_cells c);
void nz_recurrence_backward(const float *dy, const float *z, const float *hs, float *dz, float *dh, nz_cells c);
void nz_normalise_forward(const float *x, float *inverse, float *y, nz_cells c);
void nz_normalise_backward(const float *grad, const float *x, const float *inverse, float *dx, nz_cells c);

#endif
