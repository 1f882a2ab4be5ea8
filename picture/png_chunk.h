/* png_chunk.h - numbers of a PNG file, as the files of picture/ share them. Private to picture/. */
#ifndef PICTURE_PNG_CHUNK_H
#define PICTURE_PNG_CHUNK_H

#include "picture/picture.h"

enum { PNG_SIGNATURE_SIZE = 8, PNG_CHUNK_FRAME = 12 /* length, type, CRC */, PNG_KEY_LIMIT = 79 /* PNG 1.2, 4.2.3 */ };

struct png_chunk {
    char type[5];
    const uint8_t *data; /* [size], inside the file */
    uint32_t size;
};

/* The chunk at *offset, its CRC checked; moves *offset behind it. */
MUST_USE enum err png_chunk_next(struct png_chunk *chunk, size_t *offset, const uint8_t *file, size_t size,
                                 struct error *error);
/* tEXt, zTXt, iTXt: its key and its text, which are the caller's. */
bool png_is_text(const char *type);
MUST_USE enum err png_text_read(struct picture_text *out, const struct png_chunk *chunk, struct error *error);
MUST_USE enum err png_signature_check(const void *data, size_t size, struct error *error);

#endif
