/*
 * weights.h - model files: safetensors, memory-mapped and fully validated, and the folders that hold them.
 *
 * Every byte of the header is foreign: checked once, here (FACTS section D: bounds, no holes, no overlaps, no duplicate
 * keys, known dtypes, shape times width == length), against named limits. Pickles are never opened.
 *
 * Model files are immutable while they are open: a mapped file that somebody cuts short is a SIGBUS at the next read.
 * Who replaces a model renames a new file over the old one, and the old one stays whole until it is closed.
 */
#ifndef PIPELINE_WEIGHTS_WEIGHTS_H
#define PIPELINE_WEIGHTS_WEIGHTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"

enum { SAFETENSORS_HEADER_LIMIT = 100000000, SAFETENSORS_TENSOR_LIMIT = 200000, SAFETENSORS_DIMS_LIMIT = 8 };
enum { COMPONENT_CONFIG_LIMIT = 1 << 20, COMPONENT_INDEX_LIMIT = 64 << 20, COMPONENT_SHARD_LIMIT = 1000 };

struct safetensors; /* one open file: mapped, read-only, immutable */

MUST_USE enum err safetensors_open(struct safetensors **file, const char *path, struct error *error);
/* The same checks on bytes in memory (tests, fuzzing). `data` must outlive the handle. */
MUST_USE enum err safetensors_open_memory(struct safetensors **file, const void *data, size_t size, const char *name,
                                          struct error *error);
void safetensors_close(struct safetensors *file);
/* Give back the memory of what was read so far; the file stays open and can be read again. */
void safetensors_drop_pages(const struct safetensors *file);
size_t safetensors_count(const struct safetensors *file);
const char *safetensors_name(const struct safetensors *file, size_t index); /* sorted by name */
const char *safetensors_metadata(const struct safetensors *file, const char *key); /* a text of __metadata__, or NULL */
/* ERR_NOT_FOUND if absent, ERR_UNSUPPORTED if its dtype is not one of F32, F16, BF16 or it has more than 4 dims. */
MUST_USE enum err safetensors_find(struct weight_view *view, const struct safetensors *file, const char *name,
                                   struct error *error);
/* As safetensors_find, for any tensor whose dtype enum dtype names: traces and recorded goldens also hold I32 and U8. */
MUST_USE enum err safetensors_view(struct weight_view *view, const struct safetensors *file, const char *name,
                                   struct error *error);

/* Write a file of named tensors (traces, tests). Tensors are laid out in the given order, 8-aligned header. */
struct safetensors_entry {
    const char *name;
    enum dtype dtype;
    uint32_t dims;
    uint64_t shape[4];
    const void *data;
};
MUST_USE enum err safetensors_write(const char *path, const struct safetensors_entry *entries, size_t count,
                                    struct error *error);

/*
 * One component of a model ("unet", "vae", "text_encoder"): its config and its tensors, wherever the layout keeps them.
 * Accepts diffusion_pytorch_model.safetensors or model.safetensors, sharded files with an index
 * (".safetensors.index.json"), and where none of these is there the ".fp16" variants of each. A folder that holds only
 * pickles (.bin, .ckpt, .pt, .pth) is ERR_UNSUPPORTED, and the sentence says how to convert it.
 *
 * Names that begin with "text_model." are found with or without that prefix: transformers wrote it up to version 4.
 * Used-marks make a component a thing of one thread until its model is loaded.
 */
struct component;
MUST_USE enum err component_open(struct component **component, const char *model_folder, const char *name,
                                 struct error *error);
void component_close(struct component *component);
void component_drop_pages(const struct component *component); /* safetensors_drop_pages of its files */
const char *component_name(const struct component *component);     /* "unet", borrowed */
const json_t *component_config(const struct component *component); /* config.json, borrowed */

/* From here on views have shape and dtype alone, data NULL: nothing is read, merged or made. */
void component_measure(struct component *component);

/* Views that component_tensor gave end here: some are no file's bytes but made for it (a fused projection, a merged LoRA). */
void component_settle(struct component *component);

/* A parameter by name with the shape it must have (dims 0: any): the sentence names component, tensor, and both shapes.
 * Marks it as used. */
MUST_USE enum err component_tensor(struct weight_view *view, struct component *component, const char *name, uint32_t dims,
                                   const uint64_t *shape, struct error *error);
bool component_has(const struct component *component, const char *name);
/* A parameter that may lie there and is not wanted. */
void component_excuse(struct component *component, const char *name);
/* ERR_CORRUPT naming the first three parameters nobody asked for, and how many there are; known non-parameters
 * (position_ids) are excused. */
MUST_USE enum err component_check_all_used(const struct component *component, struct error *error);

#endif
