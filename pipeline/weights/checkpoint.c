/*
 * checkpoint.c - the layouts of single files: which tensors are whose, and what their shapes say.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/weights/checkpoint.h"
#include "pipeline/weights/component_parts.h"
#include "pipeline/weights/layout.h"

enum { LEVELS_LIMIT = 8, LAYERS_LIMIT = 100, HEAD_WIDTH = 64, SD1_HEADS = 8, NORM_GROUPS = 32 };

static const char UNET[] = "model.diffusion_model.", VAE[] = "first_stage_model.";

/* A text encoder of a layout: where it stands in the file, and which of the two kinds it is. */
struct text_layout {
    const char *component;  /* "text_encoder" */
    const char *tokenizer;
    const char *prefix;
    bool open_clip;         /* OpenCLIP's names; else transformers' */
    bool drop_last;         /* the file holds one layer more than is used */
    bool projection;
    const char *padding;
};

static const struct layout {
    const char *marker;     /* a tensor that only this layout has */
    const char *what;       /* for sentences */
    const char *class;      /* of model_index.json */
    bool one_heads;         /* SD1_HEADS heads everywhere; else heads of HEAD_WIDTH */
    uint32_t numbers;       /* of the added conditioning; 0: there is none */
    double scaling;
    uint32_t text_count;
    struct text_layout texts[2];
} LAYOUTS[] = {
    { "conditioner.embedders.1.model.ln_final.weight", "Stable Diffusion XL", "StableDiffusionXLPipeline", false, 6, 0.13025, 2,
      { { "text_encoder", "tokenizer", "conditioner.embedders.0.transformer.", false, false, false, "<|endoftext|>" },
        { "text_encoder_2", "tokenizer_2", "conditioner.embedders.1.model.", true, false, true, "!" } } },
    { "conditioner.embedders.0.model.ln_final.weight", "Stable Diffusion XL's refiner", "StableDiffusionXLImg2ImgPipeline", false, 5,
      0.13025, 1, { { "text_encoder_2", "tokenizer_2", "conditioner.embedders.0.model.", true, false, true, "!" } } },
    { "cond_stage_model.model.ln_final.weight", "Stable Diffusion 2", "StableDiffusionPipeline", false, 0, 0.18215, 1,
      { { "text_encoder", "tokenizer", "cond_stage_model.model.", true, true, false, "!" } } },
    { "cond_stage_model.transformer.text_model.final_layer_norm.weight", "Stable Diffusion 1", "StableDiffusionPipeline", true, 0,
      0.18215, 1, { { "text_encoder", "tokenizer", "cond_stage_model.transformer.", false, false, false, "<|endoftext|>" } } },
    { "cond_stage_model.transformer.final_layer_norm.weight", "Stable Diffusion 1", "StableDiffusionPipeline", true, 0, 0.18215, 1,
      { { "text_encoder", "tokenizer", "cond_stage_model.transformer.", false, false, false, "<|endoftext|>" } } },
};

/* What trainers left in such files beside the model. Ends with "*": whatever begins so. */
static const char *const EXCUSED[] = {
    "model_ema.*", "model.diffusion_model_ema.*", "alphas_cumprod*", "betas", "sqrt_*", "log_one_minus_alphas_cumprod", "posterior_*",
    "logvar", "denoiser.*", "v_pred", "ztsnr", "edm_*", "embedding_manager.*", "embed_ema.*", "scale_factor", "lvlb_weights",
    "first_stage_model.loss.*", "first_stage_model.model_ema.*", "*.logit_scale", "*.attn_mask", "*.position_ids",
};

struct checkpoint {
    struct safetensors *file;
    char *path;
    const struct layout *layout;
    json_t *unet, *vae, *texts[2]; /* owned configs */
};

/* ---- shapes --------------------------------------------------------------------------------------------------------- */

static bool has(const struct safetensors *file, const char *name) {
    struct weight_view view;
    return safetensors_view(&view, file, name, NULL) == ERR_OK;
}

