# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Windows by dictionary: a thin binding of kernel/trie.h. One call per text, without the GIL."""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc


cdef extern from "kernel/trie.h" nogil:
    ctypedef struct nz_trie:
        uint32_t nodes, longest
        const uint32_t *start
        const uint16_t *length
        const uint8_t *strings
    int nz_trie_build(nz_trie *, uint32_t, const uint16_t *, const uint8_t *)
    void nz_trie_free(nz_trie *)
    size_t nz_trie_encode(const nz_trie *, const uint8_t *, size_t, int, int, void *)
    size_t nz_trie_encode_ahead(const nz_trie *, const uint8_t *, size_t, int, void *)
    size_t nz_trie_encode_bits(const nz_trie *, const uint8_t *, size_t, int, int, uint8_t *, size_t)
    size_t nz_trie_size(const nz_trie *, const void *, size_t, int)
    void nz_trie_decode(const nz_trie *, const void *, size_t, int, uint8_t *, size_t)
    int nz_trie_decode_bits(const nz_trie *, const uint8_t *, size_t, int, uint8_t *, size_t)

cdef extern from "tokens/count.h" nogil:
    ctypedef uint16_t nz_place
    ctypedef struct nz_strings:
        pass
    size_t nz_count_parse(const nz_trie *, const uint8_t *, size_t, const int64_t *, size_t, int, nz_place *,
                          uint32_t *)
    int nz_count_strings(const nz_place *, uint32_t *, uint32_t *, size_t, uint32_t, int, nz_strings *)
    uint32_t nz_count_choose(const nz_strings *, const nz_trie *, uint32_t, int, uint16_t *, uint8_t *)
    void nz_strings_free(nz_strings *)


cdef size_t _NO_ROOM = <size_t>-1


