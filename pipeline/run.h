/*
 * run.h - everything recorded for batches of one kind (size, count, guided or not): the step, the decoding, their
 * buffers. Made once and used for every such batch; scratch memory is lent by the renderer.
 */
#ifndef PIPELINE_RUN_H
#define PIPELINE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/conditions.h"
#include "pipeline/denoise/denoise.h"
#include "pipeline/model.h"
#include "pipeline/tiled.h"

struct run_kind {
    uint32_t width, height, count; /* pixels; pictures */
    bool guided;
    bool fresh; /* for ancestral samplers, too */
    bool kept;  /* parts of pictures are kept, by a model that is not for inpainting */
    bool unit;  /* keeps the picture as floats, for traces */
    uint32_t vae_tiling; /* pixels a side of a tile, 0: decoded in one piece */
    bool first; /* another model walks on from its latents: they are not decoded */
};

/* Latents to pixels, `chunk` pictures a program; where tiled, one, and from the canvas. */
struct decoding {
    struct buffer *latents; /* borrowed */
    struct tiled *tiled;    /* or NULL */
    struct program **programs; /* [programs_count], owned */
    uint32_t program_count, chunk;
    struct buffer *pixels; /* [count,H,W,3] u8 */
    struct buffer *bad;    /* [count] i32: values that are not finite */
    struct buffer *unit;   /* [count,H,W,3] f32, or NULL */
};

/* The VAE's encoder, for pictures of one size. */
struct encoding {
    struct buffer *picture; /* [H,W,3] in -1..1 */
    struct buffer *moments; /* [h,w,2C] */
    struct program *program;
};

struct run {
    struct run_kind kind;
    struct denoiser denoiser;
    struct decoding decoding;
    uint64_t used_at; /* batch number of the renderer */
};

bool run_kind_equal(const struct run_kind *a, const struct run_kind *b);
MUST_USE enum err run_create(struct run **run, const struct model *model, const struct cross_memory *memory,
                             const struct run_kind *kind, struct error *error);
void run_destroy(struct run *run);
uint64_t run_bytes(const struct run *run);   /* of its buffers */
uint64_t run_scratch(const struct run *run); /* that its programs need, one at a time */
void run_attach(struct run *run, struct buffer *scratch);

/* Decodes `latents` [kind->count,h,w,C]. As many pictures at once as fit into `memory` bytes, at least one. */
MUST_USE enum err decoding_init(struct decoding *decoding, const struct model *model, struct buffer *latents,
                                const struct run_kind *kind, uint64_t memory, struct error *error);
void decoding_run(struct decoding *decoding, uint32_t program);
/* Picture `place` of what was decoded, or that it has none; the caller's to release. */
struct render_output decoding_take(const struct decoding *decoding, uint32_t place, uint32_t width, uint32_t height);
void decoding_release(struct decoding *decoding);
uint64_t decoding_bytes(const struct decoding *decoding);
uint64_t decoding_scratch(const struct decoding *decoding);
void decoding_attach(struct decoding *decoding, struct buffer *scratch);

MUST_USE enum err encoding_init(struct encoding *encoding, const struct model *model, uint32_t width, uint32_t height,
                                struct error *error);
/* picture [H,W,3] in -1..1 -> moments [h,w,2C] */
void encoding_run(float *moments, struct encoding *encoding, const float *picture);
void encoding_release(struct encoding *encoding);
uint64_t encoding_bytes(const struct encoding *encoding);

#endif
