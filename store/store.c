/*
 * store.c - what every kind of store shares: digests are checked on the way in and on the way out, limits held.
 */
#include "store/store.h"

#include <string.h>

#include "store/fs.h"
#include "store/kind.h"

enum { VERIFY_PIECE = 1 << 20 };

enum err store_open(struct store **store, const char *where, struct error *error) {
    if (strcmp(where, "mem:") == 0)
        return mem_open(store, error);
    return fs_open(store, where, &disk_real, error);
}

enum err store_open_reader(struct store **store, const char *where, struct error *error) {
    if (strcmp(where, "mem:") == 0)
        return error_set(error, ERR_INVALID, "store mem: lives in one process, nobody else can read it");
    return fs_open_reader(store, where, error);
}

void store_close(struct store *store) {
    if (store)
        store->kind->close(store);
}

static enum err mismatch(const char *what, const struct digest *want, const struct digest *have, struct error *error) {
    char want_hex[DIGEST_HEX_SIZE], have_hex[DIGEST_HEX_SIZE];
    digest_hex(want, want_hex);
    digest_hex(have, have_hex);
    return error_set(error, ERR_CORRUPT, "%s %s: its bytes have the digest %s", what, want_hex, have_hex);
}

enum err store_put(struct store *store, const struct store_item *items, size_t count, struct error *error) {
    return count ? store->kind->put(store, items, count, error) : ERR_OK;
}

bool store_has(struct store *store, const struct digest *digest) {
    uint64_t size;
    return store->kind->size(&size, store, digest, NULL) == ERR_OK;
}

enum err store_size(uint64_t *size, struct store *store, const struct digest *digest, struct error *error) {
    return store->kind->size(size, store, digest, error);
}

static enum err damaged(struct store *store, const struct digest *want, const struct digest *have, struct error *error) {
    bool moved = store->kind->set_aside(store, want);
    return mismatch(moved ? "damaged object (set aside)" : "damaged object (left in place)", want, have, error);
}

enum err store_get(struct bytes *out, struct store *store, const struct digest *digest, size_t limit,
                   struct error *error) {
    struct bytes content = BYTES_INIT;
    char hex[DIGEST_HEX_SIZE];
    uint64_t size;
    enum err err = store->kind->size(&size, store, digest, error);
    if (err)
        return err;
    digest_hex(digest, hex);
    if (size > limit)
        return error_set(error, ERR_LIMIT, "object %s: at most %zu bytes are read, it has %llu", hex, limit,
                         (unsigned long long)size);
    if ((err = store->kind->read(&content, store, digest, 0, (size_t)size, error)))
        goto done;
    struct digest found = digest_of(content.data, content.size);
    if (!digest_equal(&found, digest)) {
        err = damaged(store, digest, &found, error);
        goto done;
    }
    if (out->size == 0) {
        bytes_release(out);
        *out = bytes_take(&content);
    } else {
        bytes_add(out, content.data, content.size);
    }
done:
    bytes_release(&content);
    return err;
}

enum err store_read(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset, size_t size,
                    struct error *error) {
    uint64_t whole;
    enum err err = store->kind->size(&whole, store, digest, error);
    if (err)
        return err;
    if (offset >= whole)
        return ERR_OK;
    if (size > whole - offset) /* so that memory is taken for what is there, not for what was asked */
        size = (size_t)(whole - offset);
    return store->kind->read(out, store, digest, offset, size, error);
}

char *store_path(struct store *store, const struct digest *digest) {
    return store->kind->path(store, digest);
}

uint64_t store_free_bytes(struct store *store) {
    return store->kind->free_bytes(store);
}

/* ---- uploads ---------------------------------------------------------------------------------------------------------- */

enum err store_upload_begin(struct store_upload **upload, struct store *store, const struct digest *digest,
                            uint64_t total, struct error *error) {
    struct store_upload *begun;
    enum err err = store->kind->upload_begin(&begun, store, digest, error);
    if (err)
        return err;
    begun->store = store;
    begun->digest = *digest;
    begun->total = total;
    hasher_init(&begun->hasher);
    *upload = begun;
    return ERR_OK;
}

enum err store_upload_add(struct store_upload *upload, const void *data, size_t size, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    if (size > upload->total - upload->received) {
        digest_hex(&upload->digest, hex);
        return error_set(error, ERR_LIMIT, "upload of %s: want %llu bytes, %llu came", hex,
                         (unsigned long long)upload->total, (unsigned long long)upload->received + size);
    }
    enum err err = upload->store->kind->upload_add(upload, data, size, error);
    if (err)
        return err;
    hasher_add(&upload->hasher, data, size);
    upload->received += size;
    return ERR_OK;
}

enum err store_upload_commit(struct store_upload *upload, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    enum err err = ERR_OK;
    if (upload->received != upload->total) {
        digest_hex(&upload->digest, hex);
        err = error_set(error, ERR_CORRUPT, "upload of %s: want %llu bytes, only %llu came", hex,
                        (unsigned long long)upload->total, (unsigned long long)upload->received);
        goto done;
    }
    struct digest found = hasher_finish(&upload->hasher);
    if (!digest_equal(&found, &upload->digest)) {
        err = mismatch("upload of", &upload->digest, &found, error);
        goto done;
    }
    err = upload->store->kind->upload_commit(upload, error);
done:
    store_upload_abort(upload);
    return err;
}

void store_upload_abort(struct store_upload *upload) {
    if (!upload)
        return;
    hasher_release(&upload->hasher);
    upload->store->kind->upload_free(upload);
}

/* ---- all of them ------------------------------------------------------------------------------------------------------ */

enum err store_list(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size),
                    void *context, struct error *error) {
    return store->kind->list(store, each, context, error);
}

struct verification {
    struct store *store;
    void (*bad)(void *context, const struct digest *digest, const char *why);
    void *context;
    uint64_t checked;
};

static enum err verify_object(struct store *store, const struct digest *digest, struct error *error) {
    struct bytes piece = BYTES_INIT;
    struct hasher hasher;
    uint64_t offset = 0;
    enum err err;
    hasher_init(&hasher);
    do {
        bytes_clear(&piece);
        if ((err = store->kind->read(&piece, store, digest, offset, VERIFY_PIECE, error)))
            goto done;
        if (piece.size)
            hasher_add(&hasher, piece.data, piece.size);
        offset += piece.size;
    } while (piece.size == VERIFY_PIECE);
    struct digest found = hasher_finish(&hasher);
    if (!digest_equal(&found, digest))
        err = damaged(store, digest, &found, error);
done:
    hasher_release(&hasher);
    bytes_release(&piece);
    return err;
}

/* An object that cannot be read is as bad as one with wrong bytes: its disk is failing. One that went meanwhile is not. */
static bool verify_listed(void *context, const struct digest *digest, uint64_t size) {
    struct verification *run = context;
    struct error why;
    (void)size;
    enum err err = verify_object(run->store, digest, &why);
    if (err == ERR_NOT_FOUND)
        return true;
    run->checked++;
    if (err && run->bad)
        run->bad(run->context, digest, why.message);
    return true;
}

enum err store_verify(uint64_t *checked, struct store *store,
                      void (*bad)(void *context, const struct digest *digest, const char *why), void *context,
                      struct error *error) {
    struct verification run = { .store = store, .bad = bad, .context = context };
    enum err err = store->kind->list(store, verify_listed, &run, error);
    if (!err)
        *checked = run.checked;
    return err;
}
