/* Building dictionaries of windows, encoding with them and decoding (trie.h). */
#include "trie.h"

#include <stdlib.h>

#define NONE NZ_TRIE_NONE
#define TRIES 512 /* free cells to try before starting a new row of 256 */

/* ---- Building -------------------------------------------------------------------------------- */

typedef struct {
    nz_trie *trie;
    uint32_t *next, *previous; /* [cells]: the ring of free cells */
    uint8_t *taken, *offset_used;
    uint32_t free; /* where in the ring a search starts; NONE if no cell is free */
    uint32_t rows; /* rows of 256 cells in use */
} builder;

static int grow(builder *b) {
    nz_trie *t = b->trie;
    uint32_t old = t->cells, new = old + 1024 + old / 1024 * 256;
    if (new > (uint32_t)1 << 24) return -1;
#define NZ_GROW(p)                                                                                 \
    do {                                                                                           \
        void *grown = realloc(p, new * sizeof *(p));                                               \
        if (!grown) return -1;                                                                     \
        p = grown;                                                                                 \
    } while (0)
    NZ_GROW(t->cell);
    NZ_GROW(t->number);
    NZ_GROW(b->next);
    NZ_GROW(b->previous);
    NZ_GROW(b->taken);
    NZ_GROW(b->offset_used);
#undef NZ_GROW
    for (uint32_t i = old; i < new; i++) {
        b->taken[i] = b->offset_used[i] = 0;
        if (b->free == NONE) {
            b->free = b->next[i] = b->previous[i] = i;
        } else { /* after the last one */
            uint32_t last = b->previous[b->free];
            b->next[last] = i;
            b->previous[i] = last;
            b->next[i] = b->free;
            b->previous[b->free] = i;
        }
    }
    t->cells = new;
    return 0;
}

static void take(builder *b, uint32_t i) {
    b->taken[i] = 1;
    b->next[b->previous[i]] = b->next[i];
    b->previous[b->next[i]] = b->previous[i];
    if (b->free == i) b->free = b->next[i] == i ? NONE : b->next[i];
}

/* An offset for children with these bytes, or NONE. */
static uint32_t place(const builder *b, const uint8_t *bytes, int count) {
    uint32_t i = b->free;
    for (int tries = 0; i != NONE && tries < TRIES; tries++) {
        uint32_t offset = i ^ bytes[0];
        int k = 1;
        if (!b->offset_used[offset]) {
            while (k < count && !b->taken[offset ^ bytes[k]]) k++;
            if (k == count) return offset;
        }
        i = b->next[i];
        if (i == b->free) break;
    }
    return NONE;
}

/* Places the children of `parent`; children[0..count) are their numbers. Returns the offset or
   NONE. */
static uint32_t place_children(builder *b, const uint32_t *children, int count, const uint8_t *byte,
                               uint32_t *cell_of) {
    uint8_t bytes[256];
    for (int k = 0; k < count; k++) bytes[k] = byte[children[k]];
    uint32_t offset = place(b, bytes, count);
    if (offset == NONE) { /* a new row, from which later searches start */
        if (b->rows * 256 == b->trie->cells && grow(b)) return NONE;
        offset = b->free = b->rows * 256;
    }
    b->offset_used[offset] = 1;
    if (offset / 256 >= b->rows) b->rows = offset / 256 + 1;
    for (int k = 0; k < count; k++) {
        uint32_t at = offset ^ bytes[k];
        take(b, at);
        b->trie->cell[at] = bytes[k]; /* the offset of its own children is set later */
        b->trie->number[at] = children[k];
        cell_of[children[k]] = at;
    }
    return offset;
}

/* Finds each string's parent, the string without its last byte, or NONE for a single byte. Returns
   0 unless every parent is on the path to the preceding string, the last bytes of siblings
   increase, and every single byte is present. */
static int find_parents(uint32_t n, const uint16_t *length, const uint8_t *byte, uint32_t *parent,
                        uint32_t *path) {
    uint32_t depth = 0, singles = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t own = length[i];
        if (own == 0 || own > depth + 1) return 0;
        if (own <= depth && byte[path[own]] >= byte[i]) return 0;
        parent[i] = own == 1 ? NONE : path[own - 1];
        path[own] = i;
        depth = own;
        singles += own == 1;
    }
    return singles == 256;
}

