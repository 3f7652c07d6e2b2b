/* Digests of a chain, where the processor has instructions for them. */

#ifndef KIEL_LOGGING_SEAL_H
#define KIEL_LOGGING_SEAL_H

#include "accelerator.h"

#if defined(__GNUC__)
#pragma GCC visibility push(hidden)
#endif

enum { BLOCK_SIZE = 64, DIGEST_SIZE = 32 };

/* A SHA-256 that has begun. */
typedef struct {
    uint32_t state[8];
    uint64_t size;
    unsigned char rest[BLOCK_SIZE];
} Hash;

/* Makes the digests of one stream; or begins streams with a key, or without a key. */
typedef struct {
    PyObject_HEAD
    Hash inner, outer;
    char is_keyed;
} Seal;

extern PyTypeObject SEAL;

/* Whether the processor can. */
int can_seal(void);

/* Write the digest of a record. */
void seal_digest(const Seal *seal, const void *prev, size_t prev_size, const void *body,
                 size_t size, unsigned char digest[DIGEST_SIZE]);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif
