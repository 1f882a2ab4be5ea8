/*
 * source.h - where the parts of a model come from: a diffusers folder or a single file, a VAE of its own, LoRAs.
 *
 * Open while a model is loaded; what was loaded needs none of it.
 */
#ifndef PIPELINE_SOURCE_H
#define PIPELINE_SOURCE_H

#include <jansson.h>

#include "pipeline/pipeline.h"
#include "pipeline/text/tokenizer.h"
#include "pipeline/weights/weights.h"

struct checkpoint;
struct loras;

struct source {
    const struct model_files *files; /* borrowed */
    bool measures;                   /* its components give shapes alone */
    struct checkpoint *checkpoint;   /* NULL: a folder */
    struct loras *loras;
};

MUST_USE enum err source_open(struct source *source, const struct model_files *files, bool measures, struct error *error);
/* After the last component: what of the LoRAs found no place. */
MUST_USE enum err source_finish(const struct source *source, struct error *error);
void source_close(struct source *source);

/* A JSON file of the model, by its path in a diffusers folder; a new reference. */
MUST_USE enum err source_json(json_t **json, const struct source *source, const char *path, struct error *error);
MUST_USE enum err source_tokenizer(struct tokenizer **tokenizer, const struct source *source, const char *name,
                                   struct error *error);
/* With its LoRAs; "vae" is the file's that stands for it, if one does. */
MUST_USE enum err source_component(struct component **component, const struct source *source, const char *name,
                                   struct error *error);

#endif
