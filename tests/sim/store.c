/* store.c - store/store.h in memory: whole objects, which are there or not after a crash; writes that fail. */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

struct object {
    struct digest digest;
    struct bytes data;
    bool durable;
};

struct store { /* the handle of one life; the objects outlive it */
    int unused;
};

struct store_upload {
    struct digest digest;
};

static struct object *objects;
static size_t object_count, object_room;

static struct object *find(const struct digest *digest) {
    for (size_t i = 0; i < object_count; i++)
        if (digest_equal(&objects[i].digest, digest))
            return &objects[i];
    return NULL;
}

/* ---- for the world ------------------------------------------------------------------------------------------------------ */

void objects_begin(void) {
    object_count = 0;
}

void objects_crash(void) {
    size_t kept = 0;
    for (size_t i = 0; i < object_count; i++)
        if (objects[i].durable || chance(500))
            objects[kept++] = objects[i];
        else
            bytes_release(&objects[i].data);
    object_count = kept;
}

void objects_end(void) {
    for (size_t i = 0; i < object_count; i++)
        bytes_release(&objects[i].data);
    free(objects);
    objects = NULL;
    object_count = object_room = 0;
}

bool objects_has(const struct digest *digest) {
    const struct object *object = find(digest);
    return object && object->durable;
}

/* ---- store.h ------------------------------------------------------------------------------------------------------------- */

enum err store_open(struct store **store, const char *where, struct error *error) {
    (void)where, (void)error;
    *store = memory_get(sizeof **store);
    return ERR_OK;
}

void store_close(struct store *store) {
    free(store);
}

static void put(const struct store_item *item, bool durable) {
    struct object *object = find(&item->digest);
    if (!object) {
        if (object_count == object_room)
            objects = memory_grow(objects, object_room = object_room ? 2 * object_room : 64, sizeof *objects);
        object = &objects[object_count++];
        *object = (struct object){ .digest = item->digest, .data = BYTES_INIT };
        bytes_add(&object->data, item->data, item->size);
    }
    object->durable = object->durable || durable;
}

/* A put that fails has perhaps written some of them, which are perhaps durable. */
enum err store_put(struct store *store, const struct store_item *items, size_t count, struct error *error) {
    bool after = false;
    enum err fault = disk_write_fault(&after, DISK_OBJECTS);
    (void)store;
    for (size_t i = 0; i < count && !world.dead; i++)
        if (!fault || after || chance(500))
            put(&items[i], !fault || after);
    if (fault)
        return error_set(error, fault, "store sim: %s", fault == ERR_NO_SPACE ? "no space left" : "input/output error");
    return ERR_OK;
}

bool store_has(struct store *store, const struct digest *digest) {
    (void)store;
    return find(digest) != NULL;
}

static enum err not_found(const struct digest *digest, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    return error_set(error, ERR_NOT_FOUND, "store sim: it has no object %s", hex);
}

enum err store_size(uint64_t *size, struct store *store, const struct digest *digest, struct error *error) {
    const struct object *object = find(digest);
    (void)store;
    if (!object)
        return not_found(digest, error);
    *size = object->data.size;
    return ERR_OK;
}

enum err store_get(struct bytes *out, struct store *store, const struct digest *digest, size_t limit, struct error *error) {
    const struct object *object = find(digest);
    (void)store, (void)limit;
    if (!object)
        return not_found(digest, error);
    bytes_add(out, object->data.data, object->data.size);
    return ERR_OK;
}

enum err store_read(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset, size_t size,
                    struct error *error) {
    const struct object *object = find(digest);
    (void)store;
    if (!object)
        return not_found(digest, error);
    if (offset < object->data.size) {
        size_t left = object->data.size - (size_t)offset;
        bytes_add(out, object->data.data + offset, size < left ? size : left);
    }
    return ERR_OK;
}

char *store_path(struct store *store, const struct digest *digest) {
    (void)store, (void)digest;
    return NULL;
}

uint64_t store_free_bytes(struct store *store) {
    (void)store;
    return world.now_us < world.full_until_us ? 0 : UINT64_MAX;
}

enum err store_list(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size), void *context,
                    struct error *error) {
    (void)store, (void)error;
    for (size_t i = 0; i < object_count; i++)
        if (!each(context, &objects[i].digest, objects[i].data.size))
            break;
    return ERR_OK;
}

/* Nobody uploads here: a simulated sweep has no tables. */
enum err store_upload_begin(struct store_upload **upload, struct store *store, const struct digest *digest, uint64_t total,
                            struct error *error) {
    (void)upload, (void)store, (void)digest, (void)total;
    return error_set(error, ERR_UNSUPPORTED, "store sim: it takes no uploads");
}

enum err store_upload_add(struct store_upload *upload, const void *data, size_t size, struct error *error) {
    (void)upload, (void)data, (void)size;
    return error_set(error, ERR_UNSUPPORTED, "store sim: it takes no uploads");
}

enum err store_upload_commit(struct store_upload *upload, struct error *error) {
    (void)upload;
    return error_set(error, ERR_UNSUPPORTED, "store sim: it takes no uploads");
}

void store_upload_abort(struct store_upload *upload) {
    (void)upload;
}
