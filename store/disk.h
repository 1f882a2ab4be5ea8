/*
 * disk.h - the calls by which a store changes its folder, as a table, so that tests can make each one fail.
 *
 * Private to store/ and its tests. Each answers as the system call of its name: -1 and errno.
 */
#ifndef STORE_DISK_H
#define STORE_DISK_H

#include <sys/types.h>

struct disk {
    int (*open)(int folder, const char *path, int flags, mode_t mode);
    ssize_t (*write)(int fd, const void *data, size_t size);
    int (*close)(int fd);
    int (*sync)(int fd); /* syncfs */
    int (*rename)(int from_folder, const char *from, int to_folder, const char *to);
    int (*mkdir)(int folder, const char *path, mode_t mode);
    int (*unlink)(int folder, const char *path);
    int (*touch)(int folder, const char *path); /* mtime := now */
};

extern const struct disk disk_real;

#endif