/* Stores the strings. A string shares the bytes of the first longer one that it begins. */
static int lay_out(nz_trie *t, const uint32_t *parent, const uint16_t *length,
                   const uint8_t *byte) {
    uint32_t n = t->nodes;
    size_t total = 0, at = 0;
    t->start = malloc(n * sizeof *t->start);
    t->length = malloc(n * sizeof *t->length);
    if (!t->start || !t->length) return -1;
    memcpy(t->length, length, n * sizeof *length);
    for (uint32_t i = 0; i < n; i++) {
        if (length[i] > t->longest) t->longest = length[i];
        if (i + 1 == n || length[i + 1] <= length[i]) total += length[i];
    }
    if (total > NZ_TRIE_MAX_BYTES) return -2;
    t->strings = malloc(total + 16); /* copy_string reads sixteen bytes */
    if (!t->strings) return -1;
    for (uint32_t i = 0; i < n; i++) {
        t->start[i] = (uint32_t)at;
        if (i + 1 < n && length[i + 1] > length[i]) continue;
        at += length[i];
        size_t end = at;
        for (uint32_t k = i; k != NONE; k = parent[k]) t->strings[--end] = byte[k];
    }
    return 0;
}

int nz_trie_build(nz_trie *t, uint32_t nodes, const uint16_t *length, const uint8_t *byte) {
    builder b = {t, NULL, NULL, NULL, NULL, NONE, 0};
    int rc = -1;
    memset(t, 0, sizeof *t);
    if (nodes < 256 || nodes > NZ_TRIE_MAX_NODES) return -2;
    t->nodes = nodes;
    /* Children of node i: child[first[i + 1]] up to, not including, child[first[i + 2]]; the root
       is node -1. order: nodes sorted by number of children, most first. */
    uint32_t *first = calloc((size_t)nodes + 2, sizeof *first),
             *child = malloc(nodes * sizeof *child);
    uint32_t *cell_of = malloc(nodes * sizeof *cell_of),
             *order = malloc((nodes + 1) * sizeof *order);
    uint32_t *offset_of = malloc(nodes * sizeof *offset_of),
             *parent = malloc(nodes * sizeof *parent);
    uint32_t by_count[258] = {0};
    if (!first || !child || !cell_of || !order || !offset_of || !parent) goto end;
    /* `order` doubles as the path, of at most `nodes` strings. */
    if (!find_parents(nodes, length, byte, parent, order)) {
        rc = -2;
        goto end;
    }
    for (uint32_t i = 0; i < nodes; i++) first[parent[i] + 2]++; /* the root's are first[1] */
    for (uint32_t i = 1; i <= nodes; i++) by_count[256 - first[i + 1] + 1]++;
    for (int i = 1; i < 258; i++) by_count[i] += by_count[i - 1];
    for (uint32_t i = 0; i < nodes; i++) order[by_count[256 - first[i + 2]]++] = i;
    for (uint32_t i = 1; i <= nodes + 1; i++) first[i] += first[i - 1];
    for (uint32_t i = 0; i < nodes; i++) child[first[parent[i] + 1]++] = i;
    for (uint32_t i = nodes + 1; i > 0; i--) first[i] = first[i - 1];
    first[0] = 0;
    rc = lay_out(t, parent, length, byte);
    if (rc) goto end;
    rc = -1;
    if (grow(&b)) goto end;
    uint32_t offset = place_children(&b, child, 256, byte, cell_of);
    if (offset == NONE) goto end;
    t->root = offset << 8;
    uint32_t childless = 0; /* the offset of nodes without children: one that owns no cell */
    for (uint32_t k = 0; k < nodes; k++) {
        uint32_t i = order[k];
        int count = (int)(first[i + 2] - first[i + 1]);
        if (count == 0) break;
        offset_of[i] = place_children(&b, child + first[i + 1], count, byte, cell_of);
        if (offset_of[i] == NONE) goto end;
    }
    if (grow(&b)) goto end;
    /* Its neighbour stays unused too: the loop below needs a free one. */
    while (b.offset_used[childless] || b.offset_used[childless ^ 1]) childless++;
    b.offset_used[childless] = 1;
    for (uint32_t i = 0; i < nodes; i++)
        t->cell[cell_of[i]] |= (first[i + 2] == first[i + 1] ? childless : offset_of[i]) << 8;
    /* Give each free cell a byte by which no state can reach it, so that a lookup there always
       fails. */
    for (uint32_t i = 0; i < t->cells; i++) {
        if (b.taken[i]) continue;
        uint32_t c = 0;
        while (b.offset_used[i ^ c]) c++; /* ends: 256 used offsets would have taken 256 cells */
        t->cell[i] = c;
        t->number[i] = 0;
    }
    rc = 0;
end:
    free(first);
    free(child);
    free(cell_of);
    free(order);
    free(offset_of);
    free(parent);
    free(b.next);
    free(b.previous);
    free(b.taken);
    free(b.offset_used);
    if (rc) nz_trie_free(t);
    return rc;
}

void nz_trie_free(nz_trie *t) {
    free(t->cell);
    free(t->number);
    free(t->start);
    free(t->length);
    free(t->strings);
    memset(t, 0, sizeof *t);
}

/* ---- Encoding -------------------------------------------------------------------------------- */

