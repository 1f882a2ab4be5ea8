/*
 * tiled.c - the tiles of a decode: recording one program a shape of tile, cutting latents, blending, laying out.
 *
 * Blending follows AutoencoderKL.tiled_decode: row after row, each tile with the one above and then the one to its left,
 * both as blended before; the last quarter of a tile is only there to be blended into.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/tiled.h"

enum { OVERLAP = 4 }; /* a quarter: diffusers' tile_overlap_factor 0.25 */
enum { SHAPES = 9 };  /* either way whole, or cut: tiles begin every three quarters of one, so that the last two may be */

struct shape {
    uint32_t height, width; /* of the latents */
    struct program *program;
};

struct tiled {
    const struct model *model;
    uint32_t height, width, channels; /* of the latents */
    uint32_t tile, step;              /* in latents */
    uint32_t blend, limit;            /* in pixels: what two tiles share, and what each gives */
    uint32_t columns;
    struct buffer *latent;  /* [tile,tile,C] */
    struct buffer *decoded; /* [T,T,3], of any shape of tile at its beginning */
    struct buffer *canvas;  /* [H,W,3] */
    struct shape shapes[SHAPES];
    uint32_t shape_count;
    float *latents, *cut, *picture; /* [h,w,C], [tile,tile,C], [H,W,3] */
    float *rows[2];                 /* [columns][T,T,3]: this row of tiles and the one above */
};

bool tiled_applies(uint32_t width, uint32_t height, uint32_t tile) {
    return tile != 0 && (width > tile || height > tile);
}

uint32_t tiled_unit(const struct model *model) {
    return OVERLAP * model->shape.pixels_per_latent;
}

static uint32_t tiles_of(const struct tiled *tiled, uint32_t extent) {
    return (extent + tiled->step - 1) / tiled->step;
}

/* Latents of the tile that begins at `first`. */
static uint32_t tile_extent(const struct tiled *tiled, uint32_t extent, uint32_t first) {
    return extent - first < tiled->tile ? extent - first : tiled->tile;
}

static size_t tile_values(const struct tiled *tiled) {
    size_t side = (size_t)tiled->tile * tiled->model->shape.pixels_per_latent;
    return side * side * 3;
}

