/*
 * text_encoder.h - CLIP's text transformer (Radford 2021): token ids to the conditioning that the U-Net reads.
 *
 * Parameters are immutable after load; recording appends to a program and computes nothing.
 */
#ifndef PIPELINE_TEXT_TEXT_ENCODER_H
#define PIPELINE_TEXT_TEXT_ENCODER_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/weights/layers.h"

enum { TEXT_LAYERS_LIMIT = 64, TEXT_WIDTH_LIMIT = 8192, TEXT_VOCABULARY_LIMIT = 1000000, TEXT_POSITIONS_LIMIT = 1024 };

struct text_encoder_config {
    uint32_t vocabulary;
    uint32_t positions; /* T: 77 */
    uint32_t width;     /* D */
    uint32_t inner;     /* of the MLP */
    uint32_t layers, heads;
    float epsilon;
    enum activation activation;
};
MUST_USE enum err text_encoder_config_read(struct text_encoder_config *config, const json_t *json, struct error *error);

struct text_layer {
    struct layer norm1, qkv, attention_out, norm2, inner, outer;
};

struct text_encoder {
    struct text_encoder_config config;
    struct loader loader; /* owns the parameters */
    const struct weight *tokens, *positions; /* [V,D], [T,D] */
    struct text_layer *layers;               /* [layers], owned */
    struct layer final_norm;
};
MUST_USE enum err text_encoder_load(struct text_encoder *encoder, struct component *component, struct backend *backend,
                                    struct error *error);
void text_encoder_release(struct text_encoder *encoder);

/* ids [n,T,1,1] i32 -> [n,T,1,D], final norm done. clip_skip as A1111 counts: 1 ends at the last layer, 2 one before it
 * (hidden_states[-clip_skip]); 1..layers. */
struct tensor text_encoder_record(struct program *program, const struct text_encoder *encoder, struct tensor ids,
                                  uint32_t clip_skip);

#endif
