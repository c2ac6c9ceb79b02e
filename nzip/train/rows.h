/* Training of M1's tables: which rows a text's contexts own, their sums, and their updates. */
#ifndef NZ_ROWS_H
#define NZ_ROWS_H

#include "trail.h"

#define NZ_CANDIDATES 8 /* contexts of a bucket that are counted */

/* Rows 0 to contexts - 1 stand for a context that owns none; bucket b's `ways` rows begin at
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

/* Counts the contexts of text [steps][lanes], which follows what the trails have read. candidates [buckets]. */
void nz_rows_count(const nz_places *, const uint8_t *text, size_t steps, size_t lanes, nz_trail *trails,
                   nz_candidates *candidates);
/* check [buckets][ways], 0: free. rows int32 [steps][lanes][contexts]. */
void nz_rows_find(const nz_places *, const uint16_t *check, const uint8_t *text, size_t steps, size_t lanes,
                  nz_trail *trails, int32_t *rows);
/* Sums of float rows in steps of 1/21, within +-63 of them: embedded, float [n][embed]; whole numbers if `quantise`.
   bits: 0, or what the rows' values are rounded to first. */
void nz_rows_sum(const nz_places *, const float *table, const int32_t *rows, size_t n, int bits, int quantise, float *embedded);
/* Adds up the gradients [n][embed] of the rows whose number is `part` modulo `parts`. place int32 [rows], all -1;
   sums [capacity][embed]; touched [capacity]. Returns how many rows were touched so far, or -1 if more are. */
ptrdiff_t nz_rows_gather(const nz_places *, const int32_t *rows, const float *gradient, size_t n, int part, int parts,
                         int32_t *place, float *sums, int32_t *touched, ptrdiff_t count, size_t capacity);
/* One step of Adagrad with a state for each row; clears `place`. */
void nz_rows_update(const nz_places *, float *table, float *state, int32_t *place, const float *sums,
                    const int32_t *touched, size_t count, float rate);

#endif
