/* Builds a good dictionary for a text by counting.

   A round parses the text with the current dictionary and counts, at all positions where tokens
   begin, every string that a token could be. A string's weight is how many tokens the text would
   save if a token extended to the string's last byte. The next dictionary is the prefix-closed set
   of strings with the greatest total weight. */
#ifndef NZ_COUNT_H
#define NZ_COUNT_H

#include "trie.h"

/* Bytes of a string. At most 60, so that differences of tokens left, modulo 128, are
   unambiguous. */
#define NZ_COUNT_LONGEST 60

/* A byte of text in the low 8 bits; above it, the number of tokens from this position to the end,
   modulo 128, and whether a document begins here. */
typedef uint16_t nz_place;
#define NZ_PLACE_LEFT(p) ((p) >> 8 & 127)
#define NZ_PLACE_BEGINS 0x8000

/* Strings in order, prefixes first. */
typedef struct {
    uint32_t count, room;
    uint8_t *length, *byte;
    int64_t *weight;
} nz_strings;

/* Parses documents that end at ends[0..documents), the last at n. Fills place[0..n], and start[]
   with the positions where tokens begin; returns how many. start has room for n. */
size_t nz_count_parse(const nz_trie *t, const uint8_t *text, size_t n, const int64_t *ends,
                      size_t documents, int align, nz_place *place, uint32_t *start);

/* Collects all single bytes and the strings that at least `least` of the tokens at start[0..starts)
   could begin with. Overwrites start; `spare` has the same size. Returns 0, or -1 without
   memory. */
int nz_count_strings(const nz_place *place, uint32_t *start, uint32_t *spare, size_t starts,
                     uint32_t least, int align, nz_strings *strings);

/* Chooses `wanted` of them, or fewer if there are not as many, always with all single bytes. Every
   string pays the same price, except that those of dictionary t pay `hold` 256ths less and the
   others as much more: weights are valid only for small changes of the dictionary. Writes the
   length and the last byte of each string, in order; returns how many, or 0 without memory. */
uint32_t nz_count_choose(const nz_strings *strings, const nz_trie *t, uint32_t wanted, int hold,
                         uint16_t *length, uint8_t *byte);

void nz_strings_free(nz_strings *strings);

#endif
