/*
 * unet_config.c - what a U-Net's config.json may say.
 */
#include <string.h>

#include "pipeline/denoise/unet.h"
#include "pipeline/weights/config.h"

/* Fields whose only value done here is the one that SD 1.x has. */
static void want_plain(struct config *config) {
    static const struct { const char *key, *value; } WANTED[] = {
        { "act_fn", "\"silu\"" },
        { "attention_type", "\"default\"" },
        { "center_input_sample", "false" },
        { "class_embed_type", "null" },
        { "conv_in_kernel", "3" },
        { "conv_out_kernel", "3" },
        { "cross_attention_norm", "null" },
        { "downsample_padding", "1" },
        { "dual_cross_attention", "false" },
        { "encoder_hid_dim", "null" },
        { "encoder_hid_dim_type", "null" },
        { "mid_block_scale_factor", "1" },
        { "mid_block_type", "\"UNetMidBlock2DCrossAttn\"" },
        { "num_attention_heads", "null" },
        { "num_class_embeds", "null" },
        { "only_cross_attention", "false" },
        { "resnet_out_scale_factor", "1" },
        { "resnet_skip_time_act", "false" },
        { "resnet_time_scale_shift", "\"default\"" },
        { "reverse_transformer_layers_per_block", "null" },
        { "time_embedding_act_fn", "null" },
        { "time_embedding_dim", "null" },
        { "time_embedding_type", "\"positional\"" },
        { "timestep_post_act", "null" },
    };
    for (size_t i = 0; i < sizeof WANTED / sizeof *WANTED; i++) {
        config_want(config, WANTED[i].key, WANTED[i].value);
    }
}

/* SDXL's added conditioning: a vector of pooled text and sinusoids of numbers. */
static void read_added(struct unet_config *out, struct config *config) {
    static const char *const SKIPPED[] = { "addition_time_embed_dim", "projection_class_embeddings_input_dim", NULL };
    if (strcmp(config_text(config, "addition_embed_type", "none"), "text_time") == 0) {
        out->added_width = config_u32(config, "projection_class_embeddings_input_dim", 0, 2, UNET_WIDTH_LIMIT);
        out->added_number_width = config_u32(config, "addition_time_embed_dim", 0, 2, UNET_WIDTH_LIMIT);
    } else {
        config_want(config, "addition_embed_type", "null");
        config_skip(config, SKIPPED);
    }
}

/* Numbers that contradict each other; each is fine alone. */
static enum err check_numbers(const struct unet_config *config, struct error *error) {
    uint32_t last = config->levels - 1;
    for (uint32_t i = 0; i <= last; i++) {
        if (config->widths[i] % config->norm_groups != 0) {
            return error_set(error, ERR_INVALID, "unet: norm_num_groups: want a divisor of every block_out_channels,"
                             " config.json has %u for %u", config->norm_groups, config->widths[i]);
        }
        bool attention = config->down_attention[i] || config->up_attention[last - i] || i == last;
        if (attention && config->widths[i] % config->heads[i] != 0) {
            return error_set(error, ERR_INVALID, "unet: attention_head_dim (the number of heads): want a divisor of"
                             " block_out_channels, config.json has %u for %u", config->heads[i], config->widths[i]);
        }
    }
    if ((config->added_width == 0) != (config->added_number_width == 0)) {
        return error_set(error, ERR_INVALID, "unet: projection_class_embeddings_input_dim and addition_time_embed_dim: want"
                         " both, config.json has %u and %u", config->added_width, config->added_number_width);
    }
    if (config->in_channels != config->out_channels && config->in_channels != 2 * config->out_channels + 1) {
        return error_set(error, ERR_UNSUPPORTED, "unet: in_channels: want out_channels (%u), or for inpainting twice as many and"
                         " a mask (%u), config.json has %u", config->out_channels, 2 * config->out_channels + 1,
                         config->in_channels);
    }
    if (config->widths[0] % 2 != 0 || (float)(config->widths[0] / 2) <= config->frequency_shift) {
        return error_set(error, ERR_INVALID, "unet: block_out_channels: want an even first width beyond twice freq_shift"
                         " %g, config.json has %u", (double)config->frequency_shift, config->widths[0]);
    }
    return ERR_OK;
}

enum err unet_config_read(struct unet_config *out, const json_t *json, struct error *error) {
    static const char *const DOWN[] = { "DownBlock2D", "CrossAttnDownBlock2D", NULL };
    static const char *const UP[] = { "UpBlock2D", "CrossAttnUpBlock2D", NULL };
    /* upcast_attention: everything is f32 here anyway; the others mean something only beside fields that are refused. */
    static const char *const SKIPPED[] = {
        "addition_embed_type_num_heads", "class_embeddings_concat", "dropout", "mid_block_only_cross_attention",
        "sample_size", "upcast_attention", NULL
    };
    struct config config;
    struct unet_config read = { 0 };
    config_init(&config, json, "unet");
    read.in_channels = config_u32(&config, "in_channels", 4, 1, UNET_CHANNELS_LIMIT);
    read.out_channels = config_u32(&config, "out_channels", 4, 1, UNET_CHANNELS_LIMIT);
    read.levels = config_list(&config, "block_out_channels", read.widths, UNET_LEVELS_LIMIT, 1, UNET_WIDTH_LIMIT);
    config_names(&config, "down_block_types", read.down_attention, read.levels, DOWN);
    config_names(&config, "up_block_types", read.up_attention, read.levels, UP);
    config_each(&config, "layers_per_block", read.layers, read.levels, 2, 1, UNET_LAYERS_LIMIT);
    config_each(&config, "attention_head_dim", read.heads, read.levels, 8, 1, UNET_WIDTH_LIMIT);
    config_each(&config, "transformer_layers_per_block", read.depth, read.levels, 1, 1, TRANSFORMER_DEPTH_LIMIT);
    read.condition_width = config_u32(&config, "cross_attention_dim", 1280, 1, UNET_WIDTH_LIMIT);
    read.norm_groups = config_u32(&config, "norm_num_groups", 32, 1, UNET_WIDTH_LIMIT);
    read.norm_epsilon = (float)config_real(&config, "norm_eps", 1e-5, 0.0, 1.0);
    read.linear_projection = config_flag(&config, "use_linear_projection", false);
    read.flip_sin_to_cos = config_flag(&config, "flip_sin_to_cos", true);
    read.frequency_shift = (float)config_real(&config, "freq_shift", 0.0, 0.0, 1.0);
    read.told_width = config_u32(&config, "time_cond_proj_dim", 0, 4, UNET_WIDTH_LIMIT);
    read_added(&read, &config);
    want_plain(&config);
    config_skip(&config, SKIPPED);
    enum err err = config_finish(&config, error);
    if (err == ERR_OK) {
        err = check_numbers(&read, error);
    }
    if (err == ERR_OK) {
        *out = read;
    }
    return err;
}
