/* Prints everything that the kernel computes, as hashes: every compiler, CPU and instruction set
   must give the same lines. `exact KERNEL` uses generated models and texts. `exact KERNEL JOB
   [all]` also decodes and re-encodes the blocks of a job, which run.py writes from the golden
   frames and the released models; without `all` it skips dictionaries of 16 bits and more, which
   take minutes with slow code. */
#include "coder.h"
#include "made.h"
#include "trie.h"

#include <stdio.h>

static const nz_engine *engine;

/* FNV-1a over bytes in an order that the caller fixes. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t n) {
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001B3ull;
    return hash;
}

static uint64_t hash16(const void *data, size_t n) {
    const uint16_t *p = data;
    uint64_t hash = 0xCBF29CE484222325ull;
    for (size_t i = 0; i < n; i++) {
        uint8_t two[2] = {(uint8_t)p[i], (uint8_t)(p[i] >> 8)};
        hash = hash_bytes(hash, two, 2);
    }
    return hash;
}

static void say(const char *what, const char *name, int a, int b, size_t n, uint64_t hash) {
    printf("%s %s %d %d %zu %016llx\n", what, name, a, b, n, (unsigned long long)hash);
}

static void say_bytes(const char *what, const char *name, int a, int b, const void *data,
                      size_t n) {
    say(what, name, a, b, n, hash_bytes(0xCBF29CE484222325ull, data, n));
}

static void need(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s: failed\n", what);
    exit(1);
}

/* ---- Texts ---- */

typedef struct {
    const char *name;
    uint8_t *data;
    size_t size;
} text;

static text made_text(const char *name, int kind, size_t n) {
    static const char *const words[] = {"the ",    "of ", "and ", "a ", "light ", "was ",
                                        "Harbour", ", ",  ".\n",  "1",  "0"};
    text t = {name, malloc(n), n};
    made_random r = {(uint64_t)kind + 77};
    size_t at = 0;
    while (at < n) {
        if (kind == 0) t.data[at++] = (uint8_t)made_next(&r);
        else if (kind == 1) {
            const char *word = words[made_next(&r) % 11 * (made_next(&r) % 3) / 2];
            while (*word && at < n) t.data[at++] = (uint8_t)*word++;
        } else if (kind == 2) { /* records, with the zeros and small numbers of binaries */
            uint32_t row = (uint32_t)(at / 12);
            uint8_t record[12] = {(uint8_t)row,
                                  (uint8_t)(row >> 8),
                                  0,
                                  0,
                                  (uint8_t)(row * 3),
                                  1,
                                  0,
                                  0xE8,
                                  (uint8_t)(200 - row),
                                  255,
                                  255,
                                  255};
            for (int k = 0; k < 12 && at < n; k++) t.data[at++] = record[k];
        } else if (kind == 3) t.data[at++] = made_next(&r) % 200 ? 'x' : (uint8_t)made_next(&r);
        else if (kind == 5) { /* lines with numbers that grow, shrink and run over */
            const uint32_t row = (uint32_t)(at / 50);
            char line[128];
            const int size =
                snprintf(line, sizeof line, "%02u:%02u no %u -%u [1%018u] %u\n", row / 60, row % 60,
                         9990 + row / 3, 1010 - row % 1000, row * 7, made_next(&r) % 1000);
            for (int k = 0; k < size && at < n; k++) t.data[at++] = (uint8_t)line[k];
        } else if (kind == 6) { /* pixels of three colours, 60 in a row */
            const int x = (int)(at / 3 % 60), y = (int)(at / 180), grain = made_between(&r, 0, 6);
            for (int k = 0; k < 3 && at < n; k++)
                t.data[at++] = (uint8_t)(40 + x + 2 * y + 30 * k + grain + made_between(&r, 0, 2));
        } else if (kind == 7 || kind == 8) { /* samples of two channels; as loud as can be */
            const int time = (int)(at / 4), wave = time % 90 < 45 ? time % 90 : 90 - time % 90;
            for (int k = 0; k < 2 && at < n; k++) {
                const int noise = made_between(&r, -20, 20), loud = made_between(&r, 0, 255);
                const int sample = kind == 7            ? (wave * 300 - 6000) * (3 - k) / 2 + noise
                                   : (time / 7 + k) % 2 ? 32767 - loud
                                                        : loud - 32768;
                t.data[at++] = (uint8_t)(sample & 255);
                if (at < n) t.data[at++] = (uint8_t)(sample >> 8 & 255);
            }
        } else { /* bytes from 128 on, as in other scripts */
            uint32_t c = 0x4E00 + made_next(&r) % 50;
            uint8_t utf8[3] = {(uint8_t)(0xE0 | c >> 12), (uint8_t)(0x80 | (c >> 6 & 63)),
                               (uint8_t)(0x80 | (c & 63))};
            for (int k = 0; k < 3 && at < n; k++) t.data[at++] = utf8[k];
        }
    }
    return t;
}