/* Dimension `d` of a tensor; 0: it has none, or is not there. */
static uint32_t side(const struct safetensors *file, uint32_t d, const char *format, ...) PRINTF_LIKE(3, 4);
static uint32_t side(const struct safetensors *file, uint32_t d, const char *format, ...) {
    char name[LAYOUT_NAME_LIMIT];
    struct weight_view view;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    bool there = safetensors_view(&view, file, name, NULL) == ERR_OK && d < view.dims && view.shape[d] <= UINT32_MAX;
    return there ? (uint32_t)view.shape[d] : 0;
}

/* How many of "BEFORE0BEHIND", "BEFORE1BEHIND", ... there are. */
static uint32_t count_of(const struct safetensors *file, const char *before, const char *behind, uint32_t limit) {
    uint32_t count = 0;
    while (count < limit && side(file, 0, "%s%u%s", before, count, behind) != 0)
        count++;
    return count;
}

static json_t *list_of(const uint32_t *numbers, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(numbers[i]));
    return list;
}

static json_t *names_of(const char *one, const char *other, const bool *ones, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(ones[i] ? one : other));
    return list;
}

static uint32_t heads_of(uint32_t width) {
    return width < HEAD_WIDTH ? 1 : width / HEAD_WIDTH;
}

/* ---- configurations ------------------------------------------------------------------------------------------------- */

/* Transformer blocks of the attention that begins with `prefix`; 0: there is no attention. */
static uint32_t depth_of(const struct safetensors *file, const char *prefix) {
    char before[LAYOUT_NAME_LIMIT + 32];
    snprintf(before, sizeof before, "%s.1.transformer_blocks.", prefix);
    return count_of(file, before, ".norm1.weight", LAYERS_LIMIT);
}

/* Residual layers of a level of the U-Net: whatever stands before its first downsampler, or, in a U-Net of one level, all. */
static uint32_t unet_layers(const struct safetensors *file) {
    uint32_t place = 1;
    while (place < LAYERS_LIMIT && side(file, 0, "%sinput_blocks.%u.0.in_layers.0.weight", UNET, place) != 0)
        place++;
    return place - 1;
}

static json_t *unet_config(const struct safetensors *file, const struct layout *layout, uint32_t pooled) {
    uint32_t widths[LEVELS_LIMIT], heads[LEVELS_LIMIT], depths[LEVELS_LIMIT], levels = 0, condition = 0;
    bool down[LEVELS_LIMIT], up[LEVELS_LIMIT];
    uint32_t layers = unet_layers(file);
    char name[LAYOUT_NAME_LIMIT];
    if (layers == 0)
        return NULL;
    snprintf(name, sizeof name, "%smiddle_block", UNET);
    uint32_t middle = depth_of(file, name);
    for (; levels < LEVELS_LIMIT; levels++) {
        uint32_t place = 1 + levels * (layers + 1);
        widths[levels] = side(file, 0, "%sinput_blocks.%u.0.out_layers.3.weight", UNET, place);
        if (widths[levels] == 0)
            break;
        snprintf(name, sizeof name, "%sinput_blocks.%u", UNET, place);
        depths[levels] = depth_of(file, name);
        down[levels] = depths[levels] != 0;
        depths[levels] = down[levels] ? depths[levels] : middle ? middle : 1;
        heads[levels] = layout->one_heads ? SD1_HEADS : heads_of(widths[levels]);
        uint32_t width = side(file, 1, "%s.1.transformer_blocks.0.attn2.to_k.weight", name);
        condition = width != 0 ? width : condition;
    }
    if (condition == 0) /* attention in the middle alone */
        condition = side(file, 1, "%smiddle_block.1.transformer_blocks.0.attn2.to_k.weight", UNET);
    for (uint32_t i = 0; i < levels; i++) {
        snprintf(name, sizeof name, "%soutput_blocks.%u", UNET, i * (layers + 1));
        up[i] = depth_of(file, name) != 0;
    }
    uint32_t added = side(file, 1, "%slabel_emb.0.0.weight", UNET);
    struct weight_view projection;
    snprintf(name, sizeof name, "%smiddle_block.1.proj_in.weight", UNET);
    bool linear = safetensors_view(&projection, file, name, NULL) == ERR_OK && projection.dims == 2;
    json_t *config = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:b, s:o, s:o, s:o, s:o, s:o}", "_class_name", "UNet2DConditionModel", "in_channels",
        side(file, 1, "%sinput_blocks.0.0.weight", UNET), "out_channels", side(file, 0, "%sout.2.weight", UNET),
        "layers_per_block", layers, "cross_attention_dim", condition, "norm_num_groups", NORM_GROUPS, "use_linear_projection", linear,
        "block_out_channels", list_of(widths, levels), "attention_head_dim", list_of(heads, levels),
        "transformer_layers_per_block", list_of(depths, levels), "down_block_types",
        names_of("CrossAttnDownBlock2D", "DownBlock2D", down, levels), "up_block_types",
        names_of("CrossAttnUpBlock2D", "UpBlock2D", up, levels));
    if (layout->numbers && added > pooled) {
        json_object_set_new(config, "addition_embed_type", json_string("text_time"));
        json_object_set_new(config, "projection_class_embeddings_input_dim", json_integer(added));
        json_object_set_new(config, "addition_time_embed_dim", json_integer((added - pooled) / layout->numbers));
    }
    return config;
}

