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
    free(slot->pooled);
    *slot = (struct condition_slot){ 0 };
}

void conditions_release(struct conditions *conditions) {
    for (uint32_t i = 0; conditions->slots != NULL && i < conditions->memory.slots; i++) {
        slot_clear(&conditions->slots[i]);
    }
    free(conditions->slots);
    buffer_destroy(conditions->ids);
    buffer_destroy(conditions->projected);
    buffer_destroy(conditions->condition);
    buffer_destroy(conditions->scratch);
    cross_memory_release(&conditions->memory);
    *conditions = (struct conditions){ 0 };
}

uint64_t conditions_bytes(const struct conditions *conditions) {
    const struct cross_memory *memory = &conditions->memory;
    return cross_memory_bytes(&conditions->model->unet, memory->slots, memory->tokens) + buffer_size(conditions->ids) +
           (conditions->projected == NULL ? 0 : buffer_size(conditions->projected)) + buffer_size(conditions->condition) +
           buffer_size(conditions->scratch);
}

void conditions_begin_batch(struct conditions *conditions) {
    conditions->batch++;
}

/* The encoder whose text is pooled; NULL: none. */
static const struct text_encoder *pooled_encoder(const struct model *model) {
    const struct family *family = model->index.family;
    return family->pooled ? &model->texts[family->text_count - 1].encoder : NULL;
}

/* Ids [1,T,1,1] of each encoder -> the condition [1,T,1,D]: their states side by side. */
static struct tensor record_texts(struct program *p, const struct conditions *conditions, uint32_t clip_skip) {
    const struct model *model = conditions->model;
    const struct family *family = model->index.family;
    uint32_t tokens = model->shape.tokens, skip = clip_skip - (family->last_state ? 1 : 0);
    struct tensor condition = TENSOR_NONE;
    for (uint32_t i = 0; i < family->text_count; i++) {
        struct tensor ids = program_bind(p, conditions->ids, i * tokens * sizeof(int32_t), 1, tokens, 1, 1);
        struct text_states states = text_encoder_record(p, &model->texts[i].encoder, ids, skip, family->last_state);
        condition = i == 0 ? states.hidden : op_concat(p, condition, states.hidden);
        if (states.projected.id != TENSOR_NONE.id) {
            op_copy(p, program_bind(p, conditions->projected, 0, 1, tokens, 1, states.projected.c), states.projected);
        }
    }
    return condition;
}

/* Ids to conditioning to keys and values, all in one program that writes where the slot lies; or, of zeros that lie there
 * already, the keys and values alone. */
static struct program *record_prompt(const struct conditions *conditions, uint32_t slot, uint32_t clip_skip, bool zeros) {
    const struct model *model = conditions->model;
    uint32_t tokens = model->shape.tokens, width = model->shape.condition_width;
    struct program *p = program_create(model->backend);
    struct tensor kept = program_bind(p, conditions->condition, slot * condition_size(model), 1, tokens, 1, width);
    if (!zeros) {
        op_copy(p, kept, record_texts(p, conditions, clip_skip));
    }
    unet_record_prompt(p, &model->unet, kept, &conditions->memory, slot);
    program_finish(p);
    return p;
}

static void upload_zeros(struct buffer *buffer, size_t offset, size_t size) {
    void *zeros = memory_get(size);
    buffer_upload(buffer, offset, zeros, size);
    free(zeros);
}

/* Fills everything of conditions->slots[place], whose words are there already. */
static void work_out(struct conditions *conditions, uint32_t place) {
    const struct model *model = conditions->model;
    struct condition_slot *slot = &conditions->slots[place];
    const struct text_encoder *pooled = pooled_encoder(model);
    struct program *p = record_prompt(conditions, place, slot->clip_skip, slot->zeros);
    program_attach(p, conditions->scratch);
    buffer_upload(conditions->ids, 0, slot->ids, buffer_size(conditions->ids));
    if (slot->zeros) {
        upload_zeros(conditions->condition, place * condition_size(model), condition_size(model));
    }
    program_run(p);
    backend_wait(model->backend);
    program_destroy(p);
    if (pooled != NULL) {
        uint32_t tokens = model->shape.tokens, text = model->index.family->text_count - 1;
        size_t size = pooled->config.projection * sizeof(float);
        slot->pooled = memory_get(size);
        if (!slot->zeros) {
            uint32_t end = text_encoder_end(pooled, slot->ids + text * tokens, tokens);
            buffer_download(conditions->projected, end * size, slot->pooled, size);
        }
    }
}