/* ---- The codecs ---- */

static void ac(const nz_model *m, int profile, const text *t) {
    size_t room = 17 * t->size + 64; /* a bit costs at most 16 */
    uint8_t *code = malloc(room), *back = malloc(t->size);
    size_t size = engine->ac_encode(m, profile, t->data, t->size, code, room, NULL);
    need(size <= room, "ac_encode");
    say_bytes(m ? "ac" : "ac-without", t->name, profile, 0, code, size);
    need(engine->ac_decode(m, profile, code, size, back, t->size, 0, NULL) == 0, "ac_decode");
    need(memcmp(back, t->data, t->size) == 0, "ac round trip");
    if (t->size < 20000) {
        uint16_t *p = malloc(16 * t->size);
        need(engine->ac_probabilities(m, profile, t->data, t->size, p, NULL) == 0,
             "ac_probabilities");
        say("probabilities", t->name, profile, m != NULL, t->size, hash16(p, 8 * t->size));
        free(p);
    }
    free(code);
    free(back);
}

/* Codes a block twice with a prior, the first half of the text: the first time must leave no
   trace. */
static void after_prior(const nz_model *m, int profile, const text *t) {
    size_t n = 600, prior = t->size / 2, room = 17 * n + 64, size = 0;
    uint8_t *code = malloc(room), back[600];
    int rc = 0;
    nz_warm *w = engine->ac_warm(m, profile, t->data, prior, n, NULL, &rc);
    need(w && !rc, "ac_warm");
    for (int k = 0; k < 2; k++) {
        size = engine->ac_warm_encode(w, t->data + prior, n, code, room, 1, NULL);
        need(size <= room, "ac_warm_encode");
        say_bytes("after", t->name, profile, k, code, size);
        need(engine->ac_warm_decode(w, code, size, back, n, 1, NULL) == 0, "ac_warm_decode");
        need(memcmp(back, t->data + prior, n) == 0, "after a prior");
    }
    engine->ac_warm_free(w);
    free(code);
}

static void eqinfo(const nz_model *m, int width, int every, const text *t) {
    size_t room = 8 * t->size + 64, n;
    uint8_t *code = malloc(room), *back;
    size_t size = engine->eqinfo_encode(m, width, every, t->data, t->size, code, room, NULL, NULL);
    need(size <= room, "eqinfo_encode");
    say_bytes("eqinfo", t->name, width, every, code, size);
    need(engine->eqinfo_decode(m, width, every, code, size, t->size, &back, &n, NULL) == 0,
         "eqinfo_decode");
    need(n == t->size && memcmp(back, t->data, n) == 0, "eqinfo round trip");
    free(back);
    free(code);
}

/* Builds the dictionary of a width in *t. */
static void dictionary(const nz_model *m, int width, nz_trie *t) {
    uint32_t n = (uint32_t)nz_window_codewords(width);
    uint16_t *length = malloc(n * sizeof *length);
    uint8_t *byte = malloc(n);
    need(engine->eqinfo_tree(m, width, length, byte, NULL) == 0, "eqinfo_tree");
    say("dictionary", "lengths", width, 0, n, hash16(length, n));
    say_bytes("dictionary", "bytes", width, 0, byte, n);
    need(nz_trie_build(t, n, length, byte) == 0, "trie_build");
    free(length);
    free(byte);
}

