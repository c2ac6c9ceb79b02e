/* Batch functions of the range coder and the window coder, and the blocks of `static` mode. */
#include "coder.h"

#include <stdlib.h>

size_t nz_encode_bits(const uint8_t *bits, const uint16_t *p1, size_t n, uint8_t *out, size_t capacity) {
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

static void decode_fixed(const uint8_t *in, size_t size, const uint32_t *cumulative,
                         const uint8_t *places, size_t n, uint8_t *symbols) {
    uint32_t starts[257];
    memcpy(starts, cumulative, sizeof starts);
    nz_decoder d;
    nz_decoder_init(&d, in, size);
    for (size_t i = 0; i < n; i++) {
        uint8_t s = places[nz_decode_place(&d)];
        nz_decode_symbol(&d, starts[s], starts[s + 1] - starts[s]);
        symbols[i] = s;
    }
}

int nz_decode_symbols(const uint8_t *in, size_t size, const uint32_t *cumulative, size_t row_stride,
                      size_t n, uint8_t *symbols) {
    if (row_stride == 0) {
        uint8_t *places = malloc(NZ_PROB_ONE);
        if (!places) return -1;
        fill_places(places, cumulative);
        decode_fixed(in, size, cumulative, places, n, symbols);
        free(places);
        return 0;
    }
    nz_decoder d;
    nz_decoder_init(&d, in, size);
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

size_t nz_encode_windows(const uint8_t *text, size_t n, const uint16_t *tree, int width, uint64_t *codes) {
    size_t windows = 0, i = 0;
    while (i < n) {
        uint64_t lo = 0, count = nz_window_codewords(width);
        int root = 1;
        while (i < n && count > 1) {
            uint64_t inner = lo + !root, share = count - !root;
            uint32_t node = 1;
            for (int depth = 0; depth < 8 && share; depth++) {
                uint64_t ones = nz_window_ones(share, tree[node], root, depth);
                int bit = text[i] >> (7 - depth) & 1;
                if (bit) inner += share - ones;
                share = bit ? ones : share - ones;
                node = node << 1 | (uint32_t)bit;
            }
            if (share == 0) break;
            lo = inner;
            count = share;
            root = 0;
            i++;
        }
        codes[windows++] = lo;
    }
    return windows;
}

size_t nz_decode_windows(const uint64_t *codes, size_t windows, const uint16_t *tree, int width,
                         uint8_t *text, size_t capacity) {
    size_t n = 0;
    for (size_t w = 0; w < windows; w++) {
        uint64_t code = codes[w], count = nz_window_codewords(width);
        int root = 1;
        if (code >= count) return SIZE_MAX;
        while (root || (code > 0 && count > 1)) {
            uint64_t share = count - !root;
            uint32_t node = 1;
            code -= !root;
            for (int depth = 0; depth < 8; depth++) {
                uint64_t ones = nz_window_ones(share, tree[node], root, depth);
                int bit = code >= share - ones;
                if (bit) code -= share - ones;
                share = bit ? ones : share - ones;
                node = node << 1 | (uint32_t)bit;
            }
            if (n == capacity) return SIZE_MAX;
            text[n++] = (uint8_t)node;
            count = share;
            root = 0;
        }
    }
    return n;
}

/* ---- static mode ---------------------------------------------------------------------------- */

/* The transmitted counts are scaled so that their sum is at most this. It limits the size of the
   table and costs under 0.01 % on text. */
#define STATIC_COUNTS (1u << 15)

/* Frequencies that sum to 65,536, at least 1 where count > 0; total > 0. */
static void scale_counts(const uint32_t *counts, uint32_t *cumulative) {
    uint64_t total = 0;
    int largest = 0;
    uint32_t freq[256], sum = 0;
    for (int s = 0; s < 256; s++) total += counts[s];
    for (int s = 0; s < 256; s++) {
        freq[s] = counts[s] ? (uint32_t)(((uint64_t)counts[s] * (NZ_PROB_ONE - 256)) / total) + 1 : 0;
        sum += freq[s];
        if (freq[s] > freq[largest]) largest = s;
    }
    freq[largest] += NZ_PROB_ONE - sum;
    cumulative[0] = 0;
    for (int s = 0; s < 256; s++) cumulative[s + 1] = cumulative[s] + freq[s];
}

/* Elias gamma code of value + 1; each bit has probability 1/2. */
static void put_gamma(nz_encoder *e, uint32_t value) {
    int bits = 0;
    value++;
    while (value >> (bits + 1)) bits++;
    for (int i = 0; i < bits; i++) nz_encode_bit(e, 1, 32768);
    nz_encode_bit(e, 0, 32768);
    for (int i = bits - 1; i >= 0; i--) nz_encode_bit(e, value >> i & 1, 32768);
}

static uint32_t get_gamma(nz_decoder *d) {
    int bits = 0;
    uint32_t value = 1;
    while (bits < 16 && nz_decode_bit(d, 32768)) bits++;
    for (int i = 0; i < bits; i++) value = value << 1 | (uint32_t)nz_decode_bit(d, 32768);
    return value - 1;
}

size_t nz_static_encode(const uint8_t *text, size_t n, uint8_t *out, size_t capacity) {
    uint32_t part[4][256] = {{0}}, counts[256], cumulative[257];
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) part[k][text[i + k]]++;
    for (; i < n; i++) part[0][text[i]]++;
    int shift = 0;
    while (n >> shift > STATIC_COUNTS) shift++;
    nz_encoder e;
    nz_encoder_init(&e, out, capacity);
    int run = 0; /* absent symbols are coded as run lengths */
    for (int s = 0; s < 256; s++) {
        uint32_t count = part[0][s] + part[1][s] + part[2][s] + part[3][s];
        counts[s] = count && !(count >> shift) ? 1 : count >> shift;
        if (!counts[s]) {
            run++;
            continue;
        }
        put_gamma(&e, (uint32_t)run);
        put_gamma(&e, counts[s] - 1);
        run = 0;
    }
    put_gamma(&e, (uint32_t)run);
    scale_counts(counts, cumulative);
    for (i = 0; i < n; i++) {
        uint32_t start = cumulative[text[i]];
        nz_encode_symbol(&e, start, cumulative[text[i] + 1] - start);
    }
    return nz_encoder_finish(&e);
}

int nz_static_decode(const uint8_t *in, size_t size, uint8_t *text, size_t n) {
    uint32_t counts[256] = {0}, cumulative[257];
    nz_decoder d;
    nz_decoder_init(&d, in, size);
    uint32_t s = 0;
    for (;;) {
        s += get_gamma(&d);
        if (s >= 256) break;
        counts[s++] = get_gamma(&d) + 1;
    }
    uint32_t any = 0;
    for (int i = 0; i < 256; i++) any |= counts[i];
    if (s != 256 || !any) return -1;
    scale_counts(counts, cumulative);
    uint8_t *places = malloc(NZ_PROB_ONE);
    if (!places) return -2;
    fill_places(places, cumulative);
    uint32_t starts[257];
    memcpy(starts, cumulative, sizeof starts);
    for (size_t i = 0; i < n; i++) {
        uint8_t symbol = places[nz_decode_place(&d)];
        nz_decode_symbol(&d, starts[symbol], starts[symbol + 1] - starts[symbol]);
        text[i] = symbol;
    }
    free(places);
    return 0;
}
