/* The contents of memory before a record changed it, so that the changes can be undone: bytes, then
   their place and number, from the first change to the last. */
#ifndef NZ_JOURNAL_H
#define NZ_JOURNAL_H

#include "common.h"

#include <string.h>

typedef struct {
    uint8_t *data, *end;
} journal;

typedef struct {
    uint8_t *at;
    size_t size;
} change;

/* Logs `size` bytes that are about to change. The journal, if any, has room. */
NZ_INLINE void note(journal *log, void *at, size_t size) {
    if (!log) return;
    const change c = {at, size};
    memcpy(log->end, at, size);
    memcpy(log->end + size, &c, sizeof c);
    log->end += size + sizeof c;
}

static void undo(journal *log) {
    while (log->end > log->data) {
        change c;
        log->end -= sizeof c;
        memcpy(&c, log->end, sizeof c);
        log->end -= c.size;
        memcpy(c.at, log->end, c.size);
    }
}

#endif