static void trie(const nz_trie *d, int width, const text *t, int align) {
    size_t room = 4 * t->size + 64;
    uint8_t *code = malloc(room), *back = malloc(t->size);
    size_t size = nz_trie_encode_bits(d, t->data, t->size, align, width, code, room);
    need(size <= room, "trie_encode_bits");
    say_bytes("windows", t->name, width, align, code, size);
    need(nz_trie_decode_bits(d, code, size, width, back, t->size) == 0, "trie_decode_bits");
    need(memcmp(back, t->data, t->size) == 0, "windows round trip");
    int bytes = d->nodes > 65536 ? 4 : 2;
    void *numbers = malloc(t->size * 4);
    size_t count = nz_trie_encode(d, t->data, t->size, align, bytes, numbers);
    if (bytes == 2) say("numbers", t->name, width, align, count, hash16(numbers, count));
    need(nz_trie_size(d, numbers, count, bytes) == t->size, "trie_size");
    nz_trie_decode(d, numbers, count, bytes, back, t->size);
    need(memcmp(back, t->data, t->size) == 0, "numbers round trip");
    free(numbers);
    free(code);
    free(back);
}

static void plain_coders(const text *t) {
    size_t room = 2 * t->size + 1024, n = t->size;
    uint8_t *code = malloc(room), *back = malloc(n), *bits = malloc(n), tail[4] = {0};
    uint16_t *p = malloc(2 * n);
    made_random r = {9};
    size_t size = nz_static_encode(t->data, n, code, room);
    need(size <= room, "static_encode");
    say_bytes("static", t->name, 0, 0, code, size);
    need(nz_static_decode(code, size, back, n) == 0 && memcmp(back, t->data, n) == 0,
         "static round trip");
    for (size_t i = 0; i < n; i++) {
        bits[i] = t->data[i] & 1;
        p[i] = (uint16_t)(i % 3 ? 1 + made_next(&r) % 65535 : made_next(&r) & 1 ? 1 : 65535);
    }
    size = nz_encode_bits(bits, p, n, code, room);
    need(size <= room, "encode_bits");
    say_bytes("bits", t->name, 0, 0, code, size);
    nz_decode_bits(code, size, p, n, back);
    need(memcmp(back, bits, n) == 0, "bits round trip");
    uint8_t *filtered = malloc(n);
    memcpy(filtered, t->data, n);
    tail[0] = (uint8_t)nz_is_x86(t->data, n);
    nz_x86_filter(filtered, n, 1);
    say_bytes("filter", t->name, tail[0], 0, filtered, n);
    nz_x86_filter(filtered, n, 0);
    need(memcmp(filtered, t->data, n) == 0, "filter round trip");
    free(filtered);
    free(p);
    free(bits);
    free(back);
    free(code);
}

