/* A dictionary of windows: every string of bytes that one codeword stands for, as a trie.

   The strings are closed under prefixes, hold every single byte, and are numbered in order, a string
   before those that it begins: so the number of a string is its codeword, and the longest string that
   a text starts with is the window that the encoder writes. */
#ifndef NZ_TRIE_H
#define NZ_TRIE_H

#include "common.h"

#define NZ_TRIE_NONE UINT32_MAX
#define NZ_TRIE_MAX_NODES ((uint32_t)1 << 20)
#define NZ_TRIE_MAX_BYTES ((size_t)1 << 26) /* of all strings; a text's 2^20 most probable ones have some 2^23 */

typedef struct {
    uint32_t nodes;   /* strings; at most NZ_TRIE_MAX_NODES */
    uint32_t longest; /* bytes of the longest */
    /* A state's children lie at cells (its offset ^ byte). A cell is offset << 8 | byte; no two states
       have the same offset, so the byte tells whose cell it is. */
    uint32_t root;    /* offset << 8 */
    uint32_t *cell, *number;    /* [cells]; number: of the string that ends here */
    uint32_t cells;
    uint32_t *start;  /* [nodes]: a string's place in `strings` */
    uint16_t *length; /* [nodes] */
    uint8_t *strings;
} nz_trie;

/* length[i], byte[i]: of string i and its last byte, which with the order says what it is. 0, -1: no
   memory, -2: not such a dictionary, or strings of more than NZ_TRIE_MAX_BYTES. */
int nz_trie_build(nz_trie *t, uint32_t nodes, const uint16_t *length, const uint8_t *byte);
void nz_trie_free(nz_trie *t);

/* The number of each window of a text, `size` bytes each (2 or 4, this machine's order); how many. At
   most n. With align, a window ends where a word begins if one such place is within it. */
size_t nz_trie_encode(const nz_trie *t, const uint8_t *text, size_t n, int align, int size, void *numbers);
/* The fewest strings that make up the text: of all strings that it goes on with, that after which the
   longest one reaches furthest; in a dictionary closed under prefixes no look further ahead finds fewer.
   SIZE_MAX: no memory. */
size_t nz_trie_encode_ahead(const nz_trie *t, const uint8_t *text, size_t n, int size, void *numbers);
/* The same as nz_trie_encode as bits, `width` each, the highest first; returns bytes or SIZE_MAX if they did not fit. */
size_t nz_trie_encode_bits(const nz_trie *t, const uint8_t *text, size_t n, int align, int width, uint8_t *out,
                           size_t capacity);

/* Bytes of the text of some numbers; SIZE_MAX if one of them is not in the dictionary. */
size_t nz_trie_size(const nz_trie *t, const void *numbers, size_t count, int size);
/* Writes that text, of which the size is known. */
void nz_trie_decode(const nz_trie *t, const void *numbers, size_t count, int size, uint8_t *text, size_t n);
/* 0, or -2 for bits that nz_trie_encode_bits does not write for n bytes. */
int nz_trie_decode_bits(const nz_trie *t, const uint8_t *in, size_t size, int width, uint8_t *text, size_t n);

NZ_INLINE int nz_is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }
NZ_INLINE int nz_is_letter(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 128;
}

/* A word begins with the space before it. */
NZ_INLINE int nz_begins_word(uint8_t before, uint8_t c) {
    return nz_is_space(c) ? !nz_is_space(before) : nz_is_letter(c) && !nz_is_letter(before) && !nz_is_space(before);
}

/* The number of the window at text[*at], which moves behind it. */
NZ_INLINE uint32_t nz_trie_longest(const nz_trie *t, const uint8_t *text, size_t n, size_t *at, const int align) {
    const uint32_t *cell = t->cell;
    uint32_t state = t->root, last = 0, word = NZ_TRIE_NONE;
    size_t i = *at, word_end = 0;
    while (i < n) {
        uint32_t c = text[i], next = (state >> 8) ^ c;
        uint32_t value = cell[next];
        if ((value & 255) != c) break;
        state = value;
        last = next;
        i++;
        if (align && i < n && nz_begins_word(text[i - 1], text[i])) {
            word = next;
            word_end = i;
        }
    }
    if (align && word != NZ_TRIE_NONE && i < n) {
        last = word;
        i = word_end;
    }
    *at = i;
    return t->number[last];
}

#endif
