/*
 * disk.c - where SQLite writes: files in memory that remember what was not synced. At a crash that is lost, or the first part of it
 * is kept, or any part of it, a write torn at a sector. So a promise that rests on a write without a sync is found out.
 */
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

enum { FILES_MOST = 8, NAME_LIMIT = 64, SECTOR = 512, SHM_REGIONS = 16 };

struct write {
    bool truncates;
    sqlite3_int64 offset; /* or the size */
    struct bytes data;
    struct write *next;
};

struct file {
    char name[NAME_LIMIT];
    bool there;
    struct bytes live, durable;
    struct write *first, *last; /* not synced */
    void *shm[SHM_REGIONS];
};

struct handle {
    sqlite3_file base;
    struct file *file;
};

static struct file files[FILES_MOST];

/* ---- faults -------------------------------------------------------------------------------------------------------------- */

enum err disk_write_fault(bool *after, enum disk disk) {
    *after = false;
    if (!world.dead && world.die_at && !--world.die_at) {
        trace("the coordinator's machine dies in a write");
        world.dead = true;
    }
    if (world.dead)
        return ERR_IO;
    if (world.now_us < world.full_until_us)
        return ERR_NO_SPACE;
    if (world.now_us < world.disk_fault_until_us && (world.failing_disks & disk) && chance(300)) {
        *after = chance(500);
        return ERR_IO;
    }
    return ERR_OK;
}

/* ---- bytes --------------------------------------------------------------------------------------------------------------- */

static void apply(struct bytes *bytes, const struct write *write, size_t size) {
    if (write->truncates) {
        if ((size_t)write->offset < bytes->size)
            bytes->size = (size_t)write->offset;
        return;
    }
    size_t end = (size_t)write->offset + size;
    if (end > bytes->size) {
        size_t before = bytes->size;
        bytes_reserve(bytes, end - before);
        memset(bytes->data + before, 0, end - before);
        bytes->size = end;
    }
    memcpy(bytes->data + write->offset, write->data.data, size);
}

static void forget_writes(struct file *file) {
    for (struct write *write = file->first, *next; write; write = next) {
        next = write->next;
        bytes_release(&write->data);
        free(write);
    }
    file->first = file->last = NULL;
}

static void record(struct file *file, bool truncates, const void *data, size_t size, sqlite3_int64 offset) {
    struct write *write = memory_get(sizeof *write);
    *write = (struct write){ .truncates = truncates, .offset = offset, .data = BYTES_INIT };
    if (size)
        bytes_add(&write->data, data, size);
    *(file->last ? &file->last->next : &file->first) = write;
    file->last = write;
    apply(&file->live, write, size);
}

static void crash_file(struct file *file) {
    uint64_t manner = dice(3);
    for (const struct write *write = file->first; write; write = write->next) {
        if (manner == 0 || (manner == 1 && chance(200)))
            break;
        if (manner == 2 && chance(500))
            continue;
        apply(&file->durable, write, chance(800) ? write->data.size : (size_t)dice(write->data.size / SECTOR + 1) * SECTOR);
    }
    forget_writes(file);
    bytes_clear(&file->live);
    if (file->durable.size)
        bytes_add(&file->live, file->durable.data, file->durable.size);
}

/* ---- a file of SQLite's ------------------------------------------------------------------------------------------------------ */

static struct file *file_of(sqlite3_file *base) {
    return ((struct handle *)base)->file;
}

static int close_file(sqlite3_file *base) {
    (void)base;
    return SQLITE_OK;
}

static int read_file(sqlite3_file *base, void *out, int size, sqlite3_int64 offset) {
    const struct file *file = file_of(base);
    size_t there = (size_t)offset < file->live.size ? file->live.size - (size_t)offset : 0;
    if (there >= (size_t)size) {
        memcpy(out, file->live.data + offset, (size_t)size);
        return SQLITE_OK;
    }
    memset(out, 0, (size_t)size);
    if (there)
        memcpy(out, file->live.data + offset, there);
    return SQLITE_IOERR_SHORT_READ;
}

