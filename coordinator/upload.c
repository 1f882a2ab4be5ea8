/* upload.c - pieces, in order, one at a time for each object. */
#include "coordinator/upload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/farm.h"

struct upload {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    struct digest digest;
    uint64_t total, received;
    uint64_t heard_ms;
    bool busy; /* a piece is with the file desk */
    struct store_upload *store; /* the file desk's while busy; NULL before the first piece and after the last */
    /* The piece at hand. */
    uint64_t request;
    uint8_t *data;
    size_t size;
    enum err err;
    struct error error;
};

static bool route_equal(const struct route *a, const struct route *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static struct upload *find(const struct uploads *uploads, const struct route *route, const struct digest *digest) {
    for (size_t i = 0; i < uploads->count; i++)
        if (route_equal(&uploads->list[i]->route, route) && digest_equal(&uploads->list[i]->digest, digest))
            return uploads->list[i];
    return NULL;
}

static void upload_free(struct upload *upload) {
    if (upload->store)
        store_upload_abort(upload->store);
    free(upload->data);
    free(upload);
}

static void upload_remove(struct uploads *uploads, struct upload *upload) {
    for (size_t i = 0; i < uploads->count; i++)
        if (uploads->list[i] == upload)
            uploads->list[i] = uploads->list[--uploads->count];
    upload_free(upload);
}

static void piece_work(struct task *task) {
    struct upload *upload = (struct upload *)task;
    upload->err = ERR_OK;
    if (!upload->store)
        upload->err = store_upload_begin(&upload->store, upload->farm->store, &upload->digest, upload->total, &upload->error);
    if (!upload->err && upload->size)
        upload->err = store_upload_add(upload->store, upload->data, upload->size, &upload->error);
    if (!upload->err && upload->received + upload->size == upload->total) {
        struct store_upload *whole = upload->store;
        upload->store = NULL; /* freed by the commit either way */
        upload->err = store_upload_commit(whole, &upload->error);
    }
}

static void piece_finish(struct task *task) {
    struct upload *upload = (struct upload *)task;
    struct coordinator *farm = upload->farm;
    upload->busy = false;
    upload->received += upload->size;
    free(upload->data);
    upload->data = NULL;
    if (upload->err == ERR_NO_SPACE)
        farm_set_full(farm, true, upload->error.message);
    if (upload->err)
        farm_refuse(farm, &upload->route, upload->request, &upload->error);
    else
        farm_done(farm, &upload->route, upload->request);
    if (upload->err || upload->received == upload->total)
        upload_remove(&farm->uploads, upload);
}

static enum err begin(struct upload **out, struct coordinator *farm, const struct route *route,
                      const struct message_put *put, struct error *error) {
    struct uploads *uploads = &farm->uploads;
    size_t same = 0;
    if (put->total > LIMIT_OBJECT)
        return error_set(error, ERR_LIMIT, "object: want at most %" PRIu64 " bytes, this one has %" PRIu64, LIMIT_OBJECT,
                         put->total);
    if (farm->free_bytes < farm->options.free_mark_bytes || farm->free_bytes - farm->options.free_mark_bytes < put->total)
        return error_set(error, ERR_NO_SPACE, "object of %" PRIu64 " bytes: the store has %" PRIu64 " free and keeps %" PRIu64,
                         put->total, farm->free_bytes, farm->options.free_mark_bytes);
    for (size_t i = 0; i < uploads->count; i++)
        same += route_equal(&uploads->list[i]->route, route);
    if (same >= UPLOADS_OF_CLIENT || uploads->count >= UPLOADS_LIMIT)
        return error_set(error, ERR_LIMIT, "uploads: want at most %d of one client and %d together, there are %zu and %zu",
                         UPLOADS_OF_CLIENT, UPLOADS_LIMIT, same, uploads->count);
    struct upload *upload = memory_get(sizeof *upload);
    upload->task = (struct task){ .work = piece_work, .finish = piece_finish };
    upload->farm = farm;
    upload->route = *route;
    upload->digest = put->digest;
    upload->total = put->total;
    uploads->list = memory_grow(uploads->list, uploads->count + 1, sizeof *uploads->list);
    uploads->list[uploads->count++] = upload;
    *out = upload;
    return ERR_OK;
}

static enum err check(struct upload **out, struct coordinator *farm, const struct route *route,
                      const struct message_put *put, struct error *error) {
    struct upload *upload = find(&farm->uploads, route, &put->digest);
    if (upload && !upload->busy && put->offset == 0) { /* from the beginning again */
        upload_remove(&farm->uploads, upload);
        upload = NULL;
    }
    uint64_t received = upload ? upload->received : 0;
    if (upload && upload->busy)
        return error_set(error, ERR_LIMIT, "object: want one piece at a time, the one at %" PRIu64 " is not done", received);
    if (put->offset != received || (upload && put->total != upload->total))
        return error_set(error, ERR_INVALID, "object: want the piece at %" PRIu64 ", this one is at %" PRIu64 " of %" PRIu64,
                         received, put->offset, put->total);
    if (put->size > put->total - received || (put->size == 0 && put->total > 0))
        return error_set(error, ERR_INVALID, "object: want 1..%" PRIu64 " more bytes, this piece has %zu",
                         put->total - received, put->size);
    if (upload) {
        *out = upload;
        return ERR_OK;
    }
    return begin(out, farm, route, put, error);
}

void upload_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct upload *upload = NULL;
    struct error error;
    if (check(&upload, farm, route, &message->put, &error) != ERR_OK) {
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    upload->busy = true;
    upload->heard_ms = farm->now_ms;
    upload->request = message->request;
    upload->data = message->put.data;
    upload->size = message->put.size;
    message->put.data = NULL;
    desk_post(farm->file_desk, &upload->task);
}

void uploads_expire(struct coordinator *farm) {
    for (size_t i = farm->uploads.count; i-- > 0;) {
        struct upload *upload = farm->uploads.list[i];
        if (!upload->busy && farm->now_ms - upload->heard_ms >= UPLOAD_IDLE_MS)
            upload_remove(&farm->uploads, upload);
    }
}

void uploads_release(struct uploads *uploads) {
    for (size_t i = 0; i < uploads->count; i++)
        upload_free(uploads->list[i]);
    free(uploads->list);
    *uploads = (struct uploads){ 0 };
}
