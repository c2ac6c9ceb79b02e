/* Training of M1's tables: which rows a text's contexts own, their sums, and their updates. Needs
   trail.h for the contexts' keys; cell_engine.inc defines the arithmetic. */
#ifndef NZ_ROWS_H
#define NZ_ROWS_H

#include "trail.h"

#define NZ_CANDIDATES 8 /* how many contexts of a bucket are counted */

/* Row c, for c < contexts, is for context c when it owns none; the `ways` rows of bucket b begin at
   contexts + b * ways. */
typedef struct {
    int contexts, ways, embed;
    uint32_t buckets;
    int context[NZ_MAX_CONTEXTS];
} nz_places;

typedef struct {
    uint16_t check[NZ_CANDIDATES];
    uint32_t count[NZ_CANDIDATES];
} nz_candidates;

/* Counts the contexts of text [steps][lanes], which continues what the trails have read, in
   candidates [buckets]. */
void nz_rows_count(const nz_places *, const uint8_t *text, size_t steps, size_t lanes,
                   nz_trail *trails, nz_candidates *candidates);
/* Finds the rows of the contexts of text: rows, int32 [steps][lanes][contexts]. check
   [buckets][ways] identifies the owners of rows; 0: none. */
void nz_rows_find(const nz_places *, const uint16_t *check, const uint8_t *text, size_t steps,
                  size_t lanes, nz_trail *trails, int32_t *rows);
/* Sums rows in steps of 1/21, clamped to +-63 steps: embedded, float [n][embed]; integers if
   `quantise`. bits: if not 0, rows are first rounded to that many bits. */
void nz_rows_sum(const nz_places *, const float *table, const int32_t *rows, size_t n, int bits,
                 int quantise, float *embedded);
/* Adds up the gradients [n][embed] of the rows whose number is `part` modulo `parts`. place, int32
   [rows], is -1 for rows not touched yet; sums [capacity][embed]; touched [capacity], of which
   `count` are in use. Returns the new count, or -1 if it would exceed capacity. */
ptrdiff_t nz_rows_gather(const nz_places *, const int32_t *rows, const float *gradient, size_t n,
                         int part, int parts, int32_t *place, float *sums, int32_t *touched,
                         ptrdiff_t count, size_t capacity);
/* Makes one step of Adagrad with one state per row, and resets `place` to -1. */
void nz_rows_update(const nz_places *, float *table, float *state, int32_t *place,
                    const float *sums, const int32_t *touched, size_t count, float rate);

#endif
