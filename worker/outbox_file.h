/*
 * outbox_file.h - the outbox's files: the pictures of a batch one behind the other, each behind a head that says what it is.
 *
 *     "seedfarm" | key | picture | pixels (32 bytes each) | milliseconds | size (u32, little-endian) | the picture's bytes
 *
 * A file is written once and removed once nothing in it is wanted any more. Nothing is synced: what a crash has torn does not
 * have the digest in its head, and is not taken for a picture.
 */
#ifndef WORKER_OUTBOX_FILE_H
#define WORKER_OUTBOX_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"

struct record {
    struct digest key, picture, pixels;
    uint32_t render_ms;
    size_t size;
    uint64_t offset;    /* of the picture's bytes in its file */
    const uint8_t *png; /* [size] to be written; not read back */
};

/* All records, at most LIMIT_BATCH, into a new file, or no file. Fills in their offsets. */
MUST_USE enum err outbox_file_write(const char *path, struct record *records, size_t count, struct error *error);

/* Calls `take` for every whole record, in order. ERR_CORRUPT where a torn or foreign one follows; what was before it is fine. */
MUST_USE enum err outbox_file_scan(const char *path, void (*take)(void *context, const struct record *record), void *context,
                                   struct error *error);

/* A record's picture, whole and with its digest. */
MUST_USE enum err outbox_file_read(struct bytes *png, const char *path, const struct record *record, struct error *error);

#endif
