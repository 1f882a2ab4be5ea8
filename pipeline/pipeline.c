/*
 * pipeline.c - devices, and models loaded from diffusers folders. Rendering is in renderer.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/machine.h"
#include "pipeline/embeddings.h"
#include "pipeline/model.h"
#include "pipeline/source.h"
#include "pipeline/weights/checkpoint.h"

/* ---- devices ---------------------------------------------------------------------------------------------------- */

static enum err numerics_find(enum dtype *numerics, const char *name, struct error *error) {
    static const struct { const char *name; enum dtype dtype; } NUMERICS[] = {
        { "fp32", DTYPE_F32 }, { "bf16", DTYPE_BF16 }, { "fp16", DTYPE_F16 } };
    for (size_t i = 0; i < sizeof NUMERICS / sizeof *NUMERICS; i++) {
        if (strcmp(NUMERICS[i].name, name) == 0) {
            *numerics = NUMERICS[i].dtype;
            return ERR_OK;
        }
    }
    return error_set(error, ERR_UNSUPPORTED, "numerics: want fp32, bf16 or fp16, have %s", name);
}

enum err device_open(struct device **device, const char *name, const char *numerics, uint32_t threads,
                     struct error *error) {
    enum dtype dtype = DTYPE_F32;
    enum err err = numerics_find(&dtype, numerics, error);
    if (err != ERR_OK) {
        return err;
    }
    struct device *opened = memory_get(sizeof *opened);
    err = backend_create(&opened->backend, name, dtype, threads, error);
    if (err != ERR_OK) {
        free(opened);
        return err;
    }
    *device = opened;
    return ERR_OK;
}

void device_close(struct device *device) {
    if (device != NULL) {
        backend_destroy(device->backend);
        free(device);
    }
}

size_t device_list(char names[DEVICES_MOST][DEVICE_NAME_SIZE]) {
    struct device_name found[DEVICES_LIMIT];
    size_t count = 0;
    _Static_assert((int)DEVICES_MOST == (int)DEVICES_LIMIT && (int)DEVICE_NAME_SIZE == (int)sizeof found->text, "one list");
    backend_list(found, &count);
    for (size_t i = 0; i < count; i++) {
        memcpy(names[i], found[i].text, DEVICE_NAME_SIZE);
    }
    return count;
}

const char *device_build(void) {
    return backend_build();
}

/* A sixteenth is left: the driver loads kernels when they are first launched. */
uint64_t device_memory(const struct device *device) {
    uint64_t card = backend_memory(device->backend);
    return card == 0 ? machine_memory() : card - card / 16;
}

bool device_can(const struct device *device, const char *numerics) {
    enum dtype dtype;
    return numerics_find(&dtype, numerics, NULL) == ERR_OK && backend_can(device->backend, dtype);
}

const char *device_class(const struct device *device) {
    return backend_class(device->backend);
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

static enum err load_index(struct model *model, const struct source *source, struct error *error) {
    char *path = path_join(source->files->model, "model_index.json");
    json_t *index = NULL;
    enum err err = source_json(&index, source, "model_index.json", error);
    if (err == ERR_OK) {
        err = family_find(&model->index, index, path, error);
    }
    json_decref(index);
    free(path);
    return err;
}

static enum err load_process(struct model *model, const struct source *source, struct error *error) {
    if (source->checkpoint != NULL) {
        model->process = process_of_checkpoint(checkpoint_predicts_v(source->checkpoint), checkpoint_ends_dark(source->checkpoint));
        return ERR_OK;
    }
    char *path = path_join(source->files->model, "scheduler/scheduler_config.json");
    enum err err = process_open(&model->process, path, error);
    free(path);
    return err;
}

static enum err load_tokenizers(struct model *model, const struct source *source, struct error *error) {
    const struct family *family = model->index.family;
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < family->text_count; i++) {
        err = source_tokenizer(&model->texts[i].tokenizer, source, family->texts[i].tokenizer, error);
    }
    return err;
}

