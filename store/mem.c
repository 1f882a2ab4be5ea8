/*
 * mem.c - objects in memory, for tests: a red-black tree (tsearch) under one mutex. Nothing is durable.
 */
#include <pthread.h>
#include <search.h>
#include <stdlib.h>

#include "store/kind.h"

struct object {
    struct digest digest; /* first: the tree compares by it */
    struct bytes content;
};

struct mem_store {
    struct store base;
    pthread_mutex_t lock;
    void *tree; /* of struct object */
};

struct mem_upload {
    struct store_upload base;
    struct bytes content;
};

static int object_compare(const void *a, const void *b) {
    return digest_compare(&((const struct object *)a)->digest, &((const struct object *)b)->digest);
}

static void object_free(void *object) {
    bytes_release(&((struct object *)object)->content);
    free(object);
}

static struct object *object_find(struct mem_store *mem, const struct digest *digest) {
    struct object key = { .digest = *digest };
    struct object **found = tfind(&key, &mem->tree, object_compare);
    return found ? *found : NULL;
}

static void object_add(struct mem_store *mem, const struct digest *digest, const void *data, size_t size) {
    if (object_find(mem, digest))
        return;
    struct object *object = memory_get(sizeof *object);
    object->digest = *digest;
    bytes_add(&object->content, data, size);
    tsearch(object, &mem->tree, object_compare);
}

static enum err not_found(const struct digest *digest, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    return error_set(error, ERR_NOT_FOUND, "store mem: it has no object %s", hex);
}

static void mem_close(struct store *store) {
    struct mem_store *mem = (struct mem_store *)store;
    tdestroy(mem->tree, object_free);
    pthread_mutex_destroy(&mem->lock);
    free(mem);
}

static enum err mem_put(struct store *store, const struct store_item *items, size_t count, struct error *error) {
    struct mem_store *mem = (struct mem_store *)store;
    (void)error;
    pthread_mutex_lock(&mem->lock);
    for (size_t i = 0; i < count; i++)
        object_add(mem, &items[i].digest, items[i].data, items[i].size);
    pthread_mutex_unlock(&mem->lock);
    return ERR_OK;
}

static enum err mem_size(uint64_t *size, struct store *store, const struct digest *digest, struct error *error) {
    struct mem_store *mem = (struct mem_store *)store;
    pthread_mutex_lock(&mem->lock);
    const struct object *object = object_find(mem, digest);
    if (object)
        *size = object->content.size;
    pthread_mutex_unlock(&mem->lock);
    return object ? ERR_OK : not_found(digest, error);
}

static enum err mem_read(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset,
                         size_t size, struct error *error) {
    struct mem_store *mem = (struct mem_store *)store;
    pthread_mutex_lock(&mem->lock);
    const struct object *object = object_find(mem, digest);
    if (object && offset < object->content.size) {
        size_t left = object->content.size - (size_t)offset;
        bytes_add(out, object->content.data + offset, size < left ? size : left);
    }
    pthread_mutex_unlock(&mem->lock);
    return object ? ERR_OK : not_found(digest, error);
}

static bool mem_set_aside(struct store *store, const struct digest *digest) {
    struct mem_store *mem = (struct mem_store *)store;
    pthread_mutex_lock(&mem->lock);
    struct object *object = object_find(mem, digest);
    if (object) {
        tdelete(object, &mem->tree, object_compare);
        object_free(object);
    }
    pthread_mutex_unlock(&mem->lock);
    return object != NULL;
}

static char *mem_path(struct store *store, const struct digest *digest) {
    (void)store, (void)digest;
    return NULL;
}

static uint64_t mem_free_bytes(struct store *store) {
    (void)store;
    return UINT64_MAX;
}

struct listed {
    struct digest digest;
    uint64_t size;
};

struct listed_all {
    struct listed *all;
    size_t count, capacity;
};

static void entry_add(const void *node, VISIT visit, void *context) {
    const struct object *object = *(struct object *const *)node;
    struct listed_all *entries = context;
    if (visit != postorder && visit != leaf)
        return;
    if (entries->count == entries->capacity) {
        entries->capacity = 2 * entries->capacity + 64;
        entries->all = memory_grow(entries->all, entries->capacity, sizeof *entries->all);
    }
    entries->all[entries->count++] = (struct listed){ object->digest, object->content.size };
}

/* Copied first, so that `each` may use the store. */
static enum err mem_list(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size),
                         void *context, struct error *error) {
    struct mem_store *mem = (struct mem_store *)store;
    struct listed_all entries = { 0 };
    (void)error;
    pthread_mutex_lock(&mem->lock);
    twalk_r(mem->tree, entry_add, &entries);
    pthread_mutex_unlock(&mem->lock);
    for (size_t i = 0; i < entries.count; i++)
        if (!each(context, &entries.all[i].digest, entries.all[i].size))
            break;
    free(entries.all);
    return ERR_OK;
}

static enum err mem_upload_begin(struct store_upload **upload, struct store *store, const struct digest *digest,
                                 struct error *error) {
    (void)store, (void)digest, (void)error;
    struct mem_upload *begun = memory_get(sizeof *begun);
    *upload = &begun->base;
    return ERR_OK;
}

static enum err mem_upload_add(struct store_upload *upload, const void *data, size_t size, struct error *error) {
    (void)error;
    bytes_add(&((struct mem_upload *)upload)->content, data, size);
    return ERR_OK;
}

static enum err mem_upload_commit(struct store_upload *upload, struct error *error) {
    const struct bytes *content = &((struct mem_upload *)upload)->content;
    struct store_item item = { upload->digest, content->data, content->size };
    return mem_put(upload->store, &item, 1, error);
}

static void mem_upload_free(struct store_upload *upload) {
    bytes_release(&((struct mem_upload *)upload)->content);
    free(upload);
}

static const struct store_kind mem_kind = {
    .close = mem_close,
    .put = mem_put,
    .size = mem_size,
    .read = mem_read,
    .set_aside = mem_set_aside,
    .path = mem_path,
    .free_bytes = mem_free_bytes,
    .list = mem_list,
    .upload_begin = mem_upload_begin,
    .upload_add = mem_upload_add,
    .upload_commit = mem_upload_commit,
    .upload_free = mem_upload_free,
};

enum err mem_open(struct store **store, struct error *error) {
    (void)error;
    struct mem_store *mem = memory_get(sizeof *mem);
    mem->base.kind = &mem_kind;
    pthread_mutex_init(&mem->lock, NULL);
    *store = &mem->base;
    return ERR_OK;
}
