/* How close the kernel's lane loop comes to the CPU's int8 product rate, and where a byte's time goes.
   Built and run by kernel.py. Needs x86-64 with AVX2; with AVX-512 VNNI if -DVNNI is given. */
#include <stdio.h>
#include <time.h>

#ifdef VNNI
#include "../nzip/kernel/engine_avx512.c"
#else
#include "../nzip/kernel/engine_avx2.c"
#endif
#include "../nzip/kernel/model.c"

/* As the engines are compiled: this file's own code for the same target. */
#ifdef VNNI
NZ_TARGET_BEGIN("avx512f,avx512bw,avx512vl,avx512vnni,avx2,bmi,bmi2")
#else
NZ_TARGET_BEGIN("avx2,bmi,bmi2")
#endif

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Multiply-adds a second from registers alone. */
#ifdef VNNI
static double peak(void) {
    const long rounds = 20000000;
    __m512i acc[12], a = _mm512_set1_epi8(3), w = _mm512_set1_epi8(5);
    for (int i = 0; i < 12; i++) acc[i] = _mm512_setzero_si512();
    double start = now();
    for (long r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+v"(a), "+v"(w));
        for (int i = 0; i < 12; i++) acc[i] = _mm512_dpbusd_epi32(acc[i], a, w);
    }
    double seconds = now() - start;
    for (int i = 0; i < 12; i++) __asm__ volatile("" : : "v"(acc[i]));
    return (double)rounds * 12 * 64 / seconds;
}
#else
static double peak(void) {
    const long rounds = 20000000;
    __m256i acc[8], a = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 8; i++) acc[i] = _mm256_setzero_si256();
    double start = now();
    for (long r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+x"(a), "+x"(w));
        for (int i = 0; i < 8; i++) {
            __m256i p0 = _mm256_maddubs_epi16(a, w);
            __asm__ volatile("" : "+x"(a)); /* the second product is not the first one */
            __m256i p1 = _mm256_maddubs_epi16(a, w);
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_add_epi16(p0, p1), ones));
        }
    }
    double seconds = now() - start;
    for (int i = 0; i < 8; i++) __asm__ volatile("" : : "x"(acc[i]));
    return (double)rounds * 8 * 64 / seconds;
}
#endif

#define TIME(what, count, code)                                                                  \
    do {                                                                                         \
        double best = 1e9;                                                                       \
        for (int run = 0; run < 5; run++) {                                                      \
            double start = now();                                                                \
            for (int r = 0; r < repeats; r++) code;                                              \
            double seconds = (now() - start) / repeats;                                          \
            if (seconds < best) best = seconds;                                                  \
        }                                                                                        \
        printf("  %-22s %8.1f ns a byte", what, 1e9 * best / lanes);                             \
        if (count) printf("   %5.1f G/s, %3.0f %% of the rate", (count) * lanes / best / 1e9, 100.0 * (count) * lanes / best / rate); \
        printf("\n");                                                                            \
    } while (0)

static void shape(int hidden, int embed, double rate) {
    int width = hidden + embed, rows = 4 * hidden;
    nz_tables table = {5, {1, 2, 3, 4, 6}, {8, 13, 14, 15, 15}, NULL};
    nz_tables slots = {5, {2, 3, 4, 5, 6}, {14, 16, 16, 16, 16}, NULL};
    size_t table_rows = 256 + (1 << 13) + (1 << 14) + 2 * (1 << 15), slot_rows = (1 << 14) + 4 * (1 << 16);
    int8_t *table_data = malloc(table_rows * (size_t)embed), *slot_data = malloc(slot_rows * 16);
    int8_t *weights = malloc((size_t)(rows + 256) * (size_t)width);
    int32_t *scale = malloc((size_t)(rows + 256) * 2 * sizeof *scale);
    uint32_t seed = 1;
#define RANDOM() ((seed = seed * 1664525u + 1013904223u) >> 8)
    for (size_t i = 0; i < table_rows * (size_t)embed; i++) table_data[i] = (int8_t)RANDOM();
    for (size_t i = 0; i < slot_rows * 16; i++) slot_data[i] = (int8_t)RANDOM();
    for (size_t i = 0; i < (size_t)(rows + 256) * (size_t)width; i++) weights[i] = (int8_t)(RANDOM() % 127) - 63;
    for (int i = 0; i < 2 * (rows + 256); i++) scale[i] = 100;
    table.rows = table_data;
    slots.rows = slot_data;
    nz_layer gates = {weights, scale, scale}, out = {weights + rows * width, scale, scale};
    int bad;
    nz_model *m = nz_model_new(hidden, embed, &table, &slots, &gates, &out, &bad);
    for (int lanes = 1; lanes <= 8; lanes *= 8) {
        m1_state s;
        if (!m || m1_init(&s, m, lanes)) return;
        uint64_t history[8];
        int repeats = 20000000 / (rows * width / 64 * lanes);
        double products = (double)rows * width;
        printf("%d units, %.2f M multiply-adds, %d lanes\n", hidden, products / 1e6, lanes);
#define ALL for (int l = 0; l < lanes; l++)
        TIME("gates", products, m1_gates(&s));
        TIME("cells", 0.0, { /* which overwrites the arguments */
            memset(s.gate, 1, (size_t)(lanes * rows) * sizeof *s.gate);
            ALL m1_cell(&s, l);
        });
        const int8_t *row[8][NZ_MAX_ORDERS];
        TIME("embeddings", 0.0, {
            ALL m1_rows(m, (uint64_t)RANDOM() * 0x9E3779B97F4A7C15ull, row[l]);
            ALL m1_embed(m, row[l], s.act + l * width + hidden);
        });
        TIME("slots, twice", 0.0, ALL {
            s.key[l][0] = s.key[l][1] = s.key[l][2] = s.key[l][3] = s.key[l][4] = (uint64_t)RANDOM() * 0x9E3779B97F4A7C15ull;
            m1_slots(&s, l, -1);
            m1_slots(&s, l, 3);
        });
        volatile int32_t sink;
        TIME("eight logits", 8.0 * width, ALL for (uint32_t d = 0; d < 8; d++) sink = m1_logit(&s, l, (1u << d) | (RANDOM() & ((1u << d) - 1)), (int)d));
        (void)sink;
        TIME("a step", 0.0, { ALL history[l] = (uint64_t)RANDOM() * 0x9E3779B97F4A7C15ull; m1_step(&s, history); });
        m1_free(&s);
    }
    nz_model_free(m);
    free(table_data);
    free(slot_data);
    free(weights);
    free(scale);
}

NZ_TARGET_END

/* model.c refers to the engines that are not built here. */
const nz_engine nz_engine_portable = {"portable", 0, 0, 0, 0, 0, 0};
#ifdef VNNI
const nz_engine nz_engine_avx2 = {"avx2", 0, 0, 0, 0, 0, 0};
#else
const nz_engine nz_engine_avx512 = {"avx512", 0, 0, 0, 0, 0, 0};
#endif

int main(void) {
    double rate = 0;
    for (int i = 0; i < 3; i++) {
        double r = peak();
        if (r > rate) rate = r;
    }
    printf("int8 products from registers: %.1f G/s on one core\n", rate / 1e9);
    shape(96, 32, rate);
    shape(192, 64, rate);
    shape(256, 64, rate);
    shape(512, 64, rate);
    shape(1280, 64, rate);
    return 0;
}
