/*
 * png_read.c - PNG bytes to pixels, by libpng, with our limits before it takes memory.
 */
#include <libdeflate.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "picture/png_chunk.h"

enum {
    IHDR_SIZE = 13,
    DEFLATE_RATIO = 1032, /* what deflate makes of a byte at most (zlib's "maximum compression factor") */
};

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- chunks ----------------------------------------------------------------------------------------------------------- */

enum err png_signature_check(const void *data, size_t size, struct error *error) {
    static const uint8_t signature[PNG_SIGNATURE_SIZE] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    if (size < sizeof signature || memcmp(data, signature, sizeof signature) != 0)
        return error_set(error, ERR_CORRUPT, "PNG: the %zu bytes do not begin with its signature", size);
    return ERR_OK;
}

enum err png_chunk_next(struct png_chunk *chunk, size_t *offset, const uint8_t *file, size_t size, struct error *error) {
    size_t left = size - *offset;
    const uint8_t *p = file + *offset;
    if (left < PNG_CHUNK_FRAME)
        return error_set(error, ERR_CORRUPT, "PNG: want a chunk at byte %zu, the file ends at %zu", *offset, size);
    uint32_t length = u32_at(p);
    if (length > left - PNG_CHUNK_FRAME)
        return error_set(error, ERR_CORRUPT, "PNG: the chunk at byte %zu has %u bytes, the file only %zu more", *offset,
                         length, left - PNG_CHUNK_FRAME);
    for (int i = 4; i < 8; i++)
        if (!((p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z'))
            return error_set(error, ERR_CORRUPT, "PNG: the type of the chunk at byte %zu has the byte 0x%02x", *offset, p[i]);
    uint32_t want = u32_at(p + 8 + length), have = libdeflate_crc32(0, p + 4, length + 4);
    if (want != have)
        return error_set(error, ERR_CORRUPT, "PNG: chunk %.4s at byte %zu: want the CRC %08x, its bytes have %08x",
                         (const char *)p + 4, *offset, want, have);
    memcpy(chunk->type, p + 4, 4);
    chunk->type[4] = '\0';
    chunk->data = p + 8;
    chunk->size = length;
    *offset += PNG_CHUNK_FRAME + length;
    return ERR_OK;
}

/* ---- header ----------------------------------------------------------------------------------------------------------- */

struct header {
    uint32_t width, height;
    uint8_t depth, colour;
};

static unsigned channels_of(uint8_t colour) {
    return colour == PNG_COLOR_TYPE_RGB ? 3 : colour == PNG_COLOR_TYPE_RGB_ALPHA ? 4 : colour == PNG_COLOR_TYPE_GRAY_ALPHA ? 2 : 1;
}

static enum err header_read(struct header *header, const void *data, size_t size, struct error *error) {
    struct png_chunk chunk;
    size_t offset = PNG_SIGNATURE_SIZE;
    enum err err = png_signature_check(data, size, error);
    if (err || (err = png_chunk_next(&chunk, &offset, data, size, error)))
        return err;
    if (strcmp(chunk.type, "IHDR") != 0 || chunk.size != IHDR_SIZE)
        return error_set(error, ERR_CORRUPT, "PNG: want first a chunk IHDR of %d bytes, it is %s of %u", IHDR_SIZE,
                         chunk.type, chunk.size);
    uint32_t width = u32_at(chunk.data), height = u32_at(chunk.data + 4);
    if (width < 1 || height < 1 || width > PICTURE_SIDE_LIMIT || height > PICTURE_SIDE_LIMIT)
        return error_set(error, ERR_LIMIT, "PNG: want sides of 1 to %d pixels, it has %ux%u", PICTURE_SIDE_LIMIT, width,
                         height);
    if ((uint64_t)width * height > PICTURE_PIXELS_LIMIT)
        return error_set(error, ERR_LIMIT, "PNG: at most %llu pixels are read, it has %ux%u",
                         (unsigned long long)PICTURE_PIXELS_LIMIT, width, height);
    *header = (struct header){ width, height, chunk.data[8], chunk.data[9] };
    return ERR_OK;
}

enum err png_size(uint32_t *width, uint32_t *height, const void *data, size_t size, struct error *error) {
    struct header header;
    enum err err = header_read(&header, data, size, error);
    if (err)
        return err;
    *width = header.width;
    *height = header.height;
    return ERR_OK;
}

/* So that a small file cannot claim memory for a large picture: no deflate stream of its size holds that many rows. */
static enum err check_density(const struct header *header, size_t size, struct error *error) {
    uint64_t row = ((uint64_t)header->width * header->depth * channels_of(header->colour) + 7) / 8 + 1;
    if (row * header->height > (uint64_t)size * DEFLATE_RATIO)
        return error_set(error, ERR_CORRUPT, "PNG: %ux%u pixels are %llu bytes, more than its %zu bytes can hold",
                         header->width, header->height, (unsigned long long)(row * header->height), size);
    return ERR_OK;
}

/* ---- pixels ----------------------------------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *data;
    size_t left;
    uint8_t *pixels; /* [height,width,3 or 4] u8 */
    uint8_t **rows;  /* [height] into pixels */
    bool alpha;
    char message[160];
};

static void on_error(png_structp png, png_const_charp message) {
    struct reader *reader = png_get_error_ptr(png);
    snprintf(reader->message, sizeof reader->message, "%s", message);
    png_longjmp(png, 1);
}

/* libpng's warnings are about chunks that are not read here, or about what it repairs by the standard's own rules. */
static void on_warning(png_structp png, png_const_charp message) {
    (void)png, (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t size) {
    struct reader *reader = png_get_io_ptr(png);
    if (size > reader->left)
        png_error(png, "the file ends too early");
    memcpy(out, reader->data, size);
    reader->data += size;
    reader->left -= size;
}

/* Nothing local changes after setjmp: what must survive an error is in `reader`. */
static bool read_all(png_structp png, png_infop info, const struct header *header, struct reader *reader) {
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_user_limits(png, PICTURE_SIDE_LIMIT, PICTURE_SIDE_LIMIT);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* and no ancillary one but tRNS */
    png_read_info(png, info);
    reader->alpha = png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA || png_get_valid(png, info, PNG_INFO_tRNS);
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t stride = (size_t)header->width * (reader->alpha ? 4 : 3);
    if (png_get_rowbytes(png, info) != stride)
        png_error(png, "its rows have an unexpected size");
    reader->pixels = memory_get_array(header->height, stride);
    reader->rows = memory_get_array(header->height, sizeof *reader->rows);
    for (size_t y = 0; y < header->height; y++)
        reader->rows[y] = reader->pixels + y * stride;
    png_read_image(png, reader->rows);
    png_read_end(png, NULL);
    return true;
}

/* [n,4] over white -> [n,3], in place. */
static void drop_alpha(uint8_t *pixels, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned alpha = pixels[4 * i + 3];
        for (size_t c = 0; c < 3; c++)
            pixels[3 * i + c] = (uint8_t)((pixels[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
}

enum err png_decode(struct picture *picture, const void *data, size_t size, struct error *error) {
    struct reader reader = { .data = data, .left = size, .message = "no memory" };
    struct header header;
    png_infop info = NULL;
    enum err err = header_read(&header, data, size, error);
    if (err || (err = check_density(&header, size, error)))
        return err;
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    if (png)
        info = png_create_info_struct(png);
    if (!info) {
        err = error_set(error, ERR_INTERNAL, "PNG: libpng %s did not start", PNG_LIBPNG_VER_STRING);
        goto done;
    }
    png_set_read_fn(png, &reader, on_read);
    if (!read_all(png, info, &header, &reader)) {
        err = error_set(error, ERR_CORRUPT, "PNG of %ux%u: %s", header.width, header.height, reader.message);
        goto done;
    }
    if (reader.alpha)
        drop_alpha(reader.pixels, (size_t)header.width * header.height);
    *picture = (struct picture){ header.width, header.height, reader.pixels };
    reader.pixels = NULL;
done:
    png_destroy_read_struct(&png, &info, NULL);
    free(reader.rows);
    free(reader.pixels);
    return err;
}
