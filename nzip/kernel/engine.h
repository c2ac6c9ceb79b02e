/* The predictor and the block codecs of `ac` and `eqinfo`. Arithmetic: docs/format.md and
   nzip/reference.py. The same source is compiled once for each instruction set (engine.inc). */
#ifndef NZ_ENGINE_H
#define NZ_ENGINE_H

#include "common.h"

#define NZ_MAX_ORDERS 8
#define NZ_MAX_LANES 8
#define NZ_ROWS 16       /* gate rows that are packed together */
#define NZ_ACT_ZERO 64   /* an activation q in -63..63 is stored as q + 64 */
#define NZ_ACT_MAX 63
#define NZ_WEIGHT_MAX 63
#define NZ_SCALE_SHIFT 12 /* accumulator * mult + bias, then this shift, is a Q8 number */
#define NZ_SLOT_SCALE 16  /* slot entries are Q4 */
#define NZ_LOGIT_MAX 3071 /* logits are Q8, so +-12 */
#define NZ_GATE_MAX 2047  /* the arguments of the gate tables are Q8, so +-8 */

typedef struct {
    int hidden, embed, width; /* width = hidden + embed */
    int orders;
    int order[NZ_MAX_ORDERS], table_bits[NZ_MAX_ORDERS];
    const int8_t *table[NZ_MAX_ORDERS]; /* [2^bits][embed] */
    int slot_orders;
    int slot_order[NZ_MAX_ORDERS], slot_bits[NZ_MAX_ORDERS];
    const int8_t *slots[NZ_MAX_ORDERS]; /* [2^bits][16]: check byte, 15 logits (Q4) */
    int8_t *gates;                      /* [4 hidden / 16][width / 4][16][4] */
    int32_t *gate_mult, *gate_bias;     /* [4 hidden], the zero point folded in */
    int8_t *out;                        /* [256][width] */
    int32_t *out_mult, *out_bias;       /* [256] */
    void *memory;
} nz_model;

typedef struct {
    const char *name;
    /* Encodes a block; returns its size or SIZE_MAX if it did not fit. model may be NULL, then
       only the adaptive predictor works; adapt 0 leaves it out. */
    size_t (*ac_encode)(const nz_model *, int adapt, const uint8_t *text, size_t n, uint8_t *out, size_t capacity);
    /* known: bytes at the start of `text` that are there already; the code is of what follows. */
    int (*ac_decode)(const nz_model *, int adapt, const uint8_t *in, size_t size, uint8_t *text, size_t n,
                     size_t known);
    /* Probability (1..65535) of a one at each bit of a block: uint16 [n][8]. */
    int (*ac_probabilities)(const nz_model *, int adapt, const uint8_t *text, size_t n, uint16_t *out);
    size_t (*eqinfo_encode)(const nz_model *, int width, const uint8_t *text, size_t n, uint8_t *out, size_t capacity);
    int (*eqinfo_decode)(const nz_model *, int width, const uint8_t *in, size_t size, uint8_t *text, size_t n);
    /* Node logits (Q8) that M1 gives at each byte of a text: int16 [n][256], entry 0 unused. */
    int (*logits)(const nz_model *, const uint8_t *text, size_t n, int lanes, int16_t *out);
} nz_engine;

extern const nz_engine nz_engine_portable, nz_engine_avx2, nz_engine_avx512;

/* The fastest engine that this CPU runs, or the one named ("portable", "avx2", "avx512");
   NULL if it is unknown or cannot run here. */
const nz_engine *nz_engine_select(const char *name);

/* Lanes of a block of n bytes, and where lane `lane` of `lanes` starts. Part of the format. With the
   adaptive models a block is one lane: in several, what they learn is diluted by what stands far
   away, which costs more bytes than it saves time. */
int nz_block_lanes(size_t n, int adapt);
size_t nz_lane_start(size_t n, int lanes, int lane);

/* Tables that are looked up by the hash of the last order[i] bytes, with 2^bits[i] rows each; rows
   holds them one behind the other. */
typedef struct {
    int count;
    int order[NZ_MAX_ORDERS], bits[NZ_MAX_ORDERS];
    const int8_t *rows;
} nz_tables;

/* Rows of weights with the scale and bias of each. */
typedef struct {
    const int8_t *weights;
    const int32_t *mult, *bias;
} nz_layer;

/* Packs a model. The embedding table's rows are [embed], those of the slots [16]; gates int8
   [4 hidden][width] and out int8 [256][width], columns hidden first. Returns NULL without memory,
   and with *bad set for a number outside its range. The tables are not copied and must outlive
   the model. */
nz_model *nz_model_new(int hidden, int embed, const nz_tables *table, const nz_tables *slots,
                       const nz_layer *gates, const nz_layer *out, int *bad);
void nz_model_free(nz_model *);

#endif