/* The VAE of names that begin with `prefix`: LDM's where `ldm`, else diffusers'. */
static json_t *vae_shapes(const struct safetensors *file, const char *prefix, bool ldm) {
    uint32_t widths[LEVELS_LIMIT], levels = 0;
    bool plain[LEVELS_LIMIT] = { false };
    char first[LAYOUT_NAME_LIMIT];
    for (; levels < LEVELS_LIMIT; levels++) {
        widths[levels] = ldm ? side(file, 0, "%sencoder.down.%u.block.0.conv1.weight", prefix, levels)
                             : side(file, 0, "%sencoder.down_blocks.%u.resnets.0.conv1.weight", prefix, levels);
        if (widths[levels] == 0)
            break;
    }
    snprintf(first, sizeof first, ldm ? "%sencoder.down.0.block." : "%sencoder.down_blocks.0.resnets.", prefix);
    uint32_t layers = count_of(file, first, ".conv1.weight", LAYERS_LIMIT);
    uint32_t latents = side(file, 0, "%spost_quant_conv.weight", prefix);
    if (latents == 0) /* SD 3's and Flux's have none */
        latents = side(file, 1, "%sdecoder.conv_in.weight", prefix);
    if (levels == 0 || layers == 0 || latents == 0)
        return NULL;
    return json_pack("{s:s, s:o, s:o, s:o, s:i, s:i}", "_class_name", "AutoencoderKL", "block_out_channels", list_of(widths, levels),
                     "down_block_types", names_of("", "DownEncoderBlock2D", plain, levels), "up_block_types",
                     names_of("", "UpDecoderBlock2D", plain, levels), "layers_per_block", layers, "latent_channels", latents);
}

static uint32_t text_layers(const struct safetensors *file, const struct text_layout *text) {
    char before[LAYOUT_NAME_LIMIT];
    if (text->open_clip) {
        snprintf(before, sizeof before, "%stransformer.resblocks.", text->prefix);
        return count_of(file, before, ".ln_1.weight", LAYERS_LIMIT);
    }
    snprintf(before, sizeof before, "%stext_model.encoder.layers.", text->prefix);
    uint32_t count = count_of(file, before, ".layer_norm1.weight", LAYERS_LIMIT);
    if (count != 0)
        return count;
    snprintf(before, sizeof before, "%sencoder.layers.", text->prefix);
    return count_of(file, before, ".layer_norm1.weight", LAYERS_LIMIT);
}

/* Dimension `d` of a tensor of the encoder, under either of its names. */
static uint32_t text_side(const struct safetensors *file, const struct text_layout *text, uint32_t d, const char *open_clip,
                          const char *transformers) {
    if (text->open_clip)
        return side(file, d, "%s%s", text->prefix, open_clip);
    uint32_t found = side(file, d, "%stext_model.%s", text->prefix, transformers);
    return found != 0 ? found : side(file, d, "%s%s", text->prefix, transformers);
}

