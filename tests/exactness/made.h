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
    uint8_t *lines, *absent;
} made_model;

static void made_free(made_model *made) {
    nz_model_free(made->model);
    free(made->lines);
    free(made->absent);
}

static nz_layer made_layer(made_random *r, size_t rows, size_t columns, int extreme,
                           int with_bias) {
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

/* Pseudo-random weights and maps of mixing; with `extreme` weights as large as they can be. */
static nz_start made_start(made_random *r, nz_start_shape shape, int extreme) {
    const size_t count = (size_t)shape.rows * (size_t)shape.width;
    int16_t *weights = malloc(count * sizeof *weights);
    uint32_t *maps = malloc((size_t)shape.maps * sizeof *maps);
    for (size_t i = 0; i < count; i++)
        weights[i] =
            (int16_t)(extreme ? made_next(r) & 1 ? 32767 : -32768 : made_between(r, -800, 2400));
    for (int i = 0; i < shape.maps; i++)
        maps[i] = (uint32_t)made_next(r) << 10 | (uint32_t)made_between(r, 0, NZ_COUNT_MAX);
    return (nz_start){weights, maps};
}

/* Pseudo-random weights; with `extreme` as large as the format allows. */
static made_model made_new(const nz_engine *engine, uint64_t seed, int hidden, int embed,
                           int blocks, int extreme) {
    static const int contexts[8] = {1, 2, 4, 8, NZ_WORD, NZ_WORDS3, NZ_SKIP, NZ_SHAPE};
    made_random r = {seed};
    made_model made;
    nz_weights w = {.hidden = hidden, .blocks = blocks};
    nz_tables *t = &w.tables;
    size_t h = (size_t)hidden, e = (size_t)embed, b = (size_t)blocks;
    int bad;
    t->embed = embed;
    t->contexts = (int)(sizeof contexts / sizeof *contexts) - extreme; /* an odd number, too */
    memcpy(t->context, contexts, sizeof contexts);
    t->ways = embed <= 32 ? 3 : 2;
    t->buckets = 3000;
    made.lines = malloc((size_t)t->buckets * NZ_BUCKET);
    made.absent = malloc(8 * (1 + e / 2));
    for (size_t i = 0; i < (size_t)t->buckets * NZ_BUCKET; i++)
        made.lines[i] = (uint8_t)made_next(&r);
    for (size_t i = 0; i < 8 * (1 + e / 2); i++) made.absent[i] = (uint8_t)made_next(&r);
    t->lines = made.lines;
    t->absent = made.absent;
    w.enter = made_layer(&r, h, e, extreme, 1);
    w.gates = made_layer(&r, 3 * h * b, h, extreme, 1);
    w.leave = made_layer(&r, h * b, h, extreme, 0);
    w.out = made_layer(&r, 256, h + e, extreme, 1);
    for (int p = NZ_LIGHT; blocks > 1 && p < NZ_PROFILES; p++)
        w.start[p] = made_start(&r, engine->start_shape(p), extreme);
    made.model = nz_model_new(&w, engine, &bad);
    made_layer_free(&w.enter);
    made_layer_free(&w.gates);
    made_layer_free(&w.leave);
    made_layer_free(&w.out);
    for (int p = NZ_LIGHT; p < NZ_PROFILES; p++) {
        free((void *)(uintptr_t)w.start[p].weights);
        free((void *)(uintptr_t)w.start[p].maps);
    }
    if (!made.model) abort();
    return made;
}

#endif
