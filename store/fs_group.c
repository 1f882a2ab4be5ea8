/*
 * fs_group.c - a group of objects made durable together: temp files, syncfs, renames, syncfs.
 *
 * The first syncfs makes the bytes durable before any name points at them; the second makes the names durable before
 * anybody is told. When anything fails all of it is taken back, also what was renamed: the pages of a failed syncfs may
 * be gone while the cache still shows them, so a later put must write them anew instead of finding them "there".
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/fs.h"

enum { OBJECT_MODE = 0444, FOLDER_MODE = 0777 };

enum err fs_group_begin(struct fs_group *group, struct fs_store *fs, size_t capacity, struct error *error) {
    int fd = fs->disk->open(fs->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(error, "store %s: open", fs->where);
    *group = (struct fs_group){ .fs = fs, .sync_fd = fd, .drafts = memory_get_array(capacity, sizeof *group->drafts) };
    return ERR_OK;
}

static enum err object_errno(const struct fs_store *fs, const struct digest *digest, const char *call,
                             struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    int cause = errno;
    digest_hex(digest, hex);
    errno = cause;
    return error_errno(error, "store %s: object %s: %s", fs->where, hex, call);
}

enum err fs_draft_open(int *fd, struct fs_group *group, const struct digest *digest, struct error *error) {
    struct fs_store *fs = group->fs;
    struct fs_draft *draft = &group->drafts[group->count];
    draft->digest = *digest;
    snprintf(draft->name, sizeof draft->name, FS_TEMP "/%llu", atomic_fetch_add(&fs->drafts, 1));
    int opened = fs->disk->open(fs->root, draft->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, OBJECT_MODE);
    if (opened < 0)
        return object_errno(fs, digest, "create a temporary file", error);
    draft->exists = true;
    group->count++;
    *fd = opened;
    return ERR_OK;
}

enum err fs_draft_write(struct fs_group *group, int fd, const void *data, size_t size, struct error *error) {
    const uint8_t *bytes = data;
    while (size) {
        ssize_t put = group->fs->disk->write(fd, bytes, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return object_errno(group->fs, &group->drafts[group->count - 1].digest, "write", error);
        bytes += put;
        size -= (size_t)put;
    }
    return ERR_OK;
}

/* Some file systems (NFS, quotas) first tell of a failed write here. */
enum err fs_draft_close(struct fs_group *group, int fd, struct error *error) {
    if (group->fs->disk->close(fd) != 0)
        return object_errno(group->fs, &group->drafts[group->count - 1].digest, "close", error);
    return ERR_OK;
}

/* objects/sha256/ab (and objects/sha256/ab/cd), made durable by the group's second syncfs. */
static int make_fan(struct fs_store *fs, const char *object_path) {
    char folder[FS_PATH_SIZE];
    size_t length = strlen(FS_OBJECTS "/ab");
    for (int level = 0; level < fs->fan; level++, length += strlen("/cd")) {
        memcpy(folder, object_path, length);
        folder[length] = '\0';
        if (fs->disk->mkdir(fs->root, folder, FOLDER_MODE) != 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

static enum err draft_place(struct fs_store *fs, struct fs_draft *draft, struct error *error) {
    char path[FS_PATH_SIZE];
    fs_object_path(path, fs, &draft->digest);
    int result = fs->disk->rename(fs->root, draft->name, fs->root, path);
    if (result != 0 && errno == ENOENT) {
        if (make_fan(fs, path) != 0)
            return object_errno(fs, &draft->digest, "make its folder", error);
        result = fs->disk->rename(fs->root, draft->name, fs->root, path);
    }
    if (result != 0)
        return object_errno(fs, &draft->digest, "rename", error);
    draft->exists = false;
    draft->placed = true;
    return ERR_OK;
}

static enum err group_sync(struct fs_group *group, struct error *error) {
    if (group->fs->disk->sync(group->sync_fd) != 0)
        return error_errno(error, "store %s: syncfs of a group of %zu objects, taken back", group->fs->where, group->count);
    return ERR_OK;
}

enum err fs_group_commit(struct fs_group *group, struct error *error) {
    enum err err = group_sync(group, error);
    for (size_t i = 0; i < group->count && !err; i++)
        err = draft_place(group->fs, &group->drafts[i], error);
    return err ? err : group_sync(group, error);
}

static void draft_take_back(struct fs_store *fs, const struct fs_draft *draft) {
    char path[FS_PATH_SIZE];
    if (draft->exists)
        fs->disk->unlink(fs->root, draft->name); /* one that stays is removed by the next store_open */
    if (!draft->placed)
        return;
    fs_object_path(path, fs, &draft->digest);
    if (fs->disk->unlink(fs->root, path) != 0 && errno != ENOENT)
        fs->distrusted = true;
}

void fs_group_end(struct fs_group *group, bool committed) {
    for (size_t i = 0; i < group->count && !committed; i++)
        draft_take_back(group->fs, &group->drafts[i]);
    group->fs->disk->close(group->sync_fd);
    free(group->drafts);
}
