/*
 * file_names.c - the files that a submission names. See file_names.h.
 */
#include "proto/file_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "proto/model.h"
#include "proto/spec.h"

void file_book_release(struct file_book *book)
{
    for (size_t i = 0; i < book->count; i++) {
        free(book->files[i].text);
        free(book->files[i].path);
    }
    free(book->files);
    free(book->index);
    memset(book, 0, sizeof *book);
}

/* Where in the index the text stands, or would. */
static size_t *index_place(const struct file_book *book, enum field field, const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)field;
    for (const char *c = text; *c; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
    for (size_t at = (size_t)(hash >> 20);; at++) {
        size_t *place = &book->index[at & (book->index_room - 1)];
        const struct named_file *file = *place ? &book->files[*place - 1] : NULL;
        if (!file || (file->field == field && strcmp(file->text, text) == 0))
            return place;
    }
}

static void index_grow(struct file_book *book)
{
    free(book->index);
    book->index_room = book->index_room ? 2 * book->index_room : 64;
    book->index = memory_get_array(book->index_room, sizeof *book->index);
    for (size_t i = 0; i < book->count; i++)
        *index_place(book, book->files[i].field, book->files[i].text) = i + 1;
}

enum err file_book_find(const struct named_file **file, struct file_book *book, enum field field, const char *text,
                        const char *beside, struct error *error)
{
    struct named_file found = {.field = field};
    if (2 * (book->count + 1) > book->index_room)
        index_grow(book);
    size_t *place = index_place(book, field, text);
    if (*place) {
        *file = &book->files[*place - 1];
        return ERR_OK;
    }
    if (book->count == LIMIT_SWEEP_FILES)
        return error_set(error, ERR_LIMIT, "%s: want at most %d different files in a sweep, have more", catalog_field(field)->name,
                         LIMIT_SWEEP_FILES);
    enum err code = file_find(&found.path, field, text, beside, error);
    if (code != ERR_OK)
        return code;
    code = file_digest(&found.digest, found.path, error);
    if (code != ERR_OK) {
        free(found.path);
        return code;
    }
    found.text = text_copy(text);
    if (book->count == book->room) {
        book->room = book->room ? 2 * book->room : 16;
        book->files = memory_grow(book->files, book->room, sizeof *book->files);
    }
    book->files[book->count++] = found;
    *place = book->count;
    *file = &book->files[book->count - 1];
    return ERR_OK;
}

/* "ink" of "styles/ink.safetensors"; owned. */
static char *file_stem(const char *path)
{
    const char *name = path_name(path), *dot = strrchr(name, '.');
    return text_copy_size(name, dot && dot != name ? (size_t)(dot - name) : strlen(name));
}

enum err file_item(struct bytes *out, struct file_book *book, enum field field, const char *name, const char *rest,
                   const char *beside, struct error *error)
{
    const struct named_file *file;
    char hex[DIGEST_HEX_SIZE];
    enum err code = file_book_find(&file, book, field, name, beside, error);
    if (code != ERR_OK)
        return code;
    digest_hex(&file->digest, hex);
    bytes_add_format(out, "%s%s", out->size ? "+" : "", hex);
    if (rest) {
        bytes_add_format(out, ":%s", rest);
    } else if (field == FIELD_EMBEDDING) {
        char *stem = file_stem(file->path);
        bytes_add_format(out, ":%s", stem);
        free(stem);
    }
    return ERR_OK;
}

/* NAME, or NAME:WEIGHT where what stands behind the last colon is a number, or NAME:WORD. */
static enum err list_item(struct bytes *out, struct file_book *book, enum field field, char *item, const char *beside,
                          struct error *error)
{
    struct decimal weight;
    char *colon = strrchr(item, ':');
    if (colon && field == FIELD_LORA && decimal_parse(&weight, colon + 1, NULL) != ERR_OK)
        colon = NULL;
    if (colon)
        *colon = '\0';
    return file_item(out, book, field, item, colon ? colon + 1 : NULL, beside, error);
}

enum err file_value(struct bytes *out, struct file_book *book, enum field field, const char *text, const char *beside,
                    struct error *error)
{
    struct bytes value = BYTES_INIT;
    char *copy = text_copy(text), *rest = NULL;
    enum err code = ERR_OK;
    if (*text && catalog_field(field)->type == TYPE_FILE)
        code = file_item(&value, book, field, text, NULL, beside, error);
    else
        for (char *item = strtok_r(copy, "+", &rest); item && code == ERR_OK; item = strtok_r(NULL, "+", &rest))
            code = list_item(&value, book, field, item, beside, error);
    if (code == ERR_OK)
        bytes_add(out, value.data, value.size);
    bytes_release(&value);
    free(copy);
    return code;
}