static size_t picture_values(const struct tiled *tiled) {
    size_t factor = tiled->model->shape.pixels_per_latent;
    return tiled->height * factor * tiled->width * factor * 3;
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

static struct shape *find_shape(struct tiled *tiled, uint32_t height, uint32_t width) {
    for (uint32_t i = 0; i < tiled->shape_count; i++) {
        if (tiled->shapes[i].height == height && tiled->shapes[i].width == width) {
            return &tiled->shapes[i];
        }
    }
    return NULL;
}

static void record_shape(struct tiled *tiled, uint32_t height, uint32_t width) {
    uint32_t factor = tiled->model->shape.pixels_per_latent;
    if (find_shape(tiled, height, width) != NULL) {
        return;
    }
    struct program *p = vae_program_create(&tiled->model->vae);
    struct tensor latent = program_bind(p, tiled->latent, 0, 1, height, width, tiled->channels);
    op_copy(p, program_bind(p, tiled->decoded, 0, 1, height * factor, width * factor, 3),
            vae_record_decoder(p, &tiled->model->vae, latent));
    program_finish(p);
    assert(tiled->shape_count < SHAPES);
    tiled->shapes[tiled->shape_count++] = (struct shape){ height, width, p };
}

enum err tiled_create(struct tiled **out, const struct model *model, uint32_t width, uint32_t height, uint32_t tile,
                      struct error *error) {
    uint32_t factor = model->shape.pixels_per_latent;
    struct tiled *made = memory_get(sizeof *made);
    *made = (struct tiled){ .model = model, .height = height / factor, .width = width / factor,
                            .channels = model->shape.latent_channels, .tile = tile / factor };
    made->step = made->tile - made->tile / OVERLAP;
    made->blend = tile / OVERLAP;
    made->limit = tile - made->blend;
    made->columns = tiles_of(made, made->width);
    size_t cut = sizeof(float) * made->tile * made->tile * made->channels;
    enum err err = buffer_create(&made->latent, model->backend, cut, error);
    if (err == ERR_OK) {
        err = buffer_create(&made->decoded, model->backend, tile_values(made) * sizeof(float), error);
    }
    if (err == ERR_OK) {
        err = buffer_create(&made->canvas, model->backend, picture_values(made) * sizeof(float), error);
    }
    if (err != ERR_OK) {
        tiled_destroy(made);
        return err;
    }
    for (uint32_t i = 0; i < made->height; i += made->step) {
        for (uint32_t j = 0; j < made->width; j += made->step) {
            record_shape(made, tile_extent(made, made->height, i), tile_extent(made, made->width, j));
        }
    }
    *out = made;
    return ERR_OK;
}

static void host_release(struct tiled *tiled) {
    free(tiled->latents);
    free(tiled->cut);
    free(tiled->picture);
    free(tiled->rows[0]);
    free(tiled->rows[1]);
    tiled->latents = tiled->cut = tiled->picture = tiled->rows[0] = tiled->rows[1] = NULL;
}

void tiled_destroy(struct tiled *tiled) {
    if (tiled == NULL) {
        return;
    }
    for (uint32_t i = 0; i < tiled->shape_count; i++) {
        program_destroy(tiled->shapes[i].program);
    }
    buffer_destroy(tiled->latent);
    buffer_destroy(tiled->decoded);
    buffer_destroy(tiled->canvas);
    host_release(tiled);
    free(tiled);
}

uint64_t tiled_bytes(const struct tiled *tiled) {
    uint64_t latents = (uint64_t)tiled->height * tiled->width * tiled->channels;
    uint64_t host = latents + picture_values(tiled) + 2 * tiled->columns * tile_values(tiled);
    return buffer_size(tiled->latent) * 2 + buffer_size(tiled->decoded) + buffer_size(tiled->canvas) + host * sizeof(float);
}

uint64_t tiled_scratch(const struct tiled *tiled) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < tiled->shape_count; i++) {
        uint64_t needed = program_memory(tiled->shapes[i].program);
        most = needed > most ? needed : most;
    }
    return most;
}

void tiled_attach(struct tiled *tiled, struct buffer *scratch) {
    for (uint32_t i = 0; i < tiled->shape_count; i++) {
        program_attach(tiled->shapes[i].program, scratch);
    }
}

struct buffer *tiled_canvas(const struct tiled *tiled) {
    return tiled->canvas;
}

/* ---- decoding --------------------------------------------------------------------------------------------------- */

static void host_acquire(struct tiled *tiled) {
    tiled->latents = memory_get_array((size_t)tiled->height * tiled->width * tiled->channels, sizeof(float));
    tiled->cut = memory_get_array((size_t)tiled->tile * tiled->tile * tiled->channels, sizeof(float));
    tiled->picture = memory_get_array(picture_values(tiled), sizeof(float));
    tiled->rows[0] = memory_get_array(tiled->columns * tile_values(tiled), sizeof(float));
    tiled->rows[1] = memory_get_array(tiled->columns * tile_values(tiled), sizeof(float));
}

/* The tile at latents (i,j) -> pixels, [height*f,width*f,3]. */
static void decode_tile(struct tiled *tiled, float *out, uint32_t i, uint32_t j) {
    uint32_t height = tile_extent(tiled, tiled->height, i), width = tile_extent(tiled, tiled->width, j);
    uint32_t factor = tiled->model->shape.pixels_per_latent;
    size_t row = (size_t)width * tiled->channels;
    for (uint32_t y = 0; y < height; y++) {
        memcpy(tiled->cut + y * row, tiled->latents + ((size_t)(i + y) * tiled->width + j) * tiled->channels,
               row * sizeof *tiled->cut);
    }
    buffer_upload(tiled->latent, 0, tiled->cut, height * row * sizeof *tiled->cut);
    program_run(find_shape(tiled, height, width)->program);
    buffer_download(tiled->decoded, 0, out, (size_t)height * factor * width * factor * 3 * sizeof *out);
}