static void made(void) {
    static const int shapes[][4] = {
        {16, 16, 1, 0}, {48, 32, 2, 0}, {32, 16, 3, 1}, {192, 48, 1, 1}};
    text texts[] = {
        made_text("random", 0, 3000),  made_text("words", 1, 9000),   made_text("records", 2, 5000),
        made_text("repeats", 3, 6000), made_text("scripts", 4, 3000), made_text("numbers", 5, 5000),
        made_text("pixels", 6, 5000),  made_text("samples", 7, 5000), made_text("loud", 8, 3000)};
    text lanes = made_text("words-lanes", 1, 70000);
    text one = {"one-byte", texts[0].data, 1}, crlf = made_text("lines", 1, 4000);
    for (size_t i = 0; i + 2 < crlf.size; i += 40) memcpy(crlf.data + i, "\r\n", 2);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        made_model model =
            made_new(engine, k + 1, shapes[k][0], shapes[k][1], shapes[k][2], shapes[k][3]);
        const nz_model *m = model.model;
        printf("model %d %d %d %d\n", shapes[k][0], shapes[k][1], shapes[k][2], shapes[k][3]);
        for (int l = 1; l <= 8; l *= 2) {
            int16_t *out = malloc(2000 * 512);
            need(engine->logits(m, texts[1].data, 2000, l, out, NULL, NULL) == 0, "logits");
            say("logits", "words", l, 0, 2000, hash16(out, 2000 * 256));
            free(out);
        }
        for (size_t i = 0; i < 5; i++) ac(m, 0, &texts[i]);
        for (int profile = NZ_LIGHT; profile <= NZ_DEEP; profile++) {
            ac(m, profile, &texts[1]);
            ac(m, profile, &texts[5]);
            after_prior(m, profile, &texts[k % 2 ? 1 : 5]);
        }
        for (int profile = NZ_NONE; profile <= NZ_DEEP; profile++) ac(m, profile, &crlf);
        ac(m, NZ_FULL, &one);
        if (k == 0) ac(m, 0, &lanes);
        static const int widths[] = {8, 13, 16, 20, 24, 33, 48, 64};
        for (size_t w = 0; w < 8; w++) {
            text t = texts[w % 5];
            if (t.size > 2000) t.size = 2000;
            eqinfo(m, widths[w], (int)(w * 2 % 5), &t);
            eqinfo(m, widths[w], 1, &t);
        }
        nz_trie d;
        dictionary(m, k == 1 ? 12 : 9, &d);
        for (size_t i = 0; i < 5; i++) trie(&d, k == 1 ? 12 : 9, &texts[i], (int)i & 1);
        nz_trie_free(&d);
        made_free(&model);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        plain_coders(&texts[i]);
        for (int profile = NZ_LIGHT; profile <= NZ_DEEP; profile++) ac(NULL, profile, &texts[i]);
        free(texts[i].data);
    }
    free(lanes.data);
    free(crlf.data);
}

/* ---- Golden frames ---- */

static const uint8_t *at, *end;

