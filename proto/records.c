/*
 * records.c - txt, csv and jsonl, a record at a time. See records.h.
 */
#include "proto/records.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "proto/catalog.h"

enum { READ_BYTES = 1 << 20, COLUMNS_LIMIT = 256 };
enum format { FORMAT_LINES, FORMAT_CSV, FORMAT_JSONL };

struct records {
    int fd;
    char *path;
    enum format format;
    char *only;
    uint8_t *buffer;             /* [room] */
    size_t room, start, end;     /* bytes not yet handed out: start..end */
    bool ended;
    uint64_t line, next_line;    /* of the record at hand; of the one behind it */
    char *columns[COLUMNS_LIMIT];
    struct cell cells[COLUMNS_LIMIT];
    uint32_t count;
    json_t *object;              /* jsonl: of a record that was parsed; owns its cells */
    struct bytes unquoted;       /* csv: cells that were quoted; jsonl: numbers as texts */
    bool pending;                /* jsonl: the first record was read to learn the columns */
    struct bytes first_line;     /* its bytes */
};

static enum err refuse(const struct records *records, enum err code, struct error *error, const char *what)
{
    return error_set(error, code, "%s:%llu: %s", records->path, (unsigned long long)records->line, what);
}

/* ---- lines and records as bytes ----------------------------------------------------------------------------------- */

/* More bytes behind `end`; the unread ones move to the front. */
static enum err refill(struct records *records, struct error *error)
{
    if (records->start) {
        memmove(records->buffer, records->buffer + records->start, records->end - records->start);
        records->end -= records->start;
        records->start = 0;
    }
    if (records->end > LIMIT_TABLE_ROW)
        return error_set(error, ERR_LIMIT, "%s:%llu: want records of at most %d bytes, have more (is a quote left open?)", records->path,
                         (unsigned long long)records->next_line, LIMIT_TABLE_ROW);
    if (records->room - records->end < READ_BYTES) {
        records->room = records->end + READ_BYTES;
        records->buffer = memory_grow(records->buffer, records->room, 1);
    }
    ssize_t got;
    do
        got = read(records->fd, records->buffer + records->end, records->room - records->end);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return error_errno(error, "%s", records->path);
    records->ended = got == 0;
    records->end += (size_t)got;
    return ERR_OK;
}

static size_t count_byte(const uint8_t *data, size_t size, uint8_t byte)
{
    size_t count = 0;
    const uint8_t *end = data + size;
    while ((data = memchr(data, byte, (size_t)(end - data)))) {
        count++;
        data++;
    }
    return count;
}

/* The next line; of csv the next record, whose quotes may hold line feeds: it ends at a line feed behind an even number of
 * quotes. Without its line end. */
static enum err line_next(bool *got, struct cell *line, struct records *records, struct error *error)
{
    size_t looked = 0, quotes = 0, feeds = 0;
    for (;;) {
        uint8_t *from = records->buffer + records->start;
        size_t size = records->end - records->start;
        uint8_t *feed = size > looked ? memchr(from + looked, '\n', size - looked) : NULL;
        size_t stop = feed ? (size_t)(feed - from) : size;
        if (records->format == FORMAT_CSV && size > looked)
            quotes += count_byte(from + looked, stop - looked, '"');
        if (feed && quotes % 2 == 0) {
            *line = (struct cell){from, stop};
            records->start += stop + 1;
            feeds++;
            break;
        }
        if (feed) {
            feeds++;
            looked = stop + 1;
            continue;
        }
        if (records->ended) {
            if (size == 0) {
                *got = false;
                return ERR_OK;
            }
            *line = (struct cell){from, size};
            records->start = records->end;
            break;
        }
        looked = size;
        enum err code = refill(records, error);
        if (code != ERR_OK)
            return code;
    }
    records->line = records->next_line;
    records->next_line += feeds;
    if (line->size && line->data[line->size - 1] == '\r')
        line->size--;
    if (line->size > LIMIT_TABLE_ROW)
        return error_set(error, ERR_LIMIT, "%s:%llu: want records of at most %d bytes, have %zu", records->path,
                         (unsigned long long)records->line, LIMIT_TABLE_ROW, line->size);
    *got = true;
    return ERR_OK;
}

static bool line_blank(const struct cell *line)
{
    for (size_t i = 0; i < line->size; i++)
        if (line->data[i] != ' ' && line->data[i] != '\t' && line->data[i] != '\r')
            return false;
    return true;
}

