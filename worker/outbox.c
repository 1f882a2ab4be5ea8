/* outbox.c - a folder of pictures and the list of what is in it. */
#include "worker/outbox.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

enum { ITEMS_A_MESSAGE = 64, HEX = DIGEST_HEX_SIZE - 1 };

struct item {
    struct digest key, picture, pixels;
    uint32_t render_ms;
    uint64_t lease; /* 0: from an earlier life */
    uint32_t epoch;
    size_t size;
    bool delivered;
    bool alone; /* a message with it among others was refused */
};

struct outbox {
    pthread_mutex_t mutex;
    char *folder;
    struct item *items; /* in the order of their making */
    size_t count, capacity;
    uint64_t unacknowledged;
};

static char *item_path(const struct outbox *outbox, const struct item *item) {
    char key[DIGEST_HEX_SIZE], picture[DIGEST_HEX_SIZE], pixels[DIGEST_HEX_SIZE];
    digest_hex(&item->key, key);
    digest_hex(&item->picture, picture);
    digest_hex(&item->pixels, pixels);
    return text_format("%s/%s.%s.%s.%" PRIu32 ".png", outbox->folder, key, picture, pixels, item->render_ms);
}

/* 64 hex digits and the dot behind them. */
static bool take_digest(struct digest *digest, const char **name) {
    char hex[DIGEST_HEX_SIZE] = { 0 };
    if (strnlen(*name, HEX + 1) <= HEX || (*name)[HEX] != '.')
        return false;
    memcpy(hex, *name, HEX);
    *name += HEX + 1;
    return digest_parse(digest, hex);
}

static bool parse_name(struct item *item, const char *name) {
    char *end;
    if (!take_digest(&item->key, &name) || !take_digest(&item->picture, &name) || !take_digest(&item->pixels, &name))
        return false;
    if (*name < '0' || *name > '9')
        return false;
    errno = 0;
    unsigned long long ms = strtoull(name, &end, 10);
    if (errno || ms > UINT32_MAX)
        return false;
    item->render_ms = (uint32_t)ms;
    return strcmp(end, ".png") == 0;
}

static void drop_file(const char *path, const char *why) {
    log_event(LOG_WARN, "outbox-dropped", "file", path, "why", why, NULL);
    if (unlink(path) != 0)
        log_event(LOG_ERROR, "outbox-stuck", "file", path, "why", strerror(errno), NULL);
}

static void add_item(struct outbox *outbox, const struct item *item) {
    if (outbox->count == outbox->capacity) {
        outbox->capacity = outbox->capacity ? outbox->capacity * 2 : 64;
        outbox->items = memory_grow(outbox->items, outbox->capacity, sizeof *outbox->items);
    }
    outbox->items[outbox->count++] = *item;
}

/* Read an item's file, whole and with the digest its name promises. */
static enum err read_item(struct bytes *png, const struct item *item, const char *path, struct error *error) {
    enum err err = file_read(png, path, LIMIT_PICTURE, error);
    if (err)
        return err;
    struct digest digest = digest_of(png->data, png->size);
    if (png->size && digest_equal(&digest, &item->picture))
        return ERR_OK;
    char want[DIGEST_HEX_SIZE], have[DIGEST_HEX_SIZE];
    digest_hex(&item->picture, want);
    digest_hex(&digest, have);
    return error_set(error, ERR_CORRUPT, "torn: want sha256 %s, its %zu bytes have %s", want, png->size, have);
}

static void read_back(struct outbox *outbox, const char *name) {
    char *path = path_join(outbox->folder, name);
    struct item item = { .lease = 0 };
    struct bytes png = BYTES_INIT;
    struct error error;
    if (!parse_name(&item, name)) {
        drop_file(path, "not a finished picture's name");
    } else if (read_item(&png, &item, path, &error) != ERR_OK) {
        drop_file(path, error.message);
    } else {
        item.size = png.size;
        add_item(outbox, &item);
    }
    bytes_release(&png);
    free(path);
}

