/*
 * single_file.c - what a model of one file is, by the names and shapes in its safetensors header: no tensor is read. See
 * model.h; pipeline/weights/checkpoint.c reads the rest.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "proto/catalog.h"
#include "proto/model.h"

enum { LENGTH_SIZE = 8, LEVELS_LIMIT = 6 };

/* A tensor that only this family's files have. */
static const struct { const char *marker, *family; uint32_t side; } FAMILIES[] = {
    {"conditioner.embedders.1.model.ln_final.weight", "sdxl", 1024},
    {"conditioner.embedders.0.model.ln_final.weight", "sdxl-refiner", 1024},
    {"cond_stage_model.model.ln_final.weight", "sd2", 512},
    {"cond_stage_model.transformer.text_model.final_layer_norm.weight", "sd1", 512},
    {"cond_stage_model.transformer.final_layer_norm.weight", "sd1", 512},
};

/* What other files are, by a piece of a name that theirs alone have; the first row that fits counts. */
static const struct { const char *part, *what; } OTHERS[] = {
    {"double_blocks.", "Flux"},
    {"joint_blocks.", "Stable Diffusion 3"},
    {"double_layers.", "AuraFlow"},
    {"txt_in.individual_token_refiner", "a video model (Hunyuan)"},
    {"motion_modules.", "a video model (AnimateDiff)"},
    {"time_stack.", "a video model (Stable Video Diffusion)"},
    {"blocks.0.cross_attn.norm_k.weight", "a video model (Wan)"},
    {"patchify_proj.", "a video model (LTX)"},
    {"clip_txt_pooled_mapper", "Stable Cascade"},
    {"control_model.", "a ControlNet"},
    {"controlnet_cond_embedding.", "a ControlNet"},
    {".lora_down.", "a LoRA: it goes into the field lora"},
    {".lora_A.", "a LoRA: it goes into the field lora"},
    {".lora.down.", "a LoRA: it goes into the field lora"},
    {"model.diffusion_model.", "a U-Net without its text encoder"},
    {"decoder.mid", "a VAE: it goes into the field vae"},
    {"down_blocks.", "a component of a diffusers folder: the folder is the model"},
    {"text_model.", "a component of a diffusers folder: the folder is the model"},
};

static bool has_part(const json_t *header, const char *part)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)header, name, value)
        if (strstr(name, part))
            return true;
    return false;
}

static uint64_t side_of(const json_t *tensor, size_t place)
{
    return (uint64_t)json_integer_value(json_array_get(json_object_get(tensor, "shape"), place));
}

/* A textual inversion is one tensor, [vectors, width] or [width], or for SDXL's two text encoders clip_l and clip_g. Sets the
 * error that says for which models, by its width; false: it is none. */
static bool is_embedding(const json_t *header, struct error *error)
{
    static const struct { uint64_t width; const char *family; } widths[] = {{768, "Stable Diffusion 1"}, {1024, "Stable Diffusion 2"}};
    const json_t *first = json_object_get(header, "clip_l"), *second = json_object_get(header, "clip_g");
    size_t count = json_object_size(header) - (json_object_get(header, "__metadata__") != NULL), dims;
    const char *family = first && second ? "Stable Diffusion XL" : "models of no known width", *name;
    json_t *value;
    if (!(first && second && count == 2)) {
        if (count != 1)
            return false;
        json_object_foreach((json_t *)header, name, value)
            first = strcmp(name, "__metadata__") == 0 ? first : value;
        second = NULL;
    }
    dims = json_array_size(json_object_get(first, "shape"));
    if (dims < 1 || dims > 2)
        return false;
    uint64_t vectors = dims == 2 ? side_of(first, 0) : 1, width = side_of(first, dims - 1);
    char more[32] = "";
    for (size_t i = 0; i < sizeof widths / sizeof *widths && !second; i++)
        family = widths[i].width == width ? widths[i].family : family;
    if (second)
        snprintf(more, sizeof more, " and %" PRIu64, side_of(second, json_array_size(json_object_get(second, "shape")) - 1));
    (void)error_set(error, ERR_UNSUPPORTED, "this file is a textual inversion for %s (%" PRIu64 " vector%s of width %" PRIu64 "%s): it goes"
                    " into the field embedding", family, vectors, vectors == 1 ? "" : "s", width, more);
    return true;
}

static enum err facts_of_header(struct model_facts *facts, const json_t *header, struct error *error)
{
    const char *family = NULL, *name;
    const json_t *value;
    uint32_t levels = 0, side = 0;
    uint64_t bytes = 0;
    char key[80];
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES && !family; i++) {
        family = json_object_get(header, FAMILIES[i].marker) ? FAMILIES[i].family : NULL;
        side = FAMILIES[i].side;
    }
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS && !family; i++)
        if (has_part(header, OTHERS[i].part))
            return error_set(error, ERR_UNSUPPORTED, "this file is %s, not a model that this version draws with: those are single files of "
                             "Stable Diffusion 1, 2 and XL, and diffusers folders", OTHERS[i].what);
    if (!family && is_embedding(header, error))
        return ERR_UNSUPPORTED;
    if (!family)
        return error_set(error, ERR_UNSUPPORTED, "this file is of no kind that is known: want a single file of Stable Diffusion 1, 2 or XL, "
                         "or a diffusers folder");
    for (; levels <= LEVELS_LIMIT; levels++) {
        snprintf(key, sizeof key, "first_stage_model.encoder.down.%u.block.0.conv1.weight", levels);
        if (!json_object_get(header, key))
            break;
    }
    if (levels < 1 || levels > LEVELS_LIMIT)
        return error_set(error, ERR_CORRUPT, "its VAE (first_stage_model.): want 1..%d levels, file has %u", LEVELS_LIMIT, levels);
    json_object_foreach((json_t *)header, name, *(json_t **)&value) {
        json_int_t end = json_integer_value(json_array_get(json_object_get(value, "data_offsets"), 1));
        bytes = end > 0 && (uint64_t)end > bytes ? (uint64_t)end : bytes;
    }
    *facts = (struct model_facts){.pixels_per_latent = 1u << (levels - 1), .default_width = side, .default_height = side,
                                  .parameters_bytes = bytes};
    snprintf(facts->family, sizeof facts->family, "%s", family);
    return ERR_OK;
}

