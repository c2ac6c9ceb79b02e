/* The parts of M1's training on a CPU other than matrix products. Arrays are contiguous, time
   first, with n = steps * lanes places. An `act` is bfloat16 or float (functions of an engine end
   in _bf16 or _f32); it holds activations as integers, in steps of 1/21. hidden is a multiple of
   16, embed of 8. */
#ifndef NZ_CELL_H
#define NZ_CELL_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t steps, lanes, hidden, embed;
    int bf16;     /* an act is bfloat16, not float */
    int quantise; /* round activations, as the kernel does */
} nz_shape;

/* out = (from, or 0) + product * scale + (bias, or 0): float [n][hidden]; if product is NULL,
   without it. Then inverse [n] is the reciprocal root mean square of each row of out, and unit, act
   [n][hidden], the normalised rows, clamped and, with `quantise`, rounded. */
void nz_normalise_forward(nz_shape, const float *from, const void *product, const float *scale,
                          const float *bias, float *out, float *inverse, void *unit);
/* gradient, act [n][hidden], is that of the normalised units. Adds to dx, float [n][hidden] (sets
   it, if `first`); copy, act [n][hidden], receives the result too. Adds its column sums to sums,
   float [hidden] or NULL. */
void nz_normalise_backward(nz_shape, const void *gradient, const float *x, const float *inverse,
                           int first, float *dx, void *copy, float *sums);
/* product, act [n][3 hidden], with scale and bias, float [3 hidden], gives the arguments of a and
   o, and v. Writes the states to hs, float [steps + 1][lanes][hidden], of which the first is given,
   and the gated states to shown, act [n][hidden]. */
void nz_recurrence_forward(nz_shape, const void *product, const float *scale, const float *bias,
                           float *hs, void *shown);
/* gradient, act [n][hidden], is that of shown. Sets dz, act [n][3 hidden], and adds to dbias, float
   [3 hidden]; carry, float [lanes][hidden], must be zeros. */
void nz_recurrence_backward(nz_shape, const void *gradient, const void *product, const float *scale,
                            const float *bias, const float *hs, void *dz, float *dbias,
                            float *carry);
/* Returns the code length, in nats, of text [n] under the output layer out, float [256][hidden +
   embed], with its bias; unit, act [n][hidden], and embedded, float [n][embed], are the layer's
   input. Unless dunit is NULL, computes the gradients times `factor`: sets dunit, act [n][hidden],
   and dembedded, float [n][embed], and adds to dout and dbias. */
double nz_tree_loss(nz_shape, const void *unit, const float *embedded, const uint8_t *text,
                    const float *out, const float *bias, float factor, void *dunit,
                    float *dembedded, float *dout, float *dbias);
/* gradient, float [n][embed], += more (act), then set to 0 where the embedding is at its limit. */
void nz_embed_backward(nz_shape, const float *embedded, const void *more, float *gradient);
/* Converts `count` floats to acts. */
void nz_to_act(nz_shape, const float *from, size_t count, void *to);

#include "rows.h"

/* The functions of one instruction set. The first of each pair is for float acts, the second for
   bfloat16. */
typedef struct {
    void (*normalise_forward[2])(nz_shape, const float *from, const void *product,
                                 const float *scale, const float *bias, float *out, float *inverse,
                                 void *unit);
    void (*normalise_backward[2])(nz_shape, const void *gradient, const float *x,
                                  const float *inverse, int first, float *dx, void *copy,
                                  float *sums);
    void (*recurrence_forward[2])(nz_shape, const void *product, const float *scale,
                                  const float *bias, float *hs, void *shown);
    void (*recurrence_backward[2])(nz_shape, const void *gradient, const void *product,
                                   const float *scale, const float *bias, const float *hs, void *dz,
                                   float *dbias, float *carry);
    double (*tree_loss[2])(nz_shape, const void *unit, const float *embedded, const uint8_t *text,
                           const float *out, const float *bias, float factor, void *dunit,
                           float *dembedded, float *dout, float *dbias);
    void (*embed_backward[2])(nz_shape, const float *embedded, const void *more, float *gradient);
    void (*to_act[2])(nz_shape, const float *from, size_t count, void *to);
    void (*rows_sum)(const nz_places *, const float *table, const int32_t *rows, size_t n, int bits,
                     int quantise, float *embedded);
    ptrdiff_t (*rows_gather)(const nz_places *, const int32_t *rows, const float *gradient,
                             size_t n, int part, int parts, int32_t *place, float *sums,
                             int32_t *touched, ptrdiff_t count, size_t capacity);
    void (*rows_update)(const nz_places *, float *table, float *state, int32_t *place,
                        const float *sums, const int32_t *touched, size_t count, float rate);
} nz_cell_engine;

extern const nz_cell_engine nz_cell_portable, nz_cell_avx2, nz_cell_avx512;

#endif
