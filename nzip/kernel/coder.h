/* The range coder: 64-bit low and range, 16-bit probabilities, 32-bit words of output.

   Invariant between symbols: range >= 2^32, so range >> 16 keeps at least 16 bits and the loss
   against exact arithmetic stays under 2^-16 of a symbol's cost. A carry out of low is added to the
   bytes already written. The code ends with the fewest bytes that still decode: the decoder reads
   zeros after the end. */
#ifndef NZ_CODER_H
#define NZ_CODER_H

#include "common.h"

#define NZ_PROB_BITS 16
#define NZ_PROB_ONE 65536u

typedef struct {
    uint64_t low, range;
    uint8_t *start, *out, *end;
    int full; /* the output did not fit; what has been written is useless */
} nz_encoder;

typedef struct {
    uint64_t code, range;
    const uint8_t *in, *end;
} nz_decoder;

NZ_INLINE void nz_encoder_init(nz_encoder *e, uint8_t *out, size_t capacity) {
    e->low = 0;
    e->range = UINT64_MAX;
    e->start = e->out = out;
    e->end = out + capacity;
    e->full = 0;
}

NZ_INLINE void nz_carry(nz_encoder *e) {
    uint8_t *p = e->out;
    while (p > e->start && ++*--p == 0) {}
}

/* Narrows the range to its part [low, low + size). */
NZ_INLINE void nz_encoder_narrow(nz_encoder *e, uint64_t low, uint64_t size) {
    e->low += low;
    if (e->low < low) nz_carry(e);
    e->range = size;
    if (e->range < (uint64_t)1 << 32) {
        if (e->end - e->out < 4) {
            e->full = 1;
            e->out = e->start;
            if (e->end - e->out < 4) { /* no room at all: continue the arithmetic, write nothing */
                e->low <<= 32;
                e->range <<= 32;
                return;
            }
        }
        uint32_t word = (uint32_t)(e->low >> 32);
        e->out[0] = (uint8_t)(word >> 24);
        e->out[1] = (uint8_t)(word >> 16);
        e->out[2] = (uint8_t)(word >> 8);
        e->out[3] = (uint8_t)word;
        e->out += 4;
        e->low <<= 32;
        e->range <<= 32;
    }
}

/* p1: the probability of a one, 1..65535 of 65536. A one takes the lower part. */
NZ_INLINE void nz_encode_bit(nz_encoder *e, int bit, uint32_t p1) {
    uint64_t bound = (e->range >> NZ_PROB_BITS) * p1;
    if (bit) nz_encoder_narrow(e, 0, bound);
    else nz_encoder_narrow(e, bound, e->range - bound);
}

/* start, freq: the symbol's interval in 0..65536; freq >= 1. The last symbol takes the
   remainder. */
NZ_INLINE void nz_encode_symbol(nz_encoder *e, uint32_t start, uint32_t freq) {
    uint64_t unit = e->range >> NZ_PROB_BITS;
    uint64_t low = unit * start;
    nz_encoder_narrow(e, low, start + freq == NZ_PROB_ONE ? e->range - low : unit * freq);
}

/* Ends the code; returns its length in bytes, or SIZE_MAX if it does not fit. */
NZ_INLINE size_t nz_encoder_finish(nz_encoder *e) {
    for (int bytes = 0; bytes <= 8; bytes++) {
        uint64_t mask = bytes == 0 ? UINT64_MAX : bytes == 8 ? 0 : UINT64_MAX >> (8 * bytes);
        uint64_t value = (e->low + mask) & ~mask; /* if it wraps, it carries */
        if (value - e->low < e->range) {
            if (value < e->low) nz_carry(e);
            if (e->end - e->out < bytes) {
                e->full = 1;
                break;
            }
            for (int i = 0; i < bytes; i++) *e->out++ = (uint8_t)(value >> (56 - 8 * i));
            break;
        }
    }
    if (e->full) return SIZE_MAX;
    while (e->out > e->start && e->out[-1] == 0) e->out--;
    return (size_t)(e->out - e->start);
}

NZ_INLINE uint32_t nz_next_word(nz_decoder *d) {
    if (NZ_HOT(d->end - d->in >= 4)) {
        uint32_t word = nz_load32_be(d->in);
        d->in += 4;
        return word;
    }
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) {
        word <<= 8;
        if (d->in < d->end) word |= *d->in++;
    }
    return word;
}

