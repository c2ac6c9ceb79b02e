/* unnzip: decodes .nz files to standard output, without Python. It is docs/format.md over nzip/kernel, which
   does the arithmetic; here are frames, checksums, model files and the choice of the model. */
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
#define MAX_BLOCK (1u << 24)
#define MAX_PRIOR (1u << 24)
#define MAX_HEADER (1u << 16) /* of a model file */
#define MAX_TREE 20           /* bits of windows that are a dictionary */
#define SHORT_CHECK (1u << 16)
#define DIGEST 32
enum { STATIC = 4, EQINFO = 5, PLAIN = 6, WITH_PRIOR = 8 }; /* codings; 1 to 3 are the kernel's profiles */
enum { STORED, CODED, RUN, WITHOUT_M1 };                    /* types of block */

static const char HELP[] =
    "Usage: unnzip [-m DIR]... [-D PRIOR]... [FILE.nz]...\n\n"
    "Decodes nzip's files, or standard input, to standard output.\n\n"
    "  -m DIR    look for models there; default: the folders that NZIP_MODEL_PATH names, then\n"
    "            " NZ_MODELS "\n"
    "  -D PRIOR  a prior: its file, or the file of its samples\n"
    "  -h        this help\n\n"
    "The exit code is 0, 1 for data that are damaged or cannot be read or written, 2 for a wrong call.\n"
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

typedef struct {
    uint8_t digest[DIGEST]; /* a prior's: of the samples alone */
    uint8_t *data;
    size_t size;
    nz_model *model; /* these two once they are used */
    nz_trie *tries[MAX_TREE + 1];
    char *path;
} file;

typedef struct {
    file **files;
    size_t count;
} folder;

static folder models, priors;

static file *add(folder *to, const char *path) {
    file *f = need(calloc(1, sizeof *f));
    to->files = need(realloc(to->files, (to->count + 1) * sizeof *to->files));
    f->path = strcpy(need(malloc(strlen(path) + 1)), path);
    FILE *in = fopen(path, "rb");
    size_t room = 0, got = 1;
    at_file = path;
    if (!in) fail("%s", strerror(errno));
    while (got) {
        if (f->size == room) f->data = need(realloc(f->data, room = room ? 2 * room : 1 << 16));
        got = fread(f->data + f->size, 1, room - f->size, in);
        f->size += got;
    }
    if (ferror(in)) fail("%s", strerror(errno));
    fclose(in);
    return to->files[to->count++] = f;
}

static uint32_t load32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- CRC-32 and SHA-256 -------------------------------------------------------------------- */

static uint32_t crc32(const void *data, size_t n, uint32_t crc) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
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

static void sha256_block(uint32_t h[8], const uint8_t *p) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) w[i] = nz_load32_be(p + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + ROUND[i] + w[i];
        uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
}