static json_t *text_config(const struct safetensors *file, const struct text_layout *text) {
    uint32_t layers = text_layers(file, text);
    uint32_t width = text_side(file, text, 1, "token_embedding.weight", "embeddings.token_embedding.weight");
    if (layers < 2 || width == 0)
        return NULL;
    json_t *config = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s}", "model_type", "clip_text_model", "hidden_size", width, "num_hidden_layers",
        layers - text->drop_last, "num_attention_heads", heads_of(width), "vocab_size",
        text_side(file, text, 0, "token_embedding.weight", "embeddings.token_embedding.weight"), "max_position_embeddings",
        text_side(file, text, 0, "positional_embedding", "embeddings.position_embedding.weight"), "intermediate_size",
        text_side(file, text, 0, "transformer.resblocks.0.mlp.c_fc.weight", "encoder.layers.0.mlp.fc1.weight"), "eos_token_id", 49407,
        "hidden_act", text->open_clip ? "gelu" : "quick_gelu");
    if (text->projection)
        json_object_set_new(config, "projection_dim", json_integer(side(file, 1, "%stext_projection", text->prefix)));
    return config;
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static bool begins(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool is_excused(const char *name) {
    for (size_t i = 0; i < sizeof EXCUSED / sizeof *EXCUSED; i++) {
        size_t size = strlen(EXCUSED[i]), length = strlen(name);
        if (EXCUSED[i][0] == '*' ? length >= size - 1 && strcmp(name + length - (size - 1), EXCUSED[i] + 1) == 0
            : EXCUSED[i][size - 1] == '*' ? strncmp(name, EXCUSED[i], size - 1) == 0
                                          : strcmp(name, EXCUSED[i]) == 0)
            return true;
    }
    return false;
}

/* Tensors of no part of the model. */
static enum err check_strangers(const struct checkpoint *checkpoint, struct error *error) {
    struct bytes names = BYTES_INIT;
    size_t left = 0;
    for (size_t i = 0; i < safetensors_count(checkpoint->file); i++) {
        const char *name = safetensors_name(checkpoint->file, i);
        bool known = begins(name, UNET) || begins(name, VAE) || is_excused(name);
        for (uint32_t t = 0; t < checkpoint->layout->text_count && !known; t++)
            known = begins(name, checkpoint->layout->texts[t].prefix);
        if (!known && left++ < 3)
            bytes_add_format(&names, "%s%.200s", names.size ? ", " : "", name);
    }
    enum err err = left == 0 ? ERR_OK
                             : error_set(error, ERR_CORRUPT, "%s: want no tensor beyond those of %s, file has %zu: %s%s", checkpoint->path,
                                         checkpoint->layout->what, left, bytes_text(&names), left > 3 ? ", ..." : "");
    bytes_release(&names);
    return err;
}

static enum err infer(struct checkpoint *checkpoint, struct error *error) {
    const struct safetensors *file = checkpoint->file;
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof *LAYOUTS && !checkpoint->layout; i++)
        if (has(file, LAYOUTS[i].marker))
            checkpoint->layout = &LAYOUTS[i];
    if (!checkpoint->layout)
        return error_set(error, ERR_UNSUPPORTED, "%s: want a checkpoint of Stable Diffusion 1, 2 or XL with its text encoders, its tensors"
                         " are of no layout that is known", checkpoint->path);
    const struct layout *layout = checkpoint->layout;
    uint32_t pooled = 0;
    for (uint32_t t = 0; t < layout->text_count; t++) {
        checkpoint->texts[t] = text_config(file, &layout->texts[t]);
        if (layout->texts[t].projection)
            pooled = side(file, 1, "%stext_projection", layout->texts[t].prefix);
        if (!checkpoint->texts[t])
            return error_set(error, ERR_CORRUPT, "%s: want the %s of %s (%s...), its embedding or its layers are missing",
                             checkpoint->path, layout->texts[t].component, layout->what, layout->texts[t].prefix);
    }
    checkpoint->unet = unet_config(file, layout, pooled);
    checkpoint->vae = vae_shapes(file, VAE, true);
    if (!checkpoint->unet || !checkpoint->vae)
        return error_set(error, ERR_CORRUPT, "%s: want the %s of %s (%s...), its first blocks are missing", checkpoint->path,
                         checkpoint->unet ? "VAE" : "U-Net", layout->what, checkpoint->unet ? VAE : UNET);
    json_object_set_new(checkpoint->vae, "scaling_factor", json_real(layout->scaling));
    json_object_set_new(checkpoint->vae, "norm_num_groups", json_integer(NORM_GROUPS));
    return check_strangers(checkpoint, error);
}

