/*
 * png_inspect.c - a foreign picture's facts in one walk over its chunks.
 *
 * What our workers write (8 bits RGB, not interlaced, IDAT chunks in a row) is inflated and unfiltered here, straight into the
 * hash. Everything else, damaged pixels too, is png_decode's: it reads more and finds the words.
 */
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "picture/png_chunk.h"

enum { IDATS_LIMIT = 64, RGB = 3, COLOUR_RGB = 2 };

struct walk {
    bool plain, headed;
    struct png_chunk idats[IDATS_LIMIT];
    size_t idat_count;
    bool idats_over; /* another chunk came behind them */
    char *text;
    size_t text_count;
};

static bool is_plain_header(const struct png_chunk *chunk) {
    static const uint8_t want[5] = { 8, COLOUR_RGB, 0, 0, 0 };
    return chunk->size == 13 && memcmp(chunk->data + 8, want, sizeof want) == 0;
}

static void take_other(struct walk *walk, const struct png_chunk *chunk) {
    bool idat = strcmp(chunk->type, "IDAT") == 0;
    walk->idats_over = walk->idats_over || (walk->idat_count && !idat);
    if (strcmp(chunk->type, "IHDR") == 0)
        walk->plain = walk->plain && !walk->headed && is_plain_header(chunk);
    else if (idat && !walk->idats_over && walk->idat_count < IDATS_LIMIT)
        walk->idats[walk->idat_count++] = *chunk;
    else if (idat || strcmp(chunk->type, "tRNS") == 0 || (chunk->type[0] < 'a' && strcmp(chunk->type, "IEND") != 0))
        walk->plain = false; /* tRNS is alpha; what else is critical changes how the pixels are read */
    walk->headed = true;
}

static enum err take_text(struct walk *walk, const struct png_chunk *chunk, const char *key, struct error *error) {
    struct picture_text text;
    if (walk->text_count == PICTURE_TEXTS_LIMIT)
        return error_set(error, ERR_LIMIT, "PNG: at most %d texts are read, it has more", PICTURE_TEXTS_LIMIT);
    enum err err = png_text_read(&text, chunk, error);
    if (err)
        return err;
    walk->text_count++;
    walk->idats_over = walk->idat_count > 0;
    if (!walk->text && strcmp(text.key, key) == 0) {
        walk->text = text.text;
        text.text = NULL;
    }
    free(text.key);
    free(text.text);
    return ERR_OK;
}

static enum err walk_chunks(struct walk *walk, const void *data, size_t size, const char *key, struct error *error) {
    struct png_chunk chunk = { .type = "" };
    size_t offset = PNG_SIGNATURE_SIZE;
    enum err err = ERR_OK;
    while (!err && strcmp(chunk.type, "IEND") != 0) {
        if ((err = png_chunk_next(&chunk, &offset, data, size, error)))
            break;
        if (png_is_text(chunk.type))
            err = take_text(walk, &chunk, key, error);
        else
            take_other(walk, &chunk);
    }
    return err;
}

/* All of the stream, and nothing but `size` bytes from it. */
static bool inflate_bytes(uint8_t *out, size_t size, const uint8_t *stream, size_t stream_size) {
    struct libdeflate_decompressor *inflater = libdeflate_alloc_decompressor();
    size_t taken = 0;
    bool whole = inflater &&
                 libdeflate_zlib_decompress_ex(inflater, stream, stream_size, out, size, &taken, NULL) == LIBDEFLATE_SUCCESS &&
                 taken == stream_size;
    libdeflate_free_decompressor(inflater);
    return whole;
}

static bool inflate_all(uint8_t *out, size_t size, const struct walk *walk) {
    struct bytes stream = BYTES_INIT;
    if (walk->idat_count == 1)
        return inflate_bytes(out, size, walk->idats[0].data, walk->idats[0].size);
    for (size_t i = 0; i < walk->idat_count; i++)
        bytes_add(&stream, walk->idats[i].data, walk->idats[i].size);
    bool whole = inflate_bytes(out, size, stream.data, stream.size);
    bytes_release(&stream);
    return whole;
}

