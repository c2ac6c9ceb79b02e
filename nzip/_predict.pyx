# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""M1 and the block codecs: thin over kernel/engine.h. One call a block, the GIL released."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import array
import os
import sys


cdef extern from "kernel/coder.h" nogil:
    uint64_t nz_window_codewords(int)

cdef extern from "kernel/engine.h" nogil:
    ctypedef struct nz_model:
        int width, ahead
    ctypedef struct nz_watch:
        int (*poll)(void *, size_t) noexcept
        void *context
    ctypedef struct nz_warm:
        pass
    ctypedef struct nz_start:
        const int16_t *weights
        const uint32_t *maps
    ctypedef struct nz_start_shape:
        int rows, width, maps
    ctypedef struct nz_engine:
        const char *name
        nz_start_shape (*start_shape)(int) noexcept nogil
        int (*ac_learn)(const nz_model *, int, const uint8_t *, size_t, int16_t *, uint32_t *, int,
                        const nz_watch *) noexcept nogil
        size_t (*ac_encode)(const nz_model *, int, const uint8_t *, size_t, uint8_t *, size_t,
                            const nz_watch *) noexcept nogil
        int (*ac_decode)(const nz_model *, int, const uint8_t *, size_t, uint8_t *, size_t, size_t,
                         const nz_watch *) noexcept nogil
        int (*ac_probabilities)(const nz_model *, int, const uint8_t *, size_t, uint16_t *,
                                const nz_watch *) noexcept nogil
        size_t (*eqinfo_encode)(const nz_model *, int, int, const uint8_t *, size_t, uint8_t *, size_t, uint32_t *,
                                const nz_watch *) noexcept nogil
        int (*eqinfo_decode)(const nz_model *, int, int, const uint8_t *, size_t, size_t, uint8_t **, size_t *,
                             const nz_watch *) noexcept nogil
        int (*eqinfo_tree)(const nz_model *, int, uint16_t *, uint8_t *, const nz_watch *) noexcept nogil
        int (*logits)(const nz_model *, const uint8_t *, size_t, int, int16_t *, uint8_t *,
                      const nz_watch *) noexcept nogil
        nz_warm *(*ac_warm)(const nz_model *, int, const uint8_t *, size_t, size_t, const nz_watch *,
                            int *) noexcept nogil
        void (*ac_warm_free)(nz_warm *) noexcept nogil
        size_t (*ac_warm_encode)(nz_warm *, const uint8_t *, size_t, uint8_t *, size_t, int,
                                 const nz_watch *) noexcept nogil
        int (*ac_warm_decode)(nz_warm *, const uint8_t *, size_t, uint8_t *, size_t, int,
                              const nz_watch *) noexcept nogil
    size_t NZ_NO_ROOM, NZ_NO_MEMORY, NZ_STOPPED
    int NZ_FAILED_MEMORY, NZ_BAD_CODE, NZ_GAVE_UP
    const nz_engine *nz_engine_select(const char *)
    int nz_block_lanes(size_t, int)
    ctypedef struct nz_layer:
        const int8_t *weights
        const int32_t *mult
        const int32_t *bias
    ctypedef struct nz_tables:
        int contexts, ways, embed
        uint32_t buckets
        int context[12]
        const uint8_t *lines
        const uint8_t *absent
    ctypedef struct nz_weights:
        int hidden, blocks
        nz_tables tables
        nz_layer enter, gates, leave, out
        nz_start start[4]
    nz_model *nz_model_new(const nz_weights *, const nz_engine *, int *)
    void nz_model_free(nz_model *)


cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1


class Stopped(Exception):
    """A call gave up its work because its ``Watch`` was told to."""


cdef class Watch:
    """Follows one or more calls of this module: the bytes that they have done, and a way to stop them.

    A call in the main thread also runs signal handlers on its way; an exception that one raises comes
    out of the call within some milliseconds.
    """

    cdef public size_t done  # by the call at hand
    cdef public bint stopped
    cdef object error

    def stop(self):
        """Have all calls give up, now and from now on, with ``Stopped``."""
        self.stopped = True

    cdef fail(self):
        """Raise what made a call give up."""
        error, self.error = self.error, None
        raise error or Stopped()