static void sha256(const uint8_t *data, size_t n, uint8_t out[DIGEST]) {
    uint32_t h[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    uint8_t end[128] = {0};
    size_t rest = n % 64, padded = rest < 56 ? 64 : 128;
    for (size_t i = 0; i + 64 <= n; i += 64) sha256_block(h, data + i);
    if (rest) memcpy(end, data + n - rest, rest);
    end[rest] = 128;
    for (int i = 0; i < 8; i++) end[padded - 1 - (size_t)i] = (uint8_t)((uint64_t)n * 8 >> (8 * i));
    for (size_t i = 0; i < padded; i += 64) sha256_block(h, end + i);
    for (int i = 0; i < DIGEST; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- JSON, as far as a model file's header needs it ------------------------------------------ */

static const char *space(const char *p) { return p + strspn(p, " \t\r\n"); }

static const char *string_end(const char *p) {
    for (p++; *p != '"'; p++)
        if (!*p || (*p == '\\' && !*++p)) return NULL;
    return p + 1;
}

/* Behind the value at p, or NULL if it is none. */
static const char *skip(const char *p, int depth) {
    static const char plain[] = "+-.0123456789abcdefghijklmnopqrstuvwxyzE";
    size_t length = strspn(p, plain);
    if (length) return p + length;
    if (*p == '"') return string_end(p);
    if ((*p != '{' && *p != '[') || depth > 8) return NULL;
    char open = *p, close = open == '{' ? '}' : ']';
    p = space(p + 1);
    while (*p != close) {
        if (open == '{') {
            if (*p != '"' || !(p = string_end(p)) || *(p = space(p)) != ':') return NULL;
            p = space(p + 1);
        }
        if (!(p = skip(p, depth + 1))) return NULL;
        p = space(p);
        if (*p == close) break;
        if (*p != ',') return NULL;
        p = space(p + 1);
    }
    return p + 1;
}

/* The value of a key in the object at p; NULL if there is none, or no object. */
static const char *member(const char *p, const char *key) {
    const char *found = NULL;
    if (!p || *p != '{' || !skip(p, 0)) return NULL;
    for (p = space(p + 1); *p == '"'; p = *p == ',' ? space(p + 1) : p) {
        const char *end = string_end(p), *value = space(space(end) + 1);
        if ((size_t)(end - p) == strlen(key) + 2 && memcmp(p + 1, key, strlen(key)) == 0) found = value;
        p = space(skip(value, 0));
    }
    return found;
}

static int is_string(const char *p, const char *text) {
    return p && *p == '"' && strncmp(p + 1, text, strlen(text)) == 0 && p[1 + strlen(text)] == '"';
}

/* Numbers with commas between them, in brackets or, as in the metadata, in quotes; how many, at most `most`; else 0. */
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

typedef struct {
    const file *from;
    char text[MAX_HEADER + 1];
    const uint8_t *data;
    size_t size;
} header;

static header *open_header(const file *f) {
    uint64_t length = f->size < 8 ? 0 : load32(f->data) | (uint64_t)load32(f->data + 4) << 32;
    if (f->size < 8 || length > MAX_HEADER || length > f->size - 8) fail("not a model file");
    header *h = need(malloc(sizeof *h));
    h->from = f;
    h->data = f->data + 8 + length;
    h->size = f->size - 8 - (size_t)length;
    memcpy(h->text, f->data + 8, (size_t)length);
    h->text[length] = 0;
    if (!is_string(member(member(space(h->text), "__metadata__"), "format"), "nzip-m1-3"))
        fail("not a model file, or one of another format than nzip-m1-3");
    return h;
}

static const char *meta(const header *h, const char *key) { return member(member(space(h->text), "__metadata__"), key); }

static int number(const header *h, const char *key) {
    int64_t value;
    if (numbers(meta(h, key), &value, 1) != 1 || value >= (int64_t)1 << 31) fail("a shape outside the format's limits");
    return (int)value;
}

/* A tensor's bytes, of which it must have the product of the dimensions; a dimension of 0 is left out. */
static const uint8_t *tensor(const header *h, const char *name, const char *type, int64_t a, int64_t b, int64_t c) {
    const int64_t want[3] = {a, b, c};
    int64_t shape[4], place[2], size = strcmp(type, "I32") == 0 ? 4 : 1;
    const char *entry = member(space(h->text), name);
    int dims = numbers(member(entry, "shape"), shape, 3), wanted = b ? c ? 3 : 2 : 1, fits = dims == wanted;
    for (int i = 0; i < wanted; i++) {
        fits = fits && shape[i] == want[i];
        size *= want[i];
    }
    if (!fits || !is_string(member(entry, "dtype"), type) || numbers(member(entry, "data_offsets"), place, 2) != 2 ||
        place[1] - place[0] != size || place[1] > (int64_t)h->size)
        fail("no valid tensor %s", name);
    return h->data + place[0];
}

/* Scales or biases, which the kernel wants as this machine's numbers. */
static int32_t *words(const header *h, const char *name, int64_t a, int64_t b) {
    const uint8_t *from = tensor(h, name, "I32", a, b, 0);
    size_t count = (size_t)(b ? a * b : a);
    int32_t *out = need(malloc(count * sizeof *out));
    for (size_t i = 0; i < count; i++) out[i] = (int32_t)load32(from + 4 * i);
    return out;
}

static void read_tables(const file *f, nz_tables *t) {
    header *h = open_header(f);
    int64_t context[NZ_MAX_CONTEXTS];
    t->contexts = numbers(meta(h, "contexts"), context, NZ_MAX_CONTEXTS);
    t->embed = number(h, "embed");
    t->ways = number(h, "ways");
    t->buckets = (uint32_t)number(h, "buckets");
    int fits = t->contexts > 0 && t->embed >= 16 && t->embed <= 128 && t->embed % 16 == 0 && t->ways >= 1 &&
               t->ways <= NZ_BUCKET / (3 + t->embed / 2) && t->buckets >= 1;
    for (int i = 0; i < t->contexts; i++) {
        fits = fits && context[i] >= 1 && context[i] <= NZ_LAST_CONTEXT;
        t->context[i] = (int)context[i];
    }
    if (!fits) fail("a shape outside the format's limits");
    t->lines = tensor(h, "lines", "U8", t->buckets, NZ_BUCKET, 0);
    t->absent = tensor(h, "absent", "U8", t->contexts, 1 + t->embed / 2, 0);
    free(h);
}

/* The file with the tables that a network's file names by their hash. */
static const file *holder(const char *wanted) {
    for (size_t i = 0; i < models.count; i++) {
        char hex[2 * DIGEST + 1];
        for (int k = 0; k < DIGEST; k++) sprintf(hex + 2 * k, "%02x", models.files[i]->digest[k]);
        if (is_string(wanted, hex)) return models.files[i];
    }
    fail("the tables of this model are not in the folders of models");
}

static const nz_engine *engine;

static const nz_model *load_model(file *f) {
    if (f->model) return f->model;
    const char *about = at_file;
    at_file = f->path;
    header *h = open_header(f);
    const char *wanted = meta(h, "tables");
    nz_weights w;
    memset(&w, 0, sizeof w);
    int64_t shape[3];
    if (numbers(member(member(space(h->text), "gates"), "shape"), shape, 3) != 3) fail("no network, only tables");
    int64_t blocks = shape[0], n = shape[2];
    if (n < 16 || n > 4096 || n % 16 || blocks < 1 || blocks > NZ_MAX_BLOCKS) fail("a shape outside the format's limits");
    const file *tables = wanted ? holder(wanted) : f;
    at_file = tables->path;
    read_tables(tables, &w.tables);
    at_file = f->path;
    w.hidden = (int)n;
    w.blocks = (int)blocks;
    w.enter.weights = (const int8_t *)tensor(h, "enter", "I8", n, w.tables.embed, 0);
    w.gates.weights = (const int8_t *)tensor(h, "gates", "I8", blocks, 3 * n, n);
    w.leave.weights = (const int8_t *)tensor(h, "leave", "I8", blocks, n, n);
    w.out.weights = (const int8_t *)tensor(h, "out", "I8", 256, n + w.tables.embed, 0);
    int32_t *own[] = {words(h, "enter_mult", n, 0), words(h, "enter_bias", n, 0), words(h, "gates_mult", blocks, 3 * n),
                      words(h, "gates_bias", blocks, 3 * n), words(h, "leave_mult", blocks, n),
                      words(h, "out_mult", 256, 0), words(h, "out_bias", 256, 0)};
    w.enter.mult = own[0], w.enter.bias = own[1];
    w.gates.mult = own[2], w.gates.bias = own[3];
    w.leave.mult = own[4];
    w.out.mult = own[5], w.out.bias = own[6];
    int bad = 0;
    f->model = nz_model_new(&w, engine, &bad);
    if (bad) fail("a weight outside its range");
    need(f->model);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
    free(h);
    at_file = about;
    return f->model;
}

static void add_models(const char *folder_path, int must_be_there) {
    DIR *dir = opendir(folder_path);
    if (!dir && must_be_there) fail("%s: %s", folder_path, strerror(errno));
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".safetensors") != 0) continue;
        char *path = need(malloc(strlen(folder_path) + strlen(entry->d_name) + 2));
        sprintf(path, "%s/%s", folder_path, entry->d_name);
        file *f = add(&models, path);
        sha256(f->data, f->size, f->digest);
        free(path);
    }
    if (dir) closedir(dir);
}