/* As line_next; blank ones are passed over, the others are UTF-8 without NUL. */
static enum err text_next(bool *got, struct cell *line, struct records *records, struct error *error)
{
    size_t place;
    do {
        enum err code = line_next(got, line, records, error);
        if (code != ERR_OK || !*got)
            return code;
    } while (line_blank(line));
    if (!utf8_valid(line->data, line->size, &place))
        return error_set(error, ERR_INVALID, "%s:%llu: want UTF-8, byte %zu of the line is 0x%02x", records->path,
                         (unsigned long long)records->line, place + 1, line->data[place]);
    if (memchr(line->data, 0, line->size))
        return refuse(records, ERR_INVALID, error, "want text, not a NUL character");
    return ERR_OK;
}

/* ---- csv ---------------------------------------------------------------------------------------------------------- */

/* Split a record into cells; quoted ones are written without their quotes into `unquoted`, reserved so that it stays. */
static enum err csv_split(struct records *records, uint32_t *count, const struct cell *line, struct error *error)
{
    const uint8_t *at = line->data, *end = at + line->size;
    bytes_clear(&records->unquoted);
    bytes_reserve(&records->unquoted, line->size);
    for (*count = 0;;) {
        struct cell cell;
        if (*count == COLUMNS_LIMIT)
            return error_set(error, ERR_LIMIT, "%s:%llu: want at most %d columns, have more", records->path,
                             (unsigned long long)records->line, COLUMNS_LIMIT);
        if (at < end && *at == '"') {
            size_t start = records->unquoted.size;
            for (at++;; at += 2) {
                const uint8_t *quote = memchr(at, '"', (size_t)(end - at));
                if (!quote)
                    return refuse(records, ERR_INVALID, error, "a quote is not closed");
                bytes_add(&records->unquoted, at, (size_t)(quote - at));
                at = quote;
                if (at + 1 >= end || at[1] != '"')
                    break;
                bytes_add(&records->unquoted, "\"", 1);
            }
            at++;
            if (at < end && *at != ',')
                return refuse(records, ERR_INVALID, error, "want a comma or the line's end behind a closing quote");
            cell = (struct cell){records->unquoted.data + start, records->unquoted.size - start};
        } else {
            const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
            cell = (struct cell){at, (size_t)((comma ? comma : end) - at)};
            if (memchr(cell.data, '"', cell.size))
                return refuse(records, ERR_INVALID, error, "a quote inside a cell wants the cell in quotes, and itself doubled");
            at += cell.size;
        }
        records->cells[(*count)++] = cell;
        if (at == end)
            return ERR_OK;
        at++;
    }
}

static enum err csv_header(struct records *records, struct error *error)
{
    struct cell line;
    bool got;
    enum err code = text_next(&got, &line, records, error);
    if (code != ERR_OK)
        return code;
    if (!got)
        return refuse(records, ERR_INVALID, error, "want a first line with the columns' names, the file is empty");
    code = csv_split(records, &records->count, &line, error);
    for (uint32_t c = 0; c < records->count && code == ERR_OK; c++)
        records->columns[c] = text_copy_size((const char *)records->cells[c].data, records->cells[c].size);
    return code;
}

static enum err csv_next(struct records *records, const struct cell *line, struct error *error)
{
    uint32_t count;
    enum err code = csv_split(records, &count, line, error);
    if (code == ERR_OK && count != records->count)
        code = error_set(error, ERR_INVALID, "%s:%llu: want %u columns as in the first line, have %u", records->path,
                         (unsigned long long)records->line, records->count, count);
    return code;
}

/* ---- jsonl -------------------------------------------------------------------------------------------------------- */

