/* The predictor and the block codecs of `ac` and `eqinfo`. docs/format.md and nzip/reference.py
   specify their arithmetic. The same source is compiled once for each instruction set
   (engine.inc). */
#ifndef NZ_ENGINE_H
#define NZ_ENGINE_H

#include "common.h"
#include "trail.h"

#define NZ_MAX_BLOCKS 8
#define NZ_MAX_EMBED 256
#define NZ_MAX_COLUMNS (4096 + NZ_MAX_EMBED) /* of a matrix */
#define NZ_MAX_LANES 8
#define NZ_ROWS 16       /* rows packed together: a tile */
#define NZ_TILES 17      /* of the output layer: one for the first nibble, 16 for the second */
#define NZ_ACT_ZERO 64   /* an activation q in -63..63 is stored as q + 64 */
#define NZ_ACT_MAX 63
#define NZ_WEIGHT_MAX 63
/* accumulator * mult + bias, shifted right by this, is Q8; Q4 for the units, which with steps of
   1/256 left the range of int16 in long training runs */
#define NZ_SCALE_SHIFT 12
#define NZ_LOGIT_MAX 3071 /* logits are Q8, so +-12 */
#define NZ_GATE_MAX 2047  /* the arguments of the gates' sigmoid are Q8, so +-8 */
#define NZ_VALUE_MAX 511  /* a unit's input is Q8, so +-2 */
#define NZ_H_FACTOR 84    /* Q13 times this, shifted right by 15, is in steps of 1/21 */

#define NZ_BUCKET 64      /* bytes of a bucket of the tables: a cache line */
#define NZ_ROW_ZERO 8     /* a row's value q in -8..7 is stored as q + 8 */
#define NZ_ROW_SHIFT 4    /* q times the row's scale is in 1/16 of an activation's step */

/* What is mixed with M1: nothing, or models that learn from the block. The numbers are part of the
   format. */
enum { NZ_NONE, NZ_LIGHT, NZ_FULL, NZ_DEEP, NZ_PROFILES };

#define NZ_COUNT_MAX 255 /* of a map of mixing, except in NZ_LIGHT, whose maps have no counts */

/* The rows of the contexts. A bucket holds `ways` numbers of 16 bits, little-endian, that identify
   the owners of its rows, then the rows. A row is a signed 8-bit scale and embed / 2 bytes; byte j
   has value j in its low half and value j + embed / 2 in its high half. `absent` has a row for each
   context, used when it owns none. */
typedef struct {
    int contexts, ways, embed;
    uint32_t buckets;
    int context[NZ_MAX_CONTEXTS];
    const uint8_t *lines;  /* [buckets][NZ_BUCKET] */
    const uint8_t *absent; /* [contexts][1 + embed / 2] */
} nz_tables;

/* A matrix packed for the kernel: weights int8 [rows / 16][columns / 4][16][4], or int16
   [rows][columns] for a `wide` engine; the zero point is folded into bias. */
typedef struct {
    int rows, columns;
    int8_t *weights;
    int32_t *mult, *bias;
} nz_matrix;

/* What mixing in a profile begins with instead of its defaults, learned from other texts. */
typedef struct {
    const int16_t *weights; /* [rows][width], set after set; NULL: the defaults */
    const uint32_t *maps; /* [maps]: of the contexts, the matches, the runs */
} nz_start;

typedef struct {
    int rows, width, maps;
} nz_start_shape;

typedef struct {
    int hidden, blocks, embed, width; /* width = hidden + embed */
    nz_start start[NZ_PROFILES];
    nz_tables tables;
    nz_matrix enter, gates[NZ_MAX_BLOCKS], leave[NZ_MAX_BLOCKS];
    nz_matrix out; /* NZ_TILES tiles: the first nibble's tree, then a tree after each one */
    void *memory;
    int ahead; /* M1 may run ahead of the text on guesses: same bits, less time */
} nz_model;

/* Long work polls this to learn whether to continue. */
typedef struct {
    int (*poll)(void *context, size_t done); /* done: bytes of text so far; returns 0 to continue */
    void *context;
} nz_watch;

/* Bytes of text, or steps of M1, between polls: a few hundredths of a second at most. */
#define NZ_POLL 512

/* What the functions below return if they did not finish: as sizes, and as codes. */
#define NZ_NO_ROOM SIZE_MAX
#define NZ_NO_MEMORY (SIZE_MAX - 1)
#define NZ_STOPPED (SIZE_MAX - 2)
enum { NZ_OK = 0, NZ_FAILED_MEMORY = -1, NZ_BAD_CODE = -2, NZ_GAVE_UP = -3 };

/* A model and mixing that have read a prior, for blocks of n bytes for which n plus the prior's
   size rounds up to the same power of two. Only one thread may use it at a time. */
typedef struct nz_warm nz_warm;

