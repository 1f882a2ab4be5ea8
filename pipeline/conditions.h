/*
 * conditions.h - what the prompts mean, remembered: ids, conditioning, and the U-Net's cross-attention keys and values.
 *
 * A prompt at a clip skip is worked out once, alone, into a slot, and read from there by every image and every step that
 * follows: batch mates cannot matter. When slots run out, the one unused for longest goes.
 */
#ifndef PIPELINE_CONDITIONS_H
#define PIPELINE_CONDITIONS_H

#include <stdint.h>

#include "pipeline/model.h"

struct condition_slot {
    char *prompt;     /* owned; NULL: empty */
    uint32_t clip_skip;
    bool zeros;       /* stands for nothing at all: all its numbers are 0 */
    int32_t *ids;     /* [texts,T], owned */
    float *pooled;    /* [P], owned; NULL where the model pools no text */
    uint64_t used_at; /* batch number */
};

struct conditions {
    struct model *model;
    struct cross_memory memory;
    struct buffer *ids;       /* [texts,T] i32: of the prompt being worked out */
    struct buffer *projected; /* [T,1,P] f32: of the same, or NULL */
    struct buffer *condition; /* [slots,T,1,D] */
    struct buffer *scratch;   /* of the program that works a prompt out */
    struct condition_slot *slots; /* [memory.slots] */
    uint64_t batch;
};
MUST_USE enum err conditions_init(struct conditions *conditions, struct model *model, uint32_t slots, struct error *error);
void conditions_release(struct conditions *conditions);
uint64_t conditions_bytes(const struct conditions *conditions);

/* Prompts asked for from here on stay until the next batch begins. */
void conditions_begin_batch(struct conditions *conditions);
/* The slot of a prompt, worked out now if it is not there. A negative that is empty stands for nothing at all where the model
 * wants it so. ERR_INVALID: not UTF-8. */
MUST_USE enum err conditions_find(uint32_t *slot, struct conditions *conditions, const char *prompt, uint32_t clip_skip,
                                  bool negative, struct error *error);
void conditions_read(float *condition, const struct conditions *conditions, uint32_t slot); /* [T,D] */
/* Added conditioning of a slot: [A], pooled text first, then the sinusoids of `numbers` [model_numbers]. */
void conditions_added(float *added, const struct conditions *conditions, uint32_t slot, const float *numbers);

#endif
