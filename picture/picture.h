/*
 * picture.h - pixels: PNG in and out, the metadata it carries, contact sheets. No tensors.
 */
#ifndef PICTURE_PICTURE_H
#define PICTURE_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

enum { PICTURE_SIDE_LIMIT = 16384, PICTURE_TEXT_LIMIT = 1 << 20, PICTURE_TEXTS_LIMIT = 64 };
#define PICTURE_PIXELS_LIMIT (UINT64_C(64) << 20)
/* What png_encode writes at most: contact sheets may be larger than what is read back. */
enum { SHEET_SIDE_LIMIT = 32767 };
#define SHEET_PIXELS_LIMIT (4 * PICTURE_PIXELS_LIMIT)

struct picture {
    uint32_t width, height;
    uint8_t *rgb; /* [height,width,3] u8, owned */
};
void picture_release(struct picture *picture);

/* SHA-256 of width and height (u32, big-endian) and the RGB bytes: the same for the same pixels, whatever the file. */
struct digest picture_pixel_digest(const struct picture *picture);

/* Text chunks of a PNG: tEXt where Latin-1 does, else iTXt (as Pillow writes them). */
struct picture_text {
    char *key;
    char *text; /* UTF-8 */
};

/* 8-bit RGB, fixed compression settings and filters: the same bytes for the same input (and version of zlib). Keys are
 * printable ASCII without spaces. */
MUST_USE enum err png_encode(struct bytes *out, const struct picture *picture, const struct picture_text *texts,
                             size_t count, struct error *error);
/* Limits are held before memory is taken, and no more pixels than so many bytes can hold. Alpha is dropped over white, grey
 * and palette become RGB, 16 bits 8. */
MUST_USE enum err png_decode(struct picture *picture, const void *data, size_t size, struct error *error);
/* Size from the header alone; checks the signature and IHDR. */
MUST_USE enum err png_size(uint32_t *width, uint32_t *height, const void *data, size_t size, struct error *error);
/* All text chunks, uncompressed and checked; owned by the caller (png_texts_release). */
MUST_USE enum err png_texts(struct picture_text **texts, size_t *count, const void *data, size_t size,
                            struct error *error);
void png_texts_release(struct picture_text *texts, size_t count);

/* What is to be known of a picture that somebody else has made, in one pass over its bytes. As png_size, png_texts, png_decode and
 * picture_pixel_digest one after another, and with their errors. */
struct png_facts {
    uint32_t width, height;
    struct digest pixels;
    char *text; /* of the first text chunk of the key that was asked for, owned; NULL: there is none */
};
MUST_USE enum err png_inspect(struct png_facts *facts, const void *data, size_t size, const char *key, struct error *error);

/* ---- the farm's own metadata ---------------------------------------------------------------------------------------- */

/* What seedfarm writes beside the pixels: a pure function of job and device class. Values are texts, so that picture knows
 * no job. */
struct picture_job {
    const char *canonical;    /* the job's canonical bytes -> chunk "seedfarm" */
    const char *device_class; /* -> chunk "seedfarm-device" */
    const char *prompt, *negative, *sampler, *schedule, *cfg, *model_name_or_digest; /* -> A1111 "parameters" */
    uint64_t seed;
    uint32_t steps, width, height, clip_skip;
    const char *strength;    /* "Denoising strength", of a picture that was started from another; or NULL */
    const char *cfg_rescale; /* "CFG Rescale phi", as the extension of that name writes it; or NULL */
    const char *refiner, *refiner_switch; /* "Refiner", "Refiner switch at"; or NULL */
};
/* A1111's infotext (FACTS A1): prompt, "Negative prompt: ..." if any, "Steps: 20, Sampler: Euler a, ...", values with
 * comma, newline or colon JSON-quoted; RNG: CPU said where A1111's default would be GPU. */
void picture_parameters(struct bytes *out, const struct picture_job *job);
MUST_USE enum err png_encode_job(struct bytes *out, const struct picture *picture, const struct picture_job *job,
                                 struct error *error);

/* ---- contact sheets --------------------------------------------------------------------------------------------------- */

/* A grid of cells with labels along its left and top edge (cairo draws the text). Streams: cells are placed one at a time,
 * scaled to fit (bilinear) where they are larger than the cell. */
struct sheet;
struct sheet_options {
    uint32_t columns, rows;
    uint32_t cell_width, cell_height; /* pixels */
    const char *title;                /* may be NULL */
    const char *const *column_labels; /* [columns] or NULL */
    const char *const *row_labels;    /* [rows] or NULL; long ones are wrapped, then cut with an ellipsis */
};
/* ERR_LIMIT where the sheet would pass SHEET_SIDE_LIMIT pixels a side or SHEET_PIXELS_LIMIT. The labels are drawn here;
 * `options` and its texts are not kept. */
MUST_USE enum err sheet_create(struct sheet **sheet, const struct sheet_options *options, struct error *error);
void sheet_place(struct sheet *sheet, uint32_t column, uint32_t row, const struct picture *picture);
void sheet_mark(struct sheet *sheet, uint32_t column, uint32_t row, const char *text); /* "waiting", "failed: ..." */
/* Moves the pixels to `out`. Once only; sheet_destroy follows. */
MUST_USE enum err sheet_finish(struct picture *out, struct sheet *sheet, struct error *error);
void sheet_destroy(struct sheet *sheet);

#endif
