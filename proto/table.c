/*
 * table.c - random access to the rows of a table file.
 *
 * The index holds where every stride-th row begins. It never passes INDEX_LIMIT entries: when it would, every other one is
 * dropped and the stride doubles, so that a file of any size costs at most 2 MB of index.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "proto/sweep.h"

enum { STRIDE = 32, INDEX_LIMIT = 1 << 18, SCAN_BYTES = 1 << 20, READ_BYTES = 1 << 14 };

struct table {
    int fd;
    char *path;
    uint32_t columns;
    uint32_t stride;
    uint64_t size, count;
    uint64_t *index; /* [index_count]: offset of row i * stride */
    size_t index_count, index_room;
};

static void index_add(struct table *table, uint64_t offset)
{
    if (table->index_count == INDEX_LIMIT) {
        for (size_t i = 0; i < INDEX_LIMIT / 2; i++)
            table->index[i] = table->index[2 * i];
        table->index_count = INDEX_LIMIT / 2;
        table->stride *= 2;
        /* An even number of entries was kept, so the row at hand is the next one of the wider stride too. */
    }
    if (table->index_count == table->index_room) {
        table->index_room = table->index_room ? 2 * table->index_room : 1024;
        table->index = memory_grow(table->index, table->index_room, sizeof *table->index);
    }
    table->index[table->index_count++] = offset;
}

/* Up to `size` bytes at `offset`; fewer only at the end of the file. */
static enum err bytes_at(size_t *got, const struct table *table, uint8_t *to, size_t size, uint64_t offset,
                         struct error *error)
{
    *got = 0;
    while (*got < size) {
        ssize_t rc = pread(table->fd, to + *got, size - *got, (off_t)(offset + *got));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return error_errno(error, "table %s", table->path);
        if (rc == 0)
            break;
        *got += (size_t)rc;
    }
    return ERR_OK;
}

static enum err table_scan(struct table *table, struct error *error)
{
    uint8_t *buffer = memory_get(SCAN_BYTES);
    uint64_t row_start = 0;
    enum err code = ERR_OK;

    for (uint64_t offset = 0; offset < table->size;) {
        size_t got;
        code = bytes_at(&got, table, buffer, SCAN_BYTES, offset, error);
        if (code == ERR_OK && got == 0)
            code = error_set(error, ERR_CORRUPT, "table %s: it has become shorter while it was read", table->path);
        if (code != ERR_OK)
            goto done;
        const uint8_t *at = buffer, *end = buffer + got, *feed;
        while ((feed = memchr(at, '\n', (size_t)(end - at)))) {
            uint64_t next = offset + (uint64_t)(feed + 1 - buffer);
            if (table->count % table->stride == 0)
                index_add(table, row_start);
            if (next - row_start > LIMIT_TABLE_ROW)
                break;
            table->count++;
            row_start = next;
            at = feed + 1;
        }
        offset += got;
        if (offset - row_start > LIMIT_TABLE_ROW) {
            code = error_set(error, ERR_LIMIT, "table %s: row %llu: want at most %d bytes, have more", table->path,
                             (unsigned long long)table->count, LIMIT_TABLE_ROW);
            goto done;
        }
    }
    if (row_start != table->size)
        code = error_set(error, ERR_CORRUPT, "table %s: want a line feed at its end", table->path);
    else if (table->count == 0)
        code = error_set(error, ERR_CORRUPT, "table %s: want at least one row, have none", table->path);
done:
    free(buffer);
    return code;
}

enum err table_open(struct table **table, const char *path, uint32_t columns, struct error *error)
{
    struct stat stat;
    struct table *made = memory_get(sizeof *made);
    enum err code = ERR_OK;

