/* libFuzzer target for the C kernel. On any input no decoder may crash, hang or read out of bounds,
   and what an encoder writes must decode to the same. The first byte selects the test. With
   NZ_FUZZ_ADAPTIVE the test is always blocks with adaptive mixing, whose tables take milliseconds
   to set up. Build and run with `make fuzz`; with NZ_FUZZ_REPLAY it does without libFuzzer and only
   tests the files named. */
#include "../exactness/made.h"
#include "coder.h"
#include "trie.h"

#include <stdio.h>

#define MOST 256 /* bytes of a text; callers set the bounds, and small ones are found faster */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static made_model model;
static const nz_engine *engine;
static nz_trie windows; /* of 12 bits, under `model` */

static void need(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void start(void) {
    engine = nz_engine_select(getenv("NZIP_KERNEL"));
    need(engine != NULL, "no such kernel");
    model = made_new(engine, 5, 16, 16, 1, 0);
    uint32_t n = (uint32_t)nz_window_codewords(12);
    uint16_t *length = malloc(n * sizeof *length);
    uint8_t *byte = malloc(n);
    need(engine->eqinfo_tree(model.model, 12, length, byte, NULL) == 0, "no dictionary");
    need(nz_trie_build(&windows, n, length, byte) == 0, "the dictionary is not one");
    free(length);
    free(byte);
}

/* Exactly n bytes on the heap, so that a sanitizer notices access past the end. */
static uint8_t *copy(const uint8_t *data, size_t n) {
    uint8_t *p = malloc(n ? n : 1);
    if (n) memcpy(p, data, n);
    return p;
}

static void decode_ac(const uint8_t *in, size_t size, int kind, size_t n) {
    uint8_t *text = malloc(n), *again;
    const nz_model *m = kind == 2 ? NULL : model.model;
    int profile = kind == 0 ? NZ_NONE : 1 + (int)(n % 3);
    need(engine->ac_decode(m, profile, in, size, text, n, 0, NULL) == 0, "ac_decode");
    /* The encoder need not write this code for the text, but its code must decode to the text. */
    uint8_t *out = malloc(17 * n + 64); /* a bit costs at most 16 */
    size_t length = engine->ac_encode(m, profile, text, n, out, 17 * n + 64, NULL);
    need(length <= 17 * n + 64, "ac_encode");
    again = malloc(n);
    need(engine->ac_decode(m, profile, out, length, again, n, 0, NULL) == 0, "ac_decode");
    need(memcmp(text, again, n) == 0, "ac round trip");
    free(again);
    free(out);
    free(text);
}

static void decode_static(const uint8_t *in, size_t size, size_t n) {
    uint8_t *text = malloc(n), *again = malloc(n), *out = malloc(2 * n + 1024);
    if (nz_static_decode(in, size, text, n) == 0) {
        size_t length = nz_static_encode(text, n, out, 2 * n + 1024);
        need(length <= 2 * n + 1024, "static_encode");
        need(nz_static_decode(out, length, again, n) == 0, "static_decode");
        need(memcmp(text, again, n) == 0, "static round trip");
    }
    free(out);
    free(again);
    free(text);
}

/* Windows of any text, and of an arbitrary code. */
static void eqinfo(const uint8_t *in, size_t size, int width, int every, int encode) {
    uint8_t *text = NULL, *out = malloc(8 * size + 64);
    size_t n = 0, length = size;
    const uint8_t *code = in;
    if (encode && size) {
        uint32_t *starts = malloc(size * sizeof *starts);
        length = engine->eqinfo_encode(model.model, width, every, in, size, out, 8 * size + 64,
                                       starts, NULL);
        free(starts);
        need(length <= 8 * size + 64, "eqinfo_encode");
        code = out;
    }
    int rc = engine->eqinfo_decode(model.model, width, every, code, length, encode ? size : MOST,
                                   &text, &n, NULL);
    if (encode && size) need(rc == 0 && n == size && memcmp(text, in, n) == 0, "eqinfo round trip");
    free(text);
    free(out);
}

static void decode_trie(const uint8_t *in, size_t size, int width, size_t n) {
    uint8_t *text = malloc(n), *out = malloc(8 * n + 64), *back = malloc(n);
    if (nz_trie_decode_bits(&windows, in, size, width, text, n) == 0) {
        size_t length = nz_trie_encode_bits(&windows, text, n, 0, width, out, 8 * n + 64);
        need(length <= 8 * n + 64, "trie_encode_bits");
        need(nz_trie_decode_bits(&windows, out, length, width, back, n) == 0, "trie_decode_bits");
        need(memcmp(text, back, n) == 0, "trie bits round trip");
    }
    free(back);
    free(out);
    free(text);
    uint16_t *numbers = malloc(size + 1), *got = NULL;
    size_t count = size / 2;
    memcpy(numbers, in, 2 * count);
    size_t bytes = nz_trie_size(&windows, numbers, count, 2);
    if (bytes != SIZE_MAX && bytes) {
        text = malloc(bytes);
        nz_trie_decode(&windows, numbers, count, 2, text, bytes);
        got = malloc(2 * bytes);
        size_t tokens = nz_trie_encode(&windows, text, bytes, (int)(n & 1), 2, got);
        uint8_t *again = malloc(bytes);
        need(nz_trie_size(&windows, got, tokens, 2) == bytes, "trie sizes");
        nz_trie_decode(&windows, got, tokens, 2, again, bytes);
        need(memcmp(text, again, bytes) == 0, "trie round trip");
        free(again);
        free(got);
        free(text);
    }
    free(numbers);
}

/* The file of a dictionary: lengths and bytes, either raw, after all single bytes, or made to form
   a tree. */
static void build_trie(const uint8_t *in, size_t size, int tree) {
    uint32_t n = 256 + (uint32_t)(size / 2);
    uint16_t *length = malloc(n * sizeof *length);
    uint8_t *byte = malloc(n);
    uint32_t k = 0, at = 0, depth = 1;
    for (uint32_t single = 0; single < 256; single++) {
        length[k] = 1;
        byte[k++] = (uint8_t)single;
        depth = 1;
        while (at + 1 < size && (tree ? in[at] >= single : single == 255) &&
               k < n - (255 - single)) {
            uint32_t own = tree ? 2 + in[at] % depth : (uint32_t)in[at];
            length[k] = (uint16_t)own;
            byte[k++] = in[at + 1];
            depth = own;
            at += 2;
        }
    }
    nz_trie t;
    int rc = nz_trie_build(&t, k, length, byte);
    if (rc == 0) {
        uint16_t *numbers = malloc(2 * size + 2);
        size_t count = nz_trie_encode(&t, in, size, 0, 2, numbers);
        need(nz_trie_size(&t, numbers, count, 2) == size, "sizes under a built trie");
        uint8_t *text = malloc(size + 1);
        nz_trie_decode(&t, numbers, count, 2, text, size);
        need(memcmp(text, in, size) == 0, "round trip under a built trie");
        free(text);
        free(numbers);
        nz_trie_free(&t);
    } else {
        need(rc == -2, "nz_trie_build");
    }
    free(byte);
    free(length);
}

/* Arbitrary weights: refused, or a model on which this kernel and the portable one agree. */
static void build_model(const uint8_t *in, size_t size) {
    enum { H = 16, E = 16, BUCKETS = 40 };
    static const size_t weights[4] = {H * E, 3 * H * H, H * H, 256 * (H + E)},
                        rows[4] = {H, 3 * H, H, 256};
    nz_weights w = {.hidden = H,
                    .blocks = 1,
                    .tables = {.embed = E,
                               .ways = 1 + in[0] % 5,
                               .buckets = BUCKETS,
                               .contexts = 2,
                               .context = {1, 1 + in[0] % NZ_LAST_CONTEXT}}};
    nz_layer layers[4];
    uint8_t *lines = malloc(BUCKETS * NZ_BUCKET), *absent = malloc(2 * (1 + E / 2));
    size_t at = 0;
#define BYTE in[at++ % size]
    for (size_t i = 0; i < BUCKETS * NZ_BUCKET; i++) lines[i] = in[i % size];
    for (size_t i = 0; i < 2 * (1 + E / 2); i++) absent[i] = in[i % size];
    int large = BYTE & 1;
    for (int l = 0; l < 4; l++) {
        int8_t *v = malloc(weights[l]);
        int32_t *mult = malloc(rows[l] * 4), *bias = malloc(rows[l] * 4);
        for (size_t i = 0; i < weights[l]; i++)
            v[i] = (int8_t)(large ? (int8_t)BYTE : (int8_t)BYTE / 3);
        for (size_t i = 0; i < rows[l]; i++) {
            uint32_t a = BYTE, b = BYTE, c = BYTE;
            mult[i] = (int32_t)(large ? a << 24 | b << 8 | c : a << 3);
            bias[i] = large ? (int32_t)(b << 24 | c << 16 | a) : (int32_t)(c << 12) - (1 << 19);
        }
        layers[l] = (nz_layer){v, mult, l == 2 ? NULL : bias};
        if (l == 2) free(bias);
    }
    w.tables.lines = lines;
    w.tables.absent = absent;
    w.enter = layers[0];
    w.gates = layers[1];
    w.leave = layers[2];
    w.out = layers[3];
    const int profile = 1 + in[0] % 3;
    const nz_start_shape shape = engine->start_shape(profile);
    const size_t count = (size_t)shape.rows * (size_t)shape.width;
    int16_t *start = malloc(count * sizeof *start);
    uint32_t *maps = malloc((size_t)shape.maps * sizeof *maps);
    for (size_t i = 0; i < count; i++) start[i] = (int16_t)(BYTE << 8 | in[i % size]);
    for (int i = 0; i < shape.maps; i++) maps[i] = (uint32_t)BYTE << 24 | in[(size_t)i % size];
    if (large) maps[at % (size_t)shape.maps] |= 512;
    w.start[profile] = (nz_start){start, maps};
    int bad, bad_too;
    nz_model *m = nz_model_new(&w, engine, &bad),
             *plain = nz_model_new(&w, &nz_engine_portable, &bad_too);
    need(bad == bad_too, "kernels differ about a model");
    if (m && plain) {
        size_t n = size < 16 ? size : 16;
        int16_t *a = malloc(n * 512), *b = malloc(n * 512);
        need(engine->logits(m, in, n, 1, a, NULL, NULL) == 0, "logits");
        need(nz_engine_portable.logits(plain, in, n, 4, b, NULL, NULL) == 0 || n, "logits");
        need(nz_engine_portable.logits(plain, in, n, 1, b, NULL, NULL) == 0, "logits");
        need(memcmp(a, b, n * 512) == 0, "kernels differ");
        uint8_t one[64], two[64];
        const size_t code = engine->ac_encode(m, profile, in, n, one, sizeof one, NULL);
        need(nz_engine_portable.ac_encode(plain, profile, in, n, two, sizeof two, NULL) == code,
             "kernels differ");
        need(code > sizeof one || memcmp(one, two, code) == 0, "kernels differ");
        free(a);
        free(b);
    }
    nz_model_free(m);
    nz_model_free(plain);
    for (int l = 0; l < 4; l++) made_layer_free(&layers[l]);
    free(start);
    free(maps);
    free(lines);
    free(absent);
}

/* The coders with arbitrary probabilities. */
static void coders(const uint8_t *in, size_t size) {
    size_t n = size / 3;
    uint8_t *bits = malloc(n + 1), *out = malloc(2 * n + 16);
    uint16_t *p = malloc(2 * n + 2);
    for (size_t i = 0; i < n; i++) {
        bits[i] = in[3 * i] & 1;
        p[i] = (uint16_t)(in[3 * i + 1] | in[3 * i + 2] << 8);
        if (!p[i]) p[i] = 1;
    }
    size_t length = nz_encode_bits(bits, p, n, out, 2 * n + 16);
    need(length <= 2 * n + 16, "encode_bits");
    uint8_t *code = copy(out, length), *again = malloc(n + 1);
    nz_decode_bits(code, length, p, n, again);
    need(memcmp(bits, again, n) == 0, "bits");
    uint32_t cumulative[257] = {0}, sum = 0;
    for (int i = 0; i < 256; i++) cumulative[i + 1] = sum += 1 + (n ? in[(size_t)i % size] : 0);
    for (int i = 0; i < 256; i++)
        cumulative[i + 1] =
            (uint32_t)((uint64_t)cumulative[i + 1] * (65536 - 256) / sum) + (uint32_t)i + 1;
    nz_decode_symbols(in, size, cumulative, 0, n, again);
    length = nz_encode_symbols(again, cumulative, 0, n, out, 2 * n + 16);
    need(length <= 2 * n + 16, "encode_symbols");
    uint8_t *second = malloc(n + 1);
    nz_decode_symbols(out, length, cumulative, 0, n, second);
    need(memcmp(again, second, n) == 0, "symbols");
    free(second);
    free(again);
    free(code);
    free(p);
    free(out);
    free(bits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!engine) start();
    if (size < 4 || size > 4096) return -1;
    int what = data[0], option = data[1];
    size_t n = 1 + (data[2] | (size_t)data[3] << 8) % MOST;
    size -= 4;
    uint8_t *in = copy(data + 4, size);
#ifdef NZ_FUZZ_ADAPTIVE
    decode_ac(in, size, 1 + (what & 1), n);
#else
    switch (what & 7) {
    case 0: decode_ac(in, size, 0, n); break;
    case 1: decode_static(in, size, n); break;
    case 2: eqinfo(in, size, 8 + option % 57, (int)(n % 5), 0); break;
    case 3: eqinfo(in, size < MOST / 2 ? size : MOST / 2, 8 + option % 57, (int)(n % 5), 1); break;
    case 4: decode_trie(in, size, 12, n); break;
    case 5: build_trie(in, size, option & 1); break;
    case 6:
        if (size) build_model(in, size);
        break;
    case 7: coders(in, size); break;
    }
#endif
    free(in);
    return 0;
}

#ifdef NZ_FUZZ_REPLAY
int main(int argc, char **argv) {
    static uint8_t data[8192];
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        need(file != NULL, argv[i]);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    nz_trie_free(&windows);
    made_free(&model);
    printf("%d inputs\n", argc - 1);
    return 0;
}
#endif
