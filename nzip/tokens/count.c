/* Counting strings for a dictionary (count.h). */
#include "count.h"

#include <stdlib.h>

/* ---- Parsing --------------------------------------------------------------------------------- */

size_t nz_count_parse(const nz_trie *t, const uint8_t *text, size_t n, const int64_t *ends,
                      size_t documents, int align, nz_place *place, uint32_t *start) {
    size_t count = 0;
    place[n] = NZ_PLACE_BEGINS;
    for (size_t d = documents, end = n; d > 0; d--) { /* tokens are counted from the end */
        size_t begin = d > 1 ? (size_t)ends[d - 2] : 0;
        for (size_t i = end; i-- > begin;) {
            size_t next = i;
            if (align) nz_trie_longest(t, text, end, &next, 1);
            else nz_trie_longest(t, text, end, &next, 0);
            place[i] = (nz_place)(text[i] | ((NZ_PLACE_LEFT(place[next]) + 1) & 127) << 8);
        }
        if (begin < end) place[begin] |= NZ_PLACE_BEGINS;
        end = begin;
    }
    for (size_t d = 0, i = 0; d < documents; d++)
        while (i < (size_t)ends[d]) {
            start[count++] = (uint32_t)i;
            if (align) nz_trie_longest(t, text, (size_t)ends[d], &i, 1);
            else nz_trie_longest(t, text, (size_t)ends[d], &i, 0);
        }
    return count;
}

/* ---- Counting -------------------------------------------------------------------------------- */

typedef struct {
    const nz_place *place;
    uint32_t *spare;
    uint32_t least;
    int align;
    nz_strings *strings;
} counter;

static int add(nz_strings *s, int length, uint8_t byte) {
    if (s->count == s->room) {
        uint32_t room = s->room ? s->room + s->room / 2 : 1 << 16;
        void *lengths = realloc(s->length, room);
        if (lengths) s->length = lengths;
        void *bytes = realloc(s->byte, room);
        if (bytes) s->byte = bytes;
        void *weights = realloc(s->weight, room * sizeof *s->weight);
        if (weights) s->weight = weights;
        if (!lengths || !bytes || !weights) return -1;
        s->room = room;
    }
    s->length[s->count] = (uint8_t)length;
    s->byte[s->count] = byte;
    s->weight[s->count++] = 0;
    return 0;
}

/* Weighs a string of `depth` bytes, which occurs at the token positions at[0..count), and adds its
   extensions. With align, `word` is where the last word in it begins, or 0. */
static int count_from(const counter *c, uint32_t *at, size_t count, int depth, uint8_t last,
                      int word) {
    const int shorter = word ? word : depth - 1; /* where the token ends without the last byte */
    const uint32_t own = c->strings->count - 1;  /* this string; not valid for the root */
    uint32_t many[256] = {0};
    int64_t weight = 0;
    size_t kept = 0, from[256];
    for (size_t k = 0; k < count; k++) {
        size_t i = at[k], end = i + depth;
        nz_place next = c->place[end];
        int over = depth && next & NZ_PLACE_BEGINS; /* the document has ended */
        if (!over) many[next & 255]++;
        /* Past the beginning of a word a token extends only to the beginning of the next one. */
        if (depth && (!c->align || !word || over || nz_begins_word(last, next & 255))) {
            int fewer = (NZ_PLACE_LEFT(c->place[i + shorter]) - NZ_PLACE_LEFT(next)) & 127;
            weight += fewer < 64 ? fewer : fewer - 128;
        }
    }
    if (depth) c->strings->weight[own] = weight;
    if (depth == NZ_COUNT_LONGEST) return 0;
    for (int b = 0; b < 256; b++) {
        from[b] = kept;
        if (many[b] < c->least && depth) many[b] = 0;
        kept += many[b];
    }
    if (kept == 0 && depth) return 0;
    for (size_t k = 0; k < count; k++) {
        nz_place next = c->place[at[k] + depth];
        if ((!depth || !(next & NZ_PLACE_BEGINS)) && many[next & 255])
            c->spare[from[next & 255]++] = at[k];
    }
    memcpy(at, c->spare, kept * sizeof *at);
    for (int b = 0; b < 256; at += many[b], b++) {
        if (!many[b] && depth) continue;
        int begins = c->align && depth && nz_begins_word(last, (uint8_t)b);
        if (add(c->strings, depth + 1, (uint8_t)b)) return -1;
        if (count_from(c, at, many[b], depth + 1, (uint8_t)b, begins ? depth : word)) return -1;
    }
    return 0;
}

