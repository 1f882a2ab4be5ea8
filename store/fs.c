/*
 * fs.c - a store on a file system: the table of kind.h over a folder of plain files.
 */
#include "store/fs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

struct fs_upload {
    struct store_upload base;
    struct fs_group group; /* of one draft */
    int fd;                /* -1 once closed */
    bool committed;
};

static struct fs_store *fs_of(struct store *store) {
    return (struct fs_store *)store;
}

void fs_object_path(char path[FS_PATH_SIZE], const struct fs_store *fs, const struct digest *digest) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    int length = fs->fan == 1 ? snprintf(path, FS_PATH_SIZE, FS_OBJECTS "/%.2s/%s", hex, hex)
                              : snprintf(path, FS_PATH_SIZE, FS_OBJECTS "/%.2s/%.2s/%s", hex, hex + 2, hex);
    assert(length < FS_PATH_SIZE);
    (void)length;
}

static enum err object_errno(const struct fs_store *fs, const struct digest *digest, const char *call,
                             struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    int cause = errno;
    digest_hex(digest, hex);
    if (cause == ENOENT)
        return error_set(error, ERR_NOT_FOUND, "store %s: it has no object %s", fs->where, hex);
    errno = cause;
    return error_errno(error, "store %s: object %s: %s", fs->where, hex, call);
}

/* ---- reading ---------------------------------------------------------------------------------------------------------- */

