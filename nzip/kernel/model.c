/* Checks and packs a model's weights; requests large pages; places lanes; selects the engine. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* madvise */
#endif
#include "engine.h"

#include <stdlib.h>
#ifdef __linux__
#include <sys/auxv.h>
#include <sys/mman.h>
#endif

/* True if |accumulator * mult + bias| stays below 2^31 for every input (docs/format.md, "Model
   file"). */
static int row_fits(const int8_t *weights, int width, int32_t mult, int32_t bias, int64_t *sum) {
    int64_t total = 0, absolute = 0;
    for (int k = 0; k < width; k++) {
        if (weights[k] < -NZ_WEIGHT_MAX || weights[k] > NZ_WEIGHT_MAX) return 0;
        total += weights[k];
        absolute += weights[k] < 0 ? -weights[k] : weights[k];
    }
    *sum = total;
    if (mult < 0) return 0;
    int64_t reach = absolute * NZ_ACT_MAX * mult + (bias < 0 ? -(int64_t)bias : bias);
    return reach + (1 << NZ_SCALE_SHIFT) < INT32_MAX;
}

/* The bias with which mult * (sum of w * u) + bias, shifted, is the rounded result for u = q +
   NZ_ACT_ZERO. It may wrap modulo 2^32; so does the product, and their sum is in range again. */
static int32_t folded_bias(int32_t mult, int32_t bias, int64_t sum) {
    uint32_t zero = (uint32_t)(sum * NZ_ACT_ZERO) * (uint32_t)mult;
    return (int32_t)((uint32_t)bias - zero + (1u << (NZ_SCALE_SHIFT - 1)));
}

/* The node of the byte tree for row r of the packed output layer. Row i of a tile is node i of a
   nibble's tree; tile 0 is for the first nibble, tile 1 + h for the second nibble after a first one
   of h. */
static int output_node(int r) {
    int tile = r / NZ_ROWS, i = r % NZ_ROWS, depth = 3;
    if (!tile || !i) return i;
    while (!(i >> depth)) depth--;
    return (NZ_ROWS + tile - 1) << depth | (i & ((1 << depth) - 1));
}

/* Packs a matrix into the memory at *at and advances *at. `nodes`: order the rows by output_node.
   Returns -1 if a row does not fit, else 0. */
static int add_matrix(nz_matrix *m, const nz_layer *from, size_t first_row, int rows, int columns,
                      int nodes, int wide, char **at) {
    int bad = 0;
    m->rows = rows;
    m->columns = columns;
    m->mult = (int32_t *)(void *)*at;
    m->bias = m->mult + rows;
    m->weights = (int8_t *)(m->bias + rows);
    *at = (char *)m->weights + ((size_t)rows * (size_t)columns << wide);
    for (int r = 0; r < rows; r++) {
        size_t row = first_row + (size_t)(nodes ? output_node(r) : r);
        const int8_t *w = from->weights + row * (size_t)columns;
        int32_t mult = from->mult[row], bias = from->bias ? from->bias[row] : 0;
        int64_t sum = 0;
        if (!row_fits(w, columns, mult, bias, &sum)) bad = -1;
        m->mult[r] = mult;
        m->bias[r] = folded_bias(mult, bias, sum);
        for (int k = 0; k < columns; k++) {
            size_t column = (size_t)(r / NZ_ROWS) * (size_t)(columns / 4) + (size_t)(k / 4);
            if (wide)
                ((int16_t *)(void *)m->weights)[(size_t)r * (size_t)columns + (size_t)k] = w[k];
            else
                m->weights[(column * NZ_ROWS + (size_t)(r % NZ_ROWS)) * 4 + (size_t)(k % 4)] = w[k];
        }
    }
    return bad;
}

static size_t matrix_bytes(size_t rows, size_t columns, int wide) {
    return rows * ((columns << wide) + 2 * sizeof(int32_t));
}

static size_t map_bytes(nz_start_shape shape) { return (size_t)shape.maps * sizeof(uint32_t); }

static size_t weight_bytes(nz_start_shape shape) {
    return (size_t)shape.rows * (size_t)shape.width * sizeof(int16_t);
}

static size_t start_bytes(const nz_weights *from, const nz_engine *engine) {
    size_t sum = 0;
    for (int p = NZ_LIGHT; p < NZ_PROFILES; p++) {
        const nz_start_shape shape = engine->start_shape(p);
        if (from->start[p].weights) sum += map_bytes(shape) + weight_bytes(shape);
    }
    return sum;
}

