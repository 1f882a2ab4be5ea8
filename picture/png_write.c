/*
 * png_write.c - pixels and texts to PNG bytes, by libpng.
 *
 * The file holds IHDR, the texts, IDAT and IEND and nothing else: no time, no gamma, no name of a program. With one
 * version of zlib the same input gives the same bytes.
 */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picture/png_chunk.h"

enum {
    /* One filter and a low level. On 64x64 pictures of the demo model: 0.24 ms and 8,638 bytes each (libpng's own choice
     * of filters: 0.29 ms and the same size; level 9: 0.26 ms, 6 bytes less); at 512x512: 24 ms and 481 kB (29 ms, 465 kB;
     * level 1: 14 ms, 534 kB). A fixed filter leaves no heuristic of libpng in the bytes. */
    COMPRESSION_LEVEL = 4,
    IDAT_SIZE = 1 << 20,
};

struct writer {
    struct bytes *out;
    char message[160];
};

static void on_error(png_structp png, png_const_charp message) {
    struct writer *writer = png_get_error_ptr(png);
    snprintf(writer->message, sizeof writer->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    (void)png, (void)message;
}

static void on_write(png_structp png, png_bytep data, size_t size) {
    bytes_add(((struct writer *)png_get_io_ptr(png))->out, data, size);
}

static void on_flush(png_structp png) {
    (void)png;
}

/* UTF-8 to Latin-1; false where a letter is not in it. `text` is valid UTF-8. */
static bool latin1_from_utf8(struct bytes *out, const char *text) {
    for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
        uint8_t letter = *p;
        if (letter > 0xc3)
            return false;
        if (letter >= 0xc2)
            letter = (uint8_t)((letter & 3) << 6 | (*++p & 0x3f));
        bytes_add(out, &letter, 1);
    }
    return true;
}

static void write_text(png_structp png, const struct picture_text *text, struct bytes *chunk) {
    static const png_byte latin1_type[] = "tEXt", utf8_type[] = "iTXt";
    bytes_clear(chunk);
    bytes_add(chunk, text->key, strlen(text->key) + 1);
    if (latin1_from_utf8(chunk, text->text)) {
        png_write_chunk(png, latin1_type, chunk->data, chunk->size);
        return;
    }
    bytes_clear(chunk);
    bytes_add(chunk, text->key, strlen(text->key) + 1);
    bytes_add(chunk, "\0\0\0\0", 4); /* not compressed, method 0, no language, no translated key */
    bytes_add_text(chunk, text->text);
    png_write_chunk(png, utf8_type, chunk->data, chunk->size);
}

/* Nothing local changes after setjmp, so nothing needs to be volatile. */
static bool write_all(png_structp png, png_infop info, const struct picture *picture, const struct picture_text *texts,
                      size_t count, struct bytes *chunk) {
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_user_limits(png, SHEET_SIDE_LIMIT, SHEET_SIDE_LIMIT);
    png_set_IHDR(png, info, picture->width, picture->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, COMPRESSION_LEVEL);
    png_set_compression_buffer_size(png, IDAT_SIZE);
    png_set_filter(png, PNG_FILTER_TYPE_DEFAULT, PNG_FILTER_PAETH);
    png_write_info(png, info);
    for (size_t i = 0; i < count; i++)
        write_text(png, &texts[i], chunk);
    for (size_t y = 0; y < picture->height; y++)
        png_write_row(png, picture->rgb + y * picture->width * 3);
    png_write_end(png, NULL);
    return true;
}

static enum err check_texts(const struct picture_text *texts, size_t count, struct error *error) {
    if (count > PICTURE_TEXTS_LIMIT)
        return error_set(error, ERR_LIMIT, "PNG: at most %d texts are written, %zu were given", PICTURE_TEXTS_LIMIT, count);
    for (size_t i = 0; i < count; i++) {
        size_t key_size = strlen(texts[i].key), size = strlen(texts[i].text), place;
        if (key_size < 1 || key_size > PNG_KEY_LIMIT)
            return error_set(error, ERR_INVALID, "PNG text: want a key of 1 to %d letters, \"%.100s\" has %zu", PNG_KEY_LIMIT,
                             texts[i].key, key_size);
        for (const char *p = texts[i].key; *p; p++)
            if (*p < '!' || *p > '~')
                return error_set(error, ERR_INVALID, "PNG text: want a key of printable ASCII, it has the byte 0x%02x",
                                 (uint8_t)*p);
        if (size > PICTURE_TEXT_LIMIT)
            return error_set(error, ERR_LIMIT, "PNG text \"%s\": at most %d bytes are written, it has %zu", texts[i].key,
                             PICTURE_TEXT_LIMIT, size);
        if (!utf8_valid(texts[i].text, size, &place))
            return error_set(error, ERR_INVALID, "PNG text \"%s\": want UTF-8, byte %zu is 0x%02x", texts[i].key, place,
                             (uint8_t)texts[i].text[place]);
    }
    return ERR_OK;
}

static enum err check_size(const struct picture *picture, struct error *error) {
    if (picture->width < 1 || picture->height < 1 || picture->width > SHEET_SIDE_LIMIT ||
        picture->height > SHEET_SIDE_LIMIT)
        return error_set(error, ERR_LIMIT, "PNG: want sides of 1 to %d pixels, the picture has %ux%u", SHEET_SIDE_LIMIT,
                         picture->width, picture->height);
    if ((uint64_t)picture->width * picture->height > SHEET_PIXELS_LIMIT)
        return error_set(error, ERR_LIMIT, "PNG: at most %llu pixels are written, the picture has %ux%u",
                         (unsigned long long)SHEET_PIXELS_LIMIT, picture->width, picture->height);
    return ERR_OK;
}

enum err png_encode(struct bytes *out, const struct picture *picture, const struct picture_text *texts, size_t count,
                    struct error *error) {
    struct bytes content = BYTES_INIT, chunk = BYTES_INIT;
    struct writer writer = { .out = &content, .message = "no memory" };
    png_infop info = NULL;
    enum err err = check_size(picture, error);
    if (err || (err = check_texts(texts, count, error)))
        return err;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, on_error, on_warning);
    if (png)
        info = png_create_info_struct(png);
    if (!info) {
        err = error_set(error, ERR_INTERNAL, "PNG: libpng %s did not start", PNG_LIBPNG_VER_STRING);
        goto done;
    }
    png_set_write_fn(png, &writer, on_write, on_flush);
    if (write_all(png, info, picture, texts, count, &chunk))
        bytes_add(out, content.data, content.size);
    else
        err = error_set(error, ERR_INTERNAL, "PNG of %ux%u: %s", picture->width, picture->height, writer.message);
done:
    png_destroy_write_struct(&png, &info);
    bytes_release(&chunk);
    bytes_release(&content);
    return err;
}
