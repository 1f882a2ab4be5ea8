/*
 * unet.h - the denoiser: a UNet2DConditionModel (Ronneberger 2015; Rombach 2022), its shape read from config.json.
 *
 * Down through the levels, keeping what was seen; once across the middle; up again, each level beside what the way down
 * kept. Parameters are immutable after load; recording appends to a program and computes nothing.
 */
#ifndef PIPELINE_DENOISE_UNET_H
#define PIPELINE_DENOISE_UNET_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/denoise/transformer.h"
#include "pipeline/weights/layers.h"

enum { UNET_LEVELS_LIMIT = 8, UNET_LAYERS_LIMIT = 8, UNET_WIDTH_LIMIT = 16384, UNET_CHANNELS_LIMIT = 64 };

struct unet_config {
    uint32_t in_channels, out_channels;
    uint32_t levels;
    uint32_t widths[UNET_LEVELS_LIMIT];          /* block_out_channels */
    uint32_t down_attention[UNET_LEVELS_LIMIT];  /* 1: CrossAttnDownBlock2D */
    uint32_t up_attention[UNET_LEVELS_LIMIT];    /* 1: CrossAttnUpBlock2D; in the order of the way up */
    uint32_t layers[UNET_LEVELS_LIMIT];          /* layers_per_block */
    uint32_t heads[UNET_LEVELS_LIMIT];           /* attention_head_dim is the number of heads */
    uint32_t depth[UNET_LEVELS_LIMIT];           /* transformer_layers_per_block */
    uint32_t condition_width;                    /* D: cross_attention_dim */
    uint32_t added_width;        /* A: projection_class_embeddings_input_dim; 0: no added conditioning */
    uint32_t told_width;         /* G: time_cond_proj_dim: sinusoids of the guidance it was distilled with; 0: none */
    uint32_t added_number_width; /* of each number's sinusoids: addition_time_embed_dim */
    uint32_t norm_groups;
    float norm_epsilon;
    bool linear_projection;
    bool flip_sin_to_cos;
    float frequency_shift;
};
MUST_USE enum err unet_config_read(struct unet_config *config, const json_t *json, struct error *error);

struct unet_level {
    uint32_t layers;
    struct resnet resnets[UNET_LAYERS_LIMIT + 1];
    struct transformer *attentions; /* [layers], owned, or NULL */
    struct layer resample;          /* to the next level; weight NULL on the last */
};

struct unet {
    struct unet_config config;
    struct loader loader; /* owns the parameters */
    struct layer time1, time2, conv_in, norm_out, conv_out;
    struct layer told; /* weight NULL: it is not told its guidance */
    struct layer added1, added2; /* weight NULL: no added conditioning */
    struct unet_level down[UNET_LEVELS_LIMIT], middle, up[UNET_LEVELS_LIMIT]; /* up: in the order of the way up */
    uint32_t crosses; /* cross attentions: buffers of a cross_memory */
};
MUST_USE enum err unet_load(struct unet *unet, struct component *component, struct backend *backend, struct error *error);
void unet_release(struct unet *unet);

/* Buffers for the keys and values of `slots` prompts of `tokens` tokens. */
MUST_USE enum err cross_memory_init(struct cross_memory *memory, const struct unet *unet, struct backend *backend,
                                    uint32_t slots, uint32_t tokens, struct error *error);
void cross_memory_release(struct cross_memory *memory);
uint64_t cross_memory_bytes(const struct unet *unet, uint32_t slots, uint32_t tokens);

/* A prompt's condition [1,T,1,D] -> its keys and values at every cross attention, into `slot`. */
void unet_record_prompt(struct program *program, const struct unet *unet, struct tensor condition,
                        const struct cross_memory *memory, uint32_t slot);

/* What the timesteps of a table add in every residual block, worked out once for all its steps. */
struct unet_times {
    struct buffer *buffer; /* unet_times_bytes */
    uint32_t steps;        /* rows of the table */
    uint32_t images;       /* that differ: 1, or where the U-Net is told anything of an image, all of a step */
};
bool unet_times_differ(const struct unet *unet); /* do images differ? */
uint64_t unet_times_bytes(const struct unet *unet, uint32_t steps, uint32_t images);
/* table: [steps] step_row; told [images,1,1,G]: sinusoids of an image's guidance, added [images,1,1,A]: its added conditioning; or
 * TENSOR_NONE where the U-Net has none. */
void unet_record_times(struct program *program, const struct unet *unet, const struct unet_times *times, struct tensor table,
                       struct tensor told, struct tensor added);

/* What the U-Net looks at. */
struct unet_input {
    struct tensor x;         /* [n,h,w,in], scaled */
    struct unet_times times;
    struct tensor step;      /* the counter, i32: which of the steps it is */
    struct tensor slots;     /* [n,1,1,1] i32: the prompt each image reads in the memory */
};
/* One look at the latents -> prediction [n,h,w,out]. */
struct tensor unet_record(struct program *program, const struct unet *unet, const struct unet_input *input,
                          const struct cross_memory *memory);

#endif
