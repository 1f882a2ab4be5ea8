/*
 * pipeline.c - devices, and models loaded from diffusers folders. Rendering is in renderer.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "pipeline/model.h"
#include "pipeline/weights/weights.h"

enum { MODEL_JSON_LIMIT = 1 << 20 };

/* ---- devices ---------------------------------------------------------------------------------------------------- */

enum err device_open(struct device **device, const char *name, uint32_t threads, struct error *error) {
    struct device *opened = memory_get(sizeof *opened);
    enum err err = backend_create(&opened->backend, name, threads, error);
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

const char *device_class(const struct device *device) {
    return backend_class(device->backend);
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

static enum err check_family(const char *folder, struct error *error) {
    char *path = path_join(folder, "model_index.json");
    json_t *index = NULL;
    enum err err = json_read_file(&index, path, MODEL_JSON_LIMIT, error);
    if (err == ERR_OK) {
        const char *name = json_string_value(json_object_get(index, "_class_name"));
        if (name == NULL || strcmp(name, "StableDiffusionPipeline") != 0) {
            err = error_set(error, ERR_UNSUPPORTED, "%s: _class_name: want StableDiffusionPipeline, file has %.100s",
                            path, name == NULL ? "none" : name);
        }
    }
    json_decref(index);
    free(path);
    return err;
}

static enum err load_process(struct model *model, const char *folder, struct error *error) {
    char *path = path_join(folder, "scheduler/scheduler_config.json");
    enum err err = process_open(&model->process, path, error);
    free(path);
    return err;
}

static enum err load_tokenizer(struct model *model, const char *folder, struct error *error) {
    char *path = path_join(folder, "tokenizer");
    enum err err = tokenizer_open(&model->tokenizer, path, error);
    free(path);
    return err;
}

/* A component's file is closed before the next is opened: its pages go. */
static enum err load_text(struct model *model, const char *folder, struct error *error) {
    struct component *component = NULL;
    enum err err = component_open(&component, folder, "text_encoder", error);
    if (err == ERR_OK) {
        err = text_encoder_load(&model->text, component, model->backend, error);
    }
    component_close(component);
    return err;
}

static enum err load_unet(struct model *model, const char *folder, struct error *error) {
    struct component *component = NULL;
    enum err err = component_open(&component, folder, "unet", error);
    if (err == ERR_OK) {
        err = unet_load(&model->unet, component, model->backend, error);
    }
    component_close(component);
    return err;
}

static enum err load_vae(struct model *model, const char *folder, struct error *error) {
    struct component *component = NULL;
    enum err err = component_open(&component, folder, "vae", error);
    if (err == ERR_OK) {
        err = vae_load(&model->vae, component, model->backend, error);
    }
    component_close(component);
    return err;
}

/* Parts that are fine alone, but not of one model. */
static enum err check_together(const struct model *model, struct error *error) {
    const struct text_encoder_config *text = &model->text.config;
    const struct unet_config *unet = &model->unet.config;
    const struct vae_config *vae = &model->vae.config;
    if (tokenizer_vocabulary(model->tokenizer) > text->vocabulary) {
        return error_set(error, ERR_INVALID, "text_encoder: vocab_size: want at least the tokenizer's %u, config.json has"
                         " %u", tokenizer_vocabulary(model->tokenizer), text->vocabulary);
    }
    if (tokenizer_length(model->tokenizer) > text->positions) {
        return error_set(error, ERR_INVALID, "text_encoder: max_position_embeddings: want at least the tokenizer's %u,"
                         " config.json has %u", tokenizer_length(model->tokenizer), text->positions);
    }
    if (unet->condition_width != text->width) {
        return error_set(error, ERR_INVALID, "unet: cross_attention_dim: want the text encoder's hidden_size %u,"
                         " config.json has %u", text->width, unet->condition_width);
    }
    if (unet->in_channels != vae->latent_channels) {
        return error_set(error, ERR_INVALID, "unet: in_channels: want the VAE's latent_channels %u, config.json has %u",
                         vae->latent_channels, unet->in_channels);
    }
    return ERR_OK;
}

static struct model_shape shape_of(const struct model *model) {
    const struct loader *loaders[] = { &model->text.loader, &model->unet.loader, &model->vae.loader };
    struct model_shape shape = {
        .family = "sd1",
        .pixels_per_latent = vae_pixels_per_latent(&model->vae.config),
        .latent_channels = model->vae.config.latent_channels,
        .tokens = tokenizer_length(model->tokenizer),
        .condition_width = model->text.config.width,
    };
    for (size_t i = 0; i < sizeof loaders / sizeof *loaders; i++) {
        shape.parameters += loaders[i]->parameters;
        shape.weight_bytes += loaders[i]->bytes;
    }
    return shape;
}

/* Files that a job may name and nothing here reads. */
static enum err check_served(const struct model_files *files, struct error *error) {
    const char *what = files->vae != NULL ? "vae" : files->lora_count != 0 ? "lora" : files->embedding_count != 0 ? "embedding" : NULL;
    return what == NULL ? ERR_OK : error_set(error, ERR_UNSUPPORTED, "%s: this version does not draw with it", what);
}

enum err model_load_files(struct model **model, struct device *device, const struct model_files *files,
                          struct error *error) {
    const char *folder = files->model;
    static enum err (*const PARTS[])(struct model *, const char *, struct error *) = { load_tokenizer, load_process, load_text,
                                                                                      load_unet, load_vae };
    struct model *loaded = memory_get(sizeof *loaded);
    loaded->backend = device->backend;
    enum err err = check_served(files, error);
    if (err == ERR_OK) {
        err = check_family(folder, error);
    }
    for (size_t i = 0; err == ERR_OK && i < sizeof PARTS / sizeof *PARTS; i++) {
        err = PARTS[i](loaded, folder, error);
    }
    if (err == ERR_OK) {
        err = check_together(loaded, error);
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
    struct device checker = { .backend = backend_create_checker() };
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
    tokenizer_close(model->tokenizer);
    process_release(&model->process);
    text_encoder_release(&model->text);
    unet_release(&model->unet);
    vae_release(&model->vae);
    free(model);
}

const struct model_shape *model_shape(const struct model *model) {
    return &model->shape;
}
