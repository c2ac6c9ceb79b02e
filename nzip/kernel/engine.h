/* The predictor and the block codecs of `ac` and `eqinfo`. Arithmetic: docs/format.md and
   nzip/reference.py. The same source is compiled once for each instruction set (engine.inc). */
#ifndef NZ_ENGINE_H
#define NZ_ENGINE_H

#include "common.h"
#include "trail.h"

#define NZ_MAX_BLOCKS 8
#define NZ_MAX_EMBED 256
#define NZ_MAX_COLUMNS (4096 + NZ_MAX_EMBED) /* of a matrix */
#define NZ_MAX_LANES 8
#define NZ_ROWS 16       /* rows that are packed together */
#define NZ_TILES 17      /* of the output layer */
#define NZ_ACT_ZERO 64   /* an activation q in -63..63 is stored as q + 64 */
#define NZ_ACT_MAX 63
#define NZ_WEIGHT_MAX 63
#define NZ_SCALE_SHIFT 12 /* accumulator * mult + bias, then this shift, is a Q8 number; Q4 for the units */
#define NZ_LOGIT_MAX 3071 /* logits are Q8, so +-12 */
#define NZ_GATE_MAX 2047  /* the arguments of the gate table are Q8, so +-8 */
#define NZ_VALUE_MAX 511  /* what a unit takes in, Q8, so +-2 */
#define NZ_H_FACTOR 84    /* Q13 times this, shifted by 15, is in steps of 1/21 */

#define NZ_BUCKET 64      /* bytes of a bucket of the tables: a cache line */
#define NZ_ROW_ZERO 8     /* a row's value q in -8..7 is stored as q + 8, */
#define NZ_ROW_SHIFT 4    /* and times the row's scale is in this part of an activation's step */

/* Rows of the contexts. A bucket holds `ways` numbers of 16 bits, little-endian, that tell its rows' owners,
   then the rows: a scale of 8 bits with a sign, and embed / 2 bytes, of which byte j has value j in its low
   half and value j + embed / 2 in its high one. A context that owns no row has one in `absent`. */
typedef struct {
    int contexts, ways, embed;
    uint32_t buckets;
    int context[NZ_MAX_CONTEXTS];
    const uint8_t *lines;  /* [buckets][NZ_BUCKET] */
    const uint8_t *absent; /* [contexts][1 + embed / 2] */
} nz_tables;

/* Packed for the kernel: weights [rows / 16][columns / 4][16][4], or int16 [rows][columns] for an engine that takes
   them so; the zero point folded into bias. */
typedef struct {
    int rows, columns;
    int8_t *weights;
    int32_t *mult, *bias;
} nz_matrix;

typedef struct {
    int hidden, blocks, embed, width; /* width = hidden + embed */
    nz_tables tables;
    nz_matrix enter, gates[NZ_MAX_BLOCKS], leave[NZ_MAX_BLOCKS];
    nz_matrix out; /* tiles of 16 rows: the nodes of the first nibble's tree, then those of each second one's */
    void *memory;
    int ahead; /* M1 may run ahead of the text on guesses: same bits, less time */
} nz_model;

/* Long work asks from time to time whether to go on. */
typedef struct {
    int (*poll)(void *context, size_t done); /* done: bytes of text. Not 0: give up */
    void *context;
} nz_watch;

#define NZ_POLL 512 /* bytes of text, or steps of M1, from one poll to the next: at most some hundredths of a second */

/* What the functions below return if they did not do all of their work. */
#define NZ_NO_ROOM SIZE_MAX /* sizes */
#define NZ_NO_MEMORY (SIZE_MAX - 1)
#define NZ_STOPPED (SIZE_MAX - 2)
enum { NZ_OK = 0, NZ_FAILED_MEMORY = -1, NZ_BAD_CODE = -2, NZ_GAVE_UP = -3 };

/* What is mixed with M1: nothing, or models that learn from the block. The numbers are part of the format. */
enum { NZ_NONE, NZ_LIGHT, NZ_FULL, NZ_DEEP };

/* A model and mixing that have read a prior, for blocks of n bytes whose n + prior rounds up to the same power of
   two. Not for two threads at once. */
typedef struct nz_warm nz_warm;

