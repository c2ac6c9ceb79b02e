/* Filters before coding. x86 code: make branch targets absolute, so that all calls of one function
   look alike. Text: turn CR LF line ends into LF, which is what M1 has mostly seen. */
#include "engine.h"

/* After a call or jump (E8, E9) the scan skips the operand, changed or not, so encoder and decoder
   visit the same places. Returns how many near targets it found, or 0 if the text does not look
   like x86 code: most targets must be near, and one byte in 256 must begin such a branch. */
static size_t filter(uint8_t *text, size_t n, int encode, int write) {
    size_t near = 0, far = 0;
    for (size_t i = 0; i + 5 <= n; i++) {
        uint8_t *p = text + i;
        if ((p[0] & 0xfe) != 0xe8) continue;
        if (p[4] == 0 || p[4] == 255) {
            near++;
            if (write) {
                uint32_t target = (uint32_t)p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 |
                                  (uint32_t)(p[4] & 1) << 24;
                target = encode ? target + (uint32_t)i : target - (uint32_t)i;
                p[1] = (uint8_t)target;
                p[2] = (uint8_t)(target >> 8);
                p[3] = (uint8_t)(target >> 16);
                p[4] = target >> 24 & 1 ? 255 : 0;
            }
        } else {
            far++;
        }
        i += 4;
    }
    return near > far && near > n / 256 ? near : 0;
}

int nz_is_x86(const uint8_t *text, size_t n) {
    return filter((uint8_t *)(uintptr_t)text, n, 1, 0) > 0;
}

void nz_x86_filter(uint8_t *text, size_t n, int encode) { filter(text, n, encode, 1); }

#define FEW_LINES 4 /* fewer are not worth the flag; with more, alice29 shrinks by 0.8 % */

int nz_has_crlf(const uint8_t *text, size_t n) {
    size_t lines = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') continue;
        if (i == 0 || text[i - 1] != '\r') return 0;
        lines++;
    }
    return lines >= FEW_LINES;
}

size_t nz_drop_cr(const uint8_t *text, size_t n, uint8_t *out) {
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n') m--; /* overwrite the CR */
        out[m++] = text[i];
    }
    return m;
}

void nz_add_cr(uint8_t *text, size_t m, size_t n) {
    while (m < n) {
        uint8_t byte = text[--m];
        text[--n] = byte;
        if (byte == '\n' && m < n) text[--n] = '\r';
    }
}
