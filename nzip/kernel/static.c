/* The blocks of `static` mode: a table of counts, then the symbols. Part of the format: see
   docs/format.md and reference.py. */
#include "coder.h"

/* The coded counts are scaled so that their sum is at most this. That limits the size of the table,
   and costs less than 0.01 % on text. */
#define STATIC_COUNTS (1u << 15)

/* Frequencies that sum to 65,536, at least 1 where count > 0; total > 0. */
static void scale_counts(const uint32_t *counts, uint32_t *cumulative) {
    uint64_t total = 0;
    int largest = 0;
    uint32_t freq[256], sum = 0;
    for (int s = 0; s < 256; s++) total += counts[s];
    for (int s = 0; s < 256; s++) {
        freq[s] =
            counts[s] ? (uint32_t)(((uint64_t)counts[s] * (NZ_PROB_ONE - 256)) / total) + 1 : 0;
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
    return nz_decode_fixed(&d, cumulative, n, text) ? -2 : 0;
}
