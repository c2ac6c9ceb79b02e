/* A dictionary of windows as a trie: for each codeword, the byte string that it stands for.

   The set of strings contains every single byte and every prefix of its strings. They are numbered
   in lexicographic order, prefixes first. The number of a string is its codeword, and the encoder's
   next window is the longest string that matches the rest of the text. */
#ifndef NZ_TRIE_H
#define NZ_TRIE_H

#include "common.h"

#define NZ_TRIE_NONE UINT32_MAX
#define NZ_TRIE_MAX_NODES ((uint32_t)1 << 20)
/* Bytes of all strings together; the 2^20 most probable ones under M1 have about 2^23. */
#define NZ_TRIE_MAX_BYTES ((size_t)1 << 26)

typedef struct {
    uint32_t nodes;   /* number of strings; at most NZ_TRIE_MAX_NODES */
    uint32_t longest; /* length of the longest, in bytes */
    /* The child of a state by a byte is in the cell (the state's offset ^ byte). A cell holds
       offset << 8 | byte. No two states have the same offset, so the byte shows whether the cell
       belongs to the state that looks it up. */
    uint32_t root;    /* offset << 8 */
    uint32_t *cell, *number;    /* [cells]; number: that of the string that ends here */
    uint32_t cells;
    uint32_t *start;  /* [nodes]: where a string begins in `strings` */
    uint16_t *length; /* [nodes] */
    uint8_t *strings;
} nz_trie;

/* length[i], byte[i]: the length of string i and its last byte; with the order they determine the
   string. Returns 0, -1 without memory, or -2 if this is no such dictionary or its strings take
   more than NZ_TRIE_MAX_BYTES. */
int nz_trie_build(nz_trie *t, uint32_t nodes, const uint16_t *length, const uint8_t *byte);
void nz_trie_free(nz_trie *t);

/* Writes the number of each window of a text, `size` bytes each (2 or 4, native byte order);
   returns how many, at most n. With align, a window ends where a word begins, if a word begins
   inside it. */
size_t nz_trie_encode(const nz_trie *t, const uint8_t *text, size_t n, int align, int size,
                      void *numbers);
/* The same with the fewest strings. Of all strings that match, it takes the one after which the
   longest match reaches furthest; with every prefix in the dictionary, looking further ahead cannot
   find fewer. Returns SIZE_MAX without memory. */
size_t nz_trie_encode_ahead(const nz_trie *t, const uint8_t *text, size_t n, int size,
                            void *numbers);
/* As nz_trie_encode, but writes numbers of `width` bits, the highest bit first. Returns the number
   of bytes, or SIZE_MAX if they do not fit. */
size_t nz_trie_encode_bits(const nz_trie *t, const uint8_t *text, size_t n, int align, int width,
                           uint8_t *out, size_t capacity);

/* Bytes of the text that the numbers stand for; SIZE_MAX if one of them is not in the
   dictionary. */
size_t nz_trie_size(const nz_trie *t, const void *numbers, size_t count, int size);
/* Writes that text; n is its size, as nz_trie_size returns it. */
void nz_trie_decode(const nz_trie *t, const void *numbers, size_t count, int size, uint8_t *text,
                    size_t n);
/* Decodes n bytes. Returns 0, or -2 if nz_trie_encode_bits cannot have written these bits. */
int nz_trie_decode_bits(const nz_trie *t, const uint8_t *in, size_t size, int width, uint8_t *text,
                        size_t n);

NZ_INLINE int nz_is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }
NZ_INLINE int nz_is_letter(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 128;
}

/* A word includes the space before it. */
NZ_INLINE int nz_begins_word(uint8_t before, uint8_t c) {
    return nz_is_space(c) ? !nz_is_space(before)
                          : nz_is_letter(c) && !nz_is_letter(before) && !nz_is_space(before);
}

/* The number of the window at text[*at]; *at moves to its end. */
NZ_INLINE uint32_t nz_trie_longest(const nz_trie *t, const uint8_t *text, size_t n, size_t *at,
                                   const int align) {
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