/* All models, once a frame needs one: from the given folders, else from the usual ones. */
static void find_models(char **folders, int count) {
    const char *about = at_file, *more = getenv("NZIP_MODEL_PATH");
    if (models.count) return;
    for (int i = 0; i < count; i++) add_models(folders[i], 1);
    while (!count && more && *more) {
        const char *end = strchr(more, PATH_SEPARATOR);
        size_t length = end ? (size_t)(end - more) : strlen(more);
        char *path = need(calloc(1, length + 1));
        memcpy(path, more, length);
        if (length) add_models(path, 0);
        free(path);
        more = end ? end + 1 : NULL;
    }
    if (!count) add_models(NZ_MODELS, 0);
    at_file = about;
}

static void add_prior(const char *path) {
    file *f = add(&priors, path);
    if (f->size >= 8 && memcmp(f->data, "\x8fNP\x10", 4) == 0) { /* a prior file; any other is samples */
        if (crc32(f->data + 8, f->size - 8, 0) != load32(f->data + 4)) fail("the prior is damaged (its checksum does not match)");
        f->data += 8;
        f->size -= 8;
    }
    if (f->size < 1 || f->size > MAX_PRIOR) fail("a prior has 1 to %u bytes", MAX_PRIOR);
    sha256(f->data, f->size, f->digest);
    at_file = NULL;
}

