/* file.c - whole files and folders. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_PIECE = 1 << 16 };

enum err file_read_start(struct bytes *out, const char *path, size_t most, struct error *error) {
    struct bytes content = BYTES_INIT;
    enum err err = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, "%s", path);
    while (!err && content.size < most) {
        size_t piece = most - content.size < READ_PIECE ? most - content.size : READ_PIECE;
        bytes_reserve(&content, piece);
        ssize_t got = read(fd, content.data + content.size, piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = error_errno(error, "%s", path);
        if (got <= 0)
            break;
        content.size += (size_t)got;
        content.data[content.size] = '\0';
    }
    close(fd);
    if (!err)
        bytes_add(out, content.data, content.size);
    bytes_release(&content);
    return err;
}

enum err file_read(struct bytes *out, const char *path, size_t limit, struct error *error) {
    struct bytes content = BYTES_INIT;
    enum err err = file_read_start(&content, path, limit + 1, error);
    if (!err && content.size > limit)
        err = error_set(error, ERR_LIMIT, "%s: at most %zu bytes are read, it has more", path, limit);
    if (!err)
        bytes_add(out, content.data, content.size);
    bytes_release(&content);
    return err;
}

static enum err write_all(int fd, const char *path, const uint8_t *data, size_t size, struct error *error) {
    while (size) {
        ssize_t put = write(fd, data, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return error_errno(error, "%s", path);
        data += put;
        size -= (size_t)put;
    }
    return ERR_OK;
}

/* A new file beside `path`, its name in *draft; errno says why there is none. A draft may be left from a process that
 * died, and process ids come again (in containers at once): such a name is passed over. */
static int open_draft(char **draft, const char *path) {
    static atomic_uint counter;
    for (;;) {
        *draft = text_format("%s.%ld.%u.new", path, (long)getpid(), counter++);
        int fd = open(*draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
        free(*draft);
    }
}

static enum err write_beside(const char *path, const void *data, size_t size, bool durable, struct error *error) {
    char *draft;
    enum err err = ERR_OK;
    int fd = open_draft(&draft, path);
    if (fd < 0) {
        err = error_errno(error, "%s", path);
        goto done;
    }
    err = write_all(fd, path, data, size, error);
    if (!err && durable && fsync(fd) != 0)
        err = error_errno(error, "%s: fsync", path);
    if (close(fd) != 0 && !err)
        err = error_errno(error, "%s", path);
    if (!err && rename(draft, path) != 0)
        err = error_errno(error, "%s", path);
    if (err)
        unlink(draft);
done:
    free(draft);
    return err;
}

enum err file_write(const char *path, const void *data, size_t size, struct error *error) {
    return write_beside(path, data, size, false, error);
}

enum err file_write_durable(const char *path, const void *data, size_t size, struct error *error) {
    enum err err = write_beside(path, data, size, true, error);
    if (err)
        return err;
    char *folder = text_copy(path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    err = folder_sync(slash ? (*folder ? folder : "/") : ".", error);
    free(folder);
    return err;
}

enum err folder_create(const char *path, struct error *error) {
    enum err err = ERR_OK;
    char *partial = text_copy(path);
    for (char *p = partial; *p && !err; p++) {
        bool last = p[1] == '\0';
        if (!last && !(p[1] == '/' && *p != '/'))
            continue;
        char kept = p[1];
        p[1] = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            err = error_errno(error, "folder %s", partial);
        else if (last && !folder_exists(partial))
            err = error_set(error, ERR_IO, "%s: want a folder, it is a file", partial);
        p[1] = kept;
    }
    free(partial);
    return err;
}

enum err folder_sync(const char *path, struct error *error) {
    enum err err = ERR_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, "%s", path);
    if (fsync(fd) != 0)
        err = error_errno(error, "%s: fsync", path);
    close(fd);
    return err;
}

bool file_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool folder_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *path_join(const char *folder, const char *name) {
    size_t length = strlen(folder);
    return text_format("%s%s%s", folder, length && folder[length - 1] == '/' ? "" : "/", name);
}

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
