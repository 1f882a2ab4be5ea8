/*
 * fs.h - the store on a file system, as its three files see it: fs_layout.c (opening, locking), fs_group.c (durable
 * writing) and fs.c (reading, and the table of kind.h). Private to store/ and its tests.
 */
#ifndef STORE_FS_H
#define STORE_FS_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/disk.h"
#include "store/kind.h"

#define FS_OBJECTS "objects/sha256"
#define FS_TEMP "tmp"
#define FS_DAMAGED "damaged"
#define FS_MARKER "seedfarm-store"
#define FS_LOCK "lock"

enum { FS_PATH_SIZE = 96 /* FS_OBJECTS "/ab/cd/" and 64 digits */ };

struct fs_store {
    struct store base;
    char *where;
    const struct disk *disk;
    int fan;     /* levels of folders above an object: 1, or 2 in a store of layout 1 */
    int root;    /* the folder; every path below is relative to it */
    int lock_fd; /* -1 for a reader */
    /* Held over a whole group: a group that takes back its renames never does so under another that relied on them. */
    pthread_mutex_t write_lock;
    bool distrusted; /* under write_lock: an object that may not be durable could not be taken back */
    atomic_ullong drafts; /* names temp files */
};

enum err fs_open(struct store **store, const char *where, const struct disk *disk, struct error *error);
enum err fs_open_reader(struct store **store, const char *where, struct error *error);
void fs_close(struct store *store);
extern const struct store_kind fs_kind;

/* Relative to the root. */
void fs_object_path(char path[FS_PATH_SIZE], const struct fs_store *fs, const struct digest *digest);

/* An object on its way: a temp file, later in its place. */
struct fs_draft {
    struct digest digest;
    char name[40];
    bool exists; /* the temp file */
    bool placed; /* renamed to its place */
};

/* Drafts that become durable together. */
struct fs_group {
    struct fs_store *fs;
    /* Opened before the first write: the kernel reports a write-back error once to each file description that was
     * open when it happened, so a shared one could have its error taken by somebody else's syncfs. */
    int sync_fd;
    struct fs_draft *drafts; /* [capacity], owned */
    size_t count;
};
enum err fs_group_begin(struct fs_group *group, struct fs_store *fs, size_t capacity, struct error *error);
/* A new temp file, open for writing in *fd. */
enum err fs_draft_open(int *fd, struct fs_group *group, const struct digest *digest, struct error *error);
enum err fs_draft_write(struct fs_group *group, int fd, const void *data, size_t size, struct error *error);
enum err fs_draft_close(struct fs_group *group, int fd, struct error *error);
/* syncfs, renames, syncfs. Under write_lock. */
enum err fs_group_commit(struct fs_group *group, struct error *error);
/* Frees the group. Without a successful commit every file of it is taken back (under write_lock if any was placed). */
void fs_group_end(struct fs_group *group, bool committed);

#endif