cdef int _poll(void *context, size_t done) noexcept with gil:
    watch = <Watch>context
    watch.done = done
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        watch.error = error
        return 1
    return watch.stopped


cdef Watch _watch(Watch given, nz_watch *watch):
    """Fills the kernel's watch; returns what keeps it alive."""
    given = given or Watch()
    watch.poll, watch.context = _poll, <void *>given
    given.done = 0
    if given.stopped:
        given.fail()
    return given


cdef const nz_engine *_engine = NULL


cdef const nz_engine *_get_engine() except NULL:
    """The engine that NZIP_KERNEL names, or the fastest that runs here."""
    global _engine
    if _engine is NULL:
        name = os.environ.get("NZIP_KERNEL")
        if not name:
            _engine = nz_engine_select(NULL)
        else:
            encoded = name.encode()
            _engine = nz_engine_select(encoded)
            if _engine is NULL:
                raise ImportError(
                    f"NZIP_KERNEL={name}: no such kernel, or this CPU cannot run it"
                    " (portable, avx2, avx512, neon, dotprod)"
                )
    return _engine


def engine_name():
    """Name of the engine in use: portable, avx2, avx512, neon or dotprod."""
    return _get_engine().name.decode()


def block_lanes(size_t size, int profile):
    """Lanes that a block of ``size`` bytes is split into."""
    return nz_block_lanes(size, profile)


cdef class Predictor:
    """The weights of an M1, packed for the kernel.

    ``tensors``: buffers of little-endian numbers by name, with the shapes of docs/format.md. ``starts``: by
    profile, the weights and maps that mixing begins with instead of its defaults, as such buffers.
    Raises OverflowError for a number outside its range.
    """

    cdef nz_model *model
    cdef const uint8_t[::1] lines  # these keep the mapped file alive
    cdef const uint8_t[::1] absent

    def __cinit__(self, int hidden, int blocks, int embed, contexts, int ways, uint32_t buckets, dict tensors,
                  dict starts=None):
        cdef const nz_engine *engine = _get_engine()
        cdef nz_weights w
        cdef int i, bad = 0
        w.hidden, w.blocks = hidden, blocks
        w.tables.embed, w.tables.ways, w.tables.buckets = embed, ways, buckets
        w.tables.contexts = len(contexts)
        for i in range(w.tables.contexts):
            w.tables.context[i] = contexts[i]
        self.lines, self.absent = tensors["lines"], tensors["absent"]
        w.tables.lines, w.tables.absent = &self.lines[0], &self.absent[0]
        native = {name: _words(part) for name, part in tensors.items() if "_" in name}
        _layer(&w.enter, tensors, native, "enter")
        _layer(&w.gates, tensors, native, "gates")
        _layer(&w.leave, tensors, native, "leave")
        _layer(&w.out, tensors, native, "out")
        memset(w.start, 0, sizeof(w.start))
        kept = []
        for profile, (weights, maps) in (starts or {}).items():
            _start(&w.start[_mixed(profile)], start_shape(profile), weights, maps, kept)
        self.model = nz_model_new(&w, engine, &bad)
        if bad:
            raise OverflowError("a weight outside its range")
        if self.model is NULL:
            raise MemoryError
        self.model.ahead = os.environ.get("NZIP_AHEAD") != "0"

    def __dealloc__(self):
        nz_model_free(self.model)

    @property
    def ahead(self):
        """Whether M1 runs ahead of the text on guesses when decoding: same bits, less time."""
        return bool(self.model.ahead)

    @ahead.setter
    def ahead(self, bint value):
        self.model.ahead = value


def _words(source, kind="i"):
    """Little-endian numbers as an array of this machine's, by default of 32 bits with a sign."""
    words = array.array(kind, bytes(source))
    if sys.byteorder == "big":
        words.byteswap()
    return words