static enum err header_parse(json_t **header, const struct bytes *start, struct error *error)
{
    uint64_t size = 0;
    for (int i = 0; i < LENGTH_SIZE && start->size >= LENGTH_SIZE; i++)
        size |= (uint64_t)start->data[i] << (8 * i);
    if (start->size < LENGTH_SIZE || size > MODEL_START_LIMIT - LENGTH_SIZE || size > start->size - LENGTH_SIZE)
        return error_set(error, ERR_CORRUPT, "want a safetensors header of 1..%d bytes, file has %" PRIu64 " and begins with %zu",
                         MODEL_START_LIMIT - LENGTH_SIZE, size, start->size);
    enum err code = json_parse(header, start->data + LENGTH_SIZE, (size_t)size, "its header", error);
    if (code == ERR_OK && !json_is_object(*header)) {
        code = error_set(error, ERR_CORRUPT, "want a header that is a JSON object");
        json_decref(*header);
    }
    return code;
}

enum err model_facts_of_start(struct model_facts *facts, const struct bytes *start, struct error *error)
{
    json_t *header = NULL;
    enum err code = header_parse(&header, start, error);
    if (code != ERR_OK)
        return code;
    code = facts_of_header(facts, header, error);
    json_decref(header);
    return code;
}

enum err model_start_read(struct bytes *start, const char *path, struct error *error)
{
    return file_read_start(start, path, MODEL_START_LIMIT, error);
}

enum err model_digest_read(struct digest *digest, const char *path, struct error *error)
{
    struct manifest manifest;
    if (!folder_exists(path))
        return file_digest(digest, path, error);
    enum err code = manifest_of_folder(&manifest, path, error);
    if (code != ERR_OK)
        return code;
    *digest = manifest.digest;
    manifest_release(&manifest);
    return ERR_OK;
}

/* ---- counts --------------------------------------------------------------------------------------------------------- */

static const char *const dtypes[] = {"F32", "F16", "BF16", "other"};
enum { DTYPE_COUNT = sizeof dtypes / sizeof *dtypes };

static void stats_add(struct weights_stats *stats, uint64_t bytes[DTYPE_COUNT], const json_t *header)
{
    const char *name;
    json_t *tensor, *side;
    size_t d;
    json_object_foreach((json_t *)header, name, tensor) {
        const char *dtype = json_string_value(json_object_get(tensor, "dtype"));
        const json_t *offsets = json_object_get(tensor, "data_offsets");
        uint64_t elements = 1;
        int kind = 0;
        if (!dtype)
            continue;
        json_array_foreach(json_object_get(tensor, "shape"), d, side)
            elements *= (uint64_t)json_integer_value(side);
        while (kind + 1 < DTYPE_COUNT && strcmp(dtypes[kind], dtype) != 0)
            kind++;
        stats->tensors++;
        stats->parameters += elements;
        bytes[kind] += (uint64_t)(json_integer_value(json_array_get(offsets, 1)) - json_integer_value(json_array_get(offsets, 0)));
    }
}

static enum err stats_of_file(struct weights_stats *stats, uint64_t bytes[DTYPE_COUNT], const char *path, struct error *error)
{
    struct bytes start = BYTES_INIT;
    json_t *header = NULL;
    enum err code = model_start_read(&start, path, error);
    if (code == ERR_OK) {
        code = header_parse(&header, &start, error);
        if (code != ERR_OK && error)
            error_prefix(error, "%s", path);
    }
    if (code == ERR_OK)
        stats_add(stats, bytes, header);
    json_decref(code == ERR_OK ? header : NULL);
    bytes_release(&start);
    return code;
}

enum err weights_stats_read(struct weights_stats *out, const char *path, struct error *error)
{
    struct weights_stats stats = {0};
    struct manifest manifest = {0};
    uint64_t bytes[DTYPE_COUNT] = {0};
    int most = 0;
    enum err code = folder_exists(path) ? manifest_of_folder(&manifest, path, error) : stats_of_file(&stats, bytes, path, error);
    for (size_t i = 0; i < manifest.count && code == ERR_OK; i++) {
        size_t size = strlen(manifest.files[i].path);
        char *file = path_join(path, manifest.files[i].path);
        if (size > 12 && strcmp(manifest.files[i].path + size - 12, ".safetensors") == 0)
            code = stats_of_file(&stats, bytes, file, error);
        free(file);
    }
    manifest_release(&manifest);
    for (int i = 1; i < DTYPE_COUNT; i++)
        most = bytes[i] > bytes[most] ? i : most;
    snprintf(stats.precision, sizeof stats.precision, "%s", dtypes[most]);
    if (code == ERR_OK)
        *out = stats;
    return code;
}