int nz_count_strings(const nz_place *place, uint32_t *start, uint32_t *spare, size_t starts,
                     uint32_t least, int align, nz_strings *strings) {
    counter c = {place, spare, least ? least : 1, align, strings};
    memset(strings, 0, sizeof *strings);
    return count_from(&c, start, starts, 0, 0, 0);
}

void nz_strings_free(nz_strings *s) {
    free(s->length);
    free(s->byte);
    free(s->weight);
    memset(s, 0, sizeof *s);
}

/* ---- Choosing -------------------------------------------------------------------------------- */

typedef struct {
    int64_t weight;
    uint32_t string;
} offer;

static int by_weight(const void *a, const void *b) {
    const offer *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return x->string < y->string ? -1 : 1;
}

typedef struct {
    const nz_strings *strings;
    uint32_t *parent; /* of each string; single bytes are their own parents */
    int64_t *worth;
    uint8_t *held, *taken;
    int hold;
} choice;

/* Takes the prefix-closed set with the greatest weight after each string has paid the price, in
   256ths. Returns its size. */
static uint32_t take(const choice *c, int64_t price) {
    const nz_strings *s = c->strings;
    uint32_t count = 0;
    const int64_t prices[2] = {price * (256 + c->hold) / 256, price * (256 - c->hold) / 256};
    for (uint32_t i = 0; i < s->count; i++) c->worth[i] = s->weight[i] * 256 - prices[c->held[i]];
    for (uint32_t i = s->count; i-- > 0;)
        if (s->length[i] > 1 && c->worth[i] > 0) c->worth[c->parent[i]] += c->worth[i];
    for (uint32_t i = 0; i < s->count; i++)
        count += c->taken[i] = s->length[i] == 1 || (c->taken[c->parent[i]] && c->worth[i] > 0);
    return count;
}

/* Marks the strings that are in the dictionary. */
static void find_held(const nz_strings *s, const nz_trie *t, uint8_t *held) {
    uint32_t state[NZ_COUNT_LONGEST + 1];
    state[0] = t->root;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t before = state[s->length[i] - 1], value = NZ_TRIE_NONE;
        if (before != NZ_TRIE_NONE) value = t->cell[before >> 8 ^ s->byte[i]];
        held[i] = before != NZ_TRIE_NONE && (value & 255) == s->byte[i];
        state[s->length[i]] = held[i] ? value : NZ_TRIE_NONE;
    }
}

uint32_t nz_count_choose(const nz_strings *s, const nz_trie *t, uint32_t wanted, int hold,
                         uint16_t *length, uint8_t *byte) {
    uint32_t path[NZ_COUNT_LONGEST + 1], count, chosen = 0;
    int64_t low = -1, high = 256;
    choice c = {s,
                malloc(s->count * sizeof *c.parent),
                malloc(s->count * sizeof *c.worth),
                malloc(s->count),
                malloc(s->count),
                hold};
    offer *offers = malloc(s->count * sizeof *offers);
    if (!c.parent || !c.worth || !c.held || !c.taken || !offers) goto end;
    find_held(s, t, c.held);
    for (uint32_t i = 0; i < s->count; i++) {
        c.parent[i] = s->length[i] == 1 ? i : path[s->length[i] - 1];
        path[s->length[i]] = i;
    }
    /* Find the lowest price at which at most `wanted` strings are taken. */
    while (take(&c, high) > wanted) high *= 2;
    while (high - low > 1) {
        int64_t price = low + (high - low) / 2;
        if (take(&c, price) > wanted) low = price;
        else high = price;
    }
    count = take(&c, high);
    while (count < wanted) { /* add the heaviest strings whose parents are taken */
        uint32_t some = 0;
        for (uint32_t i = 0; i < s->count; i++)
            if (!c.taken[i] && c.taken[c.parent[i]]) offers[some++] = (offer){s->weight[i], i};
        if (some == 0) break;
        qsort(offers, some, sizeof *offers, by_weight);
        for (uint32_t k = 0; k < some && count < wanted; k++, count++)
            c.taken[offers[k].string] = 1;
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (c.taken[i]) {
            length[chosen] = s->length[i];
            byte[chosen++] = s->byte[i];
        }
end:
    free(c.parent);
    free(c.worth);
    free(c.held);
    free(c.taken);
    free(offers);
    return chosen;
}