static uint8_t paeth(int left, int up, int corner) {
    int by_left = abs(up - corner), by_up = abs(left - corner), by_corner = abs(left + up - 2 * corner);
    return (uint8_t)(by_left <= by_up && by_left <= by_corner ? left : by_up <= by_corner ? up : corner);
}

/* PNG 1.2, section 6: row[stride] from what the filter left of it, in place; `above` is the row before, zeros for the first. */
static bool unfilter(uint8_t filter, uint8_t *row, const uint8_t *above, size_t stride) {
    switch (filter) {
    case 0:
        return true;
    case 1:
        for (size_t i = RGB; i < stride; i++)
            row[i] = (uint8_t)(row[i] + row[i - RGB]);
        return true;
    case 2:
        for (size_t i = 0; i < stride; i++)
            row[i] = (uint8_t)(row[i] + above[i]);
        return true;
    case 3:
        for (size_t i = 0; i < stride; i++)
            row[i] = (uint8_t)(row[i] + ((i < RGB ? 0 : row[i - RGB]) + above[i]) / 2);
        return true;
    case 4:
        for (size_t i = 0; i < stride; i++)
            row[i] = (uint8_t)(row[i] + (i < RGB ? above[i] : paeth(row[i - RGB], above[i], above[i - RGB])));
        return true;
    default:
        return false;
    }
}

static void put_u32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* packed: 8 bytes for the size, then [height, 1 + stride]; the rows close up behind the size, and one hash takes it all. */
static bool hash_rows(struct digest *digest, uint8_t *packed, uint32_t width, uint32_t height) {
    size_t stride = RGB * (size_t)width;
    uint8_t *zeros = memory_get(stride), *to = packed + 8;
    const uint8_t *above = zeros;
    bool known = true;
    put_u32(packed, width);
    put_u32(packed + 4, height);
    for (uint32_t y = 0; y < height && known; y++) {
        const uint8_t *from = packed + 8 + y * (stride + 1);
        uint8_t filter = *from;
        memmove(to, from + 1, stride);
        known = unfilter(filter, to, above, stride);
        above = to;
        to += stride;
    }
    if (known)
        *digest = digest_of(packed, 8 + stride * height);
    free(zeros);
    return known;
}

static bool inspect_plain(struct png_facts *facts, const struct walk *walk, size_t file_size) {
    enum { DEFLATE_RATIO = 1032 }; /* no deflate stream holds more than that: no memory for what cannot be there */
    uint64_t rows = (uint64_t)facts->height * (RGB * (uint64_t)facts->width + 1);
    if (!walk->plain || rows > (uint64_t)file_size * DEFLATE_RATIO || rows > UINT32_MAX)
        return false;
    uint8_t *packed = malloc(8 + rows); /* all of it is written: zeroing it would cost as much as the rest */
    bool read = packed && inflate_all(packed + 8, rows, walk) && hash_rows(&facts->pixels, packed, facts->width, facts->height);
    free(packed);
    return read;
}

static enum err inspect_general(struct png_facts *facts, const void *data, size_t size, struct error *error) {
    struct picture picture;
    enum err err = png_decode(&picture, data, size, error);
    if (err)
        return err;
    facts->pixels = picture_pixel_digest(&picture);
    picture_release(&picture);
    return ERR_OK;
}

enum err png_inspect(struct png_facts *facts, const void *data, size_t size, const char *key, struct error *error) {
    struct walk walk = { .plain = true };
    struct png_facts found = { 0 };
    enum err err = png_size(&found.width, &found.height, data, size, error);
    if (!err)
        err = walk_chunks(&walk, data, size, key, error);
    if (!err && !inspect_plain(&found, &walk, size))
        err = inspect_general(&found, data, size, error);
    if (err) {
        free(walk.text);
        return err;
    }
    *facts = found;
    facts->text = walk.text;
    return ERR_OK;
}