/* Copies the starts of mixing to `at`. Returns -1 if a count is out of range, else 0. */
static int add_starts(nz_model *m, const nz_weights *from, const nz_engine *engine, char *at) {
    int bad = 0;
    for (int p = NZ_LIGHT; p < NZ_PROFILES; p++) {
        const nz_start_shape shape = engine->start_shape(p);
        const size_t maps = map_bytes(shape), weights = weight_bytes(shape);
        if (!from->start[p].weights) continue;
        for (int i = 0; i < shape.maps; i++)
            if (p != NZ_LIGHT && (from->start[p].maps[i] & 1023) > NZ_COUNT_MAX) bad = -1;
        m->start[p].maps = memcpy(at, from->start[p].maps, maps);
        m->start[p].weights = memcpy(at + maps, from->start[p].weights, weights);
        at += maps + weights;
    }
    return bad;
}

nz_model *nz_model_new(const nz_weights *from, const nz_engine *engine, int *bad) {
    int h = from->hidden, e = from->tables.embed, wide = engine->wide;
    size_t n = (size_t)h, block = matrix_bytes(3 * n, n, wide) + matrix_bytes(n, n, wide);
    *bad = 0;
    nz_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->memory = malloc(matrix_bytes(n, (size_t)e, wide) + (size_t)from->blocks * block +
                       matrix_bytes(NZ_TILES * NZ_ROWS, n + (size_t)e, wide) +
                       start_bytes(from, engine) + 64);
    if (!m->memory) {
        free(m);
        return NULL;
    }
    m->hidden = h;
    m->blocks = from->blocks;
    m->embed = e;
    m->width = h + e;
    m->tables = from->tables;
    m->ahead = 1;
    char *at = (char *)(((uintptr_t)m->memory + 63) & ~(uintptr_t)63);
    *bad |= add_matrix(&m->enter, &from->enter, 0, h, e, 0, wide, &at);
    for (int k = 0; k < from->blocks; k++) {
        *bad |= add_matrix(&m->gates[k], &from->gates, (size_t)k * 3 * n, 3 * h, h, 0, wide, &at);
        *bad |= add_matrix(&m->leave[k], &from->leave, (size_t)k * n, h, h, 0, wide, &at);
    }
    *bad |= add_matrix(&m->out, &from->out, 0, NZ_TILES * NZ_ROWS, h + e, 1, wide, &at);
    *bad |= add_starts(m, from, engine, at);
    if (*bad) {
        nz_model_free(m);
        return NULL;
    }
    return m;
}

void nz_model_free(nz_model *m) {
    if (!m) return;
    free(m->memory);
    free(m);
}

void nz_huge_pages(void *memory, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = 1 << 21; /* the usual size; a wrong guess is harmless */
    uintptr_t start = ((uintptr_t)memory + page - 1) & ~(page - 1),
              end = ((uintptr_t)memory + size) & ~(page - 1);
    if (memory && start < end) madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)size;
#endif
}

int nz_block_lanes(size_t n, int profile) {
    if (profile) return 1;
    return n >= 262144 ? 8 : n >= 65536 ? 4 : n >= 32768 ? 2 : 1;
}

size_t nz_lane_start(size_t n, int lanes, int lane) { return n * (size_t)lane / (size_t)lanes; }

static int runs_here(const nz_engine *engine) {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    if (engine == &nz_engine_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    if (engine == &nz_engine_avx2) return __builtin_cpu_supports("avx2");
#endif
#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
    if (engine == &nz_engine_neon) return 1;
    if (engine == &nz_engine_dotprod) {
#if defined(__ARM_FEATURE_DOTPROD) || defined(__APPLE__) /* all of Apple's ARM CPUs have it */
        return 1;
#elif defined(__linux__)
        return getauxval(AT_HWCAP) >> 20 & 1; /* asimddp */
#endif
    }
#endif
    return engine == &nz_engine_portable;
}

const nz_engine *nz_engine_select(const char *name) {
    const nz_engine *engines[] = {&nz_engine_avx512, &nz_engine_avx2, &nz_engine_dotprod,
                                  &nz_engine_neon, &nz_engine_portable};
    for (int i = 0; i < 5; i++)
        if ((!name || strcmp(name, engines[i]->name) == 0) && runs_here(engines[i]))
            return engines[i];
    return NULL;
}