/* ---- Frames -------------------------------------------------------------------------------- */

typedef struct {
    uint8_t head[10]; /* the frame header */
    size_t head_size;
    int coding, window, reset_every;
    const uint8_t *model_prefix, *prior_prefix; /* in head, or NULL */
    file *model, *prior;                        /* once the first block's CRC has told */
} frame;

static FILE *input;
static char **model_folders;
static int model_folder_count;

static void get(void *out, size_t n) {
    if (fread(out, 1, n, input) == n) return;
    if (ferror(input)) fail("%s", strerror(errno));
    fail("the input ends inside a frame");
}

static uint32_t get_varint(uint8_t *head, size_t *at) {
    uint32_t value = 0;
    for (int group = 0; group < 4; group++) {
        uint8_t *byte = head + (*at)++;
        get(byte, 1);
        value |= (uint32_t)(*byte & 127) << (7 * group);
        if (*byte < 128) {
            if (*byte == 0 && group) fail("a number in a block header is longer than it need be");
            return value;
        }
    }
    fail("a number in a block header is too large");
}

/* What follows the magic. */
static void get_header(frame *f) {
    get(f->head + 3, 1);
    f->head_size = 4;
    f->coding = f->head[3] & 15;
    if (f->head[3] >> 4 != VERSION) fail("format version %d; this unnzip reads version %d", f->head[3] >> 4, VERSION);
    int behind = f->coding > WITH_PRIOR && f->coding - WITH_PRIOR <= NZ_DEEP;
    if (behind) f->coding -= WITH_PRIOR;
    if (f->coding < NZ_LIGHT || f->coding > PLAIN) fail("unknown coding %d", f->head[3] & 15);
    if (f->coding != STATIC) {
        f->model_prefix = f->head + f->head_size;
        get(f->head + f->head_size, 2);
        f->head_size += 2;
    }
    if (behind) {
        f->prior_prefix = f->head + f->head_size;
        get(f->head + f->head_size, 2);
        f->head_size += 2;
    }
    f->reset_every = 1;
    if (f->coding != EQINFO) return;
    get(f->head + f->head_size++, 1);
    f->window = f->head[f->head_size - 1] & 127;
    if (f->head[f->head_size - 1] & 128) {
        get(f->head + f->head_size++, 1);
        f->reset_every = f->head[f->head_size - 1];
        if (f->reset_every == 1) fail("a reset at each window is not to be stated");
    }
    if (f->window < 8 || f->window > 64) fail("a window of %d bits (allowed: 8 to 64)", f->window);
}

static uint32_t block_crc(const frame *f, const file *model, const file *prior, uint32_t index, const uint8_t *head,
                          size_t head_size, const uint8_t *payload, size_t size) {
    const uint8_t number[4] = {(uint8_t)index, (uint8_t)(index >> 8), (uint8_t)(index >> 16), (uint8_t)(index >> 24)};
    uint32_t crc = model ? crc32(model->digest, DIGEST, 0) : 0;
    if (prior) crc = crc32(prior->digest, DIGEST, crc);
    crc = crc32(number, 4, crc32(f->head, f->head_size, crc));
    return crc32(payload, size, crc32(head, head_size, crc));
}

