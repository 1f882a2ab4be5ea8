/*
 * hash.h - SHA-256 (FIPS 180-4, by libcrypto) and the digest that names every object, job, sweep and model.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { DIGEST_SIZE = 32, DIGEST_HEX_SIZE = 65 /* with the NUL */ };

struct digest {
    uint8_t bytes[DIGEST_SIZE];
};

struct digest digest_of(const void *data, size_t size);
void digest_hex(const struct digest *digest, char hex[DIGEST_HEX_SIZE]);
MUST_USE bool digest_parse(struct digest *digest, const char *hex); /* 64 lower-case hex digits, nothing more */
bool digest_equal(const struct digest *a, const struct digest *b);
int digest_compare(const struct digest *a, const struct digest *b);
bool digest_is_zero(const struct digest *digest);

/* A hash over bytes that come in pieces. */
struct hasher {
    void *context;
};
void hasher_init(struct hasher *hasher);
void hasher_add(struct hasher *hasher, const void *data, size_t size);
struct digest hasher_finish(struct hasher *hasher); /* releases too */
void hasher_release(struct hasher *hasher);

/* SHA-256 of a whole file, read in pieces. */
MUST_USE enum err digest_of_file(struct digest *digest, uint64_t *size, const char *path, struct error *error);

#endif
