/* unnzip: decodes .nz files to standard output, without Python. It is docs/format.md over
   nzip/kernel, which does the arithmetic; here are frames, checksums, model files and the choice of
   the model. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* opendir */
#endif
#include "coder.h"
#include "engine.h"
#include "trie.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#define PATH_SEPARATOR ';'
#else
#define PATH_SEPARATOR ':'
#endif

#ifndef NZ_MODELS
#define NZ_MODELS "nzip/models" /* the Makefile gives the whole path */
#endif

#define VERSION 1
#define MAX_BLOCK (1u << 26)
#define MAX_PRIOR (1u << 24)
#define MAX_HEADER (1u << 16) /* of a model file */
#define MAX_TREE 20 /* bits of windows that are a dictionary */
#define SHORT_CHECK (1u << 16)
#define DIGEST 32
#define PADDING 72 /* of SHA-256, at most */
enum {
    STATIC = 4,
    EQINFO = 5,
    PLAIN = 6,
    WITH_PRIOR = 8
}; /* codings; 1 to 3 are the kernel's profiles */
enum { STORED, CODED, RUN, WITHOUT_M1 }; /* types of block */

static const char HELP[] =
    "Usage: unnzip [-m DIR]... [-D PRIOR]... [FILE.nz]...\n\n"
    "Decodes nzip's files, or standard input, to standard output.\n\n"
    "  -m DIR    look for models there; default: the folders that NZIP_MODEL_PATH names, then\n"
    "            " NZ_MODELS "\n"
    "  -D PRIOR  a prior: its file, or the file of its samples\n"
    "  -h        this help\n\n"
    "The exit code is 0, 1 for data that are damaged or cannot be read or written, 2 for a wrong "
    "call.\n"
    "What was written before an error is incomplete: use it only if the exit code is 0.\n"
    "NZIP_KERNEL (portable, avx2, avx512, neon, dotprod) chooses a variant of the kernel.\n";

/* ---- Errors, memory, files ----------------------------------------------------------------- */

static const char *at_file; /* what messages are about */

#if defined(__GNUC__) || defined(__clang__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
static void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "unnzip: %s%s", at_file ? at_file : "", at_file ? ": " : "");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *need(void *memory) {
    if (!memory) fail("out of memory");
    return memory;
}

/* A model or a prior. Nothing of it is freed before the end. */
typedef struct {
    char *path;
    uint8_t *data,
        digest[DIGEST]; /* a prior's: of the samples alone, to which `data` and `size` are cut */
    size_t size;
    char *header; /* a model's, once one is used: JSON; the tensors are in the rest */
    size_t rest;
    nz_model *model;
    nz_trie *tries[MAX_TREE + 1];
} file;

typedef struct {
    file **files;
    size_t count;
} folder;

static folder models, priors;
static int own_models; /* -m was given */
static FILE *input;

/* Reads a file whole, and leaves room after it. */
static file *add(folder *to, const char *path) {
    file *f = need(calloc(1, sizeof *f));
    to->files = need(realloc(to->files, (to->count + 1) * sizeof *to->files));
    at_file = f->path = strcpy(need(malloc(strlen(path) + 1)), path);
    FILE *in = fopen(path, "rb");
    if (!in) fail("%s", strerror(errno));
    for (size_t room = 1 << 16, got = 1; got; room *= 2) {
        f->data = need(realloc(f->data, room + PADDING));
        f->size += got = fread(f->data + f->size, 1, room - f->size, in);
    }
    if (ferror(in)) fail("%s", strerror(errno));
    fclose(in);
    return to->files[to->count++] = f;
}

static void get(void *out, size_t n) {
    if (fread(out, 1, n, input) == n) return;
    if (ferror(input)) fail("%s", strerror(errno));
    fail("the input ends inside a frame");
}

static uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- CRC-32 and SHA-256 -------------------------------------------------------------------- */

