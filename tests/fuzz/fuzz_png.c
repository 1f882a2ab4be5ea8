/* fuzz_png.c - any bytes as a PNG: refused with a sentence, or pixels and texts that survive being written and read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "picture/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool right) {
    if (!right)
        abort();
}

static void pixels_survive(const struct picture *picture) {
    struct bytes png = BYTES_INIT;
    struct picture again = { 0 };
    struct error error;
    must(png_encode(&png, picture, NULL, 0, &error) == ERR_OK);
    must(png_decode(&again, png.data, png.size, &error) == ERR_OK);
    must(again.width == picture->width && again.height == picture->height);
    must(memcmp(again.rgb, picture->rgb, (size_t)again.width * again.height * 3) == 0);
    picture_release(&again);
    bytes_release(&png);
}

static void texts_survive(const struct picture_text *texts, size_t count) {
    uint8_t pixel[3] = { 1, 2, 3 };
    const struct picture picture = { 1, 1, pixel };
    struct picture_text *again;
    struct bytes png = BYTES_INIT;
    struct error error;
    size_t found;
    if (png_encode(&png, &picture, texts, count, &error) != ERR_OK) {
        must(error.code == ERR_INVALID || error.code == ERR_LIMIT); /* a key, or Latin-1 grown beyond the limit */
        return;
    }
    must(png_texts(&again, &found, png.data, png.size, &error) == ERR_OK);
    must(found == count);
    for (size_t i = 0; i < count; i++)
        must(strcmp(again[i].key, texts[i].key) == 0 && strcmp(again[i].text, texts[i].text) == 0);
    png_texts_release(again, found);
    bytes_release(&png);
}

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Right CRCs for every chunk, else few inputs would pass the first one. */
static void mend(uint8_t *data, size_t size) {
    for (size_t at = 8; at + 12 <= size && u32_at(data + at) <= size - at - 12; at += 12 + u32_at(data + at)) {
        uint32_t length = u32_at(data + at), crc = (uint32_t)crc32(0, data + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
}

/* One walk says what the four readers say. `decoded`: by png_decode. */
static void inspection_agrees(const uint8_t *data, size_t size, const struct picture *decoded, bool has_texts) {
    struct png_facts facts = { 0 };
    struct error error = { 0 };
    bool known = png_inspect(&facts, data, size, "seedfarm", &error) == ERR_OK;
    must(known == (decoded && has_texts));
    must(known || (error.message[0] && !facts.text));
    if (known) {
        struct digest pixels = picture_pixel_digest(decoded);
        must(facts.width == decoded->width && facts.height == decoded->height && digest_equal(&pixels, &facts.pixels));
    }
    free(facts.text);
}

static void try_bytes(const uint8_t *data, size_t size) {
    struct picture picture = { 0 };
    struct picture_text *texts;
    struct error error = { 0 };
    uint32_t width = 0, height = 0;
    size_t count;
    enum err sized = png_size(&width, &height, data, size, &error);
    must(sized == ERR_OK || error.message[0]);
    /* Large pictures cost time, not knowledge. */
    if (sized == ERR_OK && (uint64_t)width * height > 1 << 18)
        return;
    bool decoded = png_decode(&picture, data, size, &error) == ERR_OK;
    if (decoded) {
        must(sized == ERR_OK && picture.width == width && picture.height == height);
        pixels_survive(&picture);
    } else {
        must(error.message[0] && !picture.rgb);
    }
    bool has_texts = png_texts(&texts, &count, data, size, &error) == ERR_OK;
    if (has_texts) {
        must(sized == ERR_OK);
        texts_survive(texts, count);
        png_texts_release(texts, count);
    }
    inspection_agrees(data, size, decoded ? &picture : NULL, has_texts);
    picture_release(&picture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *mended = memory_get(size);
    try_bytes(data, size);
    if (size)
        memcpy(mended, data, size);
    mend(mended, size);
    try_bytes(mended, size);
    free(mended);
    return 0;
}
