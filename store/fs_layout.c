/*
 * fs_layout.c - the folder of a store: made, recognised, locked, tidied.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "store/fs.h"

/* Layout 1 had two levels of folders above an object. With random digests nearly every object of a young store made a folder of
 * its own, which cost as much as the object. Such stores are served as they are. */
#define LAYOUT_VERSION "seedfarm store 2\n"
#define LAYOUT_VERSION_1 "seedfarm store 1\n"

enum { MARKER_LIMIT = 256, HOLDER_SIZE = 320 };

/* What a folder may hold and still become a store: what a beginning store itself puts there, and what a farm that runs in
 * the folder (logs, socket, workers' caches, ledger) may have put there first. */
static bool belongs(const char *name) {
    static const char *const ours[] = { FS_MARKER ".", "coordinator.", "worker", "farm.", "ledger" };
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, FS_LOCK) == 0)
        return true;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strncmp(name, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

/* The first entry of an unmarked folder that does not belong there; NULL: none. */
static enum err first_stranger(char **stranger, const char *where, struct error *error) {
    DIR *folder = opendir(where);
    const struct dirent *entry;
    if (!folder)
        return error_errno(error, "store %s", where);
    *stranger = NULL;
    while (!*stranger && (entry = readdir(folder)))
        if (!belongs(entry->d_name))
            *stranger = text_copy(entry->d_name);
    closedir(folder);
    return ERR_OK;
}

/* *fresh: the folder holds no store yet and may become one. *fan: of the store that is there, or would be. */
static enum err layout_check(bool *fresh, int *fan, const char *where, struct error *error) {
    struct bytes version = BYTES_INIT;
    char *marker = path_join(where, FS_MARKER), *stranger = NULL;
    enum err err = ERR_OK;
    *fresh = !file_exists(marker);
    *fan = 1;
    if (*fresh) {
        if (!(err = first_stranger(&stranger, where, error)) && stranger)
            err = error_set(error, ERR_INVALID, "store %s: want an empty folder or a seedfarm store, it holds \"%s\" and no %s",
                            where, stranger, FS_MARKER);
        goto done;
    }
    if ((err = file_read(&version, marker, MARKER_LIMIT, error)))
        goto done;
    if (strcmp(bytes_text(&version), LAYOUT_VERSION_1) == 0)
        *fan = 2;
    else if (strcmp(bytes_text(&version), LAYOUT_VERSION) != 0)
        err = error_set(error, ERR_UNSUPPORTED, "store %s: want layout \"%.*s\", it has \"%.*s\"", where,
                        (int)strcspn(LAYOUT_VERSION, "\n"), LAYOUT_VERSION, (int)strcspn(bytes_text(&version), "\n"),
                        bytes_text(&version));
done:
    bytes_release(&version);
    free(stranger);
    free(marker);
    return err;
}

static enum err lock_take(struct fs_store *fs, struct error *error) {
    char holder[HOLDER_SIZE] = "", host[256] = "";
    int fd = openat(fs->root, FS_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_errno(error, "store %s: %s", fs->where, FS_LOCK);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum err err;
        if (errno != EWOULDBLOCK) {
            err = error_errno(error, "store %s: flock of %s", fs->where, FS_LOCK);
        } else {
            ssize_t got = pread(fd, holder, sizeof holder - 1, 0);
            holder[got > 0 ? got : 0] = '\0';
            holder[strcspn(holder, "\n")] = '\0';
            err = error_set(error, ERR_INVALID, "store %s: held open for writing by %s", fs->where,
                            *holder ? holder : "another process");
        }
        close(fd);
        return err;
    }
    gethostname(host, sizeof host - 1);
    int length = snprintf(holder, sizeof holder, "process %ld on host %s\n", (long)getpid(), host);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, holder, (size_t)length, 0) != length) {
        enum err err = error_errno(error, "store %s: write %s", fs->where, FS_LOCK);
        close(fd);
        return err;
    }
    fs->lock_fd = fd;
    return ERR_OK;
}

