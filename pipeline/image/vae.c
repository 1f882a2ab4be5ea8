/*
 * vae.c - the parameters of an AutoencoderKL and its recording.
 */

#include "pipeline/image/vae.h"
#include "pipeline/weights/config.h"

static const float EPSILON = 1e-6f; /* of every norm in an AutoencoderKL; no config names it */

/* ---- config ----------------------------------------------------------------------------------------------------- */

enum err vae_config_read(struct vae_config *out, const json_t *json, struct error *error) {
    static const char *const DOWN[] = { "DownEncoderBlock2D", NULL }, *const UP[] = { "UpDecoderBlock2D", NULL };
    static const char *const SKIPPED[] = { "sample_size", NULL };
    uint32_t kinds[VAE_LEVELS_LIMIT];
    struct config config;
    struct vae_config read = { 0 };
    config_init(&config, json, "vae");
    read.levels = config_list(&config, "block_out_channels", read.widths, VAE_LEVELS_LIMIT, 1, VAE_WIDTH_LIMIT);
    config_names(&config, "down_block_types", kinds, read.levels, DOWN);
    config_names(&config, "up_block_types", kinds, read.levels, UP);
    read.latent_channels = config_u32(&config, "latent_channels", 4, 1, VAE_LATENT_LIMIT);
    read.layers = config_u32(&config, "layers_per_block", 1, 1, VAE_LAYERS_LIMIT);
    read.norm_groups = config_u32(&config, "norm_num_groups", 32, 1, VAE_WIDTH_LIMIT);
    read.scaling_factor = (float)config_real(&config, "scaling_factor", 0.18215, 1e-6, 1e6);
    read.force_upcast = config_flag(&config, "force_upcast", true); /* diffusers' default */
    config_want(&config, "act_fn", "\"silu\"");
    config_want(&config, "in_channels", "3");
    config_want(&config, "out_channels", "3");
    config_want(&config, "latents_mean", "null");
    config_want(&config, "latents_std", "null");
    config_want(&config, "shift_factor", "null");
    config_want(&config, "mid_block_add_attention", "true");
    config_want(&config, "use_quant_conv", "true");
    config_want(&config, "use_post_quant_conv", "true");
    config_skip(&config, SKIPPED);
    enum err err = config_finish(&config, error);
    if (err == ERR_OK && read.levels < 2) {
        err = error_set(error, ERR_UNSUPPORTED, "vae: block_out_channels: want at least 2 levels, config.json has 1");
    }
    for (uint32_t i = 0; err == ERR_OK && i < read.levels; i++) {
        if (read.widths[i] % read.norm_groups != 0) {
            err = error_set(error, ERR_INVALID, "vae: norm_num_groups: want a divisor of every block_out_channels,"
                            " config.json has %u for %u", read.norm_groups, read.widths[i]);
        }
    }
    if (err == ERR_OK) {
        *out = read;
    }
    return err;
}

uint32_t vae_pixels_per_latent(const struct vae_config *config) {
    return 1u << (config->levels - 1);
}

/* ---- parameters ------------------------------------------------------------------------------------------------- */

static struct vae_middle load_middle(struct loader *loader, uint32_t width, const char *half) {
    /* the second set of names is what diffusers wrote before 0.13 */
    static const char *const QKV[] = { "to_q", "to_k", "to_v" }, *const OLD_QKV[] = { "query", "key", "value" };
    struct vae_middle middle;
    char name[LAYER_NAME_LIMIT], old[LAYER_NAME_LIMIT];
    for (uint32_t i = 0; i < 2; i++) {
        layer_name(name, "%s.mid_block.resnets.%u", half, i);
        middle.resnets[i] = load_resnet(loader, width, width, 0, name);
    }
    layer_name(name, "%s.mid_block.attentions.0", half);
    layer_name(old, "%s.query.weight", name);
    bool is_old = component_has(loader->component, old);
    middle.norm = load_norm(loader, width, "%s.group_norm", name);
    middle.qkv = load_stack(loader, width, width, true, name, is_old ? OLD_QKV : QKV, 3);
    middle.out = load_linear(loader, width, width, true, "%s.%s", name, is_old ? "proj_attn" : "to_out.0");
    return middle;
}

static void load_level(struct vae_level *level, struct loader *loader, uint32_t in, uint32_t out, uint32_t layers,
                       const char *prefix, const char *resample) {
    level->layers = layers;
    for (uint32_t i = 0; i < layers; i++) {
        char name[LAYER_NAME_LIMIT];
        layer_name(name, "%s.resnets.%u", prefix, i);
        level->resnets[i] = load_resnet(loader, i == 0 ? in : out, out, 0, name);
    }
    if (resample != NULL) {
        level->resample = load_conv(loader, out, out, 3, "%s.%s.0.conv", prefix, resample);
    }
}

static void load_encoder(struct vae *vae) {
    const struct vae_config *config = &vae->config;
    struct vae_half *half = &vae->encoder;
    struct loader *loader = &vae->loader;
    uint32_t first = config->widths[0], last = config->widths[config->levels - 1], moments = 2 * config->latent_channels;
    half->conv_in = load_conv(loader, first, 3, 3, "encoder.conv_in");
    for (uint32_t i = 0; i < config->levels; i++) {
        char name[LAYER_NAME_LIMIT];
        layer_name(name, "encoder.down_blocks.%u", i);
        load_level(&half->levels[i], loader, i == 0 ? first : config->widths[i - 1], config->widths[i], config->layers, name,
                   i + 1 < config->levels ? "downsamplers" : NULL);
    }
    half->middle = load_middle(loader, last, "encoder");
    half->norm_out = load_norm(loader, last, "encoder.conv_norm_out");
    half->conv_out = load_conv(loader, moments, last, 3, "encoder.conv_out");
    half->quant = load_pointwise(loader, moments, moments, "quant_conv");
}