enum err outbox_open(struct outbox **out, const char *folder, struct error *error) {
    enum err err = folder_create(folder, error);
    if (err)
        return err;
    DIR *listing = opendir(folder);
    if (!listing)
        return error_errno(error, "outbox %s", folder);
    struct outbox *outbox = memory_get(sizeof *outbox);
    pthread_mutex_init(&outbox->mutex, NULL);
    outbox->folder = text_copy(folder);
    for (struct dirent *entry = readdir(listing); entry; entry = readdir(listing))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            read_back(outbox, entry->d_name);
    closedir(listing);
    *out = outbox;
    return ERR_OK;
}

void outbox_close(struct outbox *outbox) {
    if (!outbox)
        return;
    pthread_mutex_destroy(&outbox->mutex);
    free(outbox->items);
    free(outbox->folder);
    free(outbox);
}

static struct item *find_item(struct outbox *outbox, const struct digest *key) {
    for (size_t i = 0; i < outbox->count; i++)
        if (digest_equal(&outbox->items[i].key, key))
            return &outbox->items[i];
    return NULL;
}

static void set_delivered(struct outbox *outbox, struct item *item, bool delivered) {
    if (item->delivered == delivered)
        return;
    item->delivered = delivered;
    if (delivered)
        outbox->unacknowledged += item->size;
    else
        outbox->unacknowledged -= item->size;
}

static void remove_item(struct outbox *outbox, struct item *item) {
    size_t place = (size_t)(item - outbox->items);
    set_delivered(outbox, item, false);
    outbox->count--;
    memmove(item, item + 1, (outbox->count - place) * sizeof *item);
}

enum err outbox_put(struct outbox *outbox, uint64_t lease, uint32_t epoch, const struct digest *key,
                    const struct rendered *rendered, struct error *error) {
    if (rendered->png.size == 0 || rendered->png.size > LIMIT_PICTURE)
        return error_set(error, ERR_LIMIT, "a picture of %zu bytes: want 1..%d", rendered->png.size, LIMIT_PICTURE);
    struct item item = {
        .key = *key,
        .picture = rendered->picture,
        .pixels = rendered->pixels,
        .render_ms = rendered->render_ms,
        .lease = lease,
        .epoch = epoch,
        .size = rendered->png.size,
    };
    char *path = item_path(outbox, &item);
    enum err err = file_write(path, rendered->png.data, rendered->png.size, error);
    free(path);
    if (err)
        return err;
    pthread_mutex_lock(&outbox->mutex);
    if (!find_item(outbox, key))
        add_item(outbox, &item);
    pthread_mutex_unlock(&outbox->mutex);
    return ERR_OK;
}

bool outbox_adopt(struct outbox *outbox, uint64_t lease, uint32_t epoch, const struct digest *key) {
    pthread_mutex_lock(&outbox->mutex);
    struct item *item = find_item(outbox, key);
    if (item) {
        item->lease = lease;
        item->epoch = epoch;
        set_delivered(outbox, item, false);
    }
    pthread_mutex_unlock(&outbox->mutex);
    return item != NULL;
}

bool outbox_holds_lease(struct outbox *outbox, uint64_t lease) {
    bool holds = false;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < outbox->count && !holds; i++)
        holds = outbox->items[i].lease == lease;
    pthread_mutex_unlock(&outbox->mutex);
    return holds;
}

bool outbox_holds_any(struct outbox *outbox, const struct digest *keys, size_t count) {
    bool holds = false;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < count && !holds; i++)
        holds = find_item(outbox, &keys[i]) != NULL;
    pthread_mutex_unlock(&outbox->mutex);
    return holds;
}

uint64_t outbox_bytes(struct outbox *outbox) {
    uint64_t bytes = 0;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < outbox->count; i++)
        bytes += outbox->items[i].size;
    pthread_mutex_unlock(&outbox->mutex);
    return bytes;
}