/* `count` values of b become a mixture with those of a, `part` of them b's own. Rounded as torch rounds it. */
static void mix(float *b, const float *a, size_t count, double part) {
    float of_a = (float)(1.0 - part), of_b = (float)part;
    for (size_t i = 0; i < count; i++) {
        float left = a[i] * of_a, right = b[i] * of_b;
        b[i] = left + right;
    }
}

/* The first rows of `tile` [height,width,3] with the last ones of the tile above it, [above_height,width,3]. */
static void blend_down(const struct tiled *tiled, float *tile, uint32_t height, const float *above, uint32_t above_height,
                       uint32_t width) {
    uint32_t extent = tiled->blend < height ? tiled->blend : height;
    extent = extent < above_height ? extent : above_height;
    size_t row = (size_t)width * 3;
    for (uint32_t y = 0; y < extent; y++) {
        mix(tile + y * row, above + (above_height - extent + y) * row, row, (double)y / extent);
    }
}

/* The first columns of `tile` with the last ones of the tile to its left, [height,left_width,3]. */
static void blend_right(const struct tiled *tiled, float *tile, uint32_t width, const float *left, uint32_t left_width,
                        uint32_t height) {
    uint32_t extent = tiled->blend < width ? tiled->blend : width;
    extent = extent < left_width ? extent : left_width;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < extent; x++) {
            mix(tile + ((size_t)y * width + x) * 3, left + ((size_t)y * left_width + left_width - extent + x) * 3, 3,
                (double)x / extent);
        }
    }
}

/* What tile (row,column) of [height,width] gives to the picture. */
static void lay_out(struct tiled *tiled, const float *tile, uint32_t row, uint32_t column, uint32_t height, uint32_t width) {
    size_t line = (size_t)tiled->width * tiled->model->shape.pixels_per_latent * 3;
    uint32_t rows = height < tiled->limit ? height : tiled->limit, columns = width < tiled->limit ? width : tiled->limit;
    float *to = tiled->picture + (size_t)row * tiled->limit * line + (size_t)column * tiled->limit * 3;
    for (uint32_t y = 0; y < rows; y++) {
        memcpy(to + y * line, tile + (size_t)y * width * 3, (size_t)columns * 3 * sizeof *to);
    }
}

static void decode_row(struct tiled *tiled, uint32_t row) {
    uint32_t factor = tiled->model->shape.pixels_per_latent, i = row * tiled->step;
    uint32_t height = tile_extent(tiled, tiled->height, i) * factor, left_width = 0;
    float *tiles = tiled->rows[row % 2], *above = tiled->rows[(row + 1) % 2];
    for (uint32_t column = 0; column < tiled->columns; column++) {
        uint32_t j = column * tiled->step, width = tile_extent(tiled, tiled->width, j) * factor;
        float *tile = tiles + column * tile_values(tiled);
        decode_tile(tiled, tile, i, j);
        if (row > 0) {
            blend_down(tiled, tile, height, above + column * tile_values(tiled),
                       tile_extent(tiled, tiled->height, i - tiled->step) * factor, width);
        }
        if (column > 0) {
            blend_right(tiled, tile, width, tile - tile_values(tiled), left_width, height);
        }
        lay_out(tiled, tile, row, column, height, width);
        left_width = width;
    }
}

void tiled_decode(struct tiled *tiled, const struct buffer *latents, uint32_t image) {
    size_t size = (size_t)tiled->height * tiled->width * tiled->channels * sizeof(float);
    host_acquire(tiled);
    buffer_download(latents, image * size, tiled->latents, size);
    for (uint32_t row = 0; row < tiles_of(tiled, tiled->height); row++) {
        decode_row(tiled, row);
    }
    buffer_upload(tiled->canvas, 0, tiled->picture, picture_values(tiled) * sizeof(float));
    host_release(tiled);
}
