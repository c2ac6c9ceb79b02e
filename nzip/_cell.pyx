# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Elementwise work of M1's training on a CPU: thin over train/cell.h.

Arguments are addresses of contiguous float32 tensors; ``first`` and ``last`` are the lanes or rows
that a call works on, so that threads can share a tensor. The GIL is released.
"""


cdef extern from "train/cell.h" nogil:
    ctypedef struct nz_cells:
        size_t steps, batch, hidden, first, last
        int quantise
    void nz_recurrence_forward(float *, float *, float *, nz_cells) noexcept nogil
    void nz_recurrence_backward(const float *, const float *, const float *, float *, float *,
                                nz_cells) noexcept nogil
    void nz_normalise_forward(const float *, float *, float *, nz_cells) noexcept nogil
    void nz_normalise_backward(const float *, const float *, const float *, float *,
                               nz_cells) noexcept nogil


cdef nz_cells _cells(shape, size_t first, size_t last, bint quantise):
    cdef nz_cells c
    c.steps, c.batch, c.hidden = shape
    c.first, c.last, c.quantise = first, last, quantise
    return c


def recurrence_forward(shape, size_t first, size_t last, bint quantise, size_t z, size_t hs, size_t y):
    cdef nz_cells c = _cells(shape, first, last, quantise)
    with nogil:
        nz_recurrence_forward(<float *> z, <float *> hs, <float *> y, c)


def recurrence_backward(shape, size_t first, size_t last, size_t dy, size_t z, size_t hs, size_t dz,
                        size_t dh):
    cdef nz_cells c = _cells(shape, first, last, False)
    with nogil:
        nz_recurrence_backward(<float *> dy, <float *> z, <float *> hs, <float *> dz, <float *> dh, c)


def normalise_forward(shape, size_t first, size_t last, bint quantise, size_t x, size_t inverse, size_t y):
    cdef nz_cells c = _cells(shape, first, last, quantise)
    with nogil:
        nz_normalise_forward(<float *> x, <float *> inverse, <float *> y, c)


def normalise_backward(shape, size_t first, size_t last, size_t grad, size_t x, size_t inverse, size_t dx):
    cdef nz_cells c = _cells(shape, first, last, False)
    with nogil:
        nz_normalise_backward(<float *> grad, <float *> x, <float *> inverse, <float *> dx, c)
