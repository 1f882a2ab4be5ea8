/*
 * conditions.c - slots of prompts.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/conditions.h"

static size_t condition_size(const struct model *model) {
    return sizeof(float) * model->shape.tokens * model->shape.condition_width;
}

static void slot_clear(struct condition_slot *slot) {
    free(slot->prompt);
    free(slot->ids);
    *slot = (struct condition_slot){ 0 };
}

void conditions_release(struct conditions *conditions) {
    for (uint32_t i = 0; conditions->slots != NULL && i < conditions->memory.slots; i++) {
        slot_clear(&conditions->slots[i]);
    }
    free(conditions->slots);
    buffer_destroy(conditions->ids);
    buffer_destroy(conditions->condition);
    buffer_destroy(conditions->scratch);
    cross_memory_release(&conditions->memory);
    *conditions = (struct conditions){ 0 };
}

uint64_t conditions_bytes(const struct conditions *conditions) {
    const struct cross_memory *memory = &conditions->memory;
    return cross_memory_bytes(&conditions->model->unet, memory->slots, memory->tokens) + buffer_size(conditions->ids) +
           buffer_size(conditions->condition) + buffer_size(conditions->scratch);
}

void conditions_begin_batch(struct conditions *conditions) {
    conditions->batch++;
}

/* Ids to conditioning to keys and values, all in one program that writes where the slot lies. */
static struct program *record_prompt(const struct conditions *conditions, uint32_t slot, uint32_t clip_skip) {
    const struct model *model = conditions->model;
    uint32_t tokens = model->shape.tokens, width = model->shape.condition_width;
    struct program *p = program_create(model->backend);
    struct tensor ids = program_bind(p, conditions->ids, 0, 1, tokens, 1, 1);
    struct tensor kept = program_bind(p, conditions->condition, slot * condition_size(model), 1, tokens, 1, width);
    op_copy(p, kept, text_encoder_record(p, &model->text, ids, clip_skip));
    unet_record_prompt(p, &model->unet, kept, &conditions->memory, slot);
    program_finish(p);
    return p;
}

static void work_out(struct conditions *conditions, uint32_t slot, const int32_t *ids, uint32_t clip_skip) {
    struct program *p = record_prompt(conditions, slot, clip_skip);
    program_attach(p, conditions->scratch);
    buffer_upload(conditions->ids, 0, ids, conditions->model->shape.tokens * sizeof *ids);
    program_run(p);
    backend_wait(conditions->model->backend);
    program_destroy(p);
}

/* Enough for the prompt at any clip skip. */
static size_t scratch_size(const struct conditions *conditions) {
    size_t most = 0;
    for (uint32_t skip = 1; skip <= conditions->model->text.config.layers; skip++) {
        struct program *p = record_prompt(conditions, 0, skip);
        most = program_memory(p) > most ? program_memory(p) : most;
        program_destroy(p);
    }
    return most;
}

enum err conditions_init(struct conditions *conditions, struct model *model, uint32_t slots, struct error *error) {
    struct conditions made = { .model = model };
    enum err err = cross_memory_init(&made.memory, &model->unet, model->backend, slots, model->shape.tokens, error);
    if (err == ERR_OK) {
        err = buffer_create(&made.ids, model->backend, model->shape.tokens * sizeof(int32_t), error);
    }
    if (err == ERR_OK) {
        err = buffer_create(&made.condition, model->backend, slots * condition_size(model), error);
    }
    if (err == ERR_OK) {
        err = buffer_create(&made.scratch, model->backend, scratch_size(&made), error);
    }
    if (err != ERR_OK) {
        conditions_release(&made);
        return err;
    }
    made.slots = memory_get_array(slots, sizeof *made.slots);
    *conditions = made;
    return ERR_OK;
}

static uint32_t oldest_slot(const struct conditions *conditions) {
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < conditions->memory.slots; i++) {
        if (conditions->slots[i].used_at < conditions->slots[oldest].used_at) {
            oldest = i;
        }
    }
    assert(conditions->slots[oldest].used_at < conditions->batch); /* there are slots for every prompt of a batch */
    return oldest;
}

enum err conditions_find(uint32_t *slot, struct conditions *conditions, const char *prompt, uint32_t clip_skip,
                         struct error *error) {
    for (uint32_t i = 0; i < conditions->memory.slots; i++) {
        struct condition_slot *kept = &conditions->slots[i];
        if (kept->prompt != NULL && kept->clip_skip == clip_skip && strcmp(kept->prompt, prompt) == 0) {
            kept->used_at = conditions->batch;
            *slot = i;
            return ERR_OK;
        }
    }
    struct model *model = conditions->model;
    int32_t *ids = memory_get_array(model->shape.tokens, sizeof *ids);
    enum err err = tokenizer_encode(ids, NULL, model->tokenizer, prompt, error);
    if (err != ERR_OK) {
        free(ids);
        return err;
    }
    uint32_t place = oldest_slot(conditions);
    slot_clear(&conditions->slots[place]);
    work_out(conditions, place, ids, clip_skip);
    conditions->slots[place] = (struct condition_slot){ .prompt = text_copy(prompt), .clip_skip = clip_skip, .ids = ids,
                                                        .used_at = conditions->batch };
    *slot = place;
    return ERR_OK;
}

void conditions_read(float *condition, const struct conditions *conditions, uint32_t slot) {
    size_t size = condition_size(conditions->model);
    buffer_download(conditions->condition, slot * size, condition, size);
}
