/* The parts of M1's training on a CPU that are not matrix products. Arrays are contiguous, time first:
   n = steps * lanes places. An `act` is bfloat16 or float (the functions' names end in _bf16 or _f32);
   activations are whole numbers in it, in steps of 1/21. hidden is a multiple of 16, embed of 8. */
#ifndef NZ_CELL_H
#define NZ_CELL_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t steps, lanes, hidden, embed;
    int bf16;     /* type of an act */
    int quantise; /* round activations, as the kernel does */
} nz_shape;

/* out = (from, or 0) + product * scale + (bias, or 0): float [n][hidden]; or out = from if product is NULL. Then
   inverse [n] is the reciprocal root mean square of its rows and unit, act, what is left over it, rounded. */
void nz_normalise_forward(nz_shape, const float *from, const void *product, const float *scale, const float *bias,
                          float *out, float *inverse, void *unit);
/* gradient, act: of the normalised units. dx float [n][hidden] is added to (or set, if `first`), copy, act, gets it too.
   sums, float [hidden] or NULL: the columns' sums are added. */
void nz_normalise_backward(nz_shape, const void *gradient, const float *x, const float *inverse, int first, float *dx,
                           void *copy, float *sums);
/* product, act [n][3 hidden]: with scale and bias, float [3 hidden], the arguments of a and o, and v.
   hs float [steps + 1][lanes][hidden], the first given. shown, act [n][hidden]. */
void nz_recurrence_forward(nz_shape, const void *product, const float *scale, const float *bias, float *hs, void *shown);
/* gradient, act [n][hidden]. dz, act [n][3 hidden]; dbias float [3 hidden] is added to; carry float [lanes][hidden], zeros. */
void nz_recurrence_backward(nz_shape, const void *gradient, const void *product, const float *scale, const float *bias,
                            const float *hs, void *dz, float *dbias, float *carry);
/* Code length, in nats, of text [n] under the output layer, float [256][hidden + embed] with its bias; unit, act
   [n][hidden], and embedded, float [n][embed], are its input. Gradients, unless dunit is NULL, times `factor`: dunit, act
   [n][hidden]; dembedded float [n][embed]; dout and dbias are added to. */
double nz_tree_loss(nz_shape, const void *unit, const float *embedded, const uint8_t *text, const float *out,
                    const float *bias, float factor, void *dunit, float *dembedded, float *dout, float *dbias);
/* gradient float [n][embed] += more (act), then 0 where the embedding is at its limit. */
void nz_embed_backward(nz_shape, const float *embedded, const void *more, float *gradient);
/* float to act, [count]. */
void nz_to_act(nz_shape, const float *from, size_t count, void *to);

#include "rows.h"

/* One instruction set's functions; the first of each pair is for float acts, the second for bfloat16. */
typedef struct {
    void (*normalise_forward[2])(nz_shape, const float *from, const void *product, const float *scale, const float *bias, float *out, float *inverse, void *unit);
    void (*normalise_backward[2])(nz_shape, const void *gradient, const float *x, const float *inverse, int first, float *dx, void *copy, float *sums);
    void (*recurrence_forward[2])(nz_shape, const void *product, const float *scale, const float *bias, float *hs, void *shown);
    void (*recurrence_backward[2])(nz_shape, const void *gradient, const void *product, const float *scale, const float *bias, const float *hs, void *dz, float *dbias, float *carry);
    double (*tree_loss[2])(nz_shape, const void *unit, const float *embedded, const uint8_t *text, const float *out, const float *bias, float factor, void *dunit, float *dembedded, float *dout, float *dbias);
    void (*embed_backward[2])(nz_shape, const float *embedded, const void *more, float *gradient);
    void (*to_act[2])(nz_shape, const float *from, size_t count, void *to);
    void (*rows_sum)(const nz_places *, const float *table, const int32_t *rows, size_t n, int bits, int quantise, float *embedded);
    ptrdiff_t (*rows_gather)(const nz_places *, const int32_t *rows, const float *gradient, size_t n, int part, int parts, int32_t *place, float *sums, int32_t *touched, ptrdiff_t count, size_t capacity);
    void (*rows_update)(const nz_places *, float *table, float *state, int32_t *place, const float *sums, const int32_t *touched, size_t count, float rate);
} nz_cell_engine;

extern const nz_cell_engine nz_cell_portable, nz_cell_avx2, nz_cell_avx512;

#endif