/* Enough for the prompt at any clip skip. */
static size_t scratch_size(const struct conditions *conditions) {
    size_t most = 0;
    for (uint32_t skip = 1; skip <= model_clip_skip_limit(conditions->model); skip++) {
        struct program *p = record_prompt(conditions, 0, skip, false);
        most = program_memory(p) > most ? program_memory(p) : most;
        program_destroy(p);
    }
    return most;
}

enum err conditions_init(struct conditions *conditions, struct model *model, uint32_t slots, struct error *error) {
    struct conditions made = { .model = model };
    enum err err = cross_memory_init(&made.memory, &model->unet, model->backend, slots, model->shape.tokens, error);
    uint32_t tokens = model->shape.tokens, texts = model->index.family->text_count;
    const struct text_encoder *pooled = pooled_encoder(model);
    if (err == ERR_OK) {
        err = buffer_create(&made.ids, model->backend, texts * tokens * sizeof(int32_t), error);
    }
    if (err == ERR_OK && pooled != NULL) {
        err = buffer_create(&made.projected, model->backend, tokens * pooled->config.projection * sizeof(float), error);
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

/* ids [texts,T] of a prompt, owned by the caller. */
static enum err encode(int32_t **out, const struct model *model, const char *prompt, struct error *error) {
    uint32_t texts = model->index.family->text_count, tokens = model->shape.tokens;
    int32_t *ids = memory_get_array(texts * tokens, sizeof *ids);
    for (uint32_t i = 0; i < texts; i++) {
        enum err err = tokenizer_encode(ids + i * tokens, NULL, model->texts[i].tokenizer, prompt, error);
        if (err != ERR_OK) {
            free(ids);
            return err;
        }
    }
    *out = ids;
    return ERR_OK;
}

enum err conditions_find(uint32_t *slot, struct conditions *conditions, const char *prompt, uint32_t clip_skip,
                         bool negative, struct error *error) {
    bool zeros = negative && *prompt == '\0' && conditions->model->index.zero_empty;
    for (uint32_t i = 0; i < conditions->memory.slots; i++) {
        struct condition_slot *kept = &conditions->slots[i];
        if (kept->prompt != NULL && kept->clip_skip == clip_skip && kept->zeros == zeros &&
            strcmp(kept->prompt, prompt) == 0) {
            kept->used_at = conditions->batch;
            *slot = i;
            return ERR_OK;
        }
    }
    int32_t *ids = NULL;
    enum err err = encode(&ids, conditions->model, prompt, error);
    if (err != ERR_OK) {
        return err;
    }
    uint32_t place = oldest_slot(conditions);
    slot_clear(&conditions->slots[place]);
    conditions->slots[place] = (struct condition_slot){ .prompt = text_copy(prompt), .clip_skip = clip_skip, .zeros = zeros,
                                                        .ids = ids, .used_at = conditions->batch };
    work_out(conditions, place);
    *slot = place;
    return ERR_OK;
}

void conditions_read(float *condition, const struct conditions *conditions, uint32_t slot) {
    size_t size = condition_size(conditions->model);
    buffer_download(conditions->condition, slot * size, condition, size);
}

void conditions_added(float *added, const struct conditions *conditions, uint32_t slot, const float *numbers) {
    const struct model *model = conditions->model;
    const struct unet_config *unet = &model->unet.config;
    uint32_t pooled = pooled_encoder(model)->config.projection;
    memcpy(added, conditions->slots[slot].pooled, pooled * sizeof *added);
    for (uint32_t i = 0; i < model_numbers(model); i++) {
        sinusoids(added + pooled + i * unet->added_number_width, numbers[i], unet->added_number_width,
                  unet->flip_sin_to_cos, unet->frequency_shift);
    }
}