static uint32_t number(void) {
    need(end - at >= 4, "the job");
    uint32_t v =
        (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    at += 4;
    return v;
}

static const uint8_t *bytes(size_t n) {
    need((size_t)(end - at) >= n, "the job");
    at += n;
    return at - n;
}

static nz_layer layer(size_t rows, size_t columns, int with_bias) {
    nz_layer l = {(const int8_t *)bytes(rows * columns), NULL, NULL};
    for (int k = 0; k < 1 + with_bias; k++) {
        int32_t *v = malloc(rows * sizeof *v);
        for (size_t i = 0; i < rows; i++) v[i] = (int32_t)number();
        if (k) l.bias = v;
        else l.mult = v;
    }
    return l;
}

/* What mixing begins with in a profile, if the model has that. */
static nz_start start_of(nz_start_shape shape) {
    nz_start start = {NULL, NULL};
    if (!number()) return start;
    const size_t weights = (size_t)shape.rows * (size_t)shape.width, maps = (size_t)shape.maps;
    int16_t *w = malloc(weights * sizeof *w);
    uint32_t *m = malloc(maps * sizeof *m);
    const uint8_t *from = bytes(2 * weights);
    for (size_t i = 0; i < weights; i++) w[i] = (int16_t)(from[2 * i] | from[2 * i + 1] << 8);
    for (size_t i = 0; i < maps; i++) m[i] = number();
    start.weights = w;
    start.maps = m;
    return start;
}

static nz_tables job_tables(void) {
    nz_tables t = {0};
    t.embed = (int)number();
    t.ways = (int)number();
    t.buckets = number();
    t.contexts = (int)number();
    for (int i = 0; i < t.contexts; i++) t.context[i] = (int)number();
    t.lines = bytes((size_t)t.buckets * NZ_BUCKET);
    t.absent = bytes((size_t)t.contexts * (1 + (size_t)t.embed / 2));
    return t;
}

static nz_model *job_model(const nz_tables *tables) {
    nz_weights w = {.tables = *tables};
    w.hidden = (int)number();
    w.blocks = (int)number();
    size_t h = (size_t)w.hidden, e = (size_t)tables->embed, b = (size_t)w.blocks;
    w.enter = layer(h, e, 1);
    w.gates = layer(3 * h * b, h, 1);
    w.leave = layer(h * b, h, 0);
    w.out = layer(256, h + e, 1);
    for (int p = NZ_LIGHT; p < NZ_PROFILES; p++) w.start[p] = start_of(engine->start_shape(p));
    int bad;
    nz_model *m = nz_model_new(&w, engine, &bad);
    need(m != NULL, "a released model");
    const nz_layer *layers[] = {&w.enter, &w.gates, &w.leave, &w.out};
    for (int i = 0; i < 4; i++) {
        free((void *)(uintptr_t)layers[i]->mult);
        free((void *)(uintptr_t)layers[i]->bias);
    }
    for (int p = NZ_LIGHT; p < NZ_PROFILES; p++) {
        free((void *)(uintptr_t)w.start[p].weights);
        free((void *)(uintptr_t)w.start[p].maps);
    }
    return m;
}

/* Decodes each block of the golden frames and re-encodes it. */
static void golden(int all) {
    nz_model *models[8];
    nz_trie tries[8] = {{0}};
    nz_tables tables = job_tables();
    uint32_t count = number();
    need(count <= 8, "the job");
    for (uint32_t i = 0; i < count; i++) models[i] = job_model(&tables);
    for (uint32_t blocks = number(); blocks; blocks--) {
        uint32_t which = number(), coding = number(), width = number(), every = number(),
                 n = number(), size = number();
        const nz_model *m = which < count ? models[which] : NULL;
        const uint8_t *code = bytes(size), *expected = bytes(n);
        size_t room = size + 64, length, produced = n;
        uint8_t *back = malloc(n), *again = malloc(room);
        int windows = coding == 5 && every == 1 && width <= 20;
        if (windows && width >= 16 && !all) {
            free(back);
            free(again);
            continue;
        }
        if (coding == 4) {
            need(nz_static_decode(code, size, back, n) == 0, "static");
            length = nz_static_encode(back, n, again, room);
        } else if (windows) {
            nz_trie *d = &tries[which];
            nz_trie_free(d);
            dictionary(m, (int)width, d);
            need(nz_trie_decode_bits(d, code, size, (int)width, back, n) == 0, "windows");
            length = nz_trie_encode_bits(d, back, n, 0, (int)width, again, room);
        } else if (coding == 5) {
            free(back);
            need(engine->eqinfo_decode(m, (int)width, (int)every, code, size, n, &back, &produced,
                                       NULL) == 0,
                 "eqinfo");
            length = engine->eqinfo_encode(m, (int)width, (int)every, back, produced, again, room,
                                           NULL, NULL);
        } else {
            const int profile = coding == 6 ? NZ_NONE : (int)coding;
            need(engine->ac_decode(m, profile, code, size, back, n, 0, NULL) == 0, "ac");
            length = engine->ac_encode(m, profile, back, n, again, room, NULL);
        }
        need(produced == n && memcmp(back, expected, n) == 0, "a golden frame's content");
        need(length == size && memcmp(again, code, size) == 0, "a golden frame's code");
        say_bytes("golden", "block", (int)coding, (int)width, back, n);
        free(back);
        free(again);
    }
    for (uint32_t i = 0; i < count; i++) {
        nz_trie_free(&tries[i]);
        nz_model_free(models[i]);
    }
}

int main(int argc, char **argv) {
    engine = nz_engine_select(argc > 1 ? argv[1] : NULL);
    if (!engine) {
        printf("cannot run here\n");
        return 77;
    }
    made();
    if (argc > 2) {
        FILE *file = fopen(argv[2], "rb");
        need(file != NULL, argv[2]);
        size_t room = (size_t)1 << 26, n;
        uint8_t *data = malloc(room);
        n = fread(data, 1, room, file);
        fclose(file);
        at = data;
        end = data + n;
        golden(argc > 3);
        free(data);
    }
    return 0;
}
