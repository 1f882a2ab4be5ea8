/* outbox_file.c - records written with one call, read back with every doubt. */
#include "worker/outbox_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/catalog.h"

enum { MAGIC = 8, HEAD = MAGIC + 3 * DIGEST_SIZE + 4 + 4 };

static const char magic[MAGIC + 1] = "seedfarm";

/* ---- heads ---------------------------------------------------------------------------------------------------------- */

static void put_u32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(const uint8_t *in) {
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static void write_head(uint8_t head[HEAD], const struct record *record) {
    memcpy(head, magic, MAGIC);
    memcpy(head + MAGIC, record->key.bytes, DIGEST_SIZE);
    memcpy(head + MAGIC + DIGEST_SIZE, record->picture.bytes, DIGEST_SIZE);
    memcpy(head + MAGIC + 2 * DIGEST_SIZE, record->pixels.bytes, DIGEST_SIZE);
    put_u32(head + MAGIC + 3 * DIGEST_SIZE, record->render_ms);
    put_u32(head + MAGIC + 3 * DIGEST_SIZE + 4, (uint32_t)record->size);
}

static bool read_head(struct record *record, const uint8_t head[HEAD]) {
    if (memcmp(head, magic, MAGIC) != 0)
        return false;
    memcpy(record->key.bytes, head + MAGIC, DIGEST_SIZE);
    memcpy(record->picture.bytes, head + MAGIC + DIGEST_SIZE, DIGEST_SIZE);
    memcpy(record->pixels.bytes, head + MAGIC + 2 * DIGEST_SIZE, DIGEST_SIZE);
    record->render_ms = get_u32(head + MAGIC + 3 * DIGEST_SIZE);
    record->size = get_u32(head + MAGIC + 3 * DIGEST_SIZE + 4);
    return record->size >= 1 && record->size <= LIMIT_PICTURE;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static enum err write_parts(int fd, struct iovec *parts, size_t count, const char *path, struct error *error) {
    while (count) {
        ssize_t wrote = writev(fd, parts, (int)count);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return error_errno(error, "%s", path);
        size_t left = (size_t)wrote;
        for (; count && left >= parts->iov_len; parts++, count--)
            left -= parts->iov_len;
        if (count) {
            parts->iov_base = (char *)parts->iov_base + left;
            parts->iov_len -= left;
        }
    }
    return ERR_OK;
}

enum err outbox_file_write(const char *path, struct record *records, size_t count, struct error *error) {
    uint8_t heads[LIMIT_BATCH][HEAD];
    struct iovec parts[2 * LIMIT_BATCH];
    uint64_t offset = 0;
    assert(count <= LIMIT_BATCH);
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        write_head(heads[i], record);
        parts[2 * i] = (struct iovec){ heads[i], HEAD };
        parts[2 * i + 1] = (struct iovec){ (void *)record->png, record->size };
        record->offset = offset + HEAD;
        offset = record->offset + record->size;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_errno(error, "%s", path);
    enum err err = write_parts(fd, parts, 2 * count, path, error);
    if (close(fd) != 0 && !err)
        err = error_errno(error, "%s", path);
    if (err)
        unlink(path);
    return err;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

/* `size` bytes from `offset` on; ERR_CORRUPT where the file ends before. */
static enum err read_at(void *out, int fd, uint64_t offset, size_t size, const char *path, struct error *error) {
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, (char *)out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(error, "%s", path);
        if (got == 0)
            return error_set(error, ERR_CORRUPT, "%s: torn: want %zu bytes at %" PRIu64 ", it has %zu", path, size, offset, done);
        done += (size_t)got;
    }
    return ERR_OK;
}

static enum err read_picture(struct bytes *png, int fd, const struct record *record, const char *path, struct error *error) {
    bytes_clear(png);
    bytes_reserve(png, record->size);
    enum err err = read_at(png->data, fd, record->offset, record->size, path, error);
    if (err)
        return err;
    png->size = record->size;
    struct digest have = digest_of(png->data, png->size);
    if (digest_equal(&have, &record->picture))
        return ERR_OK;
    char want_hex[DIGEST_HEX_SIZE], have_hex[DIGEST_HEX_SIZE];
    digest_hex(&record->picture, want_hex);
    digest_hex(&have, have_hex);
    return error_set(error, ERR_CORRUPT, "%s: torn: want sha256 %s, its %zu bytes at %" PRIu64 " have %s", path, want_hex, png->size,
                     record->offset, have_hex);
}

static enum err scan(int fd, const char *path, uint64_t size, void (*take)(void *context, const struct record *record),
                     void *context, struct error *error) {
    struct bytes png = BYTES_INIT;
    enum err err = ERR_OK;
    for (uint64_t at = 0; at < size && !err;) {
        struct record record = { .png = NULL };
        uint8_t head[HEAD];
        err = read_at(head, fd, at, HEAD, path, error);
        if (!err && !read_head(&record, head))
            err = error_set(error, ERR_CORRUPT, "%s: no finished picture at %" PRIu64, path, at);
        record.offset = at + HEAD;
        if (!err && record.size > size - record.offset)
            err = error_set(error, ERR_CORRUPT, "%s: torn: want %zu bytes at %" PRIu64 ", it has %" PRIu64, path, record.size,
                            record.offset, size - record.offset);
        if (!err)
            err = read_picture(&png, fd, &record, path, error);
        if (!err)
            take(context, &record);
        at = record.offset + record.size;
    }
    bytes_release(&png);
    return err;
}

enum err outbox_file_scan(const char *path, void (*take)(void *context, const struct record *record), void *context,
                          struct error *error) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, "%s", path);
    enum err err = fstat(fd, &info) != 0      ? error_errno(error, "%s", path)
                   : !S_ISREG(info.st_mode)   ? error_set(error, ERR_CORRUPT, "%s: want a file", path)
                                              : scan(fd, path, (uint64_t)info.st_size, take, context, error);
    close(fd);
    return err;
}

enum err outbox_file_read(struct bytes *png, const char *path, const struct record *record, struct error *error) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, "%s", path);
    enum err err = read_picture(png, fd, record, path, error);
    close(fd);
    return err;
}