/* What a crash left half-written. */
static enum err drafts_remove(const struct fs_store *fs, struct error *error) {
    char *path = path_join(fs->where, FS_TEMP);
    enum err err = ERR_OK;
    const struct dirent *entry;
    DIR *folder = opendir(path);
    if (!folder)
        err = error_errno(error, "store %s: %s", fs->where, FS_TEMP);
    while (!err && (entry = readdir(folder))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) != 0)
            err = error_errno(error, "store %s: remove the stray file %s/%s", fs->where, FS_TEMP, entry->d_name);
    }
    if (folder)
        closedir(folder);
    free(path);
    return err;
}

static enum err folders_make(const struct fs_store *fs, struct error *error) {
    static const char *const folders[] = { "objects", FS_OBJECTS, FS_TEMP, FS_DAMAGED };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdirat(fs->root, folders[i], 0777) != 0 && errno != EEXIST)
            return error_errno(error, "store %s: folder %s", fs->where, folders[i]);
    return ERR_OK;
}

/* Under the lock: mark a fresh folder, tidy a used one, and make all that is visible durable, so that an object found
 * later needs no sync of its own. */
static enum err layout_settle(struct fs_store *fs, struct error *error) {
    bool fresh;
    enum err err = layout_check(&fresh, &fs->fan, fs->where, error);
    if (!err && fresh) {
        char *marker = path_join(fs->where, FS_MARKER);
        err = file_write_durable(marker, LAYOUT_VERSION, strlen(LAYOUT_VERSION), error);
        free(marker);
    }
    if (!err)
        err = folders_make(fs, error);
    if (!err)
        err = drafts_remove(fs, error);
    if (!err && syncfs(fs->root) != 0)
        err = error_errno(error, "store %s: syncfs", fs->where);
    return err;
}

static struct fs_store *fs_create(const char *where, const struct disk *disk) {
    struct fs_store *fs = memory_get(sizeof *fs);
    fs->base.kind = &fs_kind;
    fs->where = text_copy(where);
    fs->disk = disk;
    fs->root = fs->lock_fd = -1;
    pthread_mutex_init(&fs->write_lock, NULL);
    return fs;
}

static enum err root_open(struct fs_store *fs, struct error *error) {
    fs->root = open(fs->where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fs->root < 0 ? error_errno(error, "store %s", fs->where) : ERR_OK;
}

enum err fs_open(struct store **store, const char *where, const struct disk *disk, struct error *error) {
    struct fs_store *fs = fs_create(where, disk);
    bool fresh;
    enum err err = folder_create(where, error);
    if (!err)
        err = root_open(fs, error);
    if (!err)
        err = layout_check(&fresh, &fs->fan, where, error); /* before the lock file is made in somebody else's folder */
    if (!err)
        err = lock_take(fs, error);
    if (!err)
        err = layout_settle(fs, error);
    if (err)
        fs_close(&fs->base);
    else
        *store = &fs->base;
    return err;
}

enum err fs_open_reader(struct store **store, const char *where, struct error *error) {
    struct fs_store *fs = fs_create(where, &disk_real);
    bool fresh;
    enum err err = root_open(fs, error);
    if (!err)
        err = layout_check(&fresh, &fs->fan, where, error);
    if (!err && fresh)
        err = error_set(error, ERR_NOT_FOUND, "store %s: there is no seedfarm store in this folder", where);
    if (err)
        fs_close(&fs->base);
    else
        *store = &fs->base;
    return err;
}

void fs_close(struct store *store) {
    struct fs_store *fs = (struct fs_store *)store;
    if (fs->lock_fd >= 0)
        close(fs->lock_fd); /* and with it the lock */
    if (fs->root >= 0)
        close(fs->root);
    pthread_mutex_destroy(&fs->write_lock);
    free(fs->where);
    free(fs);
}
