/* Batch functions of the range coder: one call for many bits or symbols. */
#include "coder.h"

#include <stdlib.h>

size_t nz_encode_bits(const uint8_t *bits, const uint16_t *p1, size_t n, uint8_t *out,
                      size_t capacity) {
    nz_encoder e;
    nz_encoder_init(&e, out, capacity);
    for (size_t i = 0; i < n; i++) nz_encode_bit(&e, bits[i], p1[i]);
    return nz_encoder_finish(&e);
}

void nz_decode_bits(const uint8_t *in, size_t size, const uint16_t *p1, size_t n, uint8_t *bits) {
    nz_decoder d;
    nz_decoder_init(&d, in, size);
    for (size_t i = 0; i < n; i++) bits[i] = (uint8_t)nz_decode_bit(&d, p1[i]);
}

size_t nz_encode_symbols(const uint8_t *symbols, const uint32_t *cumulative, size_t row_stride,
                         size_t n, uint8_t *out, size_t capacity) {
    nz_encoder e;
    nz_encoder_init(&e, out, capacity);
    for (size_t i = 0; i < n; i++) {
        const uint32_t *row = cumulative + i * row_stride + symbols[i];
        nz_encode_symbol(&e, row[0], row[1] - row[0]);
    }
    return nz_encoder_finish(&e);
}

/* Fills the 65,536 entries of the map from place to symbol. */
static void fill_places(uint8_t *places, const uint32_t *cumulative) {
    for (int s = 0; s < 256; s++)
        memset(places + cumulative[s], s, cumulative[s + 1] - cumulative[s]);
}

int nz_decode_fixed(nz_decoder *from, const uint32_t *cumulative, size_t n, uint8_t *symbols) {
    uint8_t *places = malloc(NZ_PROB_ONE);
    if (!places) return -1;
    fill_places(places, cumulative);
    nz_decoder d = *from; /* copies that nothing else can point to stay in registers */
    uint32_t starts[257];
    memcpy(starts, cumulative, sizeof starts);
    for (size_t i = 0; i < n; i++) {
        uint8_t s = places[nz_decode_place(&d)];
        nz_decode_symbol(&d, starts[s], starts[s + 1] - starts[s]);
        symbols[i] = s;
    }
    *from = d;
    free(places);
    return 0;
}

int nz_decode_symbols(const uint8_t *in, size_t size, const uint32_t *cumulative, size_t row_stride,
                      size_t n, uint8_t *symbols) {
    nz_decoder d;
    nz_decoder_init(&d, in, size);
    if (row_stride == 0) return nz_decode_fixed(&d, cumulative, n, symbols);
    for (size_t i = 0; i < n; i++) {
        const uint32_t *row = cumulative + i * row_stride;
        uint32_t place = nz_decode_place(&d);
        /* The last s with row[s] <= place. Counting reads the whole row in order: vector
           instructions and prefetching make that faster than a binary search. */
        uint32_t s = 0;
        for (int k = 1; k < 256; k++) s += (int32_t)row[k] <= (int32_t)place;
        nz_decode_symbol(&d, row[s], row[s + 1] - row[s]);
        symbols[i] = (uint8_t)s;
    }
    return 0;
}