NZ_INLINE size_t encode(const nz_trie *t, const uint8_t *text, size_t n, const int align,
                        const int size, void *numbers) {
    size_t count = 0, at = 0;
    while (at < n) {
        uint32_t number = nz_trie_longest(t, text, n, &at, align);
        if (size == 2) ((uint16_t *)numbers)[count++] = (uint16_t)number;
        else ((uint32_t *)numbers)[count++] = number;
    }
    return count;
}

size_t nz_trie_encode(const nz_trie *t, const uint8_t *text, size_t n, int align, int size,
                      void *numbers) {
    if (align)
        return size == 2 ? encode(t, text, n, 1, 2, numbers) : encode(t, text, n, 1, 4, numbers);
    return size == 2 ? encode(t, text, n, 0, 2, numbers) : encode(t, text, n, 0, 4, numbers);
}

size_t nz_trie_encode_ahead(const nz_trie *t, const uint8_t *text, size_t n, int size,
                            void *numbers) {
    size_t ring = 1, count = 0, known = 0; /* known: positions before it are in `reach` */
    while (ring <= t->longest) ring *= 2;
    uint32_t *reach = malloc(ring * sizeof *reach), *path = malloc(t->longest * sizeof *path);
    for (size_t at = 0; reach && path && at < n;) {
        size_t best = 0, furthest = 0, length = 0;
        for (uint32_t state = t->root; at + length < n; length++) {
            uint32_t next = (state >> 8) ^ text[at + length];
            state = t->cell[next];
            if ((state & 255) != text[at + length]) break;
            path[length] = t->number[next];
        }
        for (size_t own = 1; own <= length; own++) {
            size_t place = at + own, end = place;
            if (place >= known) {
                if (place < n) nz_trie_longest(t, text, n, &end, 0);
                reach[place % ring] = (uint32_t)(end - place);
                known = place + 1;
            }
            end = place + reach[place % ring];
            if (end >= furthest) { /* of equal reach, the longest: greedy where nothing is gained */
                furthest = end;
                best = own;
            }
        }
        if (size == 2) ((uint16_t *)numbers)[count++] = (uint16_t)path[best - 1];
        else ((uint32_t *)numbers)[count++] = path[best - 1];
        at += best;
    }
    int failed = !reach || !path;
    free(reach);
    free(path);
    return failed ? SIZE_MAX : count;
}

size_t nz_trie_encode_bits(const nz_trie *t, const uint8_t *text, size_t n, int align, int width,
                           uint8_t *out, size_t capacity) {
    uint64_t held = 0;
    int bits = 0; /* in `held`, not written yet */
    size_t size = 0, at = 0;
    while (at < n) {
        uint32_t number =
            align ? nz_trie_longest(t, text, n, &at, 1) : nz_trie_longest(t, text, n, &at, 0);
        held = held << width | number;
        for (bits += width; bits >= 8; bits -= 8) {
            if (size == capacity) return SIZE_MAX;
            out[size++] = (uint8_t)(held >> (bits - 8));
        }
    }
    if (bits) {
        if (size == capacity) return SIZE_MAX;
        out[size++] = (uint8_t)(held << (8 - bits));
    }
    return size;
}

/* ---- Decoding -------------------------------------------------------------------------------- */

NZ_INLINE uint32_t number_at(const void *numbers, size_t i, int size) {
    return size == 2 ? ((const uint16_t *)numbers)[i] : ((const uint32_t *)numbers)[i];
}

size_t nz_trie_size(const nz_trie *t, const void *numbers, size_t count, int size) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = number_at(numbers, i, size);
        if (number >= t->nodes) return SIZE_MAX;
        total += t->length[number];
    }
    return total;
}

/* Copies a string; `left` is the room at `to`. Most strings are short: copy sixteen bytes at once
   where there is room to read and write them. */
NZ_INLINE void copy_string(const nz_trie *t, uint32_t number, uint8_t *to, size_t left) {
    const uint8_t *from = t->strings + t->start[number];
    uint32_t length = t->length[number];
    if (length <= 16 && left >= 16) memcpy(to, from, 16);
    else memcpy(to, from, length);
}

void nz_trie_decode(const nz_trie *t, const void *numbers, size_t count, int size, uint8_t *text,
                    size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t number = number_at(numbers, i, size);
        copy_string(t, number, text + at, n - at);
        at += t->length[number];
    }
}

int nz_trie_decode_bits(const nz_trie *t, const uint8_t *in, size_t size, int width, uint8_t *text,
                        size_t n) {
    uint64_t held = 0;
    int bits = 0;
    size_t at = 0, next = 0;
    while (at < n) {
        for (; bits < width; bits += 8) held = held << 8 | (next < size ? in[next] : 0), next++;
        uint32_t number = (uint32_t)(held >> (bits - width)) & (((uint32_t)1 << width) - 1);
        bits -= width;
        if (number >= t->nodes || t->length[number] > n - at) return -2;
        copy_string(t, number, text + at, n - at);
        at += t->length[number];
    }
    return next == size ? 0 : -2;
}
