/* What M1 knows of the text before the next byte, and the keys of its contexts. Part of the format:
   docs/format.md, "Contexts"; used both by the kernel and by training. */
#ifndef NZ_TRAIL_H
#define NZ_TRAIL_H

#include "common.h"

#define NZ_MAX_CONTEXTS 12
#define NZ_HASH 0x9E3779B97F4A7C15ull /* 2^64 / golden ratio, odd */

/* Contexts 1 to 8 are the last 1 to 8 bytes. */
enum {
    NZ_WORD = 9, /* the word so far, or the last byte outside words */
    NZ_WORDS = 10, /* that, and the word before */
    NZ_WORDS3 = 11, /* that, and the two words before */
    NZ_SKIP = 12, /* the three bytes before the last one */
    NZ_SHAPE = 13, /* the kinds of the last eleven bytes, and the last byte */
    NZ_LAST_CONTEXT = 13,
};

typedef struct {
    uint64_t last; /* the last eight bytes, the latest lowest */
    uint64_t word, before,
        before2; /* hashes of the word so far and of the two before it; 0: none */
    uint64_t shape; /* kinds of the last bytes, four bits each */
} nz_trail;

/* The kind of a byte, 0 to 15. */
NZ_INLINE uint32_t nz_kind(uint32_t byte) {
    uint32_t lower = byte | 32;
    if (lower >= 'a' && lower <= 'z') return byte & 32 ? 1 : 2;
    if (byte >= 128) return 3;
    if (byte >= '0' && byte <= '9') return 4;
    switch (byte) {
    case ' ': return 5;
    case '\n': return 6;
    case '.':
    case '!':
    case '?': return 7;
    case ',':
    case ';':
    case ':': return 8;
    case '"':
    case '\'': return 9;
    case '(':
    case '[':
    case '{': return 10;
    case ')':
    case ']':
    case '}': return 11;
    case '<':
    case '>':
    case '=': return 12;
    case '-':
    case '_': return 13;
    case '/':
    case '\\': return 14;
    }
    return byte < 32 ? 15 : 0;
}

NZ_INLINE void nz_trail_push(nz_trail *s, uint32_t byte) {
    uint32_t lower = byte | 32;
    uint64_t letter = lower >= 'a' && lower <= 'z' ? lower : byte >= 128 ? byte : 0;
    s->last = s->last << 8 | byte;
    if (letter) {
        s->word = (s->word + letter) * NZ_HASH;
    } else if (s->word) {
        s->before2 = s->before;
        s->before = s->word;
        s->word = 0;
    }
    s->shape = s->shape << 4 | nz_kind(byte);
}

/* A 64-bit hash of a context; its high half is mixed best. */
NZ_INLINE uint64_t nz_trail_key(const nz_trail *s, int context) {
    uint64_t last = s->last, word = s->word ? s->word : last & 255, value;
    switch (context) {
    case 8: value = last; break;
    case NZ_WORD: value = word; break;
    case NZ_WORDS: value = word + 3 * s->before; break;
    case NZ_WORDS3: value = word + 3 * s->before + 5 * s->before2; break;
    case NZ_SKIP: value = last & 0xffffff00; break;
    case NZ_SHAPE: value = (s->shape & 0xfffffffffff) << 8 | (last & 255); break;
    default: value = last & (((uint64_t)1 << (8 * context)) - 1);
    }
    uint64_t key = (value + (uint64_t)context) * NZ_HASH;
    return (key ^ key >> 32) * NZ_HASH;
}

/* The bucket in which a context looks, and the number, never 0, that identifies its row there. */
NZ_INLINE uint32_t nz_bucket(uint64_t key, uint32_t buckets) {
    return (uint32_t)((key >> 32) * buckets >> 32);
}
NZ_INLINE uint16_t nz_check(uint64_t key) {
    uint16_t check = (uint16_t)(key >> 16);
    return check ? check : 1;
}

#endif