static uint32_t crc32(const void *data, size_t n, uint32_t crc) {
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256 && !table[255]; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    crc = ~crc;
    for (const uint8_t *p = data; n--; p++) crc = table[(crc ^ *p) & 255] ^ crc >> 8;
    return ~crc;
}

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256(file *f) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    size_t padded = (f->size + 9 + 63) / 64 * 64;
    memset(f->data + f->size, 0, padded - f->size);
    f->data[f->size] = 128;
    for (int i = 0; i < 8; i++)
        f->data[padded - 1 - (size_t)i] = (uint8_t)((uint64_t)f->size * 8 >> (8 * i));
    for (const uint8_t *p = f->data; p < f->data + padded; p += 64) {
        uint32_t w[64], s[8];
        memcpy(s, h, sizeof s);
        for (int i = 0; i < 64; i++) {
            if (i < 16) {
                w[i] = nz_load32_be(p + 4 * i);
            } else {
                uint32_t a = w[i - 15], b = w[i - 2];
                w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3);
                w[i] += w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
            }
            uint32_t a = s[0], e = s[4];
            uint32_t t = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                         ((e & s[5]) ^ (~e & s[6])) + ROUND[i] + w[i];
            uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                         ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += t;
            s[0] = t + u;
        }
        for (int i = 0; i < 8; i++) h[i] += s[i];
    }
    for (int i = 0; i < DIGEST; i++) f->digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- JSON, as far as a model file's header needs it ------------------------------------------ */

static const char *space(const char *p) { return p + strspn(p, " \t\r\n"); }

static int is_string(const char *p, const char *text) {
    return p && *p == '"' && strncmp(p + 1, text, strlen(text)) == 0 && p[1 + strlen(text)] == '"';
}

/* What follows the value at p, or NULL if it is none. Notes in *found the value of a key in the
   object at p. */
static const char *json(const char *p, const char *key, const char **found, int depth) {
    size_t plain = strspn(p, "+-.0123456789abcdefghijklmnopqrstuvwxyzE");
    if (plain) return p + plain;
    if (*p == '"') {
        for (p++; *p != '"'; p++)
            if (!*p || (*p == '\\' && !*++p)) return NULL;
        return p + 1;
    }
    if ((*p != '{' && *p != '[') || depth > 8) return NULL;
    const int object = *p == '{', close = object ? '}' : ']';
    for (p = space(p + 1); *p != close;) {
        if (object) {
            const char *name = p;
            if (*p != '"' || !(p = json(p, NULL, NULL, 0)) || *(p = space(p)) != ':') return NULL;
            p = space(p + 1);
            if (key && is_string(name, key)) *found = p;
        }
        if (!(p = json(p, NULL, NULL, depth + 1))) return NULL;
        p = space(p);
        if (*p == ',') p = space(p + 1);
        else if (*p != close) return NULL;
    }
    return p + 1;
}

static const char *member(const char *p, const char *key) {
    const char *found = NULL;
    return p && *p == '{' && json(p, key, &found, 0) ? found : NULL;
}

/* Numbers with commas between them, in brackets or, as in the metadata, in quotes; how many, at
   most `most`; else 0. */
static int numbers(const char *p, int64_t *out, int most) {
    if (!p || (*p != '[' && *p != '"')) return 0;
    char close = *p == '[' ? ']' : '"';
    for (int count = 0; count < most; count++) {
        p = space(p + 1);
        if (*p < '0' || *p > '9') return 0;
        for (out[count] = 0; *p >= '0' && *p <= '9'; p++)
            if ((out[count] = 10 * out[count] + *p - '0') > INT64_MAX / 100) return 0;
        p = space(p);
        if (*p == close) return count + 1;
        if (*p != ',') return 0;
    }
    return 0;
}

/* ---- Models -------------------------------------------------------------------------------- */

static const char *meta(const file *f, const char *key) {
    return member(member(f->header, "__metadata__"), key);
}

static void open_model(file *f) {
    at_file = f->path;
    uint64_t length = f->size < 8 ? 0 : load32(f->data) | (uint64_t)load32(f->data + 4) << 32;
    if (f->size < 8 || length > MAX_HEADER || length > f->size - 8) fail("not a model file");
    char *text = need(calloc(1, (size_t)length + 1));
    memcpy(text, f->data + 8, (size_t)length);
    f->header = text + strspn(text, " \t\r\n");
    f->rest = 8 + (size_t)length;
    if (!is_string(meta(f, "format"), "nzip-m1-3"))
        fail("not a model file, or one of another format than nzip-m1-3");
}

