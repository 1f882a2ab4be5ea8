/*
 * png_text.c - the text chunks of a PNG, without its pixels: tEXt, zTXt and iTXt (PNG 1.2, 4.2.3), each bounded.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "picture/png_chunk.h"

/* What is left of a chunk while it is taken apart. */
struct rest {
    const uint8_t *data;
    size_t size;
};

static void latin1_to_utf8(struct bytes *out, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size;) {
        size_t run = i;
        while (run < size && data[run] < 0x80)
            run++;
        bytes_add(out, data + i, run - i);
        for (i = run; i < size && data[i] >= 0x80; i++)
            bytes_add(out, (uint8_t[]){ (uint8_t)(0xc0 | data[i] >> 6), (uint8_t)(0x80 | (data[i] & 0x3f)) }, 2);
    }
}

/* Up to the next NUL, which is passed. */
static enum err take_field(struct rest *field, struct rest *rest, const char *type, const char *name, struct error *error) {
    const uint8_t *end = rest->size ? memchr(rest->data, 0, rest->size) : NULL;
    if (!end)
        return error_set(error, ERR_CORRUPT, "PNG: chunk %s: its %s does not end", type, name);
    *field = (struct rest){ rest->data, (size_t)(end - rest->data) };
    rest->size -= field->size + 1;
    rest->data = end + 1;
    return ERR_OK;
}

static enum err too_long(const char *type, struct error *error) {
    return error_set(error, ERR_LIMIT, "PNG: chunk %s: at most %d bytes of text are read, it has more", type,
                     PICTURE_TEXT_LIMIT);
}

static enum err inflate_text(struct bytes *out, const struct rest *rest, const char *type, struct error *error) {
    z_stream stream = { .next_in = (Bytef *)(uintptr_t)rest->data, .avail_in = (uInt)rest->size };
    enum err err = ERR_OK;
    int status = inflateInit(&stream);
    assert(status == Z_OK);
    do {
        size_t piece = out->size < 4096 ? 4096 : out->size;
        bytes_reserve(out, piece);
        stream.next_out = out->data + out->size;
        stream.avail_out = (uInt)piece;
        status = inflate(&stream, Z_NO_FLUSH);
        out->size += piece - stream.avail_out;
        out->data[out->size] = '\0';
        if (out->size > PICTURE_TEXT_LIMIT)
            err = too_long(type, error);
        else if (status != Z_OK && status != Z_STREAM_END)
            err = error_set(error, ERR_CORRUPT, "PNG: chunk %s: its text does not inflate: %s", type,
                            stream.msg ? stream.msg : "it ends too early");
    } while (!err && status != Z_STREAM_END);
    inflateEnd(&stream);
    return err;
}

/* iTXt: key NUL compressed method language NUL key-in-it NUL text. zTXt: key NUL method text. tEXt: key NUL text. */
static enum err strip_head(bool *compressed, struct rest *rest, const char *type, struct error *error) {
    bool international = type[0] == 'i';
    size_t head = international ? 2 : type[0] == 'z' ? 1 : 0;
    struct rest skipped;
    enum err err = ERR_OK;
    *compressed = type[0] == 'z';
    if (rest->size < head)
        return error_set(error, ERR_CORRUPT, "PNG: chunk %s: want %zu bytes behind its key, it has %zu", type, head,
                         rest->size);
    if (international && rest->data[0] > 1)
        return error_set(error, ERR_CORRUPT, "PNG: chunk iTXt: want a compression flag of 0 or 1, it has %d", rest->data[0]);
    if (international)
        *compressed = rest->data[0] == 1;
    if (*compressed && rest->data[head - 1] != 0)
        return error_set(error, ERR_CORRUPT, "PNG: chunk %s: want compression method 0, it has %d", type,
                         rest->data[head - 1]);
    rest->data += head;
    rest->size -= head;
    if (international && !(err = take_field(&skipped, rest, type, "language", error)))
        err = take_field(&skipped, rest, type, "translated key", error);
    return err;
}

enum err png_text_read(struct picture_text *out, const struct png_chunk *chunk, struct error *error) {
    struct rest rest = { chunk->data, chunk->size }, key;
    struct bytes raw = BYTES_INIT, key_text = BYTES_INIT, text = BYTES_INIT;
    bool compressed;
    size_t place;
    enum err err = take_field(&key, &rest, chunk->type, "key", error);
    if (!err && (key.size < 1 || key.size > PNG_KEY_LIMIT))
        err = error_set(error, ERR_CORRUPT, "PNG: chunk %s: want a key of 1 to %d letters, it has %zu", chunk->type,
                        PNG_KEY_LIMIT, key.size);
    if (err || (err = strip_head(&compressed, &rest, chunk->type, error)))
        goto done;
    if (compressed)
        err = inflate_text(&raw, &rest, chunk->type, error);
    else if (rest.size > PICTURE_TEXT_LIMIT)
        err = too_long(chunk->type, error);
    else
        bytes_add(&raw, rest.data, rest.size);
    if (err)
        goto done;
    if (raw.size && memchr(raw.data, 0, raw.size)) {
        err = error_set(error, ERR_CORRUPT, "PNG: chunk %s: want text, it has a NUL", chunk->type);
        goto done;
    }
    if (chunk->type[0] != 'i') {
        latin1_to_utf8(&text, raw.data, raw.size);
    } else if (utf8_valid(raw.data, raw.size, &place)) {
        text = bytes_take(&raw);
    } else {
        err = error_set(error, ERR_CORRUPT, "PNG: chunk iTXt: want UTF-8, byte %zu is 0x%02x", place, raw.data[place]);
        goto done;
    }
    latin1_to_utf8(&key_text, key.data, key.size);
    *out = (struct picture_text){ text_copy(bytes_text(&key_text)), text_copy(bytes_text(&text)) };
done:
    bytes_release(&raw);
    bytes_release(&key_text);
    bytes_release(&text);
    return err;
}

bool png_is_text(const char *type) {
    return strcmp(type, "tEXt") == 0 || strcmp(type, "zTXt") == 0 || strcmp(type, "iTXt") == 0;
}

enum err png_texts(struct picture_text **texts, size_t *count, const void *data, size_t size, struct error *error) {
    struct png_chunk chunk = { .type = "" };
    struct picture_text *found = memory_get_array(PICTURE_TEXTS_LIMIT, sizeof *found);
    size_t offset = PNG_SIGNATURE_SIZE, n = 0;
    uint32_t width, height;
    enum err err = png_size(&width, &height, data, size, error);
    while (!err && strcmp(chunk.type, "IEND") != 0) {
        if ((err = png_chunk_next(&chunk, &offset, data, size, error)))
            break;
        if (!png_is_text(chunk.type))
            continue;
        if (n == PICTURE_TEXTS_LIMIT)
            err = error_set(error, ERR_LIMIT, "PNG: at most %d texts are read, it has more", PICTURE_TEXTS_LIMIT);
        else if (!(err = png_text_read(&found[n], &chunk, error)))
            n++;
    }
    if (err) {
        png_texts_release(found, n);
        return err;
    }
    *texts = found;
    *count = n;
    return ERR_OK;
}

void png_texts_release(struct picture_text *texts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(texts[i].key);
        free(texts[i].text);
    }
    free(texts);
}
