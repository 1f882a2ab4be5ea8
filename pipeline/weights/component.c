/*
 * component.c - one component of a diffusers folder: config.json and its tensors, in one file or in shards.
 *
 * Every tensor has one slot, sorted by name, that says which file holds it and whether anybody asked for it: what a
 * network never asked for is a sign that it is not the network the file was made for.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "pipeline/weights/component_parts.h"

static const char PREFIX[] = "text_model.";

static int compare_slot(const void *a, const void *b) {
    return strcmp(((const struct slot *)a)->name, ((const struct slot *)b)->name);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

void component_add_file(struct component *component, struct safetensors *file) {
    component->files = memory_grow(component->files, component->file_count + 1, sizeof *component->files);
    component->files[component->file_count++] = file;
}

void component_add_slot(struct component *component, const char *name, const struct safetensors *file, const char *source,
                        enum slot_form form) {
    component->slots = memory_grow(component->slots, component->slot_count + 1, sizeof *component->slots);
    component->slots[component->slot_count++] = (struct slot){ text_copy(name), file, source, form, false, NULL };
}

enum err component_sort(struct component *component, struct error *error) {
    qsort(component->slots, component->slot_count, sizeof *component->slots, compare_slot);
    for (size_t i = 1; i < component->slot_count; i++)
        if (compare_slot(&component->slots[i - 1], &component->slots[i]) == 0)
            return error_set(error, ERR_CORRUPT, "%s: %s: want it once, it is there as %s and as %s", component->name,
                             component->slots[i].name, component->slots[i - 1].source, component->slots[i].source);
    return ERR_OK;
}

static enum err collect_slots(struct component *component, struct error *error) {
    for (size_t i = 0; i < component->file_count; i++)
        for (size_t j = 0; j < safetensors_count(component->files[i]); j++) {
            const char *name = safetensors_name(component->files[i], j);
            component_add_slot(component, name, component->files[i], name, SLOT_PLAIN);
        }
    return component_sort(component, error);
}

/* A plain file name of a shard: no folder, nothing hidden, only what such names are made of. */
static bool shard_name_valid(const char *name) {
    size_t size = strlen(name), tail = strlen(".safetensors");
    size_t plain = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return size > tail && size <= 255 && plain == size && name[0] != '.' && strcmp(name + size - tail, ".safetensors") == 0;
}

/* The tensors of an open shard are exactly those that the index puts there. */
static enum err check_shard(const struct safetensors *file, const char *shard, const json_t *map, size_t promised,
                            const char *path, struct error *error) {
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *name = safetensors_name(file, i);
        const char *there = json_string_value(json_object_get(map, name));
        if (!there || strcmp(there, shard) != 0)
            return error_set(error, ERR_CORRUPT, "%s: %s: want it in %s, it is in %s", path, name, there ? there : "no shard",
                             shard);
    }
    if (safetensors_count(file) != promised)
        return error_set(error, ERR_CORRUPT, "%s: %s: want %zu tensors, file has %zu", path, shard, promised,
                         safetensors_count(file));
    return ERR_OK;
}

/* shards: {"name.safetensors": number of tensors promised there} of a checked weight_map. */
static enum err list_shards(json_t *shards, const json_t *map, const char *path, struct error *error) {
    const char *tensor;
    json_t *value;
    if (!json_is_object(map))
        return error_set(error, ERR_CORRUPT, "%s: want a weight_map, file has none", path);
    json_object_foreach((json_t *)map, tensor, value) {
        const char *shard = json_string_value(value);
        if (!shard || !shard_name_valid(shard))
            return error_set(error, ERR_CORRUPT, "%s: %.128s: want the plain name of a .safetensors file, weight_map has %.128s",
                             path, tensor, shard ? shard : "another kind of value");
        json_int_t promised = json_integer_value(json_object_get(shards, shard));
        json_object_set_new(shards, shard, json_integer(promised + 1));
    }
    if (json_object_size(shards) > COMPONENT_SHARD_LIMIT)
        return error_set(error, ERR_LIMIT, "%s: want at most %d shards, file has %zu", path, COMPONENT_SHARD_LIMIT,
                         json_object_size(shards));
    return ERR_OK;
}

