/*
 * text_encoder.h - CLIP's text transformer (Radford 2021): token ids to the conditioning that the U-Net reads.
 *
 * Parameters are immutable after load; recording appends to a program and computes nothing.
 */
#ifndef PIPELINE_TEXT_TEXT_ENCODER_H
#define PIPELINE_TEXT_TEXT_ENCODER_H

#include <jansson.h>
#include <stdbool.h>
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
    uint32_t projection; /* P: width of the pooled text */
    int32_t end;         /* the id at whose first place the text is pooled; 2 (old configs): at the largest id's */
    float epsilon;
    enum activation activation;
};
/* `name`: of the component, for sentences. */
MUST_USE enum err text_encoder_config_read(struct text_encoder_config *config, const json_t *json, const char *name,
                                           struct error *error);

struct text_layer {
    struct layer norm1, qkv, attention_out, norm2, inner, outer;
};

struct text_encoder {
    struct text_encoder_config config;
    struct loader loader; /* owns the parameters */
    const struct weight *tokens, *positions; /* [V,D], [T,D] */
    const struct weight *added;              /* rows of embeddings, ids V and on; NULL: none */
    struct text_layer *layers;               /* [layers], owned */
    struct layer final_norm;
    struct layer projection; /* [P,D]; weight NULL: not pooled */
};
/* pooled: it must have a text_projection. Where nobody asked for one, one that is there is left alone. */
MUST_USE enum err text_encoder_load(struct text_encoder *encoder, struct component *component, bool pooled,
                                    struct backend *backend, struct error *error);
/* `count` rows [count,D] for the ids from the config's vocabulary on; at most once, before anything is recorded. */
MUST_USE enum err text_encoder_add(struct text_encoder *encoder, const float *rows, uint32_t count, struct error *error);
void text_encoder_release(struct text_encoder *encoder);

/* Where a text is pooled: the place of its end among ids[count]. */
uint32_t text_encoder_end(const struct text_encoder *encoder, const int32_t *ids, uint32_t count);

/* What is taken from a pass over a text. */
struct text_states {
    struct tensor hidden;    /* [n,T,1,D] */
    struct tensor projected; /* [n,T,1,P]: the last state behind the final norm, projected at every place; or TENSOR_NONE */
};
/* ids [n,T,1,1] i32. hidden: the state `skip` layers before the end (0: of the last layer), behind the final norm where
 * `norm`. skip < layers. projected where the encoder is a pooled one. */
struct text_states text_encoder_record(struct program *program, const struct text_encoder *encoder, struct tensor ids,
                                       uint32_t skip, bool norm);

#endif
