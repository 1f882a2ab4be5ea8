/*
 * mem.c - objects in memory, for tests: a table by digest under one mutex. Nothing is durable.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store/kind.h"

enum { BUCKETS_FIRST = 64 };

struct object {
    struct digest digest;
    size_t size;
    struct object *next; /* in its bucket */
    uint8_t data[];      /* [size] */
};

struct mem_store {
    struct store base;
    pthread_mutex_t lock;
    struct object **buckets; /* [bucket_count], a power of two */
    size_t bucket_count, count;
};

struct mem_upload {
    struct store_upload base;
    struct bytes content;
};

/* The place that points at the object of this digest, or (NULL in it) where it would be. */
static struct object **object_place(const struct mem_store *mem, const struct digest *digest) {
    uint64_t word;
    memcpy(&word, digest->bytes, sizeof word);
    struct object **place = &mem->buckets[word & (mem->bucket_count - 1)];
    while (*place && !digest_equal(&(*place)->digest, digest))
        place = &(*place)->next;
    return place;
}

static void grow(struct mem_store *mem) {
    struct object **old = mem->buckets;
    size_t old_count = mem->bucket_count;
    mem->bucket_count = 2 * old_count;
    mem->buckets = memory_get_array(mem->bucket_count, sizeof(struct object *));
    for (size_t i = 0; i < old_count; i++)
        for (struct object *object = old[i], *next; object; object = next) {
            struct object **place = object_place(mem, &object->digest);
            next = object->next;
            object->next = NULL;
            *place = object;
        }
    free(old);
}

static void object_add(struct mem_store *mem, const struct digest *digest, const void *data, size_t size) {
    if (mem->count == mem->bucket_count)
        grow(mem);
    struct object **place = object_place(mem, digest);
    if (*place)
        return;
    struct object *object = memory_grow(NULL, 1, sizeof *object + size);
    *object = (struct object){ .digest = *digest, .size = size };
    if (size)
        memcpy(object->data, data, size);
    *place = object;
    mem->count++;
}

static enum err not_found(const struct digest *digest, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    return error_set(error, ERR_NOT_FOUND, "store mem: it has no object %s", hex);
}

static void mem_close(struct store *store) {
    struct mem_store *mem = (struct mem_store *)store;
    for (size_t i = 0; i < mem->bucket_count; i++)
        while (mem->buckets[i]) {
            struct object *object = mem->buckets[i];
            mem->buckets[i] = object->next;
            free(object);
        }
    free(mem->buckets);
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
    const struct object *object = *object_place(mem, digest);
    if (object)
        *size = object->size;
    pthread_mutex_unlock(&mem->lock);
    return object ? ERR_OK : not_found(digest, error);
}

static enum err mem_read(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset,
                         size_t size, struct error *error) {
    struct mem_store *mem = (struct mem_store *)store;
    pthread_mutex_lock(&mem->lock);
    const struct object *object = *object_place(mem, digest);
    if (object && offset < object->size) {
        size_t left = object->size - (size_t)offset;
        bytes_add(out, object->data + offset, size < left ? size : left);
    }
    pthread_mutex_unlock(&mem->lock);
    return object ? ERR_OK : not_found(digest, error);
}

static bool mem_set_aside(struct store *store, const struct digest *digest) {
    struct mem_store *mem = (struct mem_store *)store;
    pthread_mutex_lock(&mem->lock);
    struct object **place = object_place(mem, digest), *object = *place;
    if (object) {
        *place = object->next;
        mem->count--;
        free(object);
    }
    pthread_mutex_unlock(&mem->lock);
    return object != NULL; /* it was */
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

static int listed_order(const void *a, const void *b) {
    return digest_compare(&((const struct listed *)a)->digest, &((const struct listed *)b)->digest);
}

/* Copied first, so that `each` may use the store. */
static enum err mem_list(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size),
                         void *context, struct error *error) {
    struct mem_store *mem = (struct mem_store *)store;
    size_t count = 0;
    (void)error;
    pthread_mutex_lock(&mem->lock);
    struct listed *all = memory_get_array(mem->count, sizeof *all);
    for (size_t i = 0; i < mem->bucket_count; i++)
        for (const struct object *object = mem->buckets[i]; object; object = object->next)
            all[count++] = (struct listed){ object->digest, object->size };
    pthread_mutex_unlock(&mem->lock);
    qsort(all, count, sizeof *all, listed_order);
    for (size_t i = 0; i < count; i++)
        if (!each(context, &all[i].digest, all[i].size))
            break;
    free(all);
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
    mem->bucket_count = BUCKETS_FIRST;
    mem->buckets = memory_get_array(mem->bucket_count, sizeof(struct object *));
    pthread_mutex_init(&mem->lock, NULL);
    *store = &mem->base;
    return ERR_OK;
}
