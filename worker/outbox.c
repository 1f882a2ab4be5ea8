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
#include "worker/outbox_file.h"

enum { BUCKETS_LEAST = 256 };

/* What is next for a picture. Each state is a list, in order. */
enum item_state { TO_OFFER, OFFERED, TO_DELIVER, DELIVERED, STATE_COUNT };

/* A file is there while items are. */
struct batch_file {
    uint64_t number;
    size_t items;
};

struct item {
    struct record record;    /* its png is NULL */
    struct batch_file *file; /* shared with its batch */
    uint64_t lease; /* 0: from an earlier life */
    uint32_t epoch;
    uint8_t *png; /* [record.size] owned; NULL: on disk alone, and read when it is delivered */
    enum item_state state;
    bool alone;   /* a message with it among others was refused */
    struct item *next, *previous; /* of its state's list */
    struct item *chain;           /* by key */
};

struct list {
    struct item *first, *last;
};

/* How many pictures of a lease are here; few leases at a time. */
struct lease_count {
    uint64_t lease;
    size_t items;
};

struct outbox {
    pthread_mutex_t mutex;
    char *folder;
    struct list lists[STATE_COUNT];
    struct item **buckets; /* [bucket_count] */
    size_t bucket_count, count;
    struct lease_count *leases; /* [lease_count] */
    size_t lease_count;
    uint64_t bytes, memory, unacknowledged;
    uint64_t next_file; /* its number */
};

/* ---- files ---------------------------------------------------------------------------------------------------------- */

static char *file_path(const struct outbox *outbox, const struct batch_file *file) {
    return text_format("%s/%" PRIu64 ".batch", outbox->folder, file->number);
}

static void remove_file(const char *path) {
    if (unlink(path) != 0)
        log_event(LOG_ERROR, "outbox-stuck", "file", path, "why", strerror(errno), NULL);
}

/* One picture less is in it. */
static void leave_file(struct outbox *outbox, struct batch_file *file) {
    if (--file->items)
        return;
    char *path = file_path(outbox, file);
    remove_file(path);
    free(path);
    free(file);
}

/* ---- the lists and tables ------------------------------------------------------------------------------------------- */

static struct item **bucket_of(const struct outbox *outbox, const struct digest *key) {
    uint64_t word;
    memcpy(&word, key->bytes, sizeof word); /* SHA-256: any word of it is a hash */
    return &outbox->buckets[word & (outbox->bucket_count - 1)];
}

static struct item *find_item(const struct outbox *outbox, const struct digest *key) {
    for (struct item *item = *bucket_of(outbox, key); item; item = item->chain)
        if (digest_equal(&item->record.key, key))
            return item;
    return NULL;
}

static void list_add(struct outbox *outbox, struct item *item) {
    struct list *list = &outbox->lists[item->state];
    item->next = NULL;
    item->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = item;
    list->last = item;
    outbox->unacknowledged += item->state == DELIVERED ? item->record.size : 0;
}

static void list_remove(struct outbox *outbox, struct item *item) {
    struct list *list = &outbox->lists[item->state];
    *(item->previous ? &item->previous->next : &list->first) = item->next;
    *(item->next ? &item->next->previous : &list->last) = item->previous;
    outbox->unacknowledged -= item->state == DELIVERED ? item->record.size : 0;
}

static void set_state(struct outbox *outbox, struct item *item, enum item_state state) {
    if (item->state == state)
        return;
    list_remove(outbox, item);
    item->state = state;
    list_add(outbox, item);
}

static void count_lease(struct outbox *outbox, uint64_t lease, int change) {
    size_t i = 0;
    while (i < outbox->lease_count && outbox->leases[i].lease != lease)
        i++;
    if (i == outbox->lease_count) {
        outbox->leases = memory_grow(outbox->leases, outbox->lease_count + 1, sizeof *outbox->leases);
        outbox->leases[outbox->lease_count++] = (struct lease_count){ lease, 0 };
    }
    outbox->leases[i].items += (size_t)change;
    if (!outbox->leases[i].items)
        outbox->leases[i] = outbox->leases[--outbox->lease_count];
}