static enum err open_shards(struct component *component, const char *folder, const char *index, struct error *error) {
    json_t *root = NULL, *shards = json_object(), *promised;
    const char *shard;
    const json_t *map;
    enum err err = json_read_file(&root, index, COMPONENT_INDEX_LIMIT, error);
    if (err != ERR_OK)
        goto done;
    map = json_object_get(root, "weight_map");
    if ((err = list_shards(shards, map, index, error)) != ERR_OK)
        goto done;
    json_object_foreach(shards, shard, promised) {
        struct safetensors *file = NULL;
        char *path = path_join(folder, shard);
        err = safetensors_open(&file, path, error);
        free(path);
        if (err != ERR_OK)
            goto done;
        component_add_file(component, file);
        err = check_shard(file, shard, map, (size_t)json_integer_value(promised), index, error);
        if (err != ERR_OK)
            goto done;
    }
done:
    json_decref(shards);
    json_decref(root);
    return err;
}

static bool is_pickle(const char *name) {
    const char *tail = strrchr(name, '.');
    return tail && (strcmp(tail, ".bin") == 0 || strcmp(tail, ".ckpt") == 0 || strcmp(tail, ".pt") == 0 ||
                    strcmp(tail, ".pth") == 0);
}

/* No safetensors here: say so, or name the pickle that lies in their place. */
static enum err refuse_folder(const char *folder, struct error *error) {
    enum err err = error_set(error, ERR_NOT_FOUND, "%s: want diffusion_pytorch_model.safetensors or model.safetensors"
                             " (or an .fp16 or sharded one), folder has none", folder);
    DIR *entries = opendir(folder);
    if (!entries)
        return error_errno(error, "%s", folder);
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (is_pickle(entry->d_name)) {
            err = error_set(error, ERR_UNSUPPORTED, "%s: want safetensors, folder has %s, a pickle, which can run code and is"
                            " never opened: convert it with diffusers' or transformers'"
                            " from_pretrained(...).save_pretrained(..., safe_serialization=True)", folder, entry->d_name);
            break;
        }
    closedir(entries);
    return err;
}

static enum err open_files(struct component *component, const char *folder, struct error *error) {
    /* the whole file before the shards, full precision before half, as diffusers chooses without a variant */
    static const struct { const char *name; bool sharded; } LAYOUTS[] = {
        { "diffusion_pytorch_model.safetensors", false },
        { "model.safetensors", false },
        { "diffusion_pytorch_model.safetensors.index.json", true },
        { "model.safetensors.index.json", true },
        { "diffusion_pytorch_model.fp16.safetensors", false },
        { "model.fp16.safetensors", false },
        { "diffusion_pytorch_model.safetensors.index.fp16.json", true },
        { "model.safetensors.index.fp16.json", true },
    };
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof *LAYOUTS; i++) {
        struct safetensors *file = NULL;
        enum err err;
        char *path = path_join(folder, LAYOUTS[i].name);
        if (!file_exists(path)) {
            free(path);
            continue;
        }
        if (LAYOUTS[i].sharded)
            err = open_shards(component, folder, path, error);
        else if ((err = safetensors_open(&file, path, error)) == ERR_OK)
            component_add_file(component, file);
        free(path);
        return err;
    }
    return refuse_folder(folder, error);
}

