/* How close the kernel's lane loop comes to the CPU's int8 product rate, and how the time per byte
   is spent. Built and run by kernel.py. Needs x86-64 with AVX2, or with AVX-512 VNNI if VNNI is
   defined. */
#include <stdio.h>
#include <time.h>

#ifdef VNNI
#include "../nzip/kernel/engine_avx512.c"
#else
#include "../nzip/kernel/engine_avx2.c"
#endif

/* Compile this file's own code for the same target as the engine. */
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

/* Multiply-adds per second from registers alone. */
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
            __asm__ volatile("" : "+x"(a)); /* so that the compiler cannot merge the products */
            __m256i p1 = _mm256_maddubs_epi16(a, w);
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_add_epi16(p0, p1), ones));
        }
    }
    double seconds = now() - start;
    for (int i = 0; i < 8; i++) __asm__ volatile("" : : "x"(acc[i]));
    return (double)rounds * 8 * 64 / seconds;
}
#endif

#define TIME(what, count, code)                                                                    \
    do {                                                                                           \
        double best = 1e9;                                                                         \
        for (int run = 0; run < 5; run++) {                                                        \
            double start = now();                                                                  \
            for (int r = 0; r < repeats; r++) code;                                                \
            double seconds = (now() - start) / repeats;                                            \
            if (seconds < best) best = seconds;                                                    \
        }                                                                                          \
        printf("  %-22s %8.1f ns per byte", what, 1e9 * best / lanes);                             \
        if (count)                                                                                 \
            printf("   %5.1f G/s, %3.0f %% of the rate", (count) * lanes / best / 1e9,             \
                   100.0 * (count) * lanes / best / rate);                                         \
        printf("\n");                                                                              \
    } while (0)

static void shape(const char *name, int hidden, int blocks, int embed, double rate) {
    nz_weights w = {
        .hidden = hidden,
        .blocks = blocks,
        .tables = {
            8, 2, embed, 1 << 19, {2, 3, 4, 6, NZ_WORD, NZ_WORDS, NZ_WORDS3, NZ_SHAPE}, 0, 0}};
    size_t n = (size_t)hidden, e = (size_t)embed, size = (size_t)w.tables.buckets * NZ_BUCKET;
    size_t rows = 4 * n * (size_t)blocks + 256, cells = rows * (n + e);
    int8_t *weights = malloc(cells);
    uint8_t *lines = malloc(size);
    int32_t *scale = malloc(rows * sizeof *scale);
    uint32_t seed = 1;
#define RANDOM() ((seed = seed * 1664525u + 1013904223u) >> 8)
    for (size_t i = 0; i < size; i++) lines[i] = (uint8_t)RANDOM();
    for (size_t i = 0; i < cells; i++) weights[i] = (int8_t)(RANDOM() % 127) - 63;
    for (size_t i = 0; i < rows; i++) scale[i] = 100;
    w.tables.lines = w.tables.absent = lines;
    nz_layer all = {weights, scale, scale};
    w.enter = w.gates = w.leave = w.out = all;
    int bad;
    nz_model *m = nz_model_new(&w, &NZ_ENGINE, &bad);
    for (int lanes = 1; lanes <= 8; lanes *= 8) {
        m1_state s;
        if (!m || m1_init(&s, m, lanes)) return;
        double products = 4.0 * hidden * hidden * blocks + hidden * embed;
        int repeats = (int)(4e8 / products / lanes) + 10;
        printf("%s: %d blocks of %d units, %.2f M multiply-adds, %d lanes\n", name, blocks, hidden,
               products / 1e6, lanes);
#define ALL for (int l = 0; l < lanes; l++)
        memset(s.act, 70, (size_t)lanes * n);
        memset(s.last, 70, (size_t)(lanes * m->width));
        TIME("matrices", products, {
            m1_product(&m->enter, s.last + hidden, m->width, s.x, 32767, lanes);
            for (int k = 0; k < blocks; k++) {
                m1_product(&m->gates[k], s.act, hidden, s.z, NZ_GATE_MAX, lanes);
                m1_product(&m->leave[k], s.act, hidden, s.z, 32767, lanes);
            }
        });
        TIME(
            "recurrences", 0.0,
            for (int k = 0; k < blocks;
                 k++) { /* overwrite the arguments */
                        memset(s.z, 1, (size_t)(3 * lanes * hidden) * sizeof *s.z);
                        ALL recurrence(s.z + 3 * l * hidden, s.h + (k * lanes + l) * hidden, hidden,
                                       s.act + l * hidden);
            });
        TIME(
            "norms and sums", 0.0, for (int k = 0; k <= blocks; k++) {
                add_units(s.x, s.z, lanes * hidden);
                ALL normalise(s.x + l * hidden, hidden, s.act + l * hidden);
            });
        const uint8_t *row[NZ_MAX_CONTEXTS];
        TIME("embeddings", 0.0, {
            ALL {
                s.trail[l].last = (uint64_t)RANDOM() * NZ_HASH;
                m1_find(m, &s.trail[l], s.place[l]);
    }
    ALL {
        m1_rows(m, s.place[l], row);
        m1_embed(m, row, s.last + l * m->width + hidden);
    }
});
        TIME("embeddings, near", 0.0, {
            ALL {
                m1_rows(m, s.place[l], row);
                m1_embed(m, row, s.last + l * m->width + hidden);
        }
        });
        TIME(
            "keys", 0.0, ALL {
                s.trail[l].last = (uint64_t)RANDOM() * NZ_HASH;
                m1_find(m, &s.trail[l], s.place[l]);
            });
        TIME(
            "two nibbles' logits", 32.0 * m->width, ALL {
                m1_nibble(m, s.last, 0, s.z);
                m1_nibble(m, s.last, 1 + (int)(RANDOM() & 15), s.z);
            });
        TIME("a step", products, {
            ALL m1_push(&s, l, (int)(RANDOM() & 127));
            m1_step(&s);
        });
        m1_free(&s);
        }
        nz_model_free(m);
        free(lines);
        free(weights);
        free(scale);
        }

        NZ_TARGET_END

        int main(void) {
            double rate = 0;
            for (int i = 0; i < 3; i++) {
                double r = peak();
                if (r > rate) rate = r;
            }
            printf("int8 products from registers: %.1f G/s on one core\n", rate / 1e9);
            shape("nano", 64, 1, 48, rate);
            shape("small", 96, 2, 48, rate);
            shape("base", 192, 3, 48, rate);
            shape("large", 384, 4, 48, rate);
            return 0;
        }