/* Those of some files whose digests begin with two bytes; the first `*count` of `found`. */
static file **with_prefix(const folder *all, const uint8_t *prefix, size_t *count) {
    file **found = need(calloc(all->count + 1, sizeof *found));
    *count = prefix ? 0 : 1; /* none is what is wanted */
    for (size_t i = 0; prefix && i < all->count; i++)
        if (memcmp(all->files[i]->digest, prefix, 2) == 0) found[(*count)++] = all->files[i];
    return found;
}

/* Finds the model and the prior with which a block's CRC agrees, or is content with those of the block before. */
static void check_block(frame *f, uint32_t index, const uint8_t *head, size_t head_size, const uint8_t *payload,
                        size_t size, uint32_t crc) {
    int agrees = 0;
    if (index == 0) {
        size_t model_count, prior_count;
        if (f->model_prefix) find_models(model_folders, model_folder_count);
        file **m = with_prefix(&models, f->model_prefix, &model_count), **p = with_prefix(&priors, f->prior_prefix, &prior_count);
        if (!model_count)
            fail("the model %02x%02x... that this was compressed with is not in the folders of models (-m)",
                 f->model_prefix[0], f->model_prefix[1]);
        if (!prior_count)
            fail("this was compressed with the prior %02x%02x..., which is not given (-D)", f->prior_prefix[0], f->prior_prefix[1]);
        for (size_t i = 0; i < model_count * prior_count && !agrees; i++) {
            f->model = m[i / prior_count];
            f->prior = p[i % prior_count];
            agrees = block_crc(f, f->model, f->prior, 0, head, head_size, payload, size) == crc;
        }
        free(m);
        free(p);
    } else {
        agrees = block_crc(f, f->model, f->prior, index, head, head_size, payload, size) == crc;
    }
    if (!agrees) fail("a block is damaged (its CRC does not match)");
}

static const nz_trie *dictionary(file *model, int width) {
    if (!model->tries[width]) {
        uint32_t count = (uint32_t)nz_window_codewords(width);
        nz_trie *trie = model->tries[width] = need(malloc(sizeof *trie));
        uint16_t *length = need(malloc(count * sizeof *length));
        uint8_t *last = need(malloc(count));
        int rc = engine->eqinfo_tree(load_model(model), width, length, last, NULL);
        if (rc == NZ_OK && (rc = nz_trie_build(trie, count, length, last)) == -1) rc = NZ_FAILED_MEMORY;
        if (rc == NZ_FAILED_MEMORY) need(NULL);
        if (rc != NZ_OK) fail("%s: its windows are too long", model->path);
        free(length);
        free(last);
    }
    return model->tries[width];
}

static void decode(frame *f, int type, const uint8_t *in, size_t length, uint8_t *text, size_t size) {
    int rc = NZ_OK, profile = f->coding == PLAIN ? NZ_NONE : f->coding;
    if (type == STORED) {
        memcpy(text, in, size);
    } else if (type == RUN) {
        memset(text, in[0], size);
    } else if (type == WITHOUT_M1) {
        if (f->coding > NZ_DEEP) fail("a block of type %d in a frame without mixing", type);
        rc = engine->ac_decode(NULL, profile, in, length, text, size, 0, NULL);
    } else if (f->coding == STATIC) {
        rc = nz_static_decode(in, length, text, size);
        rc = rc == -2 ? NZ_FAILED_MEMORY : rc ? NZ_BAD_CODE : NZ_OK;
    } else if (f->coding == EQINFO && f->reset_every == 1 && f->window <= MAX_TREE) {
        rc = nz_trie_decode_bits(dictionary(f->model, f->window), in, length, f->window, text, size) ? NZ_BAD_CODE : NZ_OK;
    } else if (f->coding == EQINFO) {
        uint8_t *made;
        size_t n;
        rc = engine->eqinfo_decode(load_model(f->model), f->window, f->reset_every, in, length, size, &made, &n, NULL);
        if (rc == NZ_OK && n != size) rc = NZ_BAD_CODE;
        else if (rc == NZ_OK) memcpy(text, made, size), free(made);
    } else if (f->prior) {
        nz_warm *warm = engine->ac_warm(load_model(f->model), profile, f->prior->data, f->prior->size, size, NULL, &rc);
        if (warm) rc = engine->ac_warm_decode(warm, in, length, text, size, 0, NULL);
        engine->ac_warm_free(warm);
    } else {
        rc = engine->ac_decode(load_model(f->model), profile, in, length, text, size, 0, NULL);
    }
    if (rc == NZ_FAILED_MEMORY) need(NULL);
    if (rc != NZ_OK) fail("a block that no encoder writes");
}

