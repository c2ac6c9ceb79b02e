/* Which strings make a good dictionary for a text, by counting.

   A round takes the parse of the text by the dictionary there is, counts every string that tokens could
   begin with where tokens begin, and weighs it: how many tokens fewer the text would take if a token
   went on to the string's last byte. The next dictionary is the set of strings, closed under prefixes,
   that weighs most. */
#ifndef NZ_COUNT_H
#define NZ_COUNT_H

#include "trie.h"

#define NZ_COUNT_LONGEST 60 /* bytes of a string: differences of tokens left, modulo 128, stay unambiguous */

/* A byte of text, what is known of the place before it above: the tokens from there to the end, modulo
   128, and whether a document begins there. */
typedef uint16_t nz_place;
#define NZ_PLACE_LEFT(p) ((p) >> 8 & 127)
#define NZ_PLACE_BEGINS 0x8000

/* Strings in order, a string before those that it begins. */
typedef struct {
    uint32_t count, room;
    uint8_t *length, *byte;
    int64_t *weight;
} nz_strings;

/* Fills place[0..n] for documents that end at ends[0..documents), the last at n, and start[] with the
   places where tokens begin; returns how many. start has room for n. */
size_t nz_count_parse(const nz_trie *t, const uint8_t *text, size_t n, const int64_t *ends, size_t documents,
                      int align, nz_place *place, uint32_t *start);

/* The strings with which at least `least` tokens of start[0..starts) could begin, and all single bytes.
   start's content is lost; `spare` has the same room. 0, or -1: no memory. */
int nz_count_strings(const nz_place *place, uint32_t *start, uint32_t *spare, size_t starts, uint32_t least,
                     int align, nz_strings *strings);

/* Chooses `wanted` of them, all single bytes among them; fewer where there are not as many. All pay the
   same for their places, but that those of dictionary t pay `hold` 256ths less and others as much more:
   weights hold for small changes of the dictionary only. The length and the last byte of each, in order;
   returns how many, or 0: no memory. */
uint32_t nz_count_choose(const nz_strings *strings, const nz_trie *t, uint32_t wanted, int hold, uint16_t *length,
                         uint8_t *byte);

void nz_strings_free(nz_strings *strings);

#endif
