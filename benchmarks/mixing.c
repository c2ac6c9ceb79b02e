/* Runs the mixing of a (modified) engine on logits that M1 computed before. ablation.py builds it
   with ENGINE, the path of engine.inc, and PROFILE defined. */
#include ENGINE

const nz_engine nz_engine_portable, nz_engine_avx2, nz_engine_avx512, nz_engine_neon,
    nz_engine_dotprod; /* model.c names them */

/* The probability (Q16) that each bit of a one-block text is a one: uint16 [n][8]. logits: int16
   [n][8] (Q8), or NULL to mix without M1. outputs: M1's, [n][width]. weights, maps: M1's start of
   mixing, or NULL. Returns 0, or -1 without memory. */
int mix(const uint8_t *text, size_t n, const int16_t *logits, const uint8_t *outputs, int width,
        const int16_t *weights, const uint32_t *maps, uint16_t *p1) {
    const nz_start start = {weights, maps};
    mixing *a = calloc(1, sizeof *a);
    int rc = a && mixing_init(a, text, n, logits ? &start : NULL, width, PROFILE) == 0 ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        mixing_begin(a, outputs + (size_t)width * i, PROFILE);
        for (int depth = 0; depth < 8; depth++) {
            p1[8 * i + (size_t)depth] = (uint16_t)mixing_predict(
                a, depth, logits ? logits[8 * i + (size_t)depth] : 0, PROFILE);
            mixing_update(a, depth, text[i] >> (7 - depth) & 1, PROFILE);
        }
        mixing_end(a, PROFILE);
    }
    if (a) mixing_free(a);
    free(a);
    return rc;
}
