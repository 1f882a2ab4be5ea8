/*
 * table_make.c - prompt and rows files (txt, csv, jsonl) become tables. They are streamed: memory is two buffers, whatever
 * the file's size; the common case of a record (no quotes, no escapes) is scanned and copied, never parsed into objects.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/records.h"
#include "proto/sweep_parts.h"

/* ---- the table being written -------------------------------------------------------------------------------------- */

enum { WRITE_BYTES = 1 << 20 };

struct writer {
    int fd;
    struct bytes buffer;
    struct hasher hasher;
    struct table_made *made;
};

static enum err writer_open(struct writer *writer, struct table_made *made, struct error *error)
{
    const char *folder = getenv("TMPDIR");
    made->path = text_format("%s/seedfarm-table-XXXXXX", folder && *folder ? folder : "/tmp");
    writer->made = made;
    writer->fd = mkostemp(made->path, O_CLOEXEC);
    if (writer->fd < 0) {
        enum err code = error_errno(error, "%s", made->path);
        free(made->path);
        made->path = NULL;
        return code;
    }
    hasher_init(&writer->hasher);
    bytes_reserve(&writer->buffer, WRITE_BYTES + LIMIT_TABLE_ROW);
    return ERR_OK;
}

static enum err writer_flush(struct writer *writer, struct error *error)
{
    hasher_add(&writer->hasher, writer->buffer.data, writer->buffer.size);
    for (size_t done = 0; done < writer->buffer.size;) {
        ssize_t rc = write(writer->fd, writer->buffer.data + done, writer->buffer.size - done);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return error_errno(error, "%s", writer->made->path);
        done += (size_t)rc;
    }
    writer->made->size += writer->buffer.size;
    bytes_clear(&writer->buffer);
    return ERR_OK;
}

/* Close; on failure the file goes too. */
static enum err writer_close(struct writer *writer, enum err code, struct error *error)
{
    struct table_made *made = writer->made;
    if (code == ERR_OK)
        code = writer_flush(writer, error);
    if (code == ERR_OK)
        made->digest = hasher_finish(&writer->hasher);
    else
        hasher_release(&writer->hasher);
    close(writer->fd);
    bytes_release(&writer->buffer);
    if (code != ERR_OK) {
        unlink(made->path);
        free(made->path);
        made->path = NULL;
    }
    return code;
}

/* ---- JSON texts --------------------------------------------------------------------------------------------------- */

#define EVERY(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Does any of eight bytes equal zero? (the classic: exact as a yes or no) */
static uint64_t has_zero(uint64_t eight)
{
    return (eight - EVERY(0x01)) & ~eight & EVERY(0x80);
}

static bool needs_escape(const uint8_t *text, size_t size)
{
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t eight;
        memcpy(&eight, text + i, 8);
        uint64_t below_space = (eight - EVERY(0x20)) & ~eight & EVERY(0x80);
        if (below_space | has_zero(eight ^ EVERY('"')) | has_zero(eight ^ EVERY('\\')))
            return true;
    }
    for (; i < size; i++)
        if (text[i] < 0x20 || text[i] == '"' || text[i] == '\\')
            return true;
    return false;
}

static void json_text_add(struct bytes *out, const uint8_t *text, size_t size)
{
    bytes_add(out, "\"", 1);
    if (!needs_escape(text, size)) {
        bytes_add(out, text, size);
    } else {
        for (size_t i = 0; i < size; i++) {
            if (text[i] < 0x20)
                bytes_add_format(out, "\\u%04x", text[i]);
            else if (text[i] == '"' || text[i] == '\\')
                bytes_add(out, (char[]){'\\', (char)text[i]}, 2);
            else
                bytes_add(out, &text[i], 1);
        }
    }
    bytes_add(out, "\"", 1);
}

/* ---- one conversion ----------------------------------------------------------------------------------------------- */

struct conversion {
    struct records *records;
    struct writer writer;
    table_value *value;
    void *context;
    uint32_t columns[FIELD_COUNT]; /* of the record, for each field of the table */
    struct bytes text;             /* scratch */
    struct bytes normal;
};

static enum err value_add(struct conversion *conversion, enum field field, const struct cell *cell, struct error *error)
{
    struct bytes *out = &conversion->writer.buffer;
    if (catalog_field(field)->type == TYPE_TEXT) {
        /* records has checked UTF-8 and refused NUL: a prompt needs no more than its length held */
        if (cell->size > LIMIT_PROMPT_BYTES)
            return error_set(error, ERR_LIMIT, "%s: want at most %d bytes, have %zu", catalog_field(field)->name, LIMIT_PROMPT_BYTES,
                             cell->size);
        json_text_add(out, cell->data, cell->size);
        return ERR_OK;
    }
    bytes_clear(&conversion->text);
    bytes_add(&conversion->text, cell->data, cell->size);
    bytes_clear(&conversion->normal);
    enum err code = conversion->value(conversion->context, &conversion->normal, field, bytes_text(&conversion->text), error);
    if (code == ERR_OK && field == FIELD_NUMERICS && strcmp(bytes_text(&conversion->normal), numerics_name(NUMERICS_AUTO)) == 0)
        code = error_set(error, ERR_UNSUPPORTED, "numerics: want fp32, bf16 or fp16 in a table, have auto: the sweep names a table by"
                         " its bytes, which stay as they are");
    if (code == ERR_OK)
        json_text_add(out, conversion->normal.data, conversion->normal.size);
    return code;
}

