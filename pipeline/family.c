/*
 * family.c - the table of families, and which row a model_index.json means.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/family.h"

#define FIRST_TEXT { "tokenizer", "text_encoder" }
#define SECOND_TEXT { "tokenizer_2", "text_encoder_2" }

static const struct family SD = { .name = "sd1", .linear_name = "sd2", .texts = { FIRST_TEXT }, .text_count = 1,
                                  .last_state = true };
static const struct family SDXL = { .name = "sdxl", .texts = { FIRST_TEXT, SECOND_TEXT }, .text_count = 2,
                                    .xl = true, .pooled = true, .upcasts_vae = true };
static const struct family SDXL_REFINER = { .name = "sdxl-refiner", .texts = { SECOND_TEXT }, .text_count = 1,
                                            .xl = true, .pooled = true, .upcasts_vae = true };

/* The refiner is saved under the class that an SDXL base has, too, if somebody drew pictures from pictures with it: it is the
 * one without a first text encoder. */
static const struct {
    const char *class_name;
    const struct family *family, *without_first_text;
} CLASSES[] = {
    { "StableDiffusionPipeline", &SD, NULL },
    { "StableDiffusionImg2ImgPipeline", &SD, NULL },
    { "StableDiffusionInpaintPipeline", &SD, NULL },
    { "LatentConsistencyModelPipeline", &SD, NULL },
    { "LatentConsistencyModelImg2ImgPipeline", &SD, NULL },
    { "StableDiffusionXLPipeline", &SDXL, &SDXL_REFINER },
    { "StableDiffusionXLImg2ImgPipeline", &SDXL, &SDXL_REFINER },
    { "StableDiffusionXLInpaintPipeline", &SDXL, &SDXL_REFINER },
};
enum { CLASS_COUNT = sizeof CLASSES / sizeof *CLASSES };

/* ["transformers", "CLIPTextModel"] */
static bool has_component(const json_t *model_index, const char *name) {
    return json_is_string(json_array_get(json_object_get(model_index, name), 1));
}

static bool flag(const json_t *model_index, const char *key, bool fallback) {
    const json_t *value = json_object_get(model_index, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

enum err family_find(struct family_index *out, const json_t *model_index, const char *path, struct error *error) {
    const char *name = json_string_value(json_object_get(model_index, "_class_name"));
    for (size_t i = 0; name != NULL && i < CLASS_COUNT; i++) {
        if (strcmp(name, CLASSES[i].class_name) == 0) {
            bool without = CLASSES[i].without_first_text != NULL && !has_component(model_index, "text_encoder");
            const struct family *family = without ? CLASSES[i].without_first_text : CLASSES[i].family;
            *out = (struct family_index){
                .family = family,
                .zero_empty = family->pooled && flag(model_index, "force_zeros_for_empty_prompt", true),
                .score = family->pooled && flag(model_index, "requires_aesthetics_score", false),
            };
            return ERR_OK;
        }
    }
    char known[400] = "";
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        size_t size = strlen(known);
        snprintf(known + size, sizeof known - size, "%s%s", i == 0 ? "" : ", ", CLASSES[i].class_name);
    }
    return error_set(error, ERR_UNSUPPORTED, "%s: _class_name: want one of %s, file has %.100s", path, known,
                     name == NULL ? "none" : name);
}