static void buckets_grow(struct outbox *outbox) {
    size_t old_count = outbox->bucket_count;
    struct item **old = outbox->buckets;
    outbox->bucket_count *= 2;
    outbox->buckets = memory_get_array(outbox->bucket_count, sizeof *outbox->buckets);
    for (size_t i = 0; i < old_count; i++)
        for (struct item *item = old[i], *chain; item; item = chain) {
            struct item **bucket = bucket_of(outbox, &item->record.key);
            chain = item->chain;
            item->chain = *bucket;
            *bucket = item;
        }
    free(old);
}

/* Takes what the copied item owns. */
static void add_item(struct outbox *outbox, const struct item *from) {
    struct item *item = memory_get(sizeof *item);
    *item = *from;
    if (outbox->count >= outbox->bucket_count)
        buckets_grow(outbox);
    struct item **bucket = bucket_of(outbox, &item->record.key);
    item->chain = *bucket;
    *bucket = item;
    list_add(outbox, item);
    count_lease(outbox, item->lease, 1);
    outbox->count++;
    outbox->bytes += item->record.size;
    outbox->memory += item->png ? item->record.size : 0;
}

static void free_item(struct item *item) {
    free(item->png);
    free(item);
}

static void remove_item(struct outbox *outbox, struct item *item) {
    struct item **place = bucket_of(outbox, &item->record.key);
    while (*place != item)
        place = &(*place)->chain;
    *place = item->chain;
    list_remove(outbox, item);
    count_lease(outbox, item->lease, -1);
    outbox->count--;
    outbox->bytes -= item->record.size;
    outbox->memory -= item->png ? item->record.size : 0;
    leave_file(outbox, item->file);
    free_item(item);
}

/* ---- reading back --------------------------------------------------------------------------------------------------- */

static bool parse_name(uint64_t *number, const char *name) {
    char *end;
    if (*name < '0' || *name > '9')
        return false;
    errno = 0;
    *number = strtoull(name, &end, 10);
    return !errno && *number < UINT64_MAX && strcmp(end, ".batch") == 0;
}

static void log_drop(const char *path, const char *why) {
    log_event(LOG_WARN, "outbox-dropped", "file", path, "why", why, NULL);
}

struct reading {
    struct outbox *outbox;
    struct batch_file *file;
};

static void take_record(void *context, const struct record *record) {
    const struct reading *reading = context;
    if (find_item(reading->outbox, &record->key))
        return; /* drawn twice, and the one who drew it died in between */
    reading->file->items++;
    add_item(reading->outbox, &(struct item){ .record = *record, .file = reading->file, .state = TO_OFFER });
}

/* What is whole in it is ours again; a file without anything whole goes. */
static void read_back(struct outbox *outbox, const char *name) {
    char *path = path_join(outbox->folder, name);
    struct reading reading = { outbox, memory_get(sizeof *reading.file) };
    struct error error;
    if (!parse_name(&reading.file->number, name)) {
        log_drop(path, "not a name of ours");
    } else {
        if (outbox_file_scan(path, take_record, &reading, &error) != ERR_OK)
            log_drop(path, error.message);
        if (reading.file->number >= outbox->next_file)
            outbox->next_file = reading.file->number + 1;
    }
    if (!reading.file->items) {
        remove_file(path);
        free(reading.file);
    }
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
    outbox->bucket_count = BUCKETS_LEAST;
    outbox->buckets = memory_get_array(outbox->bucket_count, sizeof *outbox->buckets);
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
    for (int state = 0; state < STATE_COUNT; state++)
        for (struct item *item = outbox->lists[state].first, *next; item; item = next) {
            next = item->next;
            if (--item->file->items == 0)
                free(item->file);
            free_item(item);
        }
    pthread_mutex_destroy(&outbox->mutex);
    free(outbox->leases);
    free(outbox->buckets);
    free(outbox->folder);
    free(outbox);
}

/* No rename is needed: heads say what the bytes must be, and what a crash has torn is dropped when it is read back. */
static enum err write_batch(struct batch_file **out, struct outbox *outbox, struct record *records, size_t count,
                            struct error *error) {
    struct batch_file *file = memory_get(sizeof *file);
    *file = (struct batch_file){ outbox->next_file, count };
    char *path = file_path(outbox, file);
    enum err err = outbox_file_write(path, records, count, error);
    free(path);
    if (err) {
        free(file);
        return err;
    }
    outbox->next_file++;
    *out = file;
    return ERR_OK;
}