cdef _layer(nz_layer *layer, dict tensors, dict native, name):
    """Addresses into buffers that the two dicts keep alive."""
    cdef const uint8_t[::1] weights = tensors[name]
    cdef const int[::1] mult = native[name + "_mult"]
    cdef const int[::1] bias
    layer.weights, layer.mult, layer.bias = <const int8_t *>&weights[0], <const int32_t *>&mult[0], NULL
    if name + "_bias" in native:
        bias = native[name + "_bias"]
        layer.bias = <const int32_t *>&bias[0]


cdef _start(nz_start *start, shape, source, other, list kept):
    """Addresses into native arrays that the list keeps alive."""
    kept += [_words(source, "h"), _words(other, "I")]
    cdef const int16_t[::1] weights = kept[len(kept) - 2]
    cdef const uint32_t[::1] maps = kept[len(kept) - 1]
    if (weights.shape[0], maps.shape[0]) != (shape[0] * shape[1], shape[2]):
        raise ValueError("a start of mixing of another shape")
    start.weights, start.maps = &weights[0], &maps[0]


cdef _finish(Watch watch, uint8_t *out, size_t size):
    """The encoded block as bytes, or None if it did not fit."""
    if size == NZ_NO_MEMORY:
        raise MemoryError
    if size == NZ_STOPPED:
        watch.fail()
    return None if size == NZ_NO_ROOM else PyBytes_FromStringAndSize(<char *>out, size)


cdef _check(Watch watch, int rc):
    """Raise what a call's result says; BAD_CODE is the caller's."""
    if rc == NZ_GAVE_UP:
        watch.fail()
    if rc == NZ_FAILED_MEMORY:
        raise MemoryError


cdef int _checked(int profile) except -1:
    """The profile, a place in the kernel's table of functions."""
    if not 0 <= profile <= 3:
        raise ValueError(f"no such profile: {profile}")
    return profile


cdef int _mixed(int profile) except -1:
    if not 1 <= profile <= 3:
        raise ValueError(f"no such profile of mixing: {profile}")
    return profile


def start_shape(int profile):
    """What mixing begins with in a profile: (rows, width) of its weights, and the number of its maps."""
    shape = _get_engine().start_shape(_mixed(profile))
    return shape.rows, shape.width, shape.maps


def ac_learn(Predictor predictor not None, int profile, const uint8_t[::1] text not None, int16_t[::1] weights not None,
             uint32_t[::1] maps not None, bint fresh, Watch watch=None):
    """Read a text from the start of mixing in ``weights`` and ``maps``, native arrays of ``start_shape``, or if
    ``fresh`` as a block begins; replace them with what mixing has learned. An empty text teaches nothing."""
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef size_t n = text.shape[0]
    cdef int rc
    rows, width, count = start_shape(profile)
    cdef const uint8_t *source = &text[0] if n else NULL
    if (weights.shape[0], maps.shape[0]) != (rows * width, count):
        raise ValueError("a start of mixing of another shape")
    with nogil:
        rc = engine.ac_learn(predictor.model, profile, source, n, &weights[0], &maps[0], fresh, &w)
    _check(watch, rc)


def ac_encode(Predictor predictor, int profile, const uint8_t[::1] text not None, size_t room=0, Watch watch=None):
    """Encode a block; None if the code takes ``room`` bytes more than the text or more than that."""
    cdef int which = _checked(profile)
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef const nz_model *model = NULL if predictor is None else predictor.model
    cdef size_t n = text.shape[0], size
    if n == 0:
        raise ValueError("an empty block")
    cdef uint8_t *out = <uint8_t *>malloc(n + room + 1)
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            size = engine.ac_encode(model, which, &text[0], n, out, n + room - 1, &w)
        return _finish(watch, out, size)
    finally:
        free(out)


def ac_decode(Predictor predictor, int profile, const uint8_t[::1] code, size_t size, bytes prompt=b"",
              Watch watch=None):
    """Decode a block of ``size`` bytes, of which the prompt is known and not in the code."""
    cdef int which = _checked(profile)
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef const nz_model *model = NULL if predictor is None else predictor.model
    cdef const uint8_t *source = &code[0] if code.shape[0] else NULL
    cdef size_t length = code.shape[0]
    cdef int rc
    result = PyBytes_FromStringAndSize(NULL, size)
    cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
    cdef size_t known = len(prompt)
    if known > size:
        raise ValueError("a prompt longer than the block")
    memcpy(target, PyBytes_AsString(prompt), known)
    with nogil:
        rc = engine.ac_decode(model, which, source, length, target, size, known, &w)
    _check(watch, rc)
    return result


