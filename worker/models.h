/*
 * models.h - where an object lies by its digest: a model (a folder, or a single file) or a file that jobs name (LoRA, VAE,
 * picture, ...). From the folders the operator named, else from the cache, else from the coordinator into the cache.
 *
 * Whatever its origin, an object is hashed in this process before it is used. A fetched one is written beside its
 * place and renamed whole, so the cache holds finished ones only. The cache is kept within its budget by removing what
 * was used longest ago, never a model that a lease holds. Used from one thread; models_drop from any.
 */
#ifndef WORKER_MODELS_H
#define WORKER_MODELS_H

#include <stdbool.h>

#include "proto/message.h"
#include "proto/model.h"

/* Where pieces of objects come from. The agent's goes over its socket thread; a test's is a table. */
struct model_source {
    void *context;
    /* Ask for a piece; may be lost. */
    void (*ask)(void *context, const struct digest *object, uint64_t offset, uint32_t size);
    /* The next piece that came, waiting for one at most timeout_ms; its data is the caller's to free. ERR_UNREACHABLE: none
     * came. ERR_CANCELLED: stop. Anything else: the coordinator's refusal of `object`. */
    enum err (*answer)(struct message_chunk *chunk, void *context, const struct digest *object, uint32_t timeout_ms,
                       struct error *error);
    /* For heartbeats; steps 0: not known yet. */
    void (*progress)(void *context, uint64_t bytes, uint64_t total);
};

struct models;

/* `paths` is colon-separated (NULL: none): each a model's folder, a safetensors file, or a folder of such (and of folders
 * of such: loras, vae, ...). One that does not exist is
 * ERR_INVALID. cache_bytes 0: no bound. */
MUST_USE enum err models_open(struct models **models, const char *paths, const char *cache, uint64_t cache_bytes,
                              struct error *error);
void models_close(struct models *models);

/* *path is the caller's; the model is held until models_drop. */
MUST_USE enum err models_hold(char **path, struct models *models, const struct digest *digest,
                              const struct model_source *source, struct error *error);
/* The same of a single file, whatever is in it. */
MUST_USE enum err models_hold_file(char **path, struct models *models, const struct digest *digest,
                                   const struct model_source *source, struct error *error);
void models_drop(struct models *models, const struct digest *digest);

/* ---- fetch.c -------------------------------------------------------------------------------------------------------- */

enum { FETCH_PIECE = 512 << 10, FETCH_IN_FLIGHT = 8, FETCH_AGAIN_MS = 5000 };

/* Fetch a whole model to `path` (a folder or a file, made here, must not exist), every file verified; at most `limit` bytes (0:
 * none). On failure it may be there in part: it is the caller's to remove. */
MUST_USE enum err fetch_model(const char *path, const struct digest *digest, uint64_t limit,
                              const struct model_source *source, struct error *error);
/* The same of one object, whatever is in it. */
MUST_USE enum err fetch_file(const char *path, const struct digest *digest, uint64_t limit, const struct model_source *source,
                             struct error *error);

#endif