/* The pictures that are not here yet: how many. */
static enum err take_records(struct record *records, struct rendered **taken, size_t *count, struct outbox *outbox,
                             const struct outbox_entry *entries, size_t entry_count, struct error *error) {
    enum err err = ERR_OK;
    *count = 0;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < entry_count && !err; i++) {
        struct rendered *rendered = entries[i].rendered;
        if (rendered->png.size == 0 || rendered->png.size > LIMIT_PICTURE)
            err = error_set(error, ERR_LIMIT, "a picture of %zu bytes: want 1..%d", rendered->png.size, LIMIT_PICTURE);
        if (err || find_item(outbox, &entries[i].key))
            continue;
        taken[*count] = rendered;
        records[(*count)++] = (struct record){ .key = entries[i].key, .picture = rendered->picture, .pixels = rendered->pixels,
                                               .render_ms = rendered->render_ms, .size = rendered->png.size,
                                               .png = rendered->png.data };
    }
    pthread_mutex_unlock(&outbox->mutex);
    return err;
}

static void add_fresh(struct outbox *outbox, const struct record *record, struct batch_file *file, uint64_t lease, uint32_t epoch,
                      struct rendered *rendered) {
    struct item item = { .record = *record, .file = file, .lease = lease, .epoch = epoch, .state = TO_DELIVER };
    item.record.png = NULL;
    if (outbox->memory + record->size <= OUTBOX_MEMORY)
        item.png = bytes_take(&rendered->png).data;
    add_item(outbox, &item);
}

/* One thread puts at a time: nobody adds a key, or numbers a file, between the look and the writing. */
enum err outbox_put(struct outbox *outbox, uint64_t lease, uint32_t epoch, const struct outbox_entry *entries, size_t count,
                    struct error *error) {
    struct record records[LIMIT_BATCH];
    struct rendered *taken[LIMIT_BATCH];
    struct batch_file *file;
    size_t fresh;
    enum err err = take_records(records, taken, &fresh, outbox, entries, count, error);
    if (!err && fresh)
        err = write_batch(&file, outbox, records, fresh, error);
    if (err || !fresh)
        return err;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < fresh; i++)
        add_fresh(outbox, &records[i], file, lease, epoch, taken[i]);
    pthread_mutex_unlock(&outbox->mutex);
    return ERR_OK;
}

bool outbox_adopt(struct outbox *outbox, uint64_t lease, uint32_t epoch, const struct digest *key) {
    pthread_mutex_lock(&outbox->mutex);
    struct item *item = find_item(outbox, key);
    if (item) {
        count_lease(outbox, item->lease, -1);
        count_lease(outbox, lease, 1);
        item->lease = lease;
        item->epoch = epoch;
        set_state(outbox, item, TO_DELIVER);
    }
    pthread_mutex_unlock(&outbox->mutex);
    return item != NULL;
}

bool outbox_holds_lease(struct outbox *outbox, uint64_t lease) {
    bool holds = false;
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < outbox->lease_count && !holds; i++)
        holds = outbox->leases[i].lease == lease;
    pthread_mutex_unlock(&outbox->mutex);
    return holds;
}

