/*
 * model.c - what kind of model a folder holds, and where models are found. See model.h.
 */
#include "proto/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "proto/catalog.h"

enum { VAE_LEVELS_LIMIT = 6, SIDE_WITHOUT_SAMPLE_SIZE = 512, SIDE_OF_XL = 1024 };

/* ---- facts from configs ------------------------------------------------------------------------------------------- */

/* What a pipeline's class means: the first row whose `part` its name contains, or, of those that are drawn, is. */
static const struct kind {
    const char *part;
    const char *what;                /* in words, where it is refused; NULL: it is drawn */
    const char *family;              /* "sdxl" */
    const char *family_linear;       /* what it is called where the U-Net's projections are linear layers; NULL: the same */
    const char *family_second;       /* ... where the model has the second text encoder alone; NULL: there is none such */
    bool second_text;
} kinds[] = {
    {.part = "StableDiffusion3", .what = "Stable Diffusion 3"},
    {.part = "Flux", .what = "Flux"},
    {.part = "Chroma", .what = "Chroma"},
    {.part = "QwenImage", .what = "Qwen-Image"},
    {.part = "ControlNet", .what = "a ControlNet"},
    {.part = "Adapter", .what = "an adapter"},
    {.part = "Upscale", .what = "an upscaler"},
    {.part = "InstructPix2Pix", .what = "an editing model"},
    {.part = "Video", .what = "a video model"},
    {.part = "AnimateDiff", .what = "a video model"},
    {.part = "Wan", .what = "a video model"},
    {.part = "LTX", .what = "a video model"},
    {.part = "Mochi", .what = "a video model"},
    {.part = "CogView", .what = "CogView"},
    {.part = "PixArt", .what = "PixArt"},
    {.part = "Kandinsky", .what = "Kandinsky"},
    {.part = "Kolors", .what = "Kolors"},
    {.part = "IF", .what = "DeepFloyd IF"},
    {.part = "Cascade", .what = "Stable Cascade"},
    {.part = "AuraFlow", .what = "AuraFlow"},
    {.part = "Lumina", .what = "Lumina"},
    {.part = "Sana", .what = "Sana"},
    {.part = "HiDream", .what = "HiDream"},
    {.part = "Hunyuan", .what = "a Hunyuan model"},
    {.part = "StableDiffusionXLPipeline", .family = "sdxl", .family_second = "sdxl-refiner", .second_text = true},
    {.part = "StableDiffusionXLImg2ImgPipeline", .family = "sdxl", .family_second = "sdxl-refiner", .second_text = true},
    {.part = "StableDiffusionPipeline", .family = "sd1", .family_linear = "sd2"},
    {.part = "StableDiffusionImg2ImgPipeline", .family = "sd1", .family_linear = "sd2"},
    {.part = "StableDiffusionInpaintPipeline", .family = "sd1", .family_linear = "sd2"},
    {.part = "StableDiffusionXLInpaintPipeline", .family = "sdxl", .family_second = "sdxl-refiner", .second_text = true},
    {.part = "LatentConsistencyModelPipeline", .family = "sd1", .family_linear = "sd2"},
    {.part = "LatentConsistencyModelImg2ImgPipeline", .family = "sd1", .family_linear = "sd2"},
};

/* The class of a component, or NULL where the model has none: ["transformers", "CLIPTextModel"]. */
static const char *component_class(const json_t *index, const char *name)
{
    return json_string_value(json_array_get(json_object_get(index, name), 1));
}

static enum err text_check(const json_t *index, const char *name, const char *want, const char *or, struct error *error)
{
    const char *class = component_class(index, name);
    if (!class || (strcmp(class, want) != 0 && strcmp(class, or) != 0))
        return error_set(error, ERR_UNSUPPORTED, "model_index.json: %s: want %s, have %.80s", name, want, class ? class : "none");
    return ERR_OK;
}

