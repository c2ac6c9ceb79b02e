# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The entropy coders: a thin binding of kernel/coder.h. One call per batch, without the GIL.

They are the binary coder, the byte-alphabet coder and the blocks of ``static`` mode.
``nzip.reference`` has the same coders in plain Python.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc


cdef extern from "kernel/coder.h" nogil:
    size_t nz_encode_bits(const uint8_t *, const uint16_t *, size_t, uint8_t *, size_t)
    void nz_decode_bits(const uint8_t *, size_t, const uint16_t *, size_t, uint8_t *)
    size_t nz_encode_symbols(const uint8_t *, const uint32_t *, size_t, size_t, uint8_t *, size_t)
    int nz_decode_symbols(const uint8_t *, size_t, const uint32_t *, size_t, size_t, uint8_t *)
    size_t nz_static_encode(const uint8_t *, size_t, uint8_t *, size_t)
    int nz_static_decode(const uint8_t *, size_t, uint8_t *, size_t)


cdef size_t _NO_ROOM = <size_t>-1


cdef const uint8_t *_start(const uint8_t[::1] data) noexcept nogil:
    return &data[0] if data.shape[0] else NULL


cdef _bytes(uint8_t *out, size_t size):
    return None if size == _NO_ROOM else PyBytes_FromStringAndSize(<char *>out, size)


def encode_bits(const uint8_t[::1] bits not None, const uint16_t[::1] p1 not None):
    """Encode ``bits`` (uint8 [n], 0 or 1) with an arithmetic coder.

    p1: uint16 [n], the probability of a one at each bit, in 1/65536. Raises ValueError for a
    probability of zero, another bit, or lengths that differ.
    """
    cdef size_t n = bits.shape[0], i, size
    cdef bint bad = n != <size_t>p1.shape[0]
    if not bad:
        for i in range(n):
            bad |= p1[i] == 0 or bits[i] > 1
    if bad:
        raise ValueError("bits are 0 or 1, each with a probability of 1 to 65535")
    cdef size_t capacity = 2 * n + 16
    cdef uint8_t *out = <uint8_t *>malloc(capacity)
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            size = nz_encode_bits(_start(bits), &p1[0] if n else NULL, n, out, capacity)
        return _bytes(out, size)
    finally:
        free(out)


def decode_bits(const uint8_t[::1] code not None, const uint16_t[::1] p1 not None):
    """Decode the bits of an arithmetic code, as n bytes of 0 or 1.

    p1: uint16 [n], as for encode_bits. Raises ValueError for a probability of zero.
    """
    cdef size_t n = p1.shape[0]
    result = PyBytes_FromStringAndSize(NULL, n)
    cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
    cdef size_t i
    for i in range(n):
        if p1[i] == 0:
            raise ValueError("a probability is 1 to 65535")
    if n:
        with nogil:
            nz_decode_bits(_start(code), code.shape[0], &p1[0], n, target)
    return result


cdef int _check_rows(const uint32_t[:, ::1] rows, size_t n) except -1:
    """Check for one row, or one per symbol, each rising from 0 to 65536."""
    cdef size_t i, k, count = rows.shape[0]
    cdef bint bad = rows.shape[1] != 257 or (count != n and count != 1)
    if not bad:
        for i in range(count):
            bad |= rows[i, 0] != 0 or rows[i, 256] != 65536
            for k in range(256):
                bad |= rows[i, k] > rows[i, k + 1]
    if bad:
        raise ValueError("cumulative is uint32 [1 or n, 257], each row rising from 0 to 65536")
    return 0


def encode_symbols(const uint8_t[::1] symbols not None, const uint32_t[:, ::1] cumulative not None,
                   bint check=True):
    """Encode bytes (uint8 [n]) with an arithmetic coder under integer cumulative frequencies.

    cumulative: uint32 [n, 257] (a distribution per symbol) or [1, 257] (one for all), rising from 0
    to 65536. check: raise ValueError for a symbol of frequency zero and for rows that are not a
    distribution; without it the caller guarantees that there are none.
    """
    cdef size_t n = symbols.shape[0], i, size
    cdef size_t stride = 0 if cumulative.shape[0] == 1 else 257
    if check:
        _check_rows(cumulative, n)
        for i in range(n):
            if cumulative[i if stride else 0, symbols[i]] == cumulative[i if stride else 0, symbols[i] + 1]:
                raise ValueError("a symbol of frequency zero cannot be coded")
    cdef size_t capacity = 2 * n + 16
    cdef uint8_t *out = <uint8_t *>malloc(capacity)
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            size = nz_encode_symbols(_start(symbols), &cumulative[0, 0], stride, n, out, capacity)
        return _bytes(out, size)
    finally:
        free(out)


def decode_symbols(const uint8_t[::1] code not None, const uint32_t[:, ::1] cumulative not None,
                   size_t size, bint check=True):
    """Decode ``size`` bytes of an arithmetic code; ``cumulative`` as for encode_symbols."""
    if check:
        _check_rows(cumulative, size)
    cdef size_t stride = 0 if cumulative.shape[0] == 1 else 257
    cdef int rc = 0
    result = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
    if size:
        with nogil:
            rc = nz_decode_symbols(_start(code), code.shape[0], &cumulative[0, 0], stride, size, target)
    if rc:
        raise MemoryError
    return result


def static_encode(const uint8_t[::1] text not None):
    """Encode a block of ``static`` mode; None if the code is not shorter than the text."""
    cdef size_t n = text.shape[0], size
    if n == 0:
        raise ValueError("an empty block")
    cdef uint8_t *out = <uint8_t *>malloc(n + 1)
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            size = nz_static_encode(_start(text), n, out, n - 1)
        return _bytes(out, size)
    finally:
        free(out)


def static_decode(const uint8_t[::1] code not None, size_t size):
    """Decode a block of ``size`` bytes. Raises ValueError for a malformed table of counts."""
    cdef int rc
    result = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
    with nogil:
        rc = nz_static_decode(_start(code), code.shape[0], target, size)
    if rc == -2:
        raise MemoryError
    if rc:
        raise ValueError("a malformed table of counts")
    return result