static enum err rows_convert(struct conversion *conversion, struct error *error)
{
    struct writer *writer = &conversion->writer;
    struct table_made *made = writer->made;
    for (;;) {
        bool got;
        enum err code = records_next(&got, conversion->records, error);
        if (code != ERR_OK || !got)
            return code;
        bytes_add(&writer->buffer, "[", 1);
        for (uint32_t f = 0; f < made->field_count; f++) {
            if (f)
                bytes_add(&writer->buffer, ",", 1);
            code = value_add(conversion, made->fields[f], records_cell(conversion->records, conversion->columns[f]), error);
            if (code != ERR_OK) {
                if (error)
                    error_prefix(error, "%s:%llu", records_name(conversion->records),
                                 (unsigned long long)records_line(conversion->records));
                return code;
            }
        }
        bytes_add(&writer->buffer, "]\n", 2);
        made->count++;
        if (made->count > LIMIT_SWEEP_JOBS)
            return error_set(error, ERR_LIMIT, "%s: want at most %llu rows, have more", records_name(conversion->records),
                             (unsigned long long)LIMIT_SWEEP_JOBS);
        if (writer->buffer.size >= WRITE_BYTES)
            code = writer_flush(writer, error);
        if (code != ERR_OK)
            return code;
    }
}

static enum err table_convert(struct table_made *made, struct conversion *conversion, struct error *error)
{
    enum err code = writer_open(&conversion->writer, made, error);
    if (code != ERR_OK)
        return code;
    code = rows_convert(conversion, error);
    if (code == ERR_OK && made->count == 0)
        code = error_set(error, ERR_INVALID, "%s: want at least one row, have none", records_name(conversion->records));
    code = writer_close(&conversion->writer, code, error);
    bytes_release(&conversion->text);
    bytes_release(&conversion->normal);
    return code;
}

enum err table_make_column(struct table_made *made, const char *path, enum field field, const char *column,
                           table_value *value, void *context, struct error *error)
{
    struct conversion conversion = {.value = value, .context = context};
    struct table_made read = {.fields = {field}, .field_count = 1};
    const char *name = column ? column : catalog_field(field)->name;

    enum err code = records_open(&conversion.records, path, name, error);
    if (code != ERR_OK)
        return code;
    if (records_are_lines(conversion.records) && column)
        code = error_set(error, ERR_INVALID, "%s: a text file has no columns, column is \"%.80s\"", path, column);
    if (code == ERR_OK)
        code = records_find(&conversion.columns[0], conversion.records, name, error);
    if (code == ERR_OK)
        code = table_convert(&read, &conversion, error);
    records_close(conversion.records);
    if (code == ERR_OK)
        *made = read;
    return code;
}

enum err table_make_rows(struct table_made *made, const char *path, table_value *value, void *context, struct error *error)
{
    struct conversion conversion = {.value = value, .context = context};
    struct table_made read = {0};
    uint32_t column_of[FIELD_COUNT];
    bool given[FIELD_COUNT] = {false};

    enum err code = records_open(&conversion.records, path, NULL, error);
    if (code != ERR_OK)
        return code;
    if (records_are_lines(conversion.records))
        code = error_set(error, ERR_INVALID, "%s: rows want a csv or jsonl file", path);
    for (uint32_t c = 0; code == ERR_OK && c < records_columns(conversion.records); c++) {
        enum field field;
        code = catalog_find(&field, records_column(conversion.records, c), error);
        if (code == ERR_OK && given[field])
            code = error_set(error, ERR_INVALID, "column \"%s\" is given twice", catalog_field(field)->name);
        if (code != ERR_OK) {
            if (error)
                error_prefix(error, "%s:1", path);
            break;
        }
        given[field] = true;
        column_of[field] = c;
    }
    for (int field = 0; field < FIELD_COUNT; field++) {
        if (!given[field])
            continue;
        conversion.columns[read.field_count] = column_of[field];
        read.fields[read.field_count++] = (enum field)field;
    }
    if (code == ERR_OK)
        code = table_convert(&read, &conversion, error);
    records_close(conversion.records);
    if (code == ERR_OK)
        *made = read;
    return code;
}
