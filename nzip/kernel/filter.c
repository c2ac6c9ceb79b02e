/* x86 code: branch targets made absolute, so that calls of one function look alike. */
#include "engine.h"

/* The bytes from E8 or E9 (call, jump) that are looked at next are those behind the operand, whether it
   was changed or not: so both directions see the same places. */
static size_t filter(uint8_t *text, size_t n, int encode, int write) {
    size_t near = 0, far = 0;
    for (size_t i = 0; i + 5 <= n; i++) {
        uint8_t *p = text + i;
        if ((p[0] & 0xfe) != 0xe8) continue;
        if (p[4] == 0 || p[4] == 255) {
            near++;
            if (write) {
                uint32_t target = (uint32_t)p[1] | (uint32_t)p[2] << 8 | (uint32_t)p[3] << 16 | (uint32_t)(p[4] & 1) << 24;
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

int nz_is_x86(const uint8_t *text, size_t n) { return filter((uint8_t *)(uintptr_t)text, n, 1, 0) > 0; }

void nz_x86_filter(uint8_t *text, size_t n, int encode) { filter(text, n, encode, 1); }
