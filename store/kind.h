/*
 * kind.h - what a kind of store must do; store.c does the rest (hashing, limits, whole reads) once for all of them.
 *
 * Private to store/ and its tests.
 */
#ifndef STORE_KIND_H
#define STORE_KIND_H

#include "store/store.h"

struct store_kind {
    void (*close)(struct store *store);
    /* Items whose digests were checked. */
    enum err (*put)(struct store *store, const struct store_item *items, size_t count, struct error *error);
    /* ERR_NOT_FOUND with a sentence. */
    enum err (*size)(uint64_t *size, struct store *store, const struct digest *digest, struct error *error);
    /* Append up to `size` bytes from `offset`. */
    enum err (*read)(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset, size_t size,
                     struct error *error);
    /* Take a damaged object out of sight. False: it stays where it is. */
    bool (*set_aside)(struct store *store, const struct digest *digest);
    char *(*path)(struct store *store, const struct digest *digest);
    uint64_t (*free_bytes)(struct store *store);
    enum err (*list)(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size),
                     void *context, struct error *error);

    /* The kind's own struct begins with a struct store_upload, which store.c fills. */
    enum err (*upload_begin)(struct store_upload **upload, struct store *store, const struct digest *digest,
                             struct error *error);
    enum err (*upload_add)(struct store_upload *upload, const void *data, size_t size, struct error *error);
    enum err (*upload_commit)(struct store_upload *upload, struct error *error); /* frees nothing */
    void (*upload_free)(struct store_upload *upload);                            /* and what it left behind */
};

/* Every kind's own struct begins with this. */
struct store {
    const struct store_kind *kind;
};

struct store_upload {
    struct store *store;
    struct digest digest;
    uint64_t total, received;
    struct hasher hasher;
};

enum err mem_open(struct store **store, struct error *error);

#endif