enum err component_open(struct component **out, const char *model_folder, const char *name, struct error *error) {
    struct component *component = memory_get(sizeof *component);
    char *folder = path_join(model_folder, name);
    char *config = path_join(folder, "config.json");
    enum err err;
    component->name = text_copy(name);
    if (!folder_exists(folder))
        err = error_set(error, ERR_NOT_FOUND, "%s: want a folder %s in it, there is none", model_folder, name);
    else if ((err = json_read_file(&component->config, config, COMPONENT_CONFIG_LIMIT, error)) != ERR_OK)
        ;
    else if (!json_is_object(component->config))
        err = error_set(error, ERR_CORRUPT, "%s: want a JSON object, file has another kind of value", config);
    else
        err = open_files(component, folder, error);
    if (err == ERR_OK)
        err = collect_slots(component, error);
    if (err == ERR_OK)
        *out = component;
    else
        component_close(component);
    free(config);
    free(folder);
    return err;
}

void component_close(struct component *component) {
    if (!component)
        return;
    for (size_t i = 0; i < component->file_count; i++)
        safetensors_close(component->files[i]);
    component_settle(component);
    free(component->made);
    free(component->files);
    for (size_t i = 0; i < component->slot_count; i++)
        free(component->slots[i].name);
    free(component->slots);
    json_decref(component->config);
    free(component->name);
    free(component);
}