static int number(const file *f, const char *key) {
    int64_t value;
    if (numbers(meta(f, key), &value, 1) != 1 || value >= (int64_t)1 << 31)
        fail("a shape outside the format's limits");
    return (int)value;
}

/* A tensor's bytes, of which it must have the product of the dimensions; a dimension of 0 is left
   out. */
static const uint8_t *tensor(const file *f, const char *name, const char *type, int64_t a,
                             int64_t b, int64_t c) {
    const int64_t want[3] = {a, b, c};
    int64_t shape[4], place[2], size = atoi(type + 1) / 8; /* as I32: so many bits each */
    const char *entry = member(f->header, name);
    int wanted = b ? c ? 3 : 2 : 1, fits = numbers(member(entry, "shape"), shape, 3) == wanted;
    for (int i = 0; i < wanted; i++) {
        fits = fits && shape[i] == want[i];
        size *= want[i];
    }
    if (!fits || !is_string(member(entry, "dtype"), type) ||
        numbers(member(entry, "data_offsets"), place, 2) != 2 || place[1] - place[0] != size ||
        place[1] > (int64_t)(f->size - f->rest))
        fail("no valid tensor %s", name);
    return f->data + f->rest + place[0];
}

/* Scales or biases, which the kernel wants as this machine's numbers. */
static const int32_t *words(const file *f, const char *name, int64_t a, int64_t b) {
    const uint8_t *from = tensor(f, name, "I32", a, b, 0);
    size_t count = (size_t)(b ? a * b : a);
    int32_t *out = need(malloc(count * sizeof *out));
    for (size_t i = 0; i < count; i++) out[i] = (int32_t)load32(from + 4 * i);
    return out;
}

/* What mixing begins with in a profile, if the model's file has it. */
static nz_start read_start(const file *f, const char *profile, nz_start_shape shape) {
    char name[32];
    sprintf(name, "%s_weights", profile);
    if (!member(f->header, name)) return (nz_start){NULL, NULL};
    const int64_t rows = shape.rows, width = shape.width;
    const uint8_t *from = tensor(f, name, "I16", rows, width, 0);
    int16_t *weights = need(malloc((size_t)(rows * width) * sizeof *weights));
    for (int64_t i = 0; i < rows * width; i++)
        weights[i] = (int16_t)(from[2 * i] | from[2 * i + 1] << 8);
    sprintf(name, "%s_maps", profile);
    from = tensor(f, name, "U32", shape.maps, 0, 0);
    uint32_t *maps = need(malloc((size_t)shape.maps * sizeof *maps));
    for (int i = 0; i < shape.maps; i++) maps[i] = load32(from + 4 * i);
    return (nz_start){weights, maps};
}

static void read_tables(file *f, nz_tables *t) {
    int64_t context[NZ_MAX_CONTEXTS];
    open_model(f);
    t->contexts = numbers(meta(f, "contexts"), context, NZ_MAX_CONTEXTS);
    t->embed = number(f, "embed");
    t->ways = number(f, "ways");
    t->buckets = (uint32_t)number(f, "buckets");
    int fits = t->contexts > 0 && t->embed >= 16 && t->embed <= 128 && t->embed % 16 == 0 &&
               t->ways >= 1 && t->ways <= NZ_BUCKET / (3 + t->embed / 2) && t->buckets >= 1;
    for (int i = 0; i < t->contexts; i++) {
        fits = fits && context[i] >= 1 && context[i] <= NZ_LAST_CONTEXT;
        t->context[i] = (int)context[i];
    }
    if (!fits) fail("a shape outside the format's limits");
    t->lines = tensor(f, "lines", "U8", t->buckets, NZ_BUCKET, 0);
    t->absent = tensor(f, "absent", "U8", t->contexts, 1 + t->embed / 2, 0);
}

/* The file with the tables that a network's file names by their hash. */
static file *holder(const char *wanted) {
    for (size_t i = 0; i < models.count; i++) {
        char hex[2 * DIGEST + 1];
        for (int k = 0; k < DIGEST; k++) sprintf(hex + 2 * k, "%02x", models.files[i]->digest[k]);
        if (is_string(wanted, hex)) return models.files[i];
    }
    fail("the tables of this model are not in the folders of models");
}