static void load_decoder(struct vae *vae) {
    const struct vae_config *config = &vae->config;
    struct vae_half *half = &vae->decoder;
    struct loader *loader = &vae->loader;
    uint32_t first = config->widths[0], last = config->widths[config->levels - 1], latent = config->latent_channels;
    half->quant = load_pointwise(loader, latent, latent, "post_quant_conv");
    half->conv_in = load_conv(loader, last, latent, 3, "decoder.conv_in");
    half->middle = load_middle(loader, last, "decoder");
    for (uint32_t i = 0; i < config->levels; i++) {
        uint32_t level = config->levels - 1 - i;
        char name[LAYER_NAME_LIMIT];
        layer_name(name, "decoder.up_blocks.%u", i);
        load_level(&half->levels[i], loader, i == 0 ? last : config->widths[level + 1], config->widths[level],
                   config->layers + 1, name, i + 1 < config->levels ? "upsamplers" : NULL);
    }
    half->norm_out = load_norm(loader, first, "decoder.conv_norm_out");
    half->conv_out = load_conv(loader, 3, first, 3, "decoder.conv_out");
}

enum err vae_load(struct vae *vae, struct component *component, struct backend *backend, bool may_upcast, struct error *error) {
    struct vae_config config;
    enum err err = vae_config_read(&config, component_config(component), error);
    if (err != ERR_OK) {
        return err;
    }
    bool upcast = may_upcast && config.force_upcast && backend_numerics(backend) == DTYPE_F16;
    *vae = (struct vae){ .config = config };
    loader_init(&vae->loader, component, backend, upcast ? DTYPE_F32 : backend_numerics(backend));
    load_encoder(vae);
    load_decoder(vae);
    err = loader_finish(&vae->loader, error);
    if (err != ERR_OK) {
        vae_release(vae);
    }
    return err;
}

void vae_release(struct vae *vae) {
    loader_release(&vae->loader);
    *vae = (struct vae){ 0 };
}

struct program *vae_program_create(const struct vae *vae) {
    return program_create_as(vae->loader.backend, vae->loader.numerics);
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

static struct norm_options norm_options(const struct vae *vae) {
    return (struct norm_options){ .groups = vae->config.norm_groups, .epsilon = EPSILON };
}

/* x [n,h,w,c] -> [n,h,w,c] */
static struct tensor record_middle(struct program *program, const struct vae *vae, const struct vae_middle *middle,
                                   struct tensor x) {
    struct norm_options norm = norm_options(vae);
    x = record_resnet(program, &middle->resnets[0], x, NULL, norm);
    struct tensor hidden = tensor_tokens(record_group_norm(program, middle->norm, x, norm, false));
    struct tensor qkv = record_linear(program, middle->qkv, hidden, ACTIVATION_NONE, TENSOR_NONE); /* [n,h*w,1,3c] */
    hidden = op_attention(program, tensor_slice(qkv, 0, x.c), tensor_slice(qkv, x.c, x.c), tensor_slice(qkv, 2 * x.c, x.c),
                          TENSOR_NONE, 1, false);
    hidden = record_linear(program, middle->out, hidden, ACTIVATION_NONE, tensor_tokens(x));
    x = tensor_picture(hidden, x.h, x.w);
    return record_resnet(program, &middle->resnets[1], x, NULL, norm);
}

static struct tensor record_resnets(struct program *program, const struct vae *vae, const struct vae_level *level,
                                    struct tensor x) {
    for (uint32_t i = 0; i < level->layers; i++) {
        x = record_resnet(program, &level->resnets[i], x, NULL, norm_options(vae));
    }
    return x;
}

struct tensor vae_record_decoder(struct program *program, const struct vae *vae, struct tensor latents) {
    const struct vae_half *half = &vae->decoder;
    struct tensor x = op_scale(program, latents, 1.0f / vae->config.scaling_factor);
    x = record_linear(program, half->quant, x, ACTIVATION_NONE, TENSOR_NONE);
    x = record_conv(program, half->conv_in, x);
    x = record_middle(program, vae, &half->middle, x);
    for (uint32_t i = 0; i < vae->config.levels; i++) {
        x = record_resnets(program, vae, &half->levels[i], x);
        if (half->levels[i].resample.weight != NULL) {
            x = record_conv_resized(program, half->levels[i].resample, x, 2 * x.h, 2 * x.w);
        }
    }
    x = record_group_norm(program, half->norm_out, x, norm_options(vae), true);
    return record_conv(program, half->conv_out, x);
}

struct tensor vae_record_encoder(struct program *program, const struct vae *vae, struct tensor picture) {
    const struct vae_half *half = &vae->encoder;
    struct tensor x = record_conv(program, half->conv_in, picture);
    for (uint32_t i = 0; i < vae->config.levels; i++) {
        x = record_resnets(program, vae, &half->levels[i], x);
        if (half->levels[i].resample.weight != NULL) { /* zeros at the right and the bottom only */
            struct conv_options options = { .stride = 2, .pad_bottom = 1, .pad_right = 1, .vector = TENSOR_NONE,
                                            .residual = TENSOR_NONE };
            x = op_conv(program, x, half->levels[i].resample.weight, half->levels[i].resample.bias, &options);
        }
    }
    x = record_middle(program, vae, &half->middle, x);
    x = record_group_norm(program, half->norm_out, x, norm_options(vae), true);
    x = record_conv(program, half->conv_out, x);
    return record_linear(program, half->quant, x, ACTIVATION_NONE, TENSOR_NONE);
}