cdef class Warm:
    """A predictor and mixing that have read a prior, for one thread at a time.

    It serves blocks of sizes up to ``most`` (and is the wrong one for smaller blocks if their size
    and the prior's add up to less than half of ``most`` and the prior's).
    """

    cdef nz_warm *warm
    cdef const nz_engine *engine
    cdef object predictor
    cdef readonly size_t most

    def __cinit__(self, Predictor predictor not None, int profile, const uint8_t[::1] prior not None, size_t block,
                  Watch watch=None):
        cdef int rc = 0, which = _checked(profile)
        cdef size_t n = prior.shape[0]
        cdef nz_watch w
        if which == 0 or n == 0 or block == 0:
            raise ValueError("a prior is for mixing, and neither it nor a block is empty")
        watch = _watch(watch, &w)
        self.engine, self.predictor = _get_engine(), predictor
        cdef const nz_model *model = predictor.model
        with nogil:
            self.warm = self.engine.ac_warm(model, which, &prior[0], n, block, &w, &rc)
        _check(watch, rc)
        self.most = warm_size(n, block) - n

    def __dealloc__(self):
        if self.warm is not NULL:
            self.engine.ac_warm_free(self.warm)

    def encode(self, const uint8_t[::1] text not None, bint keep=True, size_t room=0, Watch watch=None):
        """As ac_encode. Without ``keep`` the object cannot be used again, but takes less memory."""
        cdef nz_watch w
        watch = _watch(watch, &w)
        cdef size_t n = text.shape[0], size
        if not 0 < n <= self.most:
            raise ValueError(f"a block of {n} bytes, of {self.most} at most")
        cdef uint8_t *out = <uint8_t *>malloc(n + room + 1)
        if out is NULL:
            raise MemoryError
        try:
            with nogil:
                size = self.engine.ac_warm_encode(self.warm, &text[0], n, out, n + room - 1, keep, &w)
            return _finish(watch, out, size)
        finally:
            free(out)

    def decode(self, const uint8_t[::1] code, size_t size, bint keep=True, Watch watch=None):
        """Decode a block of ``size`` bytes; ``keep`` as for encode."""
        cdef nz_watch w
        watch = _watch(watch, &w)
        cdef const uint8_t *source = &code[0] if code.shape[0] else NULL
        cdef size_t length = code.shape[0]
        cdef int rc
        if not 0 < size <= self.most:
            raise ValueError(f"a block of {size} bytes, of {self.most} at most")
        result = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
        with nogil:
            rc = self.engine.ac_warm_decode(self.warm, source, length, target, size, keep, &w)
        _check(watch, rc)
        return result


def warm_size(size_t prior, size_t block):
    """Bytes of prior and block that a ``Warm`` has room for: a power of two."""
    return 1 << (prior + block - 1).bit_length() if prior + block > 1 else 1


def ac_probabilities(Predictor predictor, int profile, const uint8_t[::1] text not None, Watch watch=None):
    """Probability (1..65535) of a one at each bit of a block: native uint16 [len(text), 8] in a
    bytearray."""
    cdef int which = _checked(profile)
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef const nz_model *model = NULL if predictor is None else predictor.model
    cdef size_t n = text.shape[0]
    cdef int rc
    result = bytearray(16 * n)
    cdef uint8_t[::1] view = result
    if n:
        with nogil:
            rc = engine.ac_probabilities(model, which, &text[0], n, <uint16_t *>&view[0], &w)
        _check(watch, rc)
    return result


def eqinfo_encode(Predictor predictor not None, int width, const uint8_t[::1] text not None,
                  size_t room=0, int reset_every=1, Watch watch=None):
    """Encode a block as windows of ``width`` bits; None as for ac_encode. M1 starts afresh at every
    ``reset_every``-th window, or with 0 at the first only."""
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef size_t n = text.shape[0], size
    if n == 0:
        raise ValueError("an empty block")
    cdef uint8_t *out = <uint8_t *>malloc(n + room + 1)
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            size = engine.eqinfo_encode(predictor.model, width, reset_every, &text[0], n, out, n + room - 1,
                                        NULL, &w)
        return _finish(watch, out, size)
    finally:
        free(out)