static const uint8_t *space_skip(const uint8_t *at, const uint8_t *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* A text without escapes or control characters; NULL: it is none, ask the whole parser. *at behind its closing quote. */
static const uint8_t *plain_text(struct cell *text, const uint8_t *at, const uint8_t *end)
{
    if (at == end || *at != '"')
        return NULL;
    const uint8_t *start = ++at;
    for (; at < end && *at != '"'; at++)
        if (*at == '\\' || *at < 0x20)
            return NULL;
    if (at == end)
        return NULL;
    *text = (struct cell){start, (size_t)(at - start)};
    return at + 1;
}

/* The one wanted column of a flat object of plain texts and whole numbers: no object is made for it. False: something is
 * unusual or wrong, and the whole parser shall say what. */
static bool object_scan(struct cell *wanted, const char *name, const struct cell *line)
{
    enum { KEYS = 16 };
    struct cell keys[KEYS];
    const uint8_t *at = line->data, *end = at + line->size;
    size_t name_size = strlen(name), count = 0;
    bool found = false;

    at = space_skip(at, end);
    if (at == end || *at++ != '{')
        return false;
    for (;;) {
        struct cell value;
        if (count == KEYS || !(at = plain_text(&keys[count], space_skip(at, end), end)))
            return false;
        for (size_t i = 0; i < count; i++)
            if (keys[i].size == keys[count].size && memcmp(keys[i].data, keys[count].data, keys[i].size) == 0)
                return false;
        at = space_skip(at, end);
        if (at == end || *at++ != ':')
            return false;
        at = space_skip(at, end);
        bool is_wanted = keys[count].size == name_size && memcmp(keys[count].data, name, name_size) == 0;
        const uint8_t *digits = at;
        if (at < end && *at >= '1' && *at <= '9' && !is_wanted) {
            while (at < end && *at >= '0' && *at <= '9')
                at++;
            if (at - digits > 18)
                return false;
        } else if (!(at = plain_text(&value, at, end))) {
            return false;
        } else if (is_wanted) {
            *wanted = value;
            found = true;
        }
        count++;
        at = space_skip(at, end);
        if (at == end)
            return false;
        if (*at == '}')
            return found && space_skip(at + 1, end) == end;
        if (*at++ != ',')
            return false;
    }
}

/* A value as text: texts as they are, numbers as they are written (decimals up to 15 digits). */
static enum err value_cell(struct records *records, struct cell *cell, const char *key, const json_t *value,
                           struct error *error)
{
    size_t start = records->unquoted.size;
    if (json_is_string(value)) {
        *cell = (struct cell){(const uint8_t *)json_string_value(value), json_string_length(value)};
        return ERR_OK;
    }
    if (json_is_integer(value))
        bytes_add_format(&records->unquoted, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        bytes_add_format(&records->unquoted, "%.15g", json_real_value(value));
    else
        return error_set(error, ERR_INVALID, "%s:%llu: \"%.80s\": want a text or a number", records->path,
                         (unsigned long long)records->line, key);
    *cell = (struct cell){records->unquoted.data + start, records->unquoted.size - start};
    return ERR_OK;
}

static enum err object_parse(struct records *records, const struct cell *line, struct error *error)
{
    char what[512];
    snprintf(what, sizeof what, "%s:%llu", records->path, (unsigned long long)records->line);
    json_decref(records->object);
    records->object = NULL;
    enum err code = json_parse(&records->object, line->data, line->size, what, error);
    if (code == ERR_OK && !json_is_object(records->object))
        code = refuse(records, ERR_INVALID, error, "want a JSON object on each line");
    return code;
}

static enum err jsonl_next(struct records *records, const struct cell *line, struct error *error)
{
    if (records->only && object_scan(&records->cells[0], records->only, line))
        return ERR_OK;
    enum err code = object_parse(records, line, error);
    if (code != ERR_OK)
        return code;
    bytes_clear(&records->unquoted);
    bytes_reserve(&records->unquoted, 64 * (size_t)records->count); /* numbers are shorter: cells stay where they are */
    if (!records->only && json_object_size(records->object) != records->count)
        return error_set(error, ERR_INVALID, "%s:%llu: want the %u keys of the first object, have %zu", records->path,
                         (unsigned long long)records->line, records->count, json_object_size(records->object));
    for (uint32_t c = 0; c < records->count && code == ERR_OK; c++) {
        const json_t *value = json_object_get(records->object, records->columns[c]);
        if (!value)
            code = error_set(error, ERR_INVALID, "%s:%llu: want the key \"%.80s\", it is not in this object", records->path,
                             (unsigned long long)records->line, records->columns[c]);
        else
            code = value_cell(records, &records->cells[c], records->columns[c], value, error);
    }
    return code;
}

static enum err jsonl_header(struct records *records, struct error *error)
{
    struct cell line;
    bool got;
    const char *key;
    json_t *value;

    if (records->only) {
        records->columns[records->count++] = text_copy(records->only);
        return ERR_OK;
    }
    enum err code = text_next(&got, &line, records, error);
    if (code != ERR_OK || !got)
        return code;
    code = object_parse(records, &line, error);
    if (code != ERR_OK)
        return code;
    json_object_foreach(records->object, key, value) {
        if (records->count == COLUMNS_LIMIT)
            return error_set(error, ERR_LIMIT, "%s:1: want at most %d keys, have more", records->path, COLUMNS_LIMIT);
        records->columns[records->count++] = text_copy(key);
    }
    bytes_add(&records->first_line, line.data, line.size);
    records->pending = true;
    return ERR_OK;
}

/* ---- the door ----------------------------------------------------------------------------------------------------- */

static bool name_ends(const char *name, const char *ending)
{
    size_t size = strlen(name), tail = strlen(ending);
    return size > tail && strcasecmp(name + size - tail, ending) == 0;
}

static enum err file_open(struct records *records, struct error *error)
{
    struct stat stat;
    if (name_ends(records->path, ".txt"))
        records->format = FORMAT_LINES;
    else if (name_ends(records->path, ".csv"))
        records->format = FORMAT_CSV;
    else if (name_ends(records->path, ".jsonl") || name_ends(records->path, ".ndjson"))
        records->format = FORMAT_JSONL;
    else
        return error_set(error, ERR_INVALID, "%s: want a file of .txt, .csv or .jsonl", records->path);
    records->fd = open(records->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (records->fd < 0 || fstat(records->fd, &stat) != 0)
        return error_errno(error, "%s", records->path);
    if (!S_ISREG(stat.st_mode))
        return error_set(error, ERR_INVALID, "%s: want a file", records->path);
    if ((uint64_t)stat.st_size > LIMIT_TABLE_FILE)
        return error_set(error, ERR_LIMIT, "%s: want at most %llu bytes, have %llu", records->path,
                         (unsigned long long)LIMIT_TABLE_FILE, (unsigned long long)stat.st_size);
    return ERR_OK;
}

enum err records_open(struct records **records, const char *path, const char *only, struct error *error)
{
    struct records *made = memory_get(sizeof *made);
    made->fd = -1;
    made->path = text_copy(path);
    made->only = only ? text_copy(only) : NULL;
    made->next_line = made->line = 1;

    enum err code = file_open(made, error);
    if (code == ERR_OK)
        code = refill(made, error);
    if (code == ERR_OK && made->end >= 3 && memcmp(made->buffer, "\xef\xbb\xbf", 3) == 0)
        made->start = 3; /* the mark that some editors put first is no part of the text */
    if (code == ERR_OK && made->format == FORMAT_CSV)
        code = csv_header(made, error);
    else if (code == ERR_OK && made->format == FORMAT_JSONL)
        code = jsonl_header(made, error);
    else if (code == ERR_OK)
        made->count = 1;
    if (code == ERR_OK)
        *records = made;
    else
        records_close(made);
    return code;
}

void records_close(struct records *records)
{
    if (!records)
        return;
    if (records->fd >= 0)
        close(records->fd);
    for (uint32_t c = 0; c < COLUMNS_LIMIT; c++)
        free(records->columns[c]);
    json_decref(records->object);
    bytes_release(&records->unquoted);
    bytes_release(&records->first_line);
    free(records->buffer);
    free(records->only);
    free(records->path);
    free(records);
}

bool records_are_lines(const struct records *records)
{
    return records->format == FORMAT_LINES;
}

uint32_t records_columns(const struct records *records)
{
    return records->count;
}

const char *records_column(const struct records *records, uint32_t column)
{
    return records->columns[column];
}

enum err records_find(uint32_t *column, const struct records *records, const char *name, struct error *error)
{
    for (uint32_t c = 0; c < records->count; c++) {
        if (records->format == FORMAT_LINES || strcmp(records->columns[c], name) == 0) {
            *column = c;
            return ERR_OK;
        }
    }
    return error_set(error, ERR_INVALID, "%s:1: want a column \"%.80s\", the first is \"%.80s\"", records->path, name,
                     records->count ? records->columns[0] : "");
}

enum err records_next(bool *got, struct records *records, struct error *error)
{
    struct cell line;
    if (records->pending) {
        records->pending = false;
        *got = true;
        line = (struct cell){records->first_line.data, records->first_line.size};
    } else {
        enum err code = text_next(got, &line, records, error);
        if (code != ERR_OK || !*got)
            return code;
    }
    switch (records->format) {
    case FORMAT_CSV: return csv_next(records, &line, error);
    case FORMAT_JSONL: return jsonl_next(records, &line, error);
    case FORMAT_LINES: break;
    }
    records->cells[0] = line;
    return ERR_OK;
}

const struct cell *records_cell(const struct records *records, uint32_t column)
{
    return &records->cells[column];
}

const char *records_name(const struct records *records)
{
    return records->path;
}

uint64_t records_line(const struct records *records)
{
    return records->line;
}