void component_drop_pages(const struct component *component) {
    for (size_t i = 0; i < component->file_count; i++)
        safetensors_drop_pages(component->files[i]);
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

const char *component_name(const struct component *component) {
    return component->name;
}

const json_t *component_config(const struct component *component) {
    return component->config;
}

static struct slot *find_slot(const struct component *component, const char *name) {
    struct slot key = { .name = (char *)name };
    struct slot *slot = bsearch(&key, component->slots, component->slot_count, sizeof key, compare_slot);
    if (!slot && strncmp(name, PREFIX, strlen(PREFIX)) == 0)
        return find_slot(component, name + strlen(PREFIX));
    return slot;
}

bool component_has(const struct component *component, const char *name) {
    return find_slot(component, name) != NULL;
}

void component_excuse(struct component *component, const char *name) {
    struct slot *slot = find_slot(component, name);
    if (slot)
        slot->used = true;
}

static const char *shape_text(char out[96], uint32_t dims, const uint64_t *shape) {
    size_t size = (size_t)snprintf(out, 96, "[");
    for (uint32_t i = 0; i < dims && i < 4; i++)
        size += (size_t)snprintf(out + size, 96 - size, "%s%" PRIu64, i ? "," : "", shape[i]);
    snprintf(out + size, 96 - size, "]");
    return out;
}

/* ---- tensors that are no file's bytes ----------------------------------------------------------------------------- */

static float *make_floats(struct component *component, size_t count) {
    component->made = memory_grow(component->made, component->made_count + 1, sizeof *component->made);
    return component->made[component->made_count++] = memory_get_array(count, sizeof(float));
}

void component_measure(struct component *component) {
    component->measured = true;
}

void component_settle(struct component *component) {
    while (component->made_count)
        free(component->made[--component->made_count]);
}

static size_t view_elements(const struct weight_view *view) {
    size_t count = 1;
    for (uint32_t i = 0; i < view->dims; i++)
        count *= view->shape[i];
    return count;
}

static enum err refuse_form(const struct component *component, const struct slot *slot, const struct weight_view *view,
                            const char *want, struct error *error) {
    char held[96];
    return error_set(error, ERR_CORRUPT, "%s: %s: want %s, file has %s", component->name, slot->source, want,
                     shape_text(held, view->dims, view->shape));
}

static enum err view_third(struct weight_view *view, const struct component *component, const struct slot *slot,
                           struct error *error) {
    if (view->dims < 1 || view->shape[0] % 3 != 0)
        return refuse_form(component, slot, view, "three projections in one", error);
    view->shape[0] /= 3;
    size_t size = view_elements(view) * (view->dtype == DTYPE_F32 ? 4 : 2);
    view->data = (const char *)view->data + (size_t)(slot->form - SLOT_FIRST_THIRD) * size;
    return ERR_OK;
}

static enum err view_transposed(struct weight_view *view, struct component *component, const struct slot *slot,
                                struct error *error) {
    if (view->dims != 2)
        return refuse_form(component, slot, view, "a matrix", error);
    size_t rows = view->shape[1], columns = view->shape[0], size = view->dtype == DTYPE_F32 ? 4 : 2;
    float *out = component->measured ? NULL : make_floats(component, rows * columns);
    for (size_t c = 0; out && c < columns; c++)
        for (size_t r = 0; r < rows; r++)
            floats_widen(&out[r * columns + c], (const char *)view->data + (c * rows + r) * size, view->dtype, 1);
    *view = (struct weight_view){ out, DTYPE_F32, 2, { rows, columns } };
    return ERR_OK;
}

enum err slot_view(struct weight_view *view, struct component *component, const struct slot *slot, struct error *error) {
    struct weight_view found;
    enum err err = safetensors_find(&found, slot->file, slot->source, error);
    if (err != ERR_OK)
        return error ? error_prefix(error, "%s", component->name) : err;
    if (slot->form == SLOT_TRANSPOSED)
        err = view_transposed(&found, component, slot, error);
    else if (slot->form == SLOT_SQUEEZED && (found.dims != 4 || found.shape[2] != 1 || found.shape[3] != 1))
        err = refuse_form(component, slot, &found, "a convolution of 1x1", error);
    else if (slot->form == SLOT_SQUEEZED)
        found.dims = 2;
    else if (slot->form != SLOT_PLAIN)
        err = view_third(&found, component, slot, error);
    if (component->measured)
        found.data = NULL;
    if (err == ERR_OK)
        *view = found;
    return err;
}

/* The weight with its LoRAs, in f32. */
static void merge_parts(struct weight_view *view, struct component *component, const struct slot *slot) {
    size_t count = view_elements(view);
    if (component->measured) {
        view->dtype = DTYPE_F32;
        return;
    }
    float *merged = make_floats(component, count);
    floats_widen(merged, view->data, view->dtype, count);
    for (const struct lora_part *part = slot->parts; part; part = lora_part_next(part))
        lora_part_merge(merged, part);
    view->data = merged;
    view->dtype = DTYPE_F32;
}

enum err component_tensor(struct weight_view *view, struct component *component, const char *name, uint32_t dims,
                          const uint64_t *shape, struct error *error) {
    struct weight_view found;
    char wanted[96], held[96];
    struct slot *slot = find_slot(component, name);
    if (!slot)
        return error_set(error, ERR_NOT_FOUND, "%s: %s: want %s, file has no such tensor", component->name, name,
                         dims ? shape_text(wanted, dims, shape) : "this parameter");
    enum err err = slot_view(&found, component, slot, error);
    if (err != ERR_OK)
        return err;
    if (dims != 0 && (found.dims != dims || memcmp(found.shape, shape, dims * sizeof *shape) != 0))
        return error_set(error, ERR_CORRUPT, "%s: %s: want %s, file has %s", component->name, name,
                         shape_text(wanted, dims, shape), shape_text(held, found.dims, found.shape));
    if (slot->parts)
        merge_parts(&found, component, slot);
    slot->used = true;
    *view = found;
    return ERR_OK;
}

/* Buffers that old versions saved beside the parameters. */
static bool is_excused(const char *name) {
    const char *last = strrchr(name, '.');
    return strcmp(last ? last + 1 : name, "position_ids") == 0;
}

enum err component_check_all_used(const struct component *component, struct error *error) {
    struct bytes names = BYTES_INIT;
    size_t left = 0;
    for (size_t i = 0; i < component->slot_count; i++) {
        const struct slot *slot = &component->slots[i];
        if (slot->used || is_excused(slot->name))
            continue;
        if (left++ < 3)
            bytes_add_format(&names, "%s%.200s", names.size ? ", " : "", slot->name);
    }
    if (left == 0)
        return ERR_OK;
    enum err err = error_set(error, ERR_CORRUPT, "%s: want no parameter beyond what its config describes, file has %zu: %s%s",
                             component->name, left, bytes_text(&names), left > 3 ? ", ..." : "");
    bytes_release(&names);
    return err;
}
