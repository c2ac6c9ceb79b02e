/* Selects the instruction set at run time, and calls its functions. */
#include "cell.h"

static const nz_cell_engine *engine(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return &nz_cell_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &nz_cell_avx2;
#endif
    return &nz_cell_portable;
}

void nz_normalise_forward(nz_shape s, const float *from, const void *product, const float *scale,
                          const float *bias, float *out, float *inverse, void *unit) {
    engine()->normalise_forward[s.bf16](s, from, product, scale, bias, out, inverse, unit);
}
void nz_normalise_backward(nz_shape s, const void *gradient, const float *x, const float *inverse,
                           int first, float *dx, void *copy, float *sums) {
    engine()->normalise_backward[s.bf16](s, gradient, x, inverse, first, dx, copy, sums);
}
void nz_recurrence_forward(nz_shape s, const void *product, const float *scale, const float *bias,
                           float *hs, void *shown) {
    engine()->recurrence_forward[s.bf16](s, product, scale, bias, hs, shown);
}
void nz_recurrence_backward(nz_shape s, const void *gradient, const void *product,
                            const float *scale, const float *bias, const float *hs, void *dz,
                            float *dbias, float *carry) {
    engine()->recurrence_backward[s.bf16](s, gradient, product, scale, bias, hs, dz, dbias, carry);
}
double nz_tree_loss(nz_shape s, const void *unit, const float *embedded, const uint8_t *text,
                    const float *out, const float *bias, float factor, void *dunit,
                    float *dembedded, float *dout, float *dbias) {
    return engine()->tree_loss[s.bf16](s, unit, embedded, text, out, bias, factor, dunit, dembedded,
                                       dout, dbias);
}
void nz_embed_backward(nz_shape s, const float *embedded, const void *more, float *gradient) {
    engine()->embed_backward[s.bf16](s, embedded, more, gradient);
}
void nz_to_act(nz_shape s, const float *from, size_t count, void *to) {
    engine()->to_act[s.bf16](s, from, count, to);
}
void nz_rows_sum(const nz_places *p, const float *table, const int32_t *rows, size_t n, int bits,
                 int quantise, float *embedded) {
    engine()->rows_sum(p, table, rows, n, bits, quantise, embedded);
}
ptrdiff_t nz_rows_gather(const nz_places *p, const int32_t *rows, const float *gradient, size_t n,
                         int part, int parts, int32_t *place, float *sums, int32_t *touched,
                         ptrdiff_t count, size_t capacity) {
    return engine()->rows_gather(p, rows, gradient, n, part, parts, place, sums, touched, count,
                                 capacity);
}
void nz_rows_update(const nz_places *p, float *table, float *state, int32_t *place,
                    const float *sums, const int32_t *touched, size_t count, float rate) {
    engine()->rows_update(p, table, state, place, sums, touched, count, rate);
}
