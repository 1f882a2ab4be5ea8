/*
 * family.h - the kinds of models there are, a row each: which components a model has and how its texts become conditions.
 *
 * What differs in size alone (widths, depths, heads, activations, how projections are made) is not here: every component's
 * own config says it. A family is data; nothing asks for one by name.
 */
#ifndef PIPELINE_FAMILY_H
#define PIPELINE_FAMILY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { FAMILY_TEXTS = 2 };

/* Names of components, as diffusers names the folders: component_open(..., "text_encoder_2", ...). */
struct family_text {
    const char *tokenizer, *encoder;
};

struct family {
    const char *name;         /* "sdxl" */
    const char *linear_name;  /* what it is called where the U-Net's projections are linear layers; NULL: the same */
    struct family_text texts[FAMILY_TEXTS]; /* their states side by side are the condition */
    uint32_t text_count;
    bool xl;          /* of Stable Diffusion XL: align_your_steps has noise levels of its own for it */
    bool last_state;  /* the condition is the last state behind the final norm; else the state before it, as it is */
    bool upcasts_vae; /* a VAE that says force_upcast decodes and encodes in f32 where the rest is f16 */
    bool pooled;      /* the last encoder's pooled text, and sizes, are added to the timestep's embedding */
};

/* What a model_index.json says of the whole. */
struct family_index {
    const struct family *family;
    bool zero_empty; /* an empty negative is zeros, not what the encoders make of "": force_zeros_for_empty_prompt */
    bool score;      /* the sizes end with an aesthetic score, not with the target size: requires_aesthetics_score */
};
/* ERR_UNSUPPORTED: of no family; the sentence names `path`, its class and the ones that are known. */
MUST_USE enum err family_find(struct family_index *out, const json_t *model_index, const char *path, struct error *error);

#endif