cdef class Trie:
    """A dictionary of windows: from text to the windows' numbers (codewords) and back.

    lengths, last: as ``_predict.eqinfo_tree`` returns them. Raises ValueError unless they are a
    complete dictionary in order. Numbers are native uint16 if there are at most 65,536 windows, else
    native uint32. It does not change; threads may share it.
    """

    cdef nz_trie trie
    cdef readonly int itemsize  # bytes per number

    def __cinit__(self, const uint8_t[::1] lengths not None, const uint8_t[::1] last not None):
        cdef size_t n = last.shape[0]
        cdef int rc = -2
        if <size_t>lengths.shape[0] == 2 * n and 256 <= n <= 1 << 20:
            with nogil:
                rc = nz_trie_build(&self.trie, <uint32_t>n, <const uint16_t *>&lengths[0], &last[0])
        if rc == -1:
            raise MemoryError
        if rc:
            raise ValueError("not a complete dictionary of windows")
        self.itemsize = 2 if n <= 65536 else 4

    def __dealloc__(self):
        nz_trie_free(&self.trie)

    def __len__(self):
        return self.trie.nodes

    @property
    def longest(self):
        """The number of bytes of the longest window."""
        return self.trie.longest

    def tables(self):
        """What the dictionary is made from: lengths (native uint16) and last bytes, as bytearrays."""
        cdef uint32_t i
        lengths, last = bytearray(2 * self.trie.nodes), bytearray(self.trie.nodes)
        cdef uint8_t[::1] length = lengths
        cdef uint8_t[::1] byte = last
        for i in range(self.trie.nodes):
            (<uint16_t *>&length[0])[i] = self.trie.length[i]
            byte[i] = self.trie.strings[self.trie.start[i] + self.trie.length[i] - 1]
        return lengths, last

    def string(self, uint32_t number):
        """The bytes that a codeword stands for. Raises IndexError."""
        if number >= self.trie.nodes:
            raise IndexError(f"{number} is not a codeword")
        return PyBytes_FromStringAndSize(
            <const char *>self.trie.strings + self.trie.start[number], self.trie.length[number]
        )

    cdef size_t put(self, const uint8_t *text, size_t n, bint align, bint ahead, void *out) noexcept nogil:
        if ahead:
            return nz_trie_encode_ahead(&self.trie, text, n, self.itemsize, out)
        return nz_trie_encode(&self.trie, text, n, align, self.itemsize, out)

    def encode(self, const uint8_t[::1] text not None, bint align=False, bint ahead=False):
        """Encode a text to the numbers of its windows, as bytes of native numbers.

        align: end a window where a word begins, if a word begins within it. ahead: use as few windows
        as possible, instead of the longest each time; ``align`` is then ignored.
        """
        cdef size_t n = text.shape[0], count
        cdef int size = self.itemsize
        if n == 0:
            return b""
        cdef uint8_t *out = <uint8_t *>malloc(n * size)
        if out is NULL:
            raise MemoryError
        try:
            with nogil:
                count = self.put(&text[0], n, align, ahead, out)
            if count == _NO_ROOM:
                raise MemoryError
            return PyBytes_FromStringAndSize(<char *>out, count * size)
        finally:
            free(out)

    def encode_many(self, const uint8_t[::1] texts not None, const int64_t[::1] ends not None,
                    bint align=False, int64_t eos=-1, bint ahead=False):
        """Encode several texts that lie one after another in ``texts``.

        ends: native int64, where each text ends. eos: a number added after each text, or -1. Returns
        the native numbers as bytes and, as native int64 in a bytearray, where each text's numbers end.
        Raises ValueError for ends that decrease or lie outside the texts.
        """
        cdef size_t count = ends.shape[0], i, more = 0, at = 0
        cdef int64_t before = 0, total = texts.shape[0]
        cdef int size = self.itemsize
        result = bytearray(8 * count)
        if count == 0:
            return b"", result
        for i in range(count):
            if ends[i] < before or ends[i] > total:
                raise ValueError("ends of texts that decrease or lie outside them")
            before = ends[i]
        cdef uint8_t[::1] view = result
        cdef int64_t *stops = <int64_t *>&view[0]
        cdef uint8_t *out = <uint8_t *>malloc((<size_t>before + (count if eos >= 0 else 0) + 1) * size)
        cdef const uint8_t *source = &texts[0] if total else NULL
        if out is NULL:
            raise MemoryError
        try:
            with nogil:
                before = 0
                for i in range(count):
                    more = self.put(source + before, ends[i] - before, align, ahead, out + at * size)
                    if more == _NO_ROOM:
                        break
                    at += more
                    if eos >= 0:
                        if size == 2:
                            (<uint16_t *>out)[at] = <uint16_t>eos
                        else:
                            (<uint32_t *>out)[at] = <uint32_t>eos
                        at += 1
                    before = ends[i]
                    stops[i] = <int64_t>at
            if more == _NO_ROOM:
                raise MemoryError
            return PyBytes_FromStringAndSize(<char *>out, at * size), result
        finally:
            free(out)

    def encode_bits(self, int width, const uint8_t[::1] text not None, bint align=False, size_t room=0):
        """Encode a block of ``eqinfo``; None if the code takes len(text) + ``room`` bytes or more."""
        cdef size_t n = text.shape[0], size
        if n == 0:
            raise ValueError("an empty block")
        cdef uint8_t *out = <uint8_t *>malloc(n + room + 1)
        if out is NULL:
            raise MemoryError
        try:
            with nogil:
                size = nz_trie_encode_bits(&self.trie, &text[0], n, align, width, out, n + room - 1)
            return None if size == _NO_ROOM else PyBytes_FromStringAndSize(<char *>out, size)
        finally:
            free(out)

    def decode(self, const uint8_t[::1] numbers not None):
        """Decode native numbers to text. Raises ValueError for one that is not a codeword."""
        cdef int size = self.itemsize
        cdef size_t count = numbers.shape[0] // size, n
        if count == 0:
            return b""
        with nogil:
            n = nz_trie_size(&self.trie, &numbers[0], count, size)
        if n == _NO_ROOM:
            raise ValueError("a number that is not a codeword")
        result = PyBytes_FromStringAndSize(NULL, n)
        cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
        with nogil:
            nz_trie_decode(&self.trie, &numbers[0], count, size, target, n)
        return result

    def decode_bits(self, int width, const uint8_t[::1] code not None, size_t size):
        """Decode a block of ``size`` bytes. Raises ValueError for a code that no encoder writes."""
        cdef const uint8_t *source = &code[0] if code.shape[0] else NULL
        cdef size_t length = code.shape[0]
        cdef int rc
        result = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t *target = <uint8_t *>PyBytes_AsString(result)
        with nogil:
            rc = nz_trie_decode_bits(&self.trie, source, length, width, target, size)
        if rc:
            raise ValueError("windows that no encoder writes")
        return result

    def lengths(self, const uint8_t[::1] numbers not None):
        """The number of bytes of each window, as native uint32 in a bytearray.

        Raises ValueError for a number that is not a codeword.
        """
        cdef int size = self.itemsize
        cdef size_t count = numbers.shape[0] // size, i
        cdef const void *source
        result = bytearray(4 * count)
        cdef uint8_t[::1] view = result
        cdef uint32_t *out
        cdef uint32_t number
        if count:
            source, out = &numbers[0], <uint32_t *>&view[0]
            if nz_trie_size(&self.trie, source, count, size) == _NO_ROOM:
                raise ValueError("a number that is not a codeword")
            for i in range(count):
                number = (<const uint16_t *>source)[i] if size == 2 else (<const uint32_t *>source)[i]
                out[i] = self.trie.length[number]
        return result


