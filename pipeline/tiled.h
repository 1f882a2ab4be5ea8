/*
 * tiled.h - decoding a large picture tile by tile, in the memory of one tile: as diffusers' enable_tiling does it, to the
 * pixel. Tiles overlap by a quarter and are blended linearly; the result differs from a decode in one piece, because group
 * norms and attention see a tile each. So it is part of a job (vae_tiling), never a choice of whoever draws it.
 */
#ifndef PIPELINE_TILED_H
#define PIPELINE_TILED_H

#include <stdint.h>

#include "pipeline/model.h"

struct tiled; /* one picture at a time; host memory and buffers for it */

/* Is a picture of this size decoded in tiles of `tile` pixels? Not where it is no larger than one, or tile is 0. */
bool tiled_applies(uint32_t width, uint32_t height, uint32_t tile);
/* `tile` must be a multiple of this. */
uint32_t tiled_unit(const struct model *model);

MUST_USE enum err tiled_create(struct tiled **tiled, const struct model *model, uint32_t width, uint32_t height,
                               uint32_t tile, struct error *error);
void tiled_destroy(struct tiled *tiled);
uint64_t tiled_bytes(const struct tiled *tiled);   /* of its buffers and host memory */
uint64_t tiled_scratch(const struct tiled *tiled); /* that its programs need, one at a time */
void tiled_attach(struct tiled *tiled, struct buffer *scratch);
struct buffer *tiled_canvas(const struct tiled *tiled); /* [H,W,3] f32: what tiled_decode leaves */

/* Picture `image` of latents [n,h,w,C] onto the canvas. */
void tiled_decode(struct tiled *tiled, const struct buffer *latents, uint32_t image);

#endif
