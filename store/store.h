/*
 * store.h - objects by digest: plain bytes under their SHA-256, written once, never changed.
 *
 * On the file system: DIR/objects/sha256/ab/<64 hex>, files that any tool opens. A group is made durable together:
 * temp files in DIR/tmp, syncfs, renames, syncfs. A crash at any moment leaves whole objects and stray temp files, which
 * the next store_open removes. Reads verify. Thread-safe: one handle may be used from several threads.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

struct store;

/* "mem:" for one in memory (tests), else a folder, made if missing. The folder is locked by the process that holds it open
 * for writing (flock on DIR/lock, with pid and host written in it): a second one is refused by name. DIR/seedfarm-store
 * holds the version of the layout; a folder that holds other things and no such file is refused, untouched (a farm's own
 * files, coordinator.* worker* farm.* ledger*, may be there first). */
MUST_USE enum err store_open(struct store **store, const char *where, struct error *error);
/* Reading only, no lock: command-line tools beside a running farm. Never changes the folder: puts are ERR_INVALID, and a
 * damaged object is named but stays where it is. ERR_NOT_FOUND where there is no store. */
MUST_USE enum err store_open_reader(struct store **store, const char *where, struct error *error);
void store_close(struct store *store);

struct store_item {
    struct digest digest; /* SHA-256 of data, which the caller has computed: it is not computed again */
    const void *data;
    size_t size;
};
/* All of them, durable when this returns ERR_OK; after an error none is promised. Items that are already there cost a touch
 * (their mtime is renewed, for gc). ERR_NO_SPACE when the disk is full: nothing half-written stays. */
MUST_USE enum err store_put(struct store *store, const struct store_item *items, size_t count, struct error *error);

bool store_has(struct store *store, const struct digest *digest);
MUST_USE enum err store_size(uint64_t *size, struct store *store, const struct digest *digest, struct error *error);
/* The whole object, hash verified. ERR_NOT_FOUND; ERR_CORRUPT moves the file to DIR/damaged and says so. */
MUST_USE enum err store_get(struct bytes *out, struct store *store, const struct digest *digest, size_t limit,
                            struct error *error);
/* A piece of it, not verified (the receiver verifies the whole); less than `size` bytes at its end. */
MUST_USE enum err store_read(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset,
                             size_t size, struct error *error);
/* Where the object is or would be, as a file path (fs only; NULL for mem). Owned by the caller. */
char *store_path(struct store *store, const struct digest *digest);

/* An object that comes in pieces (uploads): hashed on the way, committed only if the digest is right. */
struct store_upload;
MUST_USE enum err store_upload_begin(struct store_upload **upload, struct store *store, const struct digest *digest,
                                     uint64_t total, struct error *error);
MUST_USE enum err store_upload_add(struct store_upload *upload, const void *data, size_t size, struct error *error);
/* Durable on success. Frees the upload either way. */
MUST_USE enum err store_upload_commit(struct store_upload *upload, struct error *error);
void store_upload_abort(struct store_upload *upload);

/* Bytes free for new objects on its file system (0 where it does not answer); UINT64_MAX for mem. */
uint64_t store_free_bytes(struct store *store);

/* Every object's digest and size in order of digest; `each` returns false to stop. Files whose names are no digest are
 * passed over. */
MUST_USE enum err store_list(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size),
                             void *context, struct error *error);
/* Re-hash everything; `bad` is told of each damaged object (already moved aside, but by
 * a reader). */
MUST_USE enum err store_verify(uint64_t *checked, struct store *store,
                               void (*bad)(void *context, const struct digest *digest, const char *why), void *context,
                               struct error *error);

#endif