typedef struct {
    const char *name;
    int wide; /* takes the weights as int16 */
    /* Encodes a block; returns the code's size. The model may be NULL unless profile is NZ_NONE. */
    size_t (*ac_encode)(const nz_model *, int profile, const uint8_t *text, size_t n, uint8_t *out,
                        size_t capacity, const nz_watch *);
    /* known: how many bytes at the start of `text` are already there; the code is for the rest. */
    int (*ac_decode)(const nz_model *, int profile, const uint8_t *in, size_t size, uint8_t *text,
                     size_t n, size_t known, const nz_watch *);
    /* The probability, 1..65535 of 65536, that each bit of a block is a one: uint16 [n][8]. */
    int (*ac_probabilities)(const nz_model *, int profile, const uint8_t *text, size_t n,
                            uint16_t *out, const nz_watch *);
    nz_start_shape (*start_shape)(int profile);
    /* Reads a text, beginning with `weights` and `maps`, or if `fresh` as a block begins, and
       replaces them with what mixing has learned. */
    int (*ac_learn)(const nz_model *, int profile, const uint8_t *text, size_t n, int16_t *weights,
                    uint32_t *maps, int fresh, const nz_watch *);
    /* M1 is reset at every reset_every-th window; 0: only at the first. starts, if not NULL, has
       room for n numbers and receives the position in the text where each window begins. */
    size_t (*eqinfo_encode)(const nz_model *, int width, int reset_every, const uint8_t *text,
                            size_t n, uint8_t *out, size_t capacity, uint32_t *starts,
                            const nz_watch *);
    /* Allocates *text with malloc and sets *n to its size, at most `limit`. NZ_BAD_CODE: more than
       that, or eqinfo_encode cannot have written the code. */
    int (*eqinfo_decode)(const nz_model *, int width, int reset_every, const uint8_t *in,
                         size_t size, size_t limit, uint8_t **text, size_t *n, const nz_watch *);
    /* All windows of a width of at most 20 bits: the length and the last byte of each codeword's
       string (trie.h), nz_window_codewords(width) of them. NZ_BAD_CODE: a string is too long. */
    int (*eqinfo_tree)(const nz_model *, int width, uint16_t *length, uint8_t *byte,
                       const nz_watch *);
    /* M1's node logits (Q8) at each byte of a text: int16 [n][256], entry 0 unused; and with one
       lane its outputs, from which they are made: [n][width]. Each may be NULL. */
    int (*logits)(const nz_model *, const uint8_t *text, size_t n, int lanes, int16_t *out,
                  uint8_t *outputs, const nz_watch *);
    /* Reads a prior of n bytes, for blocks like one of `block` bytes; if it returns NULL, *rc says
       why. With `keep` coding a block leaves the nz_warm unchanged; without, it can only be
       freed. */
    nz_warm *(*ac_warm)(const nz_model *, int profile, const uint8_t *prior, size_t n, size_t block,
                        const nz_watch *, int *rc);
    void (*ac_warm_free)(nz_warm *);
    size_t (*ac_warm_encode)(nz_warm *, const uint8_t *text, size_t n, uint8_t *out,
                             size_t capacity, int keep, const nz_watch *);
    int (*ac_warm_decode)(nz_warm *, const uint8_t *in, size_t size, uint8_t *text, size_t n,
                          int keep, const nz_watch *);
} nz_engine;

/* True if the work must be given up. Counts `steps` and polls at every NZ_POLL-th. */
NZ_INLINE int nz_stop(const nz_watch *watch, size_t *steps, size_t done) {
    return watch && ++*steps % NZ_POLL == 0 && watch->poll(watch->context, done) != 0;
}

extern const nz_engine nz_engine_portable, nz_engine_avx2, nz_engine_avx512, nz_engine_neon,
    nz_engine_dotprod;

/* The fastest engine for this CPU, or the one named ("portable", "avx2", "avx512", "neon",
   "dotprod"); NULL if that is unknown or cannot run here. */
const nz_engine *nz_engine_select(const char *name);

/* Whether a block looks like x86 code, and the filter for it, in both directions, in place. Part of
   the format. */
int nz_is_x86(const uint8_t *text, size_t n);
void nz_x86_filter(uint8_t *text, size_t n, int encode);

/* Whether a block has at least four lines and all end with CR LF. nz_drop_cr removes each such CR
   and returns how many of n bytes are left; nz_add_cr turns the first m bytes back into n, in
   place. Part of the format. */
int nz_has_crlf(const uint8_t *text, size_t n);
size_t nz_drop_cr(const uint8_t *text, size_t n, uint8_t *out);
void nz_add_cr(uint8_t *text, size_t m, size_t n);

/* Requests large pages for new memory that will be read at random; does nothing for NULL. With them
   mixing took 2.0-2.4 instead of 2.3-3.2 microseconds a byte (docs/experiments.md, "Mixing
   before"). */
void nz_huge_pages(void *memory, size_t size);

/* The number of lanes of a block of n bytes, and where lane `lane` of `lanes` starts. Part of the
   format. With mixing a block is one lane: 8 lanes would save a fifth of M1's time, but cost 2.4 to
   4 % of the output, because what is learned at distant places dilutes the tables. */
int nz_block_lanes(size_t n, int profile);
size_t nz_lane_start(size_t n, int lanes, int lane);

/* Weights [..., rows][columns], with a scale and a bias (or NULL for none) per row. */
typedef struct {
    const int8_t *weights;
    const int32_t *mult, *bias;
} nz_layer;

/* The contents of a model file. */
typedef struct {
    int hidden, blocks;
    nz_tables tables;
    nz_layer enter; /* [hidden][embed] */
    nz_layer gates; /* [blocks][3 hidden][hidden] */
    nz_layer leave; /* [blocks][hidden][hidden] */
    nz_layer out; /* [256][hidden + embed] */
    nz_start start[NZ_PROFILES];
} nz_weights;

/* Packs a model for an engine. Returns NULL without memory, or with *bad set if a number is out of
   range. The tables are not copied and must outlive the model. */
nz_model *nz_model_new(const nz_weights *, const nz_engine *, int *bad);
void nz_model_free(nz_model *);

#endif