static int write_file(sqlite3_file *base, const void *data, int size, sqlite3_int64 offset) {
    bool after;
    enum err fault = disk_write_fault(&after, DISK_LEDGER);
    if (!fault || after)
        record(file_of(base), false, data, (size_t)size, offset);
    return !fault ? SQLITE_OK : fault == ERR_NO_SPACE ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int truncate_file(sqlite3_file *base, sqlite3_int64 size) {
    if (world.dead)
        return SQLITE_IOERR_TRUNCATE;
    record(file_of(base), true, NULL, 0, size);
    return SQLITE_OK;
}

static int sync_file(sqlite3_file *base, int flags) {
    struct file *file = file_of(base);
    bool after;
    enum err fault = disk_write_fault(&after, DISK_LEDGER);
    (void)flags;
    if (fault && !after)
        return SQLITE_IOERR_FSYNC;
    for (const struct write *write = file->first; write; write = write->next)
        apply(&file->durable, write, write->data.size);
    forget_writes(file);
    return fault ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size) {
    *size = (sqlite3_int64)file_of(base)->live.size;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level) {
    (void)base, (void)level;
    return SQLITE_OK;
}

static int check_lock(sqlite3_file *base, int *out) {
    (void)base;
    *out = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int what, void *argument) {
    (void)base, (void)what, (void)argument;
    return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *base) {
    (void)base;
    return SECTOR;
}

static int characteristics(sqlite3_file *base) {
    (void)base;
    return 0;
}

static int shm_map(sqlite3_file *base, int region, int size, int extend, void volatile **out) {
    struct file *file = file_of(base);
    if (region >= SHM_REGIONS)
        return SQLITE_IOERR_SHMMAP;
    if (!file->shm[region] && extend)
        file->shm[region] = memory_get((size_t)size);
    *out = file->shm[region];
    return SQLITE_OK;
}

static int shm_lock(sqlite3_file *base, int offset, int count, int flags) {
    (void)base, (void)offset, (void)count, (void)flags;
    return SQLITE_OK;
}

static void shm_barrier(sqlite3_file *base) {
    (void)base;
}

static void drop_shm(struct file *file) {
    for (int i = 0; i < SHM_REGIONS; i++) {
        free(file->shm[i]);
        file->shm[i] = NULL;
    }
}

static int shm_unmap(sqlite3_file *base, int remove) {
    (void)remove;
    drop_shm(file_of(base));
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, .xClose = close_file, .xRead = read_file, .xWrite = write_file, .xTruncate = truncate_file,
    .xSync = sync_file, .xFileSize = file_size, .xLock = file_lock, .xUnlock = file_lock, .xCheckReservedLock = check_lock,
    .xFileControl = file_control, .xSectorSize = sector_size, .xDeviceCharacteristics = characteristics, .xShmMap = shm_map,
    .xShmLock = shm_lock, .xShmBarrier = shm_barrier, .xShmUnmap = shm_unmap,
};

/* ---- SQLite's file system --------------------------------------------------------------------------------------------------- */

static struct file *find_file(const char *name) {
    for (int i = 0; i < FILES_MOST; i++)
        if (files[i].there && strcmp(files[i].name, name) == 0)
            return &files[i];
    return NULL;
}

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags) {
    struct handle *handle = (struct handle *)base;
    struct file *file = name ? find_file(name) : NULL;
    (void)vfs;
    base->pMethods = NULL;
    for (int i = 0; i < FILES_MOST && !file && name && (flags & SQLITE_OPEN_CREATE); i++)
        if (!files[i].there) {
            file = &files[i];
            *file = (struct file){ .there = true, .live = BYTES_INIT, .durable = BYTES_INIT };
            strncpy(file->name, name, NAME_LIMIT - 1);
        }
    if (!file)
        return SQLITE_CANTOPEN;
    handle->file = file;
    base->pMethods = &methods;
    if (out_flags)
        *out_flags = flags;
    return SQLITE_OK;
}

static void remove_file(struct file *file) {
    forget_writes(file);
    bytes_release(&file->live);
    bytes_release(&file->durable);
    drop_shm(file);
    *file = (struct file){ .there = false };
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    struct file *file = find_file(name);
    (void)vfs, (void)sync;
    if (world.dead)
        return SQLITE_IOERR_DELETE;
    if (file)
        remove_file(file);
    return file ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
    (void)vfs, (void)flags;
    *out = find_file(name) != NULL;
    return SQLITE_OK;
}

static int vfs_full_name(sqlite3_vfs *vfs, const char *name, int size, char *out) {
    (void)vfs;
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *out) {
    (void)vfs;
    for (int i = 0; i < size; i++)
        out[i] = (char)dice(256);
    return size;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs;
    return microseconds;
}

static int vfs_time(sqlite3_vfs *vfs, double *out) {
    (void)vfs;
    *out = 2460000.5;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *out) {
    (void)vfs, (void)size, (void)out;
    return 0;
}

static sqlite3_vfs vfs_sim = {
    .iVersion = 1, .szOsFile = sizeof(struct handle), .mxPathname = NAME_LIMIT, .zName = "sim", .xOpen = vfs_open,
    .xDelete = vfs_delete, .xAccess = vfs_access, .xFullPathname = vfs_full_name, .xRandomness = vfs_randomness,
    .xSleep = vfs_sleep, .xCurrentTime = vfs_time, .xGetLastError = vfs_last_error,
};

void disk_register(void) {
    sqlite3_vfs_register(&vfs_sim, 1);
}

void disk_begin(void) {
    sqlite3_randomness(0, NULL); /* begins anew, from vfs_randomness */
}

void disk_crash(void) {
    for (int i = 0; i < FILES_MOST; i++)
        if (files[i].there)
            crash_file(&files[i]);
}

void disk_end(void) {
    for (int i = 0; i < FILES_MOST; i++)
        if (files[i].there)
            remove_file(&files[i]);
}