def count_round(Trie trie not None, const uint8_t[::1] text not None, const int64_t[::1] ends not None,
                uint32_t least, uint32_t wanted, int hold, bint align=False):
    """Improve a dictionary for a text, by one round of tokens/count.h.

    ends: native int64, where each document ends; the last at the end of the text. least: how many
    tokens must begin with a new string. wanted: the most strings. hold: 0 to 255, how firmly strings
    of ``trie`` stay. Returns the lengths (native uint16) and last bytes of the strings, as two
    bytearrays, and the number of tokens in which ``trie`` encodes the text. Raises ValueError for ends
    that decrease or do not end with the text.
    """
    cdef size_t n = text.shape[0], documents = ends.shape[0], i, tokens = 0
    cdef int64_t before = 0
    cdef uint32_t chosen = 0
    cdef nz_strings strings
    cdef int rc
    for i in range(documents):
        if ends[i] < before:
            raise ValueError("ends of documents that decrease")
        before = ends[i]
    if before != <int64_t>n or n == 0 or n >= <size_t>0xFFFFFFFF or wanted < 256:
        raise ValueError("no text, or one that does not end with its last document")
    lengths, last = bytearray(2 * wanted), bytearray(wanted)
    cdef uint8_t[::1] length = lengths
    cdef uint8_t[::1] byte = last
    cdef nz_place *place = <nz_place *>malloc((n + 1) * sizeof(nz_place))
    cdef uint32_t *start = <uint32_t *>malloc(n * sizeof(uint32_t))
    cdef uint32_t *spare = <uint32_t *>malloc(n * sizeof(uint32_t))
    try:
        if place is NULL or start is NULL or spare is NULL:
            raise MemoryError
        with nogil:
            tokens = nz_count_parse(&trie.trie, &text[0], n, &ends[0], documents, align, place, start)
            rc = nz_count_strings(place, start, spare, tokens, least, align, &strings)
            if rc == 0:
                chosen = nz_count_choose(&strings, &trie.trie, wanted, hold, <uint16_t *>&length[0], &byte[0])
            nz_strings_free(&strings)
        if chosen == 0:
            raise MemoryError
    finally:
        free(place)
        free(start)
        free(spare)
    return lengths[:2 * chosen], last[:chosen], tokens