/* Replaces the buckets that a fine-tuned model's file has for its own. */
static void change_tables(const file *f, nz_tables *t) {
    const char *changed = member(f->header, "changed");
    int64_t count, before = -1;
    if (!changed) return;
    if (numbers(member(changed, "shape"), &count, 1) != 1) fail("no valid tensor changed");
    const uint8_t *place = tensor(f, "changed", "I32", count, 0, 0),
                  *line = tensor(f, "lines", "U8", count, NZ_BUCKET, 0);
    uint8_t *lines = need(malloc((size_t)t->buckets * NZ_BUCKET));
    memcpy(lines, t->lines, (size_t)t->buckets * NZ_BUCKET);
    for (int64_t i = 0; i < count; i++, place += 4, line += NZ_BUCKET) {
        const int64_t bucket = load32(place);
        if (bucket <= before || bucket >= t->buckets) fail("changed buckets out of order");
        memcpy(lines + bucket * NZ_BUCKET, line, NZ_BUCKET);
        before = bucket;
    }
    t->lines = lines;
    t->absent = tensor(f, "absent", "U8", t->contexts, 1 + t->embed / 2, 0);
}

static const nz_engine *engine;

static const nz_model *load_model(file *f) {
    if (f->model) return f->model;
    const char *about = at_file;
    nz_weights w;
    int64_t shape[3];
    int bad = 0;
    memset(&w, 0, sizeof w);
    open_model(f);
    if (numbers(member(member(f->header, "gates"), "shape"), shape, 3) != 3)
        fail("no network, only tables");
    const int64_t blocks = shape[0], n = shape[2];
    if (n < 16 || n > 4096 || n % 16 || blocks < 1 || blocks > NZ_MAX_BLOCKS)
        fail("a shape outside the format's limits");
    const char *tables = meta(f, "tables");
    read_tables(tables ? holder(tables) : f, &w.tables);
    at_file = f->path;
    if (tables) change_tables(f, &w.tables);
    w.hidden = (int)n;
    w.blocks = (int)blocks;
    w.enter = (nz_layer){(const int8_t *)tensor(f, "enter", "I8", n, w.tables.embed, 0),
                         words(f, "enter_mult", n, 0), words(f, "enter_bias", n, 0)};
    w.gates =
        (nz_layer){(const int8_t *)tensor(f, "gates", "I8", blocks, 3 * n, n),
                   words(f, "gates_mult", blocks, 3 * n), words(f, "gates_bias", blocks, 3 * n)};
    w.leave = (nz_layer){(const int8_t *)tensor(f, "leave", "I8", blocks, n, n),
                         words(f, "leave_mult", blocks, n), NULL};
    w.out = (nz_layer){(const int8_t *)tensor(f, "out", "I8", 256, n + w.tables.embed, 0),
                       words(f, "out_mult", 256, 0), words(f, "out_bias", 256, 0)};
    static const char *const profiles[NZ_PROFILES] = {NULL, "light", "full", "deep"};
    for (int p = NZ_LIGHT; p < NZ_PROFILES; p++)
        w.start[p] = read_start(f, profiles[p], engine->start_shape(p));
    f->model = nz_model_new(&w, engine, &bad);
    if (bad) fail("a weight outside its range");
    need(f->model);
    at_file = about;
    return f->model;
}

static const nz_trie *dictionary(file *model, int width) {
    if (!model->tries[width]) {
        uint32_t count = (uint32_t)nz_window_codewords(width);
        nz_trie *trie = model->tries[width] = need(malloc(sizeof *trie));
        uint16_t *length = need(malloc(count * sizeof *length));
        uint8_t *last = need(malloc(count));
        int rc = engine->eqinfo_tree(load_model(model), width, length, last, NULL);
        if (rc == NZ_OK && (rc = nz_trie_build(trie, count, length, last)) == -1)
            rc = NZ_FAILED_MEMORY;
        if (rc == NZ_FAILED_MEMORY) need(NULL);
        if (rc != NZ_OK) fail("%s: its windows are too long", model->path);
        free(length);
        free(last);
    }
    return model->tries[width];
}

