/*
 * source.c - parts of a model by name, wherever they lie.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "pipeline/source.h"
#include "pipeline/text/clip_words.h"
#include "pipeline/weights/checkpoint.h"
#include "pipeline/weights/lora.h"

enum { MODEL_JSON_LIMIT = 1 << 20 };

enum err source_open(struct source *source, const struct model_files *files, bool measures, struct error *error) {
    struct source opened = { .files = files, .measures = measures };
    enum err err = loras_open(&opened.loras, files->loras, files->lora_count, error);
    if (err == ERR_OK && file_exists(files->model)) {
        err = checkpoint_open(&opened.checkpoint, files->model, error);
    }
    if (err == ERR_OK) {
        *source = opened;
    } else {
        source_close(&opened);
    }
    return err;
}

enum err source_finish(const struct source *source, struct error *error) {
    return loras_check_used(source->loras, error);
}

void source_close(struct source *source) {
    loras_close(source->loras);
    checkpoint_close(source->checkpoint);
    *source = (struct source){ 0 };
}

enum err source_json(json_t **json, const struct source *source, const char *path, struct error *error) {
    if (source->checkpoint != NULL) {
        *json = checkpoint_json(source->checkpoint, path);
        return *json != NULL ? ERR_OK : error_set(error, ERR_NOT_FOUND, "%s: want what %s would say, it has none such",
                                                  source->files->model, path);
    }
    char *full = path_join(source->files->model, path);
    enum err err = json_read_file(json, full, MODEL_JSON_LIMIT, error);
    free(full);
    return err;
}

enum err source_tokenizer(struct tokenizer **tokenizer, const struct source *source, const char *name, struct error *error) {
    if (source->checkpoint != NULL) {
        json_t *config = NULL;
        char *path = text_format("%s/tokenizer_config.json", name);
        enum err err = source_json(&config, source, path, error);
        if (err == ERR_OK) {
            err = tokenizer_open_clip(tokenizer, config, error);
        }
        json_decref(config);
        free(path);
        return err;
    }
    char *path = path_join(source->files->model, name);
    enum err err = tokenizer_open(tokenizer, path, error);
    free(path);
    return err;
}

static enum err open_own_vae(struct component **component, const struct source *source, struct error *error) {
    json_t *own = NULL;
    enum err err = source_json(&own, source, "vae/config.json", error);
    if (err == ERR_OK) {
        err = vae_file_open(component, source->files->vae, own, error);
    }
    json_decref(own);
    return err;
}

enum err source_component(struct component **component, const struct source *source, const char *name,
                          struct error *error) {
    struct component *opened = NULL;
    enum err err = source->files->vae != NULL && strcmp(name, "vae") == 0
                       ? open_own_vae(&opened, source, error)
                   : source->checkpoint != NULL ? checkpoint_component(&opened, source->checkpoint, name, error)
                                                : component_open(&opened, source->files->model, name, error);
    if (err == ERR_OK && source->measures) {
        component_measure(opened);
    }
    if (err == ERR_OK && strcmp(name, "vae") != 0) {
        err = loras_attach(source->loras, opened, error);
    }
    if (err == ERR_OK) {
        *component = opened;
    } else {
        component_close(opened);
    }
    return err;
}
