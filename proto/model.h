/*
 * model.h - a model as files: its digest, its manifest, and the few facts the farm must know without loading it.
 *
 * The files of a model folder are its *.json, *.txt and *.safetensors, wherever they lie below it (model cards, recipes
 * and pictures are not part of a model). The manifest is the sorted lines "path sha256\n"; the model's digest is the
 * manifest's SHA-256, so the manifest is itself an object of that name.
 */
#ifndef PROTO_MODEL_H
#define PROTO_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"

enum { MODEL_START_LIMIT = 16 << 20, MODEL_FILES_LIMIT = 4096, MODEL_MANIFEST_LIMIT = 1 << 20, MODEL_CONFIG_LIMIT = 4 << 20 };

struct model_file {
    char *path; /* relative, checked: no "..", no absolute path, [A-Za-z0-9._/-] */
    struct digest digest;
};

struct manifest {
    struct model_file *files;
    size_t count;
    struct digest digest; /* the model's */
};
void manifest_release(struct manifest *manifest);
/* A file's SHA-256; of large ones it is remembered (manifest.c). */
MUST_USE enum err file_digest(struct digest *digest, const char *path, struct error *error);
MUST_USE enum err manifest_of_folder(struct manifest *manifest, const char *folder, struct error *error);
void manifest_text(struct bytes *text, const struct manifest *manifest);
MUST_USE enum err manifest_parse(struct manifest *manifest, const void *data, size_t size, struct error *error);

/* The digest of a model that lies there: a folder's manifest's, or a single file's own. */
MUST_USE enum err model_digest_read(struct digest *digest, const char *path, struct error *error);
/* Does the file at `path` begin as a safetensors file does? What bears a model's digest is one, or a manifest. */
bool model_is_single_file(const char *path);

struct model_facts {
    struct digest digest;
    char family[16];            /* "sd1", "sd2", "sdxl", "sdxl-refiner" */
    uint32_t pixels_per_latent; /* from vae/config.json: 2^(levels-1) */
    uint32_t default_width, default_height; /* the size it was trained for: unet sample_size * pixels_per_latent */
    uint64_t parameters_bytes;  /* of its safetensors files together; 0 if not at hand */
};
/* Reads the configs of a folder. A folder that is no model of a supported kind (no model_index.json; SDXL, SD3, Flux, video;
 * pickles; a single file) is refused for what it is. */
MUST_USE enum err model_facts_read(struct model_facts *facts, const char *folder, struct error *error);
/* The same of a single file from its first bytes (the header must be whole within MODEL_START_LIMIT); the digest is not set. */
MUST_USE enum err model_facts_of_start(struct model_facts *facts, const struct bytes *start, struct error *error);
MUST_USE enum err model_start_read(struct bytes *start, const char *path, struct error *error);
/* The same from the texts of model_index.json, unet/config.json and vae/config.json. */
MUST_USE enum err model_facts_parse(struct model_facts *facts, const struct bytes *index, const struct bytes *unet,
                                    const struct bytes *vae, struct error *error);

/* What the headers of a model's weights say: a file's, or all of a folder's. */
struct weights_stats {
    uint64_t tensors, parameters;
    char precision[16]; /* of most of its bytes: "F16" */
};
MUST_USE enum err weights_stats_read(struct weights_stats *stats, const char *path, struct error *error);

/* Every path of the models folders that may be a model. */
void models_each(void (*each)(void *context, const char *path), void *context);

/* From what a user writes to a folder: a path (relative to `beside` first, which may be NULL, then to the working directory);
 * a name looked up in the models folders, which are those of SEEDFARM_MODELS (a colon-separated list), then the one next to
 * the program ("demo": models/demo); or a digest of 64 hex digits, looked for among all models of those folders.
 * *folder is owned by the caller. */
MUST_USE enum err model_find(char **folder, const char *text, const char *beside, struct error *error);

#endif