uint64_t outbox_bytes(struct outbox *outbox) {
    pthread_mutex_lock(&outbox->mutex);
    uint64_t bytes = outbox->bytes;
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

/* ---- offering and delivering ------------------------------------------------------------------------------------------ */

void outbox_lose_lease(struct outbox *outbox, uint64_t lease) {
    pthread_mutex_lock(&outbox->mutex);
    for (struct item *item = outbox->lists[TO_DELIVER].first, *next; item; item = next) {
        next = item->next;
        if (item->lease == lease)
            set_state(outbox, item, TO_OFFER);
    }
    pthread_mutex_unlock(&outbox->mutex);
}

size_t outbox_next_offer(struct digest *keys, struct outbox *outbox) {
    size_t count = 0;
    pthread_mutex_lock(&outbox->mutex);
    for (struct item *item; count < OUTBOX_OFFER && (item = outbox->lists[TO_OFFER].first); ) {
        keys[count++] = item->record.key;
        set_state(outbox, item, OFFERED);
    }
    pthread_mutex_unlock(&outbox->mutex);
    return count;
}

bool outbox_has_offered(struct outbox *outbox) {
    pthread_mutex_lock(&outbox->mutex);
    bool has = outbox->lists[OFFERED].first != NULL;
    pthread_mutex_unlock(&outbox->mutex);
    return has;
}

static void move_offered(struct outbox *outbox, const struct digest *keys, size_t count, enum item_state state) {
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < count; i++) {
        struct item *item = find_item(outbox, &keys[i]);
        if (item && item->state == OFFERED)
            set_state(outbox, item, state);
    }
    pthread_mutex_unlock(&outbox->mutex);
}

void outbox_wanted(struct outbox *outbox, const struct digest *keys, size_t count) {
    move_offered(outbox, keys, count, TO_DELIVER);
}

void outbox_offer_again(struct outbox *outbox, const struct digest *keys, size_t count) {
    move_offered(outbox, keys, count, TO_OFFER);
}

/* False: its file was damaged since, and it is dropped: its job's lease will run out. */
static bool load_item(struct outbox *outbox, struct item *item) {
    struct bytes png = BYTES_INIT;
    struct error error;
    if (item->png)
        return true;
    char *path = file_path(outbox, item->file);
    if (outbox_file_read(&png, path, &item->record, &error) == ERR_OK) {
        item->png = bytes_take(&png).data;
        outbox->memory += item->record.size;
    } else {
        log_drop(path, error.message);
    }
    free(path);
    bytes_release(&png);
    return item->png != NULL;
}

void outbox_next(struct message_results *results, struct outbox *outbox, uint64_t bytes) {
    uint64_t total = 0;
    *results = (struct message_results){ .items = memory_get_array(LIMIT_BATCH, sizeof *results->items) };
    pthread_mutex_lock(&outbox->mutex);
    for (struct item *item = outbox->lists[TO_DELIVER].first, *next; item && results->count < LIMIT_BATCH; item = next) {
        next = item->next;
        bool first = !results->count;
        bool fits = total + item->record.size <= bytes || (first && outbox->unacknowledged == 0);
        if (!first && (item->lease != results->lease || item->epoch != results->epoch || item->alone))
            continue;
        if (!fits)
            break;
        if (!load_item(outbox, item)) {
            remove_item(outbox, item);
            continue;
        }
        results->items[results->count] = (struct result_item){
            .key = item->record.key, .picture = item->record.picture, .pixels = item->record.pixels,
            .render_ms = item->record.render_ms, .png = item->png, .png_size = item->record.size
        };
        set_state(outbox, item, DELIVERED);
        results->lease = item->lease;
        results->epoch = item->epoch;
        results->count++;
        total += item->record.size;
        if (item->alone)
            break;
    }
    pthread_mutex_unlock(&outbox->mutex);
}

void outbox_results_release(struct message_results *results) {
    free(results->items);
    *results = (struct message_results){ .items = NULL };
}

void outbox_forget(struct outbox *outbox, const struct digest *keys, size_t count) {
    pthread_mutex_lock(&outbox->mutex);
    for (size_t i = 0; i < count; i++) {
        struct item *item = find_item(outbox, &keys[i]);
        if (item)
            remove_item(outbox, item);
    }
    pthread_mutex_unlock(&outbox->mutex);
}

void outbox_resend(struct outbox *outbox, bool offer) {
    enum item_state to = offer ? TO_OFFER : TO_DELIVER;
    pthread_mutex_lock(&outbox->mutex);
    for (int state = 0; state < STATE_COUNT; state++)
        for (struct item *item = outbox->lists[state].first, *next; item && state != (int)to; item = next) {
            next = item->next;
            set_state(outbox, item, to);
        }
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
            remove_item(outbox, item);
            dropped = true;
        } else {
            item->alone = true;
            set_state(outbox, item, TO_DELIVER);
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
            set_state(outbox, item, TO_DELIVER);
    }
    pthread_mutex_unlock(&outbox->mutex);
}