static void add_models(const char *path, size_t length, int must_be_there) {
    char name[4096];
    if (length > sizeof name - 300) fail("a folder's name is too long");
    sprintf(name, "%.*s", (int)length, path);
    DIR *dir = opendir(name);
    if (!dir && must_be_there) fail("%s: %s", name, strerror(errno));
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".safetensors") != 0) continue;
        snprintf(name + length, sizeof name - length, "/%s", entry->d_name);
        sha256(add(&models, name));
    }
    if (dir) closedir(dir);
}

/* Once a frame needs a model and no -m was given. */
static void add_usual_models(void) {
    const char *about = at_file, *more = getenv("NZIP_MODEL_PATH");
    while (more && *more) {
        const char *end = strchr(more, PATH_SEPARATOR);
        size_t length = end ? (size_t)(end - more) : strlen(more);
        if (length) add_models(more, length, 0);
        more = end ? end + 1 : NULL;
    }
    add_models(NZ_MODELS, strlen(NZ_MODELS), 0);
    at_file = about;
}

static void add_prior(const char *path) {
    file *f = add(&priors, path);
    if (f->size >= 8 &&
        memcmp(f->data, "\x8fNP\x10", 4) == 0) { /* a prior file; any other is samples */
        if (crc32(f->data + 8, f->size - 8, 0) != load32(f->data + 4))
            fail("the prior is damaged (its checksum does not match)");
        f->data += 8;
        f->size -= 8;
    }
    if (f->size < 1 || f->size > MAX_PRIOR) fail("a prior has 1 to %u bytes", MAX_PRIOR);
    sha256(f);
    at_file = NULL;
}

/* ---- Frames -------------------------------------------------------------------------------- */

typedef struct {
    uint8_t head[10]; /* the frame header */
    size_t head_size;
    int coding, window, reset_every;
    const uint8_t *model_prefix, *prior_prefix; /* in head, or NULL */
    file *model, *prior; /* once the first block's CRC has told */
} frame;

typedef struct {
    uint8_t head[10], *payload;
    size_t head_size, length;
    uint32_t size, crc;
    int type, last;
} block;

/* The next n bytes of a header, of which `*at` are there. */
static const uint8_t *take(uint8_t *head, size_t *at, size_t n) {
    get(head + *at, n);
    *at += n;
    return head + *at - n;
}

static uint64_t get_varint(block *b) {
    uint64_t value = 0;
    for (int group = 0; group < 5; group++) {
        uint8_t byte = *take(b->head, &b->head_size, 1);
        value |= (uint64_t)(byte & 127) << (7 * group);
        if (byte == 0 && group) fail("a number in a block header is longer than it need be");
        if (byte < 128) return value;
    }
    fail("a number in a block header is too large");
}

/* What follows the magic. */
static void get_header(frame *f) {
    int first = *take(f->head, &f->head_size, 1), with_prior = (first & 15) > WITH_PRIOR;
    f->coding = with_prior ? (first & 15) - WITH_PRIOR : first & 15;
    if (first >> 4 != VERSION)
        fail("format version %d; this unnzip reads version %d", first >> 4, VERSION);
    if (f->coding < NZ_LIGHT || f->coding > (with_prior ? (int)NZ_DEEP : (int)PLAIN))
        fail("unknown coding %d", first & 15);
    if (f->coding != STATIC) f->model_prefix = take(f->head, &f->head_size, 2);
    if (with_prior) f->prior_prefix = take(f->head, &f->head_size, 2);
    if (f->coding != EQINFO) return;
    int window = *take(f->head, &f->head_size, 1);
    f->window = window & 127;
    f->reset_every = window & 128 ? *take(f->head, &f->head_size, 1) : 1;
    if (window & 128 && f->reset_every == 1) fail("a reset at each window is not to be stated");
    if (f->window < 8 || f->window > 64) fail("a window of %d bits (allowed: 8 to 64)", f->window);
}