static enum err finish_opening(struct checkpoint **out, struct checkpoint *checkpoint, enum err err, struct error *error) {
    if (err == ERR_OK)
        err = infer(checkpoint, error);
    if (err == ERR_OK)
        *out = checkpoint;
    else
        checkpoint_close(checkpoint);
    return err;
}

enum err checkpoint_open(struct checkpoint **out, const char *path, struct error *error) {
    struct checkpoint *checkpoint = memory_get(sizeof *checkpoint);
    checkpoint->path = text_copy(path);
    return finish_opening(out, checkpoint, safetensors_open(&checkpoint->file, path, error), error);
}

enum err checkpoint_open_memory(struct checkpoint **out, const void *data, size_t size, const char *name, struct error *error) {
    struct checkpoint *checkpoint = memory_get(sizeof *checkpoint);
    checkpoint->path = text_copy(name);
    return finish_opening(out, checkpoint, safetensors_open_memory(&checkpoint->file, data, size, name, error), error);
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    json_decref(checkpoint->unet);
    json_decref(checkpoint->vae);
    json_decref(checkpoint->texts[0]);
    json_decref(checkpoint->texts[1]);
    safetensors_close(checkpoint->file);
    free(checkpoint->path);
    free(checkpoint);
}

/* ---- files that a folder would hold --------------------------------------------------------------------------------- */

static json_t *index_json(const struct layout *layout) {
    json_t *index = json_pack("{s:s}", "_class_name", layout->class);
    for (uint32_t t = 0; t < layout->text_count; t++)
        json_object_set_new(index, layout->texts[t].component,
                            json_pack("[s,s]", "transformers",
                                      layout->texts[t].projection ? "CLIPTextModelWithProjection" : "CLIPTextModel"));
    if (layout->numbers) {
        json_object_set_new(index, "force_zeros_for_empty_prompt", json_boolean(layout->text_count == 2));
        json_object_set_new(index, "requires_aesthetics_score", json_boolean(layout->numbers == 5));
    }
    return index;
}

static json_t *tokenizer_json(const struct text_layout *text) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:b}", "tokenizer_class", "CLIPTokenizer", "bos_token", "<|startoftext|>",
                     "eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>", "pad_token", text->padding, "model_max_length", 77,
                     "do_lower_case", 1);
}

static bool path_is(const char *path, const char *folder, const char *file) {
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && path[size] == '/' && strcmp(path + size + 1, file) == 0;
}

bool checkpoint_predicts_v(const struct checkpoint *checkpoint) {
    return has(checkpoint->file, "v_pred");
}

bool checkpoint_ends_dark(const struct checkpoint *checkpoint) {
    return has(checkpoint->file, "ztsnr");
}

json_t *checkpoint_json(const struct checkpoint *checkpoint, const char *path) {
    const struct layout *layout = checkpoint->layout;
    if (strcmp(path, "model_index.json") == 0)
        return index_json(layout);
    if (strcmp(path, "unet/config.json") == 0)
        return json_incref(checkpoint->unet);
    if (strcmp(path, "vae/config.json") == 0)
        return json_incref(checkpoint->vae);
    for (uint32_t t = 0; t < layout->text_count; t++) {
        if (path_is(path, layout->texts[t].component, "config.json"))
            return json_incref(checkpoint->texts[t]);
        if (path_is(path, layout->texts[t].tokenizer, "tokenizer_config.json"))
            return tokenizer_json(&layout->texts[t]);
    }
    return NULL;
}