static enum err class_check(const struct kind **out, const json_t *index, struct error *error)
{
    const struct kind *kind = NULL;
    const char *class;
    enum err code = json_get_text(&class, index, "_class_name", "model_index.json", error);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !kind; i++)
        if (kinds[i].what ? strstr(class, kinds[i].part) != NULL : strcmp(class, kinds[i].part) == 0)
            kind = &kinds[i];
    if (!kind || kind->what)
        return error_set(error, ERR_UNSUPPORTED, "model_index.json: \"%.80s\" is %s, not supported by this version: it draws with "
                         "Stable Diffusion 1, 2 and XL", class, kind ? kind->what : "no kind of model that is known");
    if (kind->second_text)
        code = text_check(index, "text_encoder_2", "CLIPTextModelWithProjection", "CLIPTextModelWithProjection", error);
    else if (component_class(index, "text_encoder_2"))
        code = error_set(error, ERR_UNSUPPORTED, "model_index.json: text_encoder_2: want none beside %.80s, have %.80s", class,
                         component_class(index, "text_encoder_2"));
    if (code == ERR_OK && (!kind->second_text || component_class(index, "text_encoder")))
        code = text_check(index, "text_encoder", "CLIPTextModel", "CLIPTextModelWithProjection", error);
    if (code == ERR_OK)
        *out = kind;
    return code;
}

static enum err config_class(const json_t *config, const char *what, const char *want, struct error *error)
{
    const char *class;
    enum err code = json_get_text(&class, config, "_class_name", what, error);
    if (code == ERR_OK && strcmp(class, want) != 0)
        code = error_set(error, ERR_UNSUPPORTED, "%s: _class_name: want %s, have \"%.80s\"", what, want, class);
    return code;
}