static void get_block(const frame *f, block *b) {
    uint8_t crc[4];
    memset(b, 0, sizeof *b);
    uint64_t value = get_varint(b), size = value >> 3;
    if (size > MAX_BLOCK)
        fail("a block of %llu bytes (allowed: %u)", (unsigned long long)size, MAX_BLOCK);
    b->size = (uint32_t)size;
    b->type = value >> 1 & 3;
    b->last = value & 1;
    b->length = b->type == RUN ? 1 : b->size;
    if (b->type == CODED || b->type == WITHOUT_M1) {
        b->length = get_varint(b);
        if (b->length >= b->size) fail("a coded block that is not shorter than its content");
    }
    if (b->size == 0 && !(b->last && b->type == STORED))
        fail("an empty block that is not the last one");
    if (b->type == WITHOUT_M1 && f->coding > NZ_DEEP)
        fail("a block of type %d in a frame without mixing", b->type);
    get(crc, 4);
    b->crc = load32(crc);
    b->payload = need(malloc(b->length + 1));
    get(b->payload, b->length);
}

static int agrees(const frame *f, const block *b, uint32_t index) {
    const uint8_t number[4] = {(uint8_t)index, (uint8_t)(index >> 8), (uint8_t)(index >> 16),
                               (uint8_t)(index >> 24)};
    uint32_t crc = f->model ? crc32(f->model->digest, DIGEST, 0) : 0;
    if (f->prior) crc = crc32(f->prior->digest, DIGEST, crc);
    crc = crc32(b->head, b->head_size, crc32(number, 4, crc32(f->head, f->head_size, crc)));
    return crc32(b->payload, b->length, crc) == b->crc;
}

/* Those of some files whose digests begin with two bytes, if any are wanted; then at least two
   NULL. */
static file **with_prefix(const folder *all, const uint8_t *prefix) {
    file **found = need(calloc(all->count + 2, sizeof *found));
    for (size_t i = 0, count = 0; prefix && i < all->count; i++)
        if (memcmp(all->files[i]->digest, prefix, 2) == 0) found[count++] = all->files[i];
    return found;
}

/* The model and the prior with which the first block's CRC agrees. */
static int choose(frame *f, const block *b) {
    const uint8_t *m = f->model_prefix, *p = f->prior_prefix;
    if (m && !own_models && !models.count) add_usual_models();
    file **model = with_prefix(&models, m), **prior = with_prefix(&priors, p);
    if (m && !*model)
        fail("the model %02x%02x... that this was compressed with is not in the folders of models "
             "(-m)",
             m[0], m[1]);
    if (p && !*prior)
        fail("this was compressed with the prior %02x%02x..., which is not given (-D)", p[0], p[1]);
    int found = 0;
    for (size_t i = 0; !found && (i == 0 || model[i]); i++)
        for (size_t k = 0; !found && (k == 0 || prior[k]); k++) {
            f->model = model[i];
            f->prior = prior[k];
            found = agrees(f, b, 0);
        }
    free(model);
    free(prior);
    return found;
}

static void decode(frame *f, const block *b, uint8_t *text) {
    const uint8_t *in = b->payload;
    const size_t length = b->length, size = b->size;
    int rc = NZ_OK, profile = f->coding == PLAIN ? NZ_NONE : f->coding;
    if (b->type == STORED) {
        memcpy(text, in, size);
    } else if (b->type == RUN) {
        memset(text, in[0], size);
    } else if (b->type == WITHOUT_M1) {
        rc = engine->ac_decode(NULL, profile, in, length, text, size, 0, NULL);
    } else if (f->coding == STATIC) {
        rc = nz_static_decode(in, length, text, size);
        rc = rc == -2 ? NZ_FAILED_MEMORY : rc ? NZ_BAD_CODE : NZ_OK;
    } else if (f->coding == EQINFO && f->reset_every == 1 && f->window <= MAX_TREE) {
        rc = nz_trie_decode_bits(dictionary(f->model, f->window), in, length, f->window, text, size)
                 ? NZ_BAD_CODE
                 : NZ_OK;
    } else if (f->coding == EQINFO) {
        uint8_t *made;
        size_t n;
        rc = engine->eqinfo_decode(load_model(f->model), f->window, f->reset_every, in, length,
                                   size, &made, &n, NULL);
        if (rc == NZ_OK && n != size) rc = NZ_BAD_CODE;
        else if (rc == NZ_OK) memcpy(text, made, size), free(made);
    } else if (f->prior) {
        nz_warm *warm = engine->ac_warm(load_model(f->model), profile, f->prior->data,
                                        f->prior->size, size, NULL, &rc);
        if (warm) rc = engine->ac_warm_decode(warm, in, length, text, size, 0, NULL);
        engine->ac_warm_free(warm);
    } else {
        rc = engine->ac_decode(load_model(f->model), profile, in, length, text, size, 0, NULL);
    }
    if (rc == NZ_FAILED_MEMORY) need(NULL);
    if (rc != NZ_OK) fail("a block that no encoder writes");
}