static void put(const uint8_t *text, size_t size) {
    if (fwrite(text, 1, size, stdout) != size) at_file = NULL, fail("standard output: %s", strerror(errno));
}

/* A frame whose magic was read. The last block is held back until the content's checksum has been seen. */
static void decode_frame(const uint8_t magic[3]) {
    frame f = {{0}, 0, 0, 0, 0, NULL, NULL, NULL, NULL};
    uint64_t total = 0;
    uint32_t crc = 0;
    int last = 0;
    memcpy(f.head, magic, 3);
    get_header(&f);
    for (uint32_t index = 0; !last; index++) {
        uint8_t head[8], check[4];
        size_t head_size = 0;
        uint32_t value = get_varint(head, &head_size), size = value >> 3;
        int type = value >> 1 & 3;
        last = value & 1;
        if (size > MAX_BLOCK) fail("a block of %u bytes (allowed: %u)", size, MAX_BLOCK);
        size_t length = type == RUN ? 1 : size;
        if (type == CODED || type == WITHOUT_M1) {
            length = get_varint(head, &head_size);
            if (length >= size) fail("a coded block that is not shorter than its content");
        }
        if (size == 0 && !(last && type == STORED)) fail("an empty block that is not the last one");
        get(check, 4);
        uint8_t *payload = need(malloc(length + 1)), *text = need(malloc(size + 1));
        get(payload, length);
        check_block(&f, index, head, head_size, payload, length, load32(check));
        decode(&f, type, payload, length, text, size);
        crc = crc32(text, size, crc);
        total += size;
        if (last) {
            memset(check, 0, sizeof check);
            get(check, total < SHORT_CHECK ? 2 : 4);
            if (load32(check) != (total < SHORT_CHECK ? crc & 0xffff : crc)) fail("the content's checksum does not match");
        }
        put(text, size);
        free(payload);
        free(text);
    }
}

static void decode_input(void) {
    for (int frames = 0;; frames++) {
        uint8_t start[4], buffer[1 << 12];
        size_t got = fread(start, 1, 3, input);
        if (ferror(input)) fail("%s", strerror(errno));
        if (!got && frames) return;
        if (!got) fail("the input is empty");
        if (frames && start[0] == 0) { /* tapes and block devices pad with zeros */
            memcpy(buffer, start, got);
            do {
                for (size_t i = 0; i < got; i++)
                    if (buffer[i]) fail("garbage behind the last frame");
            } while ((got = fread(buffer, 1, sizeof buffer, input)));
            if (ferror(input)) fail("%s", strerror(errno));
            return;
        }
        if (memcmp(start, "\x8fNZ", got) == 0) {
            if (got < 3) fail("the input ends inside a frame");
            decode_frame(start);
            continue;
        }
        if (got < 3 || start[0] >> 4 != 5 || memcmp(start + 1, "\x2a\x4d", 2) != 0 || fread(start + 3, 1, 1, input) != 1 ||
            start[3] != 0x18)
            fail(frames ? "garbage behind the last frame" : "not an nzip file");
        get(start, 4);
        for (uint32_t left = load32(start); left;) { /* a skippable frame */
            size_t part = left < sizeof buffer ? left : sizeof buffer;
            get(buffer, part);
            left -= (uint32_t)part;
        }
    }
}

int main(int argc, char **argv) {
    int at = 1;
    model_folders = need(calloc((size_t)argc + 1, sizeof *model_folders));
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
            fprintf(stderr, "unnzip: %s is not an option, or lacks its value (see unnzip -h)\n", option);
            return 2;
        }
        at++;
        if (option[1] == 'm') model_folders[model_folder_count++] = argv[at];
        else add_prior(argv[at]);
    }
    engine = nz_engine_select(getenv("NZIP_KERNEL") && *getenv("NZIP_KERNEL") ? getenv("NZIP_KERNEL") : NULL);
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