size_t outbox_count(struct outbox *outbox) {
    pthread_mutex_lock(&outbox->mutex);
    size_t count = outbox->count;
    pthread_mutex_unlock(&outbox->mutex);
    return count;
}

uint64_t outbox_unacknowledged(struct outbox *outbox) {
    pthread_mutex_lock(&outbox->mutex);
    uint64_t bytes = outbox->unacknowledged;
    pthread_mutex_unlock(&outbox->mutex);
    return bytes;
}

/* Load one item into the message. A file that was damaged since is dropped: its job's lease will run out. */
static bool load_item(struct result_item *result, struct outbox *outbox, struct item *item) {
    char *path = item_path(outbox, item);
    struct bytes png = BYTES_INIT;
    struct error error;
    bool loaded = read_item(&png, item, path, &error) == ERR_OK;
    if (!loaded)
        drop_file(path, error.message);
    free(path);
    if (!loaded) {
        bytes_release(&png);
        return false;
    }
    *result = (struct result_item){ .key = item->key, .picture = item->picture, .pixels = item->pixels,
                                    .render_ms = item->render_ms, .png_size = png.size };
    result->png = bytes_take(&png).data;
    return true;
}

void outbox_next(struct message_results *results, struct outbox *outbox, uint64_t bytes) {
    struct item *first = NULL;
    uint64_t total = 0;
    *results = (struct message_results){ .items = memory_get_array(ITEMS_A_MESSAGE, sizeof *results->items) };
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < outbox->count && results->count < ITEMS_A_MESSAGE; ) {
        struct item *item = &outbox->items[i];
        bool fits = total + item->size <= bytes || (!first && outbox->unacknowledged == 0);
        bool goes_along = !first || (item->lease == results->lease && item->epoch == results->epoch && !item->alone);
        if (item->delivered || !goes_along) {
            i++;
            continue;
        }
        if (!fits)
            break;
        if (!load_item(&results->items[results->count], outbox, item)) {
            remove_item(outbox, item);
            continue;
        }
        set_delivered(outbox, item, true);
        results->lease = item->lease;
        results->epoch = item->epoch;
        results->count++;
        total += item->size;
        first = item;
        if (item->alone)
            break;
        i++;
    }
    pthread_mutex_unlock(&outbox->mutex);
}

void outbox_results_release(struct message_results *results) {
    for (size_t i = 0; i < results->count; i++)
        free(results->items[i].png);
    free(results->items);
    *results = (struct message_results){ .items = NULL };
}

static void remove_with_file(struct outbox *outbox, struct item *item) {
    char *path = item_path(outbox, item);
    if (unlink(path) != 0)
        log_event(LOG_ERROR, "outbox-stuck", "file", path, "why", strerror(errno), NULL);
    free(path);
    remove_item(outbox, item);
}

void outbox_forget(struct outbox *outbox, const struct digest *keys, size_t count) {
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < count; i++) {
        struct item *item = find_item(outbox, &keys[i]);
        if (item)
            remove_with_file(outbox, item);
    }
    pthread_mutex_unlock(&outbox->mutex);
}

void outbox_resend(struct outbox *outbox) {
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < outbox->count; i++)
        set_delivered(outbox, &outbox->items[i], false);
    pthread_mutex_unlock(&outbox->mutex);
}

bool outbox_refused(struct outbox *outbox, const struct digest *keys, size_t count) {
    bool dropped = false;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < count; i++) {
        struct item *item = find_item(outbox, &keys[i]);
        if (!item)
            continue;
        if (count == 1) {
            remove_with_file(outbox, item);
            dropped = true;
        } else {
            item->alone = true;
            set_delivered(outbox, item, false);
        }
    }
    pthread_mutex_unlock(&outbox->mutex);
    return dropped;
}

void outbox_return(struct outbox *outbox, const struct message_results *results) {
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < results->count; i++) {
        struct item *item = find_item(outbox, &results->items[i].key);
        if (item)
            set_delivered(outbox, item, false);
    }
    pthread_mutex_unlock(&outbox->mutex);
}