/* ---- components ----------------------------------------------------------------------------------------------------- */

static struct component *component_new(const char *name, const json_t *config) {
    struct component *component = memory_get(sizeof *component);
    component->name = text_copy(name);
    component->config = json_incref((json_t *)config);
    return component;
}

/* A tensor that no row of the table knows keeps its name: it is left over, and named so. */
static void add_mapped(struct component *component, const struct safetensors *file, const char *source, const char *name,
                       bool known, enum slot_form form) {
    component_add_slot(component, known ? name : source, file, source, known ? form : SLOT_PLAIN);
}

static void add_unet(struct component *component, const struct safetensors *file, uint32_t layers) {
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *source = safetensors_name(file, i);
        char name[LAYOUT_NAME_LIMIT];
        if (begins(source, UNET))
            add_mapped(component, file, source, name, layout_unet_name(name, source + strlen(UNET), '.', layers), SLOT_PLAIN);
    }
}

/* The old attention's projections are convolutions of 1x1. */
static enum slot_form vae_form(const struct safetensors *file, const char *source) {
    struct weight_view view;
    bool attention = strstr(source, ".attn_1.") != NULL && strstr(source, ".norm.") == NULL;
    return attention && safetensors_view(&view, file, source, NULL) == ERR_OK && view.dims == 4 ? SLOT_SQUEEZED : SLOT_PLAIN;
}

static void add_vae(struct component *component, const struct safetensors *file, const char *prefix, uint32_t levels) {
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *source = safetensors_name(file, i);
        char name[LAYOUT_NAME_LIMIT];
        if (!begins(source, prefix) || is_excused(source))
            continue;
        bool known = layout_vae_name(name, source + strlen(prefix), levels);
        add_mapped(component, file, source, name, known, vae_form(file, source));
    }
}

static bool is_last_layer(const char *name, uint32_t layers) {
    char last[64];
    snprintf(last, sizeof last, "text_model.encoder.layers.%u.", layers);
    return begins(name, last);
}

static void add_open_clip(struct component *component, const struct safetensors *file, const struct text_layout *text,
                          uint32_t layers) {
    static const char *const PARTS[] = { "q_proj", "k_proj", "v_proj" };
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *source = safetensors_name(file, i);
        char name[LAYOUT_NAME_LIMIT], part[LAYOUT_NAME_LIMIT + 16];
        if (!begins(source, text->prefix) || is_excused(source))
            continue;
        bool known = layout_open_clip_name(name, source + strlen(text->prefix));
        char *fused = known ? strstr(name, "in_proj_") : NULL;
        if (known && text->drop_last && is_last_layer(name, layers))
            continue;
        if (!fused) {
            bool projection = known && strcmp(name, "text_projection.weight") == 0;
            add_mapped(component, file, source, name, known, projection ? SLOT_TRANSPOSED : SLOT_PLAIN);
            continue;
        }
        for (int third = 0; third < 3; third++) {
            snprintf(part, sizeof part, "%.*s%s.%s", (int)(fused - name), name, PARTS[third], fused + strlen("in_proj_"));
            component_add_slot(component, part, file, source, (enum slot_form)(SLOT_FIRST_THIRD + third));
        }
    }
}

static void add_text(struct component *component, const struct safetensors *file, const struct text_layout *text) {
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const char *source = safetensors_name(file, i);
        if (begins(source, text->prefix))
            component_add_slot(component, source + strlen(text->prefix), file, source, SLOT_PLAIN);
    }
}

static uint32_t number_in(const json_t *config, const char *key) {
    return (uint32_t)json_integer_value(json_object_get(config, key));
}

static enum err finish_component(struct component **out, struct component *component, struct error *error) {
    enum err err = component_sort(component, error);
    if (err == ERR_OK)
        *out = component;
    else
        component_close(component);
    return err;
}

