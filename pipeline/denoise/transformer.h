/*
 * transformer.h - the U-Net's attention: every place of the picture looks at every other, then at the prompt.
 *
 * Keys and values of the prompt do not change from step to step: they are computed once a prompt into a slot of a
 * `cross_memory`, and every image of a batch names the slot it reads.
 */
#ifndef PIPELINE_DENOISE_TRANSFORMER_H
#define PIPELINE_DENOISE_TRANSFORMER_H

#include <stdint.h>

#include "pipeline/backend/backend.h"
#include "pipeline/weights/layers.h"

enum { TRANSFORMER_DEPTH_LIMIT = 16 };

struct transformer_block {
    struct layer norm1, self_qkv, self_out;             /* [3c,c], [c,c] */
    struct layer norm2, cross_q, cross_kv, cross_out;   /* [c,c], [2c,D], [c,c] */
    struct layer norm3, inner, outer;                   /* GEGLU (Shazeer 2020): [8c,c], [c,4c] */
    uint32_t cross; /* place of its keys and values in a cross_memory */
};

/* Transformer2DModel */
struct transformer {
    uint32_t channels, heads, depth;
    struct layer norm, project_in, project_out;
    struct transformer_block blocks[TRANSFORMER_DEPTH_LIMIT];
};

struct transformer_options {
    uint32_t channels, heads, depth;
    uint32_t condition_width;  /* D */
    bool linear_projection;    /* project_in and project_out are [c,c], not [c,c,1,1] */
    uint32_t first_cross;      /* place of the first block's keys and values */
};
/* Fills *transformer (large: it lives in its network). */
void load_transformer(struct transformer *transformer, struct loader *loader, const struct transformer_options *options,
                      const char *prefix);

/* Where the prompts' keys and values lie: one buffer a cross attention, a slot a prompt. */
struct cross_memory {
    struct buffer **buffers; /* [crosses]: each [slots,T,1,2c] */
    uint32_t crosses, slots, tokens;
};
struct tensor cross_memory_bind(struct program *program, const struct cross_memory *memory, uint32_t cross,
                                uint32_t channels);

/* condition [1,T,1,D] -> keys and values of every block, into `slot`. */
void record_prompt_keys(struct program *program, const struct transformer *transformer, struct tensor condition,
                        const struct cross_memory *memory, uint32_t slot);

/* x [n,h,w,c], slots [n,1,1,1] i32: which prompt each image reads -> [n,h,w,c]. */
struct tensor record_transformer(struct program *program, const struct transformer *transformer, struct tensor x,
                                 const struct cross_memory *memory, struct tensor slots, uint32_t norm_groups);

#endif