    *made = (struct table){.path = text_copy(path), .columns = columns, .stride = STRIDE};
    made->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (made->fd < 0 || fstat(made->fd, &stat) != 0) {
        code = error_errno(error, "table %s", path);
        goto done;
    }
    if (!S_ISREG(stat.st_mode)) {
        code = error_set(error, ERR_INVALID, "table %s: want a file", path);
        goto done;
    }
    made->size = (uint64_t)stat.st_size;
    if (made->size > LIMIT_TABLE_FILE) {
        code = error_set(error, ERR_LIMIT, "table %s: want at most %llu bytes, have %llu", path,
                         (unsigned long long)LIMIT_TABLE_FILE, (unsigned long long)made->size);
        goto done;
    }
    code = table_scan(made, error);
done:
    if (code == ERR_OK)
        *table = made;
    else
        table_close(made);
    return code;
}

void table_close(struct table *table)
{
    if (!table)
        return;
    if (table->fd >= 0)
        close(table->fd);
    free(table->path);
    free(table->index);
    free(table);
}

uint64_t table_count(const struct table *table)
{
    return table->count;
}

uint64_t table_size(const struct table *table)
{
    return table->size;
}

/* The row's line, without its line feed, as the buffer's bytes start..start+size. */
static enum err row_line(struct bytes *buffer, size_t *start, size_t *size, const struct table *table, uint64_t row,
                         struct error *error)
{
    uint64_t offset = table->index[row / table->stride];
    uint64_t left = row % table->stride; /* line feeds to pass */
    size_t piece = READ_BYTES;

    *start = 0;
    for (size_t looked = 0;;) {
        const uint8_t *feed = buffer->size > looked ? memchr(buffer->data + looked, '\n', buffer->size - looked) : NULL;
        if (feed) {
            looked = (size_t)(feed + 1 - buffer->data);
            if (left == 0) {
                *size = looked - 1 - *start;
                return ERR_OK;
            }
            left--;
            *start = looked;
            continue;
        }
        /* Nothing before the row's start is wanted any more. */
        memmove(buffer->data, buffer->data + *start, buffer->size - *start);
        buffer->size -= *start;
        offset += *start;
        *start = 0;
        looked = buffer->size;
        if (buffer->size > LIMIT_TABLE_ROW)
            return error_set(error, ERR_CORRUPT, "table %s: row %llu is longer than when it was opened", table->path, (unsigned long long)row);
        size_t got;
        bytes_reserve(buffer, piece);
        enum err code = bytes_at(&got, table, buffer->data + buffer->size, piece, offset + buffer->size, error);
        if (code != ERR_OK)
            return code;
        if (got == 0)
            return error_set(error, ERR_CORRUPT, "table %s: it ends before row %llu", table->path, (unsigned long long)row);
        buffer->size += got;
        piece = piece < SCAN_BYTES ? 2 * piece : piece;
    }
}

enum err table_row(struct bytes *columns[], const struct table *table, uint64_t row, struct error *error)
{
    struct bytes buffer = BYTES_INIT;
    json_t *array = NULL;
    size_t start = 0, size = 0;
    enum err code;

    if (row >= table->count)
        return error_set(error, ERR_INVALID, "table %s: want a row below %llu, have %llu", table->path,
                         (unsigned long long)table->count, (unsigned long long)row);
    bytes_reserve(&buffer, READ_BYTES);
    code = row_line(&buffer, &start, &size, table, row, error);
    if (code != ERR_OK)
        goto done;
    code = json_parse(&array, buffer.data + start, size, "row", error);
    if (code == ERR_OK && (!json_is_array(array) || json_array_size(array) != table->columns))
        code = error_set(error, ERR_CORRUPT, "want an array of %u texts", table->columns);
    for (uint32_t c = 0; c < table->columns && code == ERR_OK; c++)
        if (!json_is_string(json_array_get(array, c)))
            code = error_set(error, ERR_CORRUPT, "want %u texts, column %u is none", table->columns, c);
    if (code != ERR_OK) {
        if (error)
            error_prefix(error, "table %s: row %llu", table->path, (unsigned long long)row);
        goto done;
    }
    for (uint32_t c = 0; c < table->columns; c++) {
        const json_t *text = json_array_get(array, c);
        bytes_clear(columns[c]);
        bytes_add(columns[c], json_string_value(text), json_string_length(text));
    }
done:
    json_decref(array);
    bytes_release(&buffer);
    return code;
}