enum err checkpoint_component(struct component **out, const struct checkpoint *checkpoint, const char *name,
                              struct error *error) {
    const struct layout *layout = checkpoint->layout;
    struct component *component = NULL;
    if (strcmp(name, "unet") == 0) {
        component = component_new(name, checkpoint->unet);
        add_unet(component, checkpoint->file, number_in(checkpoint->unet, "layers_per_block"));
    } else if (strcmp(name, "vae") == 0) {
        component = component_new(name, checkpoint->vae);
        add_vae(component, checkpoint->file, VAE, (uint32_t)json_array_size(json_object_get(checkpoint->vae, "block_out_channels")));
    }
    for (uint32_t t = 0; t < layout->text_count && !component; t++) {
        if (strcmp(name, layout->texts[t].component) != 0)
            continue;
        component = component_new(name, checkpoint->texts[t]);
        if (layout->texts[t].open_clip)
            add_open_clip(component, checkpoint->file, &layout->texts[t], number_in(checkpoint->texts[t], "num_hidden_layers"));
        else
            add_text(component, checkpoint->file, &layout->texts[t]);
    }
    if (!component)
        return error_set(error, ERR_NOT_FOUND, "%s: want a %s, a checkpoint of %s has none", checkpoint->path, name, layout->what);
    return finish_component(out, component, error);
}

/* ---- VAE files ------------------------------------------------------------------------------------------------------ */

/* Is it one that can stand in the place of the model's own? */
static enum err check_vae(const json_t *shapes, const json_t *own, const char *path, struct error *error) {
    if (!shapes)
        return error_set(error, ERR_UNSUPPORTED, "vae %s: want an AutoencoderKL of diffusers' or LDM's layout, its tensors are of neither",
                         path);
    size_t levels = json_array_size(json_object_get(shapes, "block_out_channels"));
    size_t wanted = json_array_size(json_object_get(own, "block_out_channels"));
    if (levels != wanted)
        return error_set(error, ERR_INVALID, "vae %s: want %zu levels (%u pixels a latent), as the model's own, file has %zu", path, wanted,
                         1u << (wanted - 1), levels);
    const json_t *channels = json_object_get(own, "latent_channels");
    json_int_t latents = json_integer_value(json_object_get(shapes, "latent_channels"));
    json_int_t wanted_latents = channels ? json_integer_value(channels) : 4;
    if (latents != wanted_latents)
        return error_set(error, ERR_INVALID, "vae %s: want %" JSON_INTEGER_FORMAT " latent channels, as the model's own, file has %"
                         JSON_INTEGER_FORMAT " (a VAE for another family of models?)", path, wanted_latents, latents);
    return ERR_OK;
}

enum err vae_file_open(struct component **out, const char *path, const json_t *own, struct error *error) {
    struct safetensors *file;
    const char *key;
    json_t *value;
    enum err err = safetensors_open(&file, path, error);
    if (err != ERR_OK)
        return err;
    const char *prefix = has(file, "first_stage_model.post_quant_conv.weight") ? VAE : "";
    bool ldm = side(file, 0, "%sencoder.down.0.block.0.conv1.weight", prefix) != 0;
    json_t *shapes = vae_shapes(file, prefix, ldm), *config = json_deep_copy(own);
    err = check_vae(shapes, own, path, error);
    if (err != ERR_OK) {
        safetensors_close(file);
        json_decref(shapes);
        json_decref(config);
        return err;
    }
    json_object_foreach(shapes, key, value)
        json_object_set(config, key, value);
    struct component *component = component_new("vae", config);
    component_add_file(component, file);
    if (ldm) {
        add_vae(component, file, prefix, (uint32_t)json_array_size(json_object_get(config, "block_out_channels")));
    } else {
        for (size_t i = 0; i < safetensors_count(file); i++) {
            const char *source = safetensors_name(file, i);
            component_add_slot(component, begins(source, prefix) ? source + strlen(prefix) : source, file, source, SLOT_PLAIN);
        }
    }
    json_decref(shapes);
    json_decref(config);
    return finish_component(out, component, error);
}
