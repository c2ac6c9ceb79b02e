/* Which contexts are frequent, and which rows contexts own (rows.h). */
#include "rows.h"

static void count_one(nz_candidates *c, uint16_t check) {
    int least = 0;
    for (int i = 0; i < NZ_CANDIDATES; i++) {
        if (c->check[i] == check) {
            c->count[i]++;
            return;
        }
        if (c->count[i] < c->count[least]) least = i;
    }
    /* A new context takes over the entry with the lowest count once others have brought that to
       0. */
    if (c->count[least] == 0) {
        c->check[least] = check;
        c->count[least] = 1;
    } else {
        c->count[least]--;
    }
}

void nz_rows_count(const nz_places *p, const uint8_t *text, size_t steps, size_t lanes,
                   nz_trail *trails, nz_candidates *candidates) {
    uint64_t key[2][NZ_MAX_CONTEXTS];
    for (size_t b = 0; b < lanes; b++)
        for (size_t t = 0; t <= steps; t++) {
            for (int i = 0; t < steps && i < p->contexts; i++) {
                uint64_t k = key[t & 1][i] = nz_trail_key(&trails[b], p->context[i]);
                NZ_PREFETCH(candidates + nz_bucket(k, p->buckets));
            }
            for (int i = 0; t > 0 && i < p->contexts; i++) {
                uint64_t k = key[(t - 1) & 1][i];
                count_one(candidates + nz_bucket(k, p->buckets), nz_check(k));
            }
            if (t < steps) nz_trail_push(&trails[b], text[t * lanes + b]);
        }
}

#define AHEAD 4

void nz_rows_find(const nz_places *p, const uint16_t *check, const uint8_t *text, size_t steps,
                  size_t lanes, nz_trail *trails, int32_t *rows) {
    uint32_t bucket[AHEAD][NZ_MAX_CONTEXTS];
    uint16_t wanted[AHEAD][NZ_MAX_CONTEXTS];
    for (size_t b = 0; b < lanes; b++)
        for (size_t t = 0; t < steps + AHEAD - 1; t++) {
            if (t < steps) {
                for (int i = 0; i < p->contexts; i++) {
                    uint64_t k = nz_trail_key(&trails[b], p->context[i]);
                    uint32_t place = nz_bucket(k, p->buckets);
                    bucket[t % AHEAD][i] = place;
                    wanted[t % AHEAD][i] = nz_check(k);
                    NZ_PREFETCH(check + (size_t)place * (size_t)p->ways);
                }
                nz_trail_push(&trails[b], text[t * lanes + b]);
            }
            if (t + 1 < AHEAD) continue;
            size_t done = t + 1 - AHEAD;
            int32_t *out = rows + (done * lanes + b) * (size_t)p->contexts;
            for (int i = 0; i < p->contexts; i++) {
                size_t place = (size_t)bucket[done % AHEAD][i] * (size_t)p->ways;
                int32_t row = i;
                for (int w = 0; w < p->ways; w++)
                    if (check[place + (size_t)w] == wanted[done % AHEAD][i])
                        row = p->contexts + (int32_t)place + w;
                out[i] = row;
            }
        }
}