/* A frame whose magic was read. The last block is held back until the content's checksum has been
   seen. */
static void decode_frame(const uint8_t magic[3]) {
    frame f;
    block b;
    uint64_t total = 0;
    uint32_t index = 0, crc = 0;
    memset(&f, 0, sizeof f);
    memcpy(f.head, magic, f.head_size = 3);
    get_header(&f);
    do {
        uint8_t check[4] = {0};
        get_block(&f, &b);
        if (!(index ? agrees(&f, &b, index) : choose(&f, &b)))
            fail("a block is damaged (its CRC does not match)");
        uint8_t *text = need(malloc(b.size + 1));
        decode(&f, &b, text);
        crc = crc32(text, b.size, crc);
        total += b.size;
        if (b.last) {
            get(check, total < SHORT_CHECK ? 2 : 4);
            if (load32(check) != (total < SHORT_CHECK ? crc & 0xffff : crc))
                fail("the content's checksum does not match");
        }
        if (fwrite(text, 1, b.size, stdout) != b.size)
            at_file = NULL, fail("standard output: %s", strerror(errno));
        free(b.payload);
        free(text);
        index++;
    } while (!b.last);
}

static void decode_input(void) {
    uint8_t start[4];
    for (int frames = 0;; frames++) {
        size_t got = fread(start, 1, 3, input);
        if (ferror(input)) fail("%s", strerror(errno));
        if (!got && frames) return;
        if (!got) fail("the input is empty");
        if (frames && start[0] == 0) { /* tapes and block devices pad with zeros */
            int c = 0;
            for (size_t i = 0; i < got; i++) c |= start[i];
            while (!c) c = getc(input);
            if (ferror(input)) fail("%s", strerror(errno));
            if (c != EOF) fail("garbage after the last frame");
            return;
        }
        if (memcmp(start, "\x8fNZ", got) == 0) {
            if (got < 3) fail("the input ends inside a frame");
            decode_frame(start);
            continue;
        }
        if (got < 3 || start[0] >> 4 != 5 || memcmp(start + 1, "\x2a\x4d", 2) != 0 ||
            fread(start + 3, 1, 1, input) != 1 || start[3] != 0x18)
            fail(frames ? "garbage after the last frame" : "not an nzip file");
        get(start, 4);
        for (uint32_t left = load32(start); left; left--) get(start, 1); /* a skippable frame */
    }
}

int main(int argc, char **argv) {
    const char *kernel = getenv("NZIP_KERNEL");
    int at = 1;
    for (; at < argc && argv[at][0] == '-' && argv[at][1]; at++) {
        const char *option = argv[at];
        if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
            fputs(HELP, stdout);
            return fflush(stdout) ? 1 : 0;
        }
        if (strcmp(option, "--") == 0) {
            at++;
            break;
        }
        if ((strcmp(option, "-m") != 0 && strcmp(option, "-D") != 0) || at + 1 == argc) {
            fprintf(stderr, "unnzip: %s is not an option, or lacks its value (see unnzip -h)\n",
                    option);
            return 2;
        }
        at++;
        if (option[1] == 'D') add_prior(argv[at]);
        else add_models(argv[at], strlen(argv[at]), own_models = 1);
        at_file = NULL;
    }
    engine = nz_engine_select(kernel && *kernel ? kernel : NULL);
    if (!engine) fail("NZIP_KERNEL: no such kernel, or this CPU cannot run it");
#ifdef _WIN32
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
#endif
    do {
        int from_stdin = at >= argc || strcmp(argv[at], "-") == 0;
        at_file = from_stdin ? "(stdin)" : argv[at];
        input = from_stdin ? stdin : fopen(argv[at], "rb");
        if (!input) fail("%s", strerror(errno));
        decode_input();
        if (!from_stdin) fclose(input);
    } while (++at < argc);
    at_file = NULL;
    if (fflush(stdout) || ferror(stdout)) fail("standard output: %s", strerror(errno));
    return 0;
}
