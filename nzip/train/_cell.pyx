# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""M1's training on a CPU without its matrix products: a thin binding of train/cell.h and train/rows.h.

Arguments are addresses of contiguous arrays (0 for NULL), whose types and shapes are in the headers.
The functions run without the GIL.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "train/cell.h" nogil:
    ctypedef struct nz_shape:
        size_t steps, lanes, hidden, embed
        int bf16, quantise
    void nz_normalise_forward(nz_shape, const float *, const void *, const float *, const float *, float *,
                              float *, void *) noexcept nogil
    void nz_normalise_backward(nz_shape, const void *, const float *, const float *, int, float *, void *,
                               float *) noexcept nogil
    void nz_recurrence_forward(nz_shape, const void *, const float *, const float *, float *,
                               void *) noexcept nogil
    void nz_recurrence_backward(nz_shape, const void *, const void *, const float *, const float *,
                                const float *, void *, float *, float *) noexcept nogil
    double nz_tree_loss(nz_shape, const void *, const float *, const uint8_t *, const float *, const float *,
                        float, void *, float *, float *, float *) noexcept nogil
    void nz_embed_backward(nz_shape, const float *, const void *, float *) noexcept nogil
    void nz_to_act(nz_shape, const float *, size_t, void *) noexcept nogil

cdef extern from "train/rows.h" nogil:
    ctypedef struct nz_trail:
        pass
    ctypedef struct nz_candidates:
        pass
    ctypedef struct nz_places:
        int contexts, ways, embed
        uint32_t buckets
        int context[12]
    void nz_rows_count(const nz_places *, const uint8_t *, size_t, size_t, nz_trail *,
                       nz_candidates *) noexcept nogil
    void nz_rows_find(const nz_places *, const uint16_t *, const uint8_t *, size_t, size_t, nz_trail *,
                      int32_t *) noexcept nogil
    void nz_rows_sum(const nz_places *, const float *, const int32_t *, size_t, int, int, float *) noexcept nogil
    Py_ssize_t nz_rows_gather(const nz_places *, const int32_t *, const float *, size_t, int, int, int32_t *,
                              float *, int32_t *, Py_ssize_t, size_t) noexcept nogil
    void nz_rows_update(const nz_places *, float *, float *, int32_t *, const float *, const int32_t *,
                        size_t, float) noexcept nogil

TRAIL = sizeof(nz_trail)  # bytes of a lane's history
CANDIDATES = sizeof(nz_candidates)  # bytes per bucket that count() needs


cdef class Shape:
    """Sizes of a step's arrays, and how activations are stored; see train/cell.h."""

    cdef nz_shape s

    def __init__(self, size_t steps, size_t lanes, size_t hidden, size_t embed, bint bf16, bint quantise):
        self.s.steps, self.s.lanes, self.s.hidden, self.s.embed = steps, lanes, hidden, embed
        self.s.bf16, self.s.quantise = bf16, quantise

    def normalise_forward(self, size_t start, size_t product, size_t scale, size_t bias, size_t out,
                          size_t inverse, size_t unit):
        with nogil:
            nz_normalise_forward(self.s, <float *> start, <void *> product, <float *> scale, <float *> bias,
                                 <float *> out, <float *> inverse, <void *> unit)

    def normalise_backward(self, size_t gradient, size_t x, size_t inverse, bint first, size_t dx, size_t copy,
                           size_t sums):
        with nogil:
            nz_normalise_backward(self.s, <void *> gradient, <float *> x, <float *> inverse, first,
                                  <float *> dx, <void *> copy, <float *> sums)

    def recurrence_forward(self, size_t product, size_t scale, size_t bias, size_t hs, size_t shown):
        with nogil:
            nz_recurrence_forward(self.s, <void *> product, <float *> scale, <float *> bias, <float *> hs,
                                  <void *> shown)

    def recurrence_backward(self, size_t gradient, size_t product, size_t scale, size_t bias, size_t hs,
                            size_t dz, size_t dbias, size_t carry):
        with nogil:
            nz_recurrence_backward(self.s, <void *> gradient, <void *> product, <float *> scale, <float *> bias,
                                   <float *> hs, <void *> dz, <float *> dbias, <float *> carry)

    def tree_loss(self, size_t unit, size_t embedded, size_t text, size_t out, size_t bias, float factor,
                  size_t dunit, size_t dembedded, size_t dout, size_t dbias):
        cdef double nats
        with nogil:
            nats = nz_tree_loss(self.s, <void *> unit, <float *> embedded, <uint8_t *> text, <float *> out,
                                <float *> bias, factor, <void *> dunit, <float *> dembedded, <float *> dout,
                                <float *> dbias)
        return nats

    def embed_backward(self, size_t embedded, size_t more, size_t gradient):
        with nogil:
            nz_embed_backward(self.s, <float *> embedded, <void *> more, <float *> gradient)

    def to_act(self, size_t start, size_t count, size_t to):
        with nogil:
            nz_to_act(self.s, <float *> start, count, <void *> to)


cdef class Places:
    """Where the rows of each context lie; see train/rows.h."""

    cdef nz_places p

    def __init__(self, contexts, uint32_t buckets, int ways, int embed):
        self.p.contexts, self.p.buckets, self.p.ways, self.p.embed = len(contexts), buckets, ways, embed
        for i, context in enumerate(contexts):
            self.p.context[i] = context

    def count(self, size_t text, size_t steps, size_t lanes, size_t trails, size_t candidates):
        with nogil:
            nz_rows_count(&self.p, <uint8_t *> text, steps, lanes, <nz_trail *> trails,
                          <nz_candidates *> candidates)

    def find(self, size_t check, size_t text, size_t steps, size_t lanes, size_t trails, size_t rows):
        with nogil:
            nz_rows_find(&self.p, <uint16_t *> check, <uint8_t *> text, steps, lanes, <nz_trail *> trails,
                         <int32_t *> rows)

    def sum(self, size_t table, size_t rows, size_t n, int bits, bint quantise, size_t embedded):
        with nogil:
            nz_rows_sum(&self.p, <float *> table, <int32_t *> rows, n, bits, quantise, <float *> embedded)

    def gather(self, size_t rows, size_t gradient, size_t n, int part, int parts, size_t place, size_t sums,
               size_t touched, Py_ssize_t count, size_t capacity):
        cdef Py_ssize_t found
        with nogil:
            found = nz_rows_gather(&self.p, <int32_t *> rows, <float *> gradient, n, part, parts,
                                   <int32_t *> place, <float *> sums, <int32_t *> touched, count, capacity)
        return found

    def update(self, size_t table, size_t state, size_t place, size_t sums, size_t touched, size_t count,
               float rate):
        with nogil:
            nz_rows_update(&self.p, <float *> table, <float *> state, <int32_t *> place, <float *> sums,
                           <int32_t *> touched, count, rate)
