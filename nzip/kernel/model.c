/* Checks and packs the weights; picks the engine; lane layout. */
#include "engine.h"

#include <stdlib.h>

/* True if |accumulator * mult + bias| stays below 2^31 for every input (see the format document). */
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

/* The bias that makes mult * (sum of w * u) + bias the rounded result for u = q + NZ_ACT_ZERO.
   It wraps modulo 2^32; so does the product, and their sum is in range again. */
static int32_t folded_bias(int32_t mult, int32_t bias, int64_t sum) {
    uint32_t zero = (uint32_t)(sum * NZ_ACT_ZERO) * (uint32_t)mult;
    return (int32_t)((uint32_t)bias - zero + (1u << (NZ_SCALE_SHIFT - 1)));
}

nz_model *nz_model_new(int hidden, int embed, const nz_tables *table, const nz_tables *slots,
                       const nz_layer *gates, const nz_layer *out, int *bad) {
    int width = hidden + embed, rows = 4 * hidden;
    *bad = 0;
    size_t gate_bytes = (size_t)rows * (size_t)width, out_bytes = (size_t)256 * (size_t)width;
    size_t words = 2 * ((size_t)rows + 256) * sizeof(int32_t);
    nz_model *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->memory = malloc(gate_bytes + out_bytes + words + 64);
    if (!m->memory) {
        free(m);
        return NULL;
    }
    m->hidden = hidden;
    m->embed = embed;
    m->width = width;
    m->gates = (int8_t *)(((uintptr_t)m->memory + 63) & ~(uintptr_t)63);
    m->out = m->gates + gate_bytes;
    m->gate_mult = (int32_t *)(void *)(m->out + out_bytes);
    m->gate_bias = m->gate_mult + rows;
    m->out_mult = m->gate_bias + rows;
    m->out_bias = m->out_mult + 256;
    const int8_t *rows_at = table->rows;
    m->orders = table->count;
    for (int i = 0; i < table->count; i++) {
        m->order[i] = table->order[i];
        m->table_bits[i] = table->bits[i];
        m->table[i] = rows_at;
        rows_at += ((size_t)1 << table->bits[i]) * (size_t)embed;
    }
    rows_at = slots->rows;
    m->slot_orders = slots->count;
    for (int i = 0; i < slots->count; i++) {
        m->slot_order[i] = slots->order[i];
        m->slot_bits[i] = slots->bits[i];
        m->slots[i] = rows_at;
        rows_at += ((size_t)1 << slots->bits[i]) * 16;
    }
    int64_t sum = 0;
    for (int r = 0; r < rows; r++) {
        const int8_t *w = gates->weights + (size_t)r * width;
        if (!row_fits(w, width, gates->mult[r], gates->bias[r], &sum)) *bad = -1;
        m->gate_mult[r] = gates->mult[r];
        m->gate_bias[r] = folded_bias(gates->mult[r], gates->bias[r], sum);
        for (int k = 0; k < width; k++)
            m->gates[(((size_t)(r / NZ_ROWS) * (width / 4) + k / 4) * NZ_ROWS + r % NZ_ROWS) * 4 + k % 4] = w[k];
    }
    for (int r = 0; r < 256; r++) {
        const int8_t *w = out->weights + (size_t)r * width;
        if (!row_fits(w, width, out->mult[r], out->bias[r], &sum)) *bad = -1;
        m->out_mult[r] = out->mult[r];
        m->out_bias[r] = folded_bias(out->mult[r], out->bias[r], sum);
    }
    memcpy(m->out, out->weights, out_bytes);
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

int nz_block_lanes(size_t n, int adapt) {
    if (adapt) return 1;
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
    return engine == &nz_engine_portable;
}

const nz_engine *nz_engine_select(const char *name) {
    const nz_engine *engines[] = {&nz_engine_avx512, &nz_engine_avx2, &nz_engine_portable};
    for (int i = 0; i < 3; i++)
        if ((!name || strcmp(name, engines[i]->name) == 0) && runs_here(engines[i])) return engines[i];
    return NULL;
}