def eqinfo_starts(Predictor predictor not None, int width, const uint8_t[::1] text not None, int reset_every=1,
                  Watch watch=None):
    """Where each window of a text begins in it: native uint32 in a bytearray."""
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef size_t n = text.shape[0], size, room = n * (<size_t>width // 8 + 1) + 1
    if n == 0:
        return bytearray()
    starts = bytearray(4 * n)
    cdef uint8_t[::1] view = starts
    cdef uint8_t *out = <uint8_t *>malloc(room)
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            size = engine.eqinfo_encode(predictor.model, width, reset_every, &text[0], n, out, room,
                                        <uint32_t *>&view[0], &w)
        _finish(watch, out, 0 if size < NZ_STOPPED else size)
    finally:
        free(out)
    return starts[: 4 * (8 * size // <size_t>width)]


def eqinfo_decode(Predictor predictor not None, int width, const uint8_t[::1] code not None,
                  size_t limit, int reset_every=1, Watch watch=None):
    """The text of windows; ValueError if it has more than ``limit`` bytes or no encoder writes such a
    code."""
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef const uint8_t *source = &code[0] if code.shape[0] else NULL
    cdef size_t length = code.shape[0], n
    cdef uint8_t *text
    cdef int rc
    with nogil:
        rc = engine.eqinfo_decode(predictor.model, width, reset_every, source, length, limit, &text, &n,
                                  &w)
    _check(watch, rc)
    if rc:
        raise ValueError("windows that no encoder writes")
    try:
        return PyBytes_FromStringAndSize(<char *>text, n)
    finally:
        free(text)


def eqinfo_tree(Predictor predictor not None, int width, Watch watch=None):
    """The dictionary of windows of ``width`` bits, at most 20 (docs/format.md): for each codeword, in order,
    its string's length (native uint16) and last byte, as two bytearrays. Raises OverflowError if a string
    is too long."""
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    if not 8 <= width <= 20:
        raise ValueError("a tree has windows of 8 to 20 bits")
    cdef size_t n = <size_t>nz_window_codewords(width)
    cdef int rc
    lengths, last = bytearray(2 * n), bytearray(n)
    cdef uint8_t[::1] length = lengths
    cdef uint8_t[::1] byte = last
    with nogil:
        rc = engine.eqinfo_tree(predictor.model, width, <uint16_t *>&length[0], &byte[0], &w)
    _check(watch, rc)
    if rc:
        raise OverflowError("a window of more than 65,535 bytes")
    return lengths, last


def logits(Predictor predictor not None, const uint8_t[::1] text not None, int lanes=1, Watch watch=None):
    """Q8 node logits at each byte, as native int16 [len(text), 256] in a bytearray."""
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef size_t n = text.shape[0]
    cdef int rc
    if lanes not in (1, 2, 4, 8):
        raise ValueError("lanes must be 1, 2, 4 or 8")
    result = bytearray(512 * n)
    cdef uint8_t[::1] view = result
    if n:
        with nogil:
            rc = engine.logits(predictor.model, &text[0], n, lanes, <int16_t *>&view[0], NULL, &w)
        _check(watch, rc)
    return result


def outputs(Predictor predictor not None, const uint8_t[::1] text not None, Watch watch=None):
    """The outputs of M1 from which the logits at each byte are made.

    They are a bytearray [len(text), hidden + embed], in steps of 1/21, 64 for 0.
    """
    cdef const nz_engine *engine = _get_engine()
    cdef nz_watch w
    watch = _watch(watch, &w)
    cdef size_t n = text.shape[0]
    cdef int rc
    result = bytearray(predictor.model.width * n)
    cdef uint8_t[::1] view = result
    if n:
        with nogil:
            rc = engine.logits(predictor.model, &text[0], n, 1, NULL, &view[0], &w)
        _check(watch, rc)
    return result