NZ_INLINE void nz_decoder_init(nz_decoder *d, const uint8_t *in, size_t size) {
    d->in = in;
    d->end = in + size;
    d->range = UINT64_MAX;
    d->code = (uint64_t)nz_next_word(d) << 32;
    d->code |= nz_next_word(d);
}

NZ_INLINE void nz_decoder_narrow(nz_decoder *d, uint64_t low, uint64_t size) {
    d->code -= low;
    d->range = size;
    if (d->range < (uint64_t)1 << 32) {
        d->code = d->code << 32 | nz_next_word(d);
        d->range <<= 32;
    }
}

NZ_INLINE int nz_decode_bit(nz_decoder *d, uint32_t p1) {
    uint64_t bound = (d->range >> NZ_PROB_BITS) * p1;
    int bit = d->code < bound;
    if (bit) nz_decoder_narrow(d, 0, bound);
    else nz_decoder_narrow(d, bound, d->range - bound);
    return bit;
}

/* The number in 0..65535 that the next symbol's interval contains. */
NZ_INLINE uint32_t nz_decode_place(const nz_decoder *d) {
    uint64_t place = d->code / (d->range >> NZ_PROB_BITS);
    return place > 65535 ? 65535 : (uint32_t)place;
}

NZ_INLINE void nz_decode_symbol(nz_decoder *d, uint32_t start, uint32_t freq) {
    uint64_t unit = d->range >> NZ_PROB_BITS;
    uint64_t low = unit * start;
    nz_decoder_narrow(d, low, start + freq == NZ_PROB_ONE ? d->range - low : unit * freq);
}

/* ---- Windows: block arithmetic coding (Boncelet 1993) ------------------------------------- */

/* How many codewords a window of W bits starts with. From W = 16 on, 16 are reserved for the
   special tokens of a tokenizer; narrower windows need every codeword. */
NZ_INLINE uint64_t nz_window_codewords(int width) {
    return width < 16    ? (uint64_t)1 << width
           : width == 64 ? UINT64_MAX - 15
                         : ((uint64_t)1 << width) - 16;
}

/* count * p1 / 65536, rounded; exact for every count. */
NZ_INLINE uint64_t nz_window_split(uint64_t count, uint32_t p1) {
    return (count >> 16) * p1 + (((count & 0xffff) * p1 + 0x8000) >> 16);
}

/* How many of `count` codewords go to the 1-child. At the root every leaf below keeps one. */
NZ_INLINE uint64_t nz_window_ones(uint64_t count, uint32_t p1, int root, int depth) {
    uint64_t ones = nz_window_split(count, p1);
    if (root) {
        uint64_t leaves = (uint64_t)1 << (7 - depth);
        if (ones < leaves) ones = leaves;
        if (ones > count - leaves) ones = count - leaves;
    }
    return ones;
}

/* ---- Batches (coder.c): one call for many symbols ------------------------------------------ */

size_t nz_encode_bits(const uint8_t *bits, const uint16_t *p1, size_t n, uint8_t *out,
                      size_t capacity);
void nz_decode_bits(const uint8_t *in, size_t size, const uint16_t *p1, size_t n, uint8_t *bits);
/* cumulative: rows of 257 values from 0 to 65536; row_stride 257, or 0 for one fixed row. */
size_t nz_encode_symbols(const uint8_t *symbols, const uint32_t *cumulative, size_t row_stride,
                         size_t n, uint8_t *out, size_t capacity);
int nz_decode_symbols(const uint8_t *in, size_t size, const uint32_t *cumulative, size_t row_stride,
                      size_t n, uint8_t *symbols);
/* n symbols under one fixed row. Returns 0, or -1 without memory. */
int nz_decode_fixed(nz_decoder *, const uint32_t *cumulative, size_t n, uint8_t *symbols);

/* ---- static.c ------------------------------------------------------------------------------- */

/* A block of `static` mode: a table of counts, then the symbols. SIZE_MAX if it does not fit.
   Decoding returns 0, -1 for a table without symbols or with more than 256, or -2 without
   memory. */
size_t nz_static_encode(const uint8_t *text, size_t n, uint8_t *out, size_t capacity);
int nz_static_decode(const uint8_t *in, size_t size, uint8_t *text, size_t n);

#endif