static enum err fs_size(uint64_t *size, struct store *store, const struct digest *digest, struct error *error) {
    struct fs_store *fs = fs_of(store);
    char path[FS_PATH_SIZE];
    struct stat info;
    fs_object_path(path, fs, digest);
    if (fstatat(fs->root, path, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return object_errno(fs, digest, "stat", error);
    if (!S_ISREG(info.st_mode))
        return error_set(error, ERR_CORRUPT, "store %s: %s: want a plain file", fs->where, path);
    *size = (uint64_t)info.st_size;
    return ERR_OK;
}

static enum err fs_read(struct bytes *out, struct store *store, const struct digest *digest, uint64_t offset, size_t size,
                        struct error *error) {
    struct fs_store *fs = fs_of(store);
    char path[FS_PATH_SIZE];
    size_t before = out->size;
    enum err err = ERR_OK;
    fs_object_path(path, fs, digest);
    int fd = openat(fs->root, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return object_errno(fs, digest, "open", error);
    bytes_reserve(out, size);
    while (size) {
        ssize_t got = pread(fd, out->data + out->size, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = object_errno(fs, digest, "read", error);
        if (got <= 0)
            break;
        out->size += (size_t)got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    if (err)
        out->size = before;
    out->data[out->size] = '\0';
    close(fd);
    return err;
}

/* Looked at once more under the lock: a put may have replaced a file of the wrong size meanwhile. */
static bool fs_set_aside(struct store *store, const struct digest *digest) {
    struct fs_store *fs = fs_of(store);
    char path[FS_PATH_SIZE], aside[FS_PATH_SIZE], hex[DIGEST_HEX_SIZE];
    struct digest found;
    bool moved = false;
    if (fs->lock_fd < 0)
        return false;
    fs_object_path(path, fs, digest);
    digest_hex(digest, hex);
    snprintf(aside, sizeof aside, FS_DAMAGED "/%s", hex);
    char *whole_path = path_join(fs->where, path);
    pthread_mutex_lock(&fs->write_lock);
    if (digest_of_file(&found, NULL, whole_path, NULL) || !digest_equal(&found, digest))
        moved = fs->disk->rename(fs->root, path, fs->root, aside) == 0;
    pthread_mutex_unlock(&fs->write_lock);
    free(whole_path);
    return moved;
}

static char *fs_path(struct store *store, const struct digest *digest) {
    const struct fs_store *fs = fs_of(store);
    char path[FS_PATH_SIZE];
    fs_object_path(path, fs, digest);
    return path_join(fs->where, path);
}

static uint64_t fs_free_bytes(struct store *store) {
    struct statvfs info;
    if (fstatvfs(fs_of(store)->root, &info) != 0)
        return 0;
    return (uint64_t)info.f_bavail * info.f_frsize;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static enum err refuse_reader(const struct fs_store *fs, struct error *error) {
    return error_set(error, ERR_INVALID, "store %s: opened for reading only", fs->where);
}

static enum err refuse_distrusted(const struct fs_store *fs, struct error *error) {
    return error_set(error, ERR_IO, "store %s: an earlier failed group could not be taken back, nothing more is written",
                     fs->where);
}

/* *there: it is, whole as far as its size tells, and now looks young to gc. */
static enum err touch(bool *there, struct fs_store *fs, const struct digest *digest, uint64_t size, struct error *error) {
    char path[FS_PATH_SIZE];
    uint64_t found;
    *there = fs_size(&found, &fs->base, digest, NULL) == ERR_OK && found == size;
    if (!*there)
        return ERR_OK;
    fs_object_path(path, fs, digest);
    if (fs->disk->touch(fs->root, path) != 0)
        return object_errno(fs, digest, "touch", error);
    return ERR_OK;
}

static enum err put_item(struct fs_group *group, const struct store_item *item, struct error *error) {
    bool there;
    int fd;
    enum err err = touch(&there, group->fs, &item->digest, item->size, error);
    if (err || there)
        return err;
    if ((err = fs_draft_open(&fd, group, &item->digest, error)))
        return err;
    err = fs_draft_write(group, fd, item->data, item->size, error);
    enum err closed = fs_draft_close(group, fd, err ? NULL : error);
    return err ? err : closed;
}

static enum err fs_put(struct store *store, const struct store_item *items, size_t count, struct error *error) {
    struct fs_store *fs = fs_of(store);
    struct fs_group group;
    enum err err;
    if (fs->lock_fd < 0)
        return refuse_reader(fs, error);
    pthread_mutex_lock(&fs->write_lock);
    err = fs->distrusted ? refuse_distrusted(fs, error) : fs_group_begin(&group, fs, count, error);
    if (err)
        goto done;
    for (size_t i = 0; i < count && !err; i++)
        err = put_item(&group, &items[i], error);
    if (!err && group.count)
        err = fs_group_commit(&group, error);
    fs_group_end(&group, err == ERR_OK);
done:
    pthread_mutex_unlock(&fs->write_lock);
    return err;
}

static enum err fs_upload_begin(struct store_upload **upload, struct store *store, const struct digest *digest,
                                struct error *error) {
    struct fs_store *fs = fs_of(store);
    struct fs_group group;
    int fd;
    if (fs->lock_fd < 0)
        return refuse_reader(fs, error);
    enum err err = fs_group_begin(&group, fs, 1, error);
    if (err)
        return err;
    if ((err = fs_draft_open(&fd, &group, digest, error))) {
        fs_group_end(&group, false);
        return err;
    }
    struct fs_upload *begun = memory_get(sizeof *begun);
    begun->group = group;
    begun->fd = fd;
    *upload = &begun->base;
    return ERR_OK;
}

static enum err fs_upload_add(struct store_upload *upload, const void *data, size_t size, struct error *error) {
    struct fs_upload *mine = (struct fs_upload *)upload;
    return fs_draft_write(&mine->group, mine->fd, data, size, error);
}

static enum err fs_upload_commit(struct store_upload *upload, struct error *error) {
    struct fs_upload *mine = (struct fs_upload *)upload;
    struct fs_store *fs = mine->group.fs;
    bool there = false;
    int fd = mine->fd;
    mine->fd = -1;
    enum err err = fs_draft_close(&mine->group, fd, error);
    if (err)
        return err;
    pthread_mutex_lock(&fs->write_lock);
    err = fs->distrusted ? refuse_distrusted(fs, error) : touch(&there, fs, &upload->digest, upload->total, error);
    if (!err && !there)
        err = fs_group_commit(&mine->group, error);
    mine->committed = !err && !there;
    fs_group_end(&mine->group, mine->committed);
    pthread_mutex_unlock(&fs->write_lock);
    mine->group.fs = NULL;
    return err;
}

static void fs_upload_free(struct store_upload *upload) {
    struct fs_upload *mine = (struct fs_upload *)upload;
    if (mine->fd >= 0)
        mine->group.fs->disk->close(mine->fd);
    if (mine->group.fs)
        fs_group_end(&mine->group, false);
    free(mine);
}

/* ---- listing ---------------------------------------------------------------------------------------------------------- */

struct names {
    char **all; /* owned, sorted */
    size_t count, capacity;
};

static void names_release(struct names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->all[i]);
    free(names->all);
}

static int names_compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool hex_name(const char *name, size_t length) {
    return strlen(name) == length && strspn(name, "0123456789abcdef") == length;
}

/* The entries of a folder whose names are `length` hex digits. A folder that is not there has none. */
static enum err names_read(struct names *names, const struct fs_store *fs, const char *path, size_t length,
                           struct error *error) {
    const struct dirent *entry;
    int fd = openat(fs->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_OK : error_errno(error, "store %s: %s", fs->where, path);
    DIR *folder = fdopendir(fd);
    if (!folder) {
        enum err err = error_errno(error, "store %s: %s", fs->where, path);
        close(fd);
        return err;
    }
    while ((errno = 0, entry = readdir(folder))) {
        if (!hex_name(entry->d_name, length))
            continue;
        if (names->count == names->capacity) {
            names->capacity = 2 * names->capacity + 16;
            names->all = memory_grow(names->all, names->capacity, sizeof *names->all);
        }
        names->all[names->count++] = text_copy(entry->d_name);
    }
    enum err err = errno ? error_errno(error, "store %s: read the folder %s", fs->where, path) : ERR_OK;
    closedir(folder);
    if (names->count)
        qsort(names->all, names->count, sizeof *names->all, names_compare);
    return err;
}

struct listing {
    struct fs_store *fs;
    bool (*each)(void *context, const struct digest *digest, uint64_t size);
    void *context;
    bool stopped;
};

/* The objects below `path`, `depth` fan-out folders deep, in order. */
static enum err list_below(struct listing *listing, const char *path, int depth, struct error *error) {
    struct names names = { 0 };
    enum err err = names_read(&names, listing->fs, path, depth ? 2 : DIGEST_HEX_SIZE - 1, error);
    for (size_t i = 0; i < names.count && !err && !listing->stopped; i++) {
        struct digest digest;
        uint64_t size;
        if (depth) {
            char *below = path_join(path, names.all[i]);
            err = list_below(listing, below, depth - 1, error);
            free(below);
            continue;
        }
        if (!digest_parse(&digest, names.all[i]) || fs_size(&size, &listing->fs->base, &digest, NULL))
            continue; /* removed since, or in a folder that is not its own */
        listing->stopped = !listing->each(listing->context, &digest, size);
    }
    names_release(&names);
    return err;
}

static enum err fs_list(struct store *store, bool (*each)(void *context, const struct digest *digest, uint64_t size),
                        void *context, struct error *error) {
    struct listing listing = { .fs = fs_of(store), .each = each, .context = context };
    return list_below(&listing, FS_OBJECTS, listing.fs->fan, error);
}

const struct store_kind fs_kind = {
    .close = fs_close,
    .put = fs_put,
    .size = fs_size,
    .read = fs_read,
    .set_aside = fs_set_aside,
    .path = fs_path,
    .free_bytes = fs_free_bytes,
    .list = fs_list,
    .upload_begin = fs_upload_begin,
    .upload_add = fs_upload_add,
    .upload_commit = fs_upload_commit,
    .upload_free = fs_upload_free,
};