/* A component's file is closed before the next is opened: its pages go. */
static enum err load_texts(struct model *model, const struct source *source, struct error *error) {
    const struct family *family = model->index.family;
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < family->text_count; i++) {
        struct component *component = NULL;
        bool pooled = family->pooled && i + 1 == family->text_count;
        err = source_component(&component, source, family->texts[i].encoder, error);
        if (err == ERR_OK) {
            err = text_encoder_load(&model->texts[i].encoder, component, pooled, model->backend, error);
        }
        component_close(component);
    }
    return err;
}

static enum err load_embeddings(struct model *model, const struct source *source, struct error *error) {
    return model_add_embeddings(model, source->files->embeddings, source->files->embedding_count, error);
}

static enum err load_unet(struct model *model, const struct source *source, struct error *error) {
    struct component *component = NULL;
    enum err err = source_component(&component, source, "unet", error);
    if (err == ERR_OK) {
        err = unet_load(&model->unet, component, model->backend, error);
    }
    component_close(component);
    return err;
}

static enum err load_vae(struct model *model, const struct source *source, struct error *error) {
    struct component *component = NULL;
    enum err err = source_component(&component, source, "vae", error);
    if (err == ERR_OK) {
        err = vae_load(&model->vae, component, model->backend, model->index.family->upcasts_vae, error);
    }
    component_close(component);
    return err;
}

/* Parts that are fine alone, but not of one model. */
static enum err check_text(const struct model *model, uint32_t place, struct error *error) {
    const struct tokenizer *tokenizer = model->texts[place].tokenizer;
    const struct text_encoder_config *text = &model->texts[place].encoder.config;
    const struct family_text *names = &model->index.family->texts[place];
    if (tokenizer_vocabulary(tokenizer) > text->vocabulary) {
        return error_set(error, ERR_INVALID, "%s: vocab_size: want at least the %s's %u, config.json has %u", names->encoder,
                         names->tokenizer, tokenizer_vocabulary(tokenizer), text->vocabulary);
    }
    if (tokenizer_length(tokenizer) > text->positions) {
        return error_set(error, ERR_INVALID, "%s: max_position_embeddings: want at least the %s's %u, config.json has %u",
                         names->encoder, names->tokenizer, tokenizer_length(tokenizer), text->positions);
    }
    if (tokenizer_length(tokenizer) != tokenizer_length(model->texts[0].tokenizer)) {
        return error_set(error, ERR_INVALID, "%s: model_max_length: want that of the first one, %u, it has %u",
                         names->tokenizer, tokenizer_length(model->texts[0].tokenizer), tokenizer_length(tokenizer));
    }
    return ERR_OK;
}

static uint32_t condition_width(const struct model *model) {
    uint32_t width = 0;
    for (uint32_t i = 0; i < model->index.family->text_count; i++) {
        width += model->texts[i].encoder.config.width;
    }
    return width;
}

/* The vector that is added to the timestep's embedding: pooled text, then sinusoids of numbers. */
static enum err check_added(const struct model *model, struct error *error) {
    const struct family *family = model->index.family;
    const struct unet_config *unet = &model->unet.config;
    if (!family->pooled) {
        return unet->added_width == 0 ? ERR_OK
                                      : error_set(error, ERR_INVALID, "unet: addition_embed_type: want null in a model of one"
                                                  " text encoder without projection, config.json has text_time");
    }
    uint32_t pooled = model->texts[family->text_count - 1].encoder.config.projection, numbers = model_numbers(model);
    if (unet->added_width != pooled + numbers * unet->added_number_width) {
        return error_set(error, ERR_INVALID, "unet: projection_class_embeddings_input_dim: want %u, the pooled text's %u and"
                         " %u numbers (requires_aesthetics_score is %s) of addition_time_embed_dim %u, config.json has %u",
                         pooled + numbers * unet->added_number_width, pooled, numbers, model->index.score ? "true" : "false",
                         unet->added_number_width, unet->added_width);
    }
    return ERR_OK;
}