typedef struct {
    const char *name;
    int wide; /* takes the weights as int16 */
    /* Encodes a block; returns its size. model may be NULL unless profile is NZ_NONE. */
    size_t (*ac_encode)(const nz_model *, int profile, const uint8_t *text, size_t n, uint8_t *out, size_t capacity,
                        const nz_watch *);
    /* known: bytes at the start of `text` that are there already; the code is of what follows. */
    int (*ac_decode)(const nz_model *, int profile, const uint8_t *in, size_t size, uint8_t *text, size_t n,
                     size_t known, const nz_watch *);
    /* Probability (1..65535) of a one at each bit of a block: uint16 [n][8]. */
    int (*ac_probabilities)(const nz_model *, int profile, const uint8_t *text, size_t n, uint16_t *out, const nz_watch *);
    /* M1 starts afresh at every reset_every-th window; 0: only at the first. starts, if not NULL, has room for n
       numbers and gets the place in the text where each window begins. */
    size_t (*eqinfo_encode)(const nz_model *, int width, int reset_every, const uint8_t *text, size_t n, uint8_t *out, size_t capacity,
                            uint32_t *starts, const nz_watch *);
    /* *text: from malloc, *n bytes of it; at most `limit`. NZ_BAD_CODE: more than that, or not a code that
       eqinfo_encode writes. */
    int (*eqinfo_decode)(const nz_model *, int width, int reset_every, const uint8_t *in, size_t size, size_t limit,
                         uint8_t **text, size_t *n, const nz_watch *);
    /* All windows of a width of at most 20 bits: length and last byte of each codeword's string (trie.h),
       nz_window_codewords of them. NZ_BAD_CODE: a string is too long. */
    int (*eqinfo_tree)(const nz_model *, int width, uint16_t *length, uint8_t *byte, const nz_watch *);
    /* Node logits (Q8) that M1 gives at each byte of a text: int16 [n][256], entry 0 unused. */
    int (*logits)(const nz_model *, const uint8_t *text, size_t n, int lanes, int16_t *out, const nz_watch *);
    /* Reads a prior of n bytes, for blocks like one of `block` bytes; NULL: *rc says why. Blocks leave no
       trace; without `keep` they do, and it is spoiled. */
    nz_warm *(*ac_warm)(const nz_model *, int profile, const uint8_t *prior, size_t n, size_t block, const nz_watch *, int *rc);
    void (*ac_warm_free)(nz_warm *);
    size_t (*ac_warm_encode)(nz_warm *, const uint8_t *text, size_t n, uint8_t *out, size_t capacity, int keep,
                             const nz_watch *);
    int (*ac_warm_decode)(nz_warm *, const uint8_t *in, size_t size, uint8_t *text, size_t n, int keep, const nz_watch *);
} nz_engine;

/* True if the work is to be given up; asks at every NZ_POLL-th of the counted `steps`. */
NZ_INLINE int nz_stop(const nz_watch *watch, size_t *steps, size_t done) {
    return watch && ++*steps % NZ_POLL == 0 && watch->poll(watch->context, done) != 0;
}

extern const nz_engine nz_engine_portable, nz_engine_avx2, nz_engine_avx512, nz_engine_neon, nz_engine_dotprod;

/* The fastest engine that this CPU runs, or the one named ("portable", "avx2", "avx512", "neon", "dotprod");
   NULL if it is unknown or cannot run here. */
const nz_engine *nz_engine_select(const char *name);

/* Does a block look like x86 code? And the filter for it, both ways, in place. Part of the format. */
int nz_is_x86(const uint8_t *text, size_t n);
void nz_x86_filter(uint8_t *text, size_t n, int encode);

/* Has a block some lines, all of which end with CR LF? Dropping each such CR returns what is left of n
   bytes; adding them makes n bytes of the first m, in place. Part of the format. */
int nz_has_crlf(const uint8_t *text, size_t n);
size_t nz_drop_cr(const uint8_t *text, size_t n, uint8_t *out);
void nz_add_cr(uint8_t *text, size_t m, size_t n);

/* Asks for large pages under fresh memory that will be read at random (NULL: does nothing). */
void nz_huge_pages(void *memory, size_t size);

/* Lanes of a block of n bytes, and where lane `lane` of `lanes` starts. Part of the format. With the
   adaptive models a block is one lane: in several, what they learn is diluted by what stands far
   away, which costs more bytes than it saves time. */
int nz_block_lanes(size_t n, int profile);
size_t nz_lane_start(size_t n, int lanes, int lane);

/* Weights [..., rows][columns] with the scale and bias (or NULL) of each row. */
typedef struct {
    const int8_t *weights;
    const int32_t *mult, *bias;
} nz_layer;

/* A model file's numbers. */
typedef struct {
    int hidden, blocks;
    nz_tables tables;
    nz_layer enter; /* [hidden][embed] */
    nz_layer gates; /* [blocks][3 hidden][hidden] */
    nz_layer leave; /* [blocks][hidden][hidden] */
    nz_layer out;   /* [256][hidden + embed] */
} nz_weights;

/* Packs a model for an engine. Returns NULL without memory, and with *bad set for a number outside its range.
   The tables are not copied and must outlive the model. */
nz_model *nz_model_new(const nz_weights *, const nz_engine *, int *bad);
void nz_model_free(nz_model *);

#endif
