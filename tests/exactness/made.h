/* Small models and texts that are the same on every machine, for exact.c and the fuzz target. */
#ifndef MADE_H
#define MADE_H

#include "engine.h"

#include <stdlib.h>

typedef struct {
    uint64_t state;
} made_random;

/* splitmix64 */
static uint32_t made_next(made_random *r) {
    uint64_t z = r->state += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return (uint32_t)(z >> 32);
}

static int32_t made_between(made_random *r, int32_t lo, int32_t hi) {
    return lo + (int32_t)(made_next(r) % (uint32_t)(hi - lo + 1));
}

/* A model and the tables that it does not copy. */
typedef struct {
    nz_model *model;
    int8_t *table;
    uint8_t *check;
} made_model;

static void made_free(made_model *made) {
    nz_model_free(made->model);
    free(made->table);
    free(made->check);
}

static nz_layer made_layer(made_random *r, size_t rows, size_t columns, int extreme, int with_bias) {
    int8_t *weights = malloc(rows * columns);
    int32_t *mult = malloc(rows * sizeof *mult), *bias = malloc(rows * sizeof *bias);
    for (size_t i = 0; i < rows * columns; i++)
        weights[i] = (int8_t)(extreme ? (made_next(r) & 1 ? 63 : -63) : made_between(r, -63, 63));
    for (size_t i = 0; i < rows; i++) {
        mult[i] = extreme ? (int32_t)(2000000000 / (columns * 63 * 63)) : made_between(r, 50, 300);
        bias[i] = extreme ? 0 : made_between(r, -1000000, 1000000);
    }
    nz_layer layer = {weights, mult, with_bias ? bias : NULL};
    if (!with_bias) free(bias);
    return layer;
}

static void made_layer_free(nz_layer *layer) {
    free((void *)(uintptr_t)layer->weights);
    free((void *)(uintptr_t)layer->mult);
    free((void *)(uintptr_t)layer->bias);
}

/* Pseudo-random weights; with `extreme` as large as the format allows. */
static made_model made_new(uint64_t seed, int hidden, int embed, int blocks, int extreme) {
    static const int contexts[6] = {1, 2, 4, 8, NZ_WORD, NZ_WORDS}, bits[6] = {8, 9, 10, 8, 9, 10};
    made_random r = {seed};
    made_model made;
    nz_weights w = {.hidden = hidden, .blocks = blocks, .embed = embed, .contexts = 6};
    size_t rows = 0, h = (size_t)hidden, e = (size_t)embed, b = (size_t)blocks;
    int bad;
    for (int i = 0; i < 6; i++) {
        w.context[i] = contexts[i];
        w.table_bits[i] = bits[i];
        rows += (size_t)1 << bits[i];
    }
    made.table = malloc(rows * e);
    made.check = malloc(rows);
    for (size_t i = 0; i < rows * e; i++) made.table[i] = (int8_t)made_between(&r, -127, 127);
    for (size_t i = 0; i < rows; i++) made.check[i] = (uint8_t)(made_next(&r) & 3); /* some rows have owners */
    w.table = made.table;
    w.check = made.check;
    w.enter = made_layer(&r, h, e, extreme, 1);
    w.gates = made_layer(&r, 3 * h * b, h, extreme, 1);
    w.leave = made_layer(&r, h * b, h, extreme, 0);
    w.out = made_layer(&r, 256, h + e, extreme, 1);
    made.model = nz_model_new(&w, &bad);
    made_layer_free(&w.enter);
    made_layer_free(&w.gates);
    made_layer_free(&w.leave);
    made_layer_free(&w.out);
    if (!made.model) abort();
    return made;
}

#endif