static bool json_is_given(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

static enum err unet_check(uint32_t *sample_size, const json_t *unet, const struct kind *kind, struct error *error)
{
    static const char what[] = "unet/config.json";
    uint32_t width, channels;
    enum err code = config_class(unet, what, "UNet2DConditionModel", error);
    if (code == ERR_OK)
        code = json_get_u32(&width, unet, "cross_attention_dim", what, error);
    if (code == ERR_OK)
        code = json_get_u32(&channels, unet, "in_channels", what, error);
    if (code != ERR_OK)
        return code;
    if (json_is_given(unet, "addition_embed_type") != kind->second_text)
        return error_set(error, ERR_INVALID, "%s: addition_embed_type: want %s in a model of this class, have %s", what,
                         kind->second_text ? "text_time" : "none", kind->second_text ? "none" : "one");
    if (json_is_given(unet, "class_embed_type") || json_is_given(unet, "num_class_embeds"))
        return error_set(error, ERR_UNSUPPORTED, "%s: class embeddings are not supported by this version", what);
    if (channels != 4 && channels != 9)
        return error_set(error, ERR_UNSUPPORTED, "%s: in_channels: want 4, or 9 for inpainting, have %u", what, channels);
    *sample_size = 0;
    if (json_is_integer(json_object_get(unet, "sample_size")))
        code = json_get_u32(sample_size, unet, "sample_size", what, error);
    return code;
}

static const char *family_of(const struct kind *kind, const json_t *index, const json_t *unet)
{
    if (kind->family_second && !component_class(index, "text_encoder"))
        return kind->family_second;
    if (kind->family_linear && json_is_true(json_object_get(unet, "use_linear_projection")))
        return kind->family_linear;
    return kind->family;
}

static enum err vae_check(uint32_t *pixels_per_latent, const json_t *vae, struct error *error)
{
    static const char what[] = "vae/config.json";
    uint32_t channels;
    enum err code = config_class(vae, what, "AutoencoderKL", error);
    if (code == ERR_OK)
        code = json_get_u32(&channels, vae, "latent_channels", what, error);
    if (code != ERR_OK)
        return code;
    if (channels != 4)
        return error_set(error, ERR_UNSUPPORTED, "%s: latent_channels: want 4, have %u", what, channels);
    size_t levels = json_array_size(json_object_get(vae, "block_out_channels"));
    if (levels < 1 || levels > VAE_LEVELS_LIMIT)
        return error_set(error, ERR_INVALID, "%s: block_out_channels: want 1..%d levels, have %zu", what, VAE_LEVELS_LIMIT, levels);
    *pixels_per_latent = 1u << (levels - 1);
    return ERR_OK;
}

enum err model_facts_parse(struct model_facts *facts, const struct bytes *index, const struct bytes *unet,
                           const struct bytes *vae, struct error *error)
{
    json_t *index_json = NULL, *unet_json = NULL, *vae_json = NULL;
    const struct kind *kind = NULL;
    uint32_t sample_size = 0, factor = 1;

    enum err code = json_parse(&index_json, index->data, index->size, "model_index.json", error);
    if (code == ERR_OK)
        code = class_check(&kind, index_json, error);
    if (code == ERR_OK)
        code = json_parse(&unet_json, unet->data, unet->size, "unet/config.json", error);
    if (code == ERR_OK)
        code = json_parse(&vae_json, vae->data, vae->size, "vae/config.json", error);
    if (code == ERR_OK)
        code = unet_check(&sample_size, unet_json, kind, error);
    if (code == ERR_OK)
        code = vae_check(&factor, vae_json, error);
    if (code != ERR_OK)
        goto done;
    if (sample_size > LIMIT_SIDE / factor) {
        code = error_set(error, ERR_INVALID, "unet/config.json: sample_size: want 1..%u, have %u", LIMIT_SIDE / factor, sample_size);
        goto done;
    }
    uint32_t side = sample_size ? sample_size * factor : kind->second_text ? SIDE_OF_XL : SIDE_WITHOUT_SAMPLE_SIZE;
    *facts = (struct model_facts){ .pixels_per_latent = factor, .default_width = side, .default_height = side };
    snprintf(facts->family, sizeof facts->family, "%s", family_of(kind, index_json, unet_json));
done:
    json_decref(index_json);
    json_decref(unet_json);
    json_decref(vae_json);
    return code;
}

bool model_is_single_file(const char *path)
{
    uint8_t start[9]; /* the header's length, then its first byte; no manifest holds a byte 0 */
    FILE *file = fopen(path, "rb");
    bool is = file && fread(start, 1, sizeof start, file) == sizeof start && start[7] == 0 && start[8] == '{';
    if (file)
        fclose(file);
    return is;
}

/* ---- facts from a folder ------------------------------------------------------------------------------------------ */

static bool name_ends(const char *name, const char *ending)
{
    size_t size = strlen(name), tail = strlen(ending);
    return size >= tail && strcasecmp(name + size - tail, ending) == 0;
}

/* What is wrong with a path that is no diffusers folder, nor a file that may be a model. */
static enum err folder_check(const char *folder, struct error *error)
{
    if (file_exists(folder) && !folder_exists(folder)) {
        if (name_ends(folder, ".ckpt") || name_ends(folder, ".pt") || name_ends(folder, ".pth") || name_ends(folder, ".bin"))
            return error_set(error, ERR_UNSUPPORTED, "model %s: a pickle can run any code when it is read and is refused; convert it to "
                             "safetensors", folder);
        return ERR_OK;
    }
    if (!folder_exists(folder))
        return error_set(error, ERR_NOT_FOUND, "model %s: no such folder", folder);
    char *index = path_join(folder, "model_index.json");
    bool there = file_exists(index);
    free(index);
    if (!there)
        return error_set(error, ERR_INVALID, "model %s: no model_index.json in it, so it is no diffusers folder", folder);
    return ERR_OK;
}

static enum err config_read(struct bytes *out, const char *folder, const char *name, struct error *error)
{
    char *path = path_join(folder, name);
    enum err code = file_read(out, path, MODEL_CONFIG_LIMIT, error);
    free(path);
    return code;
}

/* A part's weights must be safetensors; sums their bytes. */
static enum err weights_check(uint64_t *bytes, const struct manifest *manifest, const char *folder, const char *part,
                              struct error *error)
{
    bool found = false;
    for (size_t i = 0; i < manifest->count; i++) {
        const char *path = manifest->files[i].path;
        if (strncmp(path, part, strlen(part)) != 0 || path[strlen(part)] != '/' || !name_ends(path, ".safetensors"))
            continue;
        struct stat stat_file;
        char *full = path_join(folder, path);
        if (stat(full, &stat_file) == 0)
            *bytes += (uint64_t)stat_file.st_size;
        free(full);
        found = true;
    }
    if (!found)
        return error_set(error, ERR_UNSUPPORTED, "model %s: no safetensors in its %s folder (pickles are refused: they can run code)",
                         folder, part);
    return ERR_OK;
}

/* The folders that must hold weights; ended by NULL. */
struct parts {
    const char *names[5];
};

static enum err parts_of(struct parts *parts, const json_t *index, struct error *error)
{
    const struct kind *kind;
    enum err code = class_check(&kind, index, error);
    if (code != ERR_OK)
        return code;
    size_t count = 0;
    *parts = (struct parts){0};
    if (component_class(index, "text_encoder"))
        parts->names[count++] = "text_encoder";
    if (kind->second_text)
        parts->names[count++] = "text_encoder_2";
    parts->names[count++] = "unet";
    parts->names[count++] = "vae";
    return ERR_OK;
}

static enum err facts_of_file(struct model_facts *facts, const char *path, struct error *error)
{
    struct bytes start = BYTES_INIT;
    struct model_facts read;
    enum err code = model_start_read(&start, path, error);
    if (code == ERR_OK) {
        code = model_facts_of_start(&read, &start, error);
        if (code != ERR_OK && error)
            error_prefix(error, "model %s", path);
    }
    bytes_release(&start);
    if (code == ERR_OK)
        code = file_digest(&read.digest, path, error);
    if (code == ERR_OK)
        *facts = read;
    return code;
}

enum err model_facts_read(struct model_facts *facts, const char *folder, struct error *error)
{
    struct parts parts = {0};
    struct bytes index = BYTES_INIT, unet = BYTES_INIT, vae = BYTES_INIT;
    struct manifest manifest = {0};
    struct model_facts read;

    enum err code = folder_check(folder, error);
    if (code != ERR_OK || file_exists(folder))
        return code == ERR_OK ? facts_of_file(facts, folder, error) : code;
    code = config_read(&index, folder, "model_index.json", error);
    if (code == ERR_OK) {
        /* The class first: a folder of another kind may have no unet at all. */
        json_t *json = NULL;
        code = json_parse(&json, index.data, index.size, "model_index.json", error);
        if (code == ERR_OK)
            code = parts_of(&parts, json, error);
        json_decref(json);
    }
    if (code == ERR_OK)
        code = config_read(&unet, folder, "unet/config.json", error);
    if (code == ERR_OK)
        code = config_read(&vae, folder, "vae/config.json", error);
    if (code == ERR_OK)
        code = model_facts_parse(&read, &index, &unet, &vae, error);
    if (code != ERR_OK) {
        if (error)
            error_prefix(error, "model %s", folder);
        goto done;
    }
    code = manifest_of_folder(&manifest, folder, error);
    for (size_t i = 0; parts.names[i] && code == ERR_OK; i++)
        code = weights_check(&read.parameters_bytes, &manifest, folder, parts.names[i], error);
    if (code != ERR_OK)
        goto done;
    read.digest = manifest.digest;
    *facts = read;
done:
    manifest_release(&manifest);
    bytes_release(&index);
    bytes_release(&unet);
    bytes_release(&vae);
    return code;
}