static enum err check_together(const struct model *model, struct error *error) {
    const struct family *family = model->index.family;
    const struct unet_config *unet = &model->unet.config;
    const struct vae_config *vae = &model->vae.config;
    for (uint32_t i = 0; i < family->text_count; i++) {
        enum err err = check_text(model, i, error);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (unet->condition_width != condition_width(model)) {
        return error_set(error, ERR_INVALID, "unet: cross_attention_dim: want the text encoder%s hidden_size %u, config.json"
                         " has %u", family->text_count == 1 ? "'s" : "s' common", condition_width(model),
                         unet->condition_width);
    }
    if (unet->out_channels != vae->latent_channels) {
        return error_set(error, ERR_INVALID, "unet: out_channels: want the VAE's latent_channels %u, config.json has %u",
                         vae->latent_channels, unet->out_channels);
    }
    return check_added(model, error);
}

static struct model_shape shape_of(const struct model *model) {
    const struct family *family = model->index.family;
    const struct loader *loaders[FAMILY_TEXTS + 2] = { &model->unet.loader, &model->vae.loader };
    struct model_shape shape = {
        .family = model->unet.config.linear_projection && family->linear_name != NULL ? family->linear_name : family->name,
        .pixels_per_latent = vae_pixels_per_latent(&model->vae.config),
        .latent_channels = model->vae.config.latent_channels,
        .tokens = tokenizer_length(model->texts[0].tokenizer),
        .condition_width = condition_width(model),
    };
    for (uint32_t i = 0; i < family->text_count; i++) {
        loaders[2 + i] = &model->texts[i].encoder.loader;
    }
    for (uint32_t i = 0; i < 2 + family->text_count; i++) {
        shape.parameters += loaders[i]->parameters;
        shape.weight_bytes += loaders[i]->bytes;
    }
    return shape;
}

enum err model_load_files(struct model **model, struct device *device, const struct model_files *files,
                          struct error *error) {
    static enum err (*const PARTS[])(struct model *, const struct source *, struct error *) = {
        load_index, load_tokenizers, load_process, load_texts, load_embeddings, load_unet, load_vae
    };
    struct model *loaded = memory_get(sizeof *loaded);
    struct source source = { 0 };
    loaded->backend = device->backend;
    enum err err = source_open(&source, files, backend_plans(device->backend), error);
    for (size_t i = 0; err == ERR_OK && i < sizeof PARTS / sizeof *PARTS; i++) {
        err = PARTS[i](loaded, &source, error);
    }
    if (err == ERR_OK) {
        err = source_finish(&source, error);
    }
    source_close(&source);
    if (err == ERR_OK) {
        err = check_together(loaded, error);
    }
    if (err == ERR_OK) {
        err = backend_check(device->backend, error); /* are the parameters really there? */
    }
    if (err != ERR_OK) {
        model_destroy(loaded);
        return err;
    }
    loaded->shape = shape_of(loaded);
    *model = loaded;
    return ERR_OK;
}

enum err model_load(struct model **model, struct device *device, const char *folder, struct error *error) {
    return model_load_files(model, device, &(struct model_files){ .model = folder }, error);
}

enum err model_check_files(const struct model_files *files, struct error *error) {
    struct device checker = { .backend = backend_create_planner(NULL) };
    struct model *model = NULL;
    enum err err = model_load_files(&model, &checker, files, error);
    if (err == ERR_OK) {
        model_destroy(model);
    }
    backend_destroy(checker.backend);
    return err;
}

void model_destroy(struct model *model) {
    if (model == NULL) {
        return;
    }
    for (uint32_t i = 0; i < FAMILY_TEXTS; i++) {
        tokenizer_close(model->texts[i].tokenizer);
        text_encoder_release(&model->texts[i].encoder);
    }
    process_release(&model->process);
    unet_release(&model->unet);
    vae_release(&model->vae);
    free(model);
}

uint32_t model_numbers(const struct model *model) {
    return !model->index.family->pooled ? 0 : model->index.score ? 5 : 6;
}

uint32_t model_clip_skip_limit(const struct model *model) {
    const struct family *family = model->index.family;
    uint32_t limit = model->texts[0].encoder.config.layers;
    for (uint32_t i = 1; i < family->text_count; i++) {
        uint32_t layers = model->texts[i].encoder.config.layers;
        limit = layers < limit ? layers : limit;
    }
    return family->last_state ? limit : limit - 1;
}

const struct model_shape *model_shape(const struct model *model) {
    return &model->shape;
}
