/*
 * layout.c - LDM's and OpenCLIP's names into diffusers'.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/weights/layout.h"

struct rename {
    const char *from, *to; /* both with dots */
};

/* What stands behind `prefix` (dots of which stand for `separator`) if it ends there or at a separator; else NULL. */
static const char *behind(const char *name, const char *prefix, char separator) {
    for (; *prefix; prefix++, name++)
        if (*name != (*prefix == '.' ? separator : *prefix))
            return NULL;
    return *name == '\0' || *name == separator || *name == '.' ? name : NULL;
}

/* A small number behind a separator; NULL: there is none. */
static const char *number(uint32_t *value, const char *name, char separator) {
    if (*name != separator || !isdigit((unsigned char)name[1]) || strlen(name) > LAYOUT_NAME_LIMIT)
        return NULL;
    char *end;
    unsigned long read = strtoul(name + 1, &end, 10);
    if (read > 999 || (*end != '\0' && *end != separator && *end != '.'))
        return NULL;
    *value = (uint32_t)read;
    return end;
}

/* `made` (with dots) and `rest` as it is. */
static bool put(char out[LAYOUT_NAME_LIMIT], const char *made, const char *rest, char separator) {
    int size = snprintf(out, LAYOUT_NAME_LIMIT, "%s", made);
    for (char *c = out; separator != '.' && *c; c++)
        *c = *c == '.' ? separator : *c;
    return size < LAYOUT_NAME_LIMIT &&
           (size_t)snprintf(out + size, (size_t)(LAYOUT_NAME_LIMIT - size), "%s", rest) < (size_t)(LAYOUT_NAME_LIMIT - size);
}

/* The first row that `name` begins with, put behind `before`. */
static bool put_renamed(char out[LAYOUT_NAME_LIMIT], const char *before, const char *name, const struct rename *rows,
                        size_t count, char separator) {
    char made[LAYOUT_NAME_LIMIT];
    for (size_t i = 0; i < count; i++) {
        const char *rest = behind(name, rows[i].from, separator);
        if (rest) {
            snprintf(made, sizeof made, "%s%s", before, rows[i].to);
            return put(out, made, rest, separator);
        }
    }
    return false;
}

#define PUT_RENAMED(out, before, name, rows, separator) \
    put_renamed(out, before, name, rows, sizeof(rows) / sizeof *(rows), separator)

/* ---- the U-Net ------------------------------------------------------------------------------------------------------ */

static const struct rename UNET_ENDS[] = {
    { "time_embed.0", "time_embedding.linear_1" }, { "time_embed.2", "time_embedding.linear_2" },
    { "label_emb.0.0", "add_embedding.linear_1" }, { "label_emb.0.2", "add_embedding.linear_2" },
    { "input_blocks.0.0", "conv_in" },             { "out.0", "conv_norm_out" },
    { "out.2", "conv_out" },
};
static const struct rename UNET_RESNET[] = {
    { "in_layers.0", "norm1" },  { "in_layers.2", "conv1" },  { "emb_layers.1", "time_emb_proj" },
    { "out_layers.0", "norm2" }, { "out_layers.3", "conv2" }, { "skip_connection", "conv_shortcut" },
};

static bool put_resnet(char out[LAYOUT_NAME_LIMIT], const char *block, uint32_t place, const char *rest, char separator) {
    char before[LAYOUT_NAME_LIMIT];
    snprintf(before, sizeof before, "%s.resnets.%u.", block, place);
    return *rest == separator && PUT_RENAMED(out, before, rest + 1, UNET_RESNET, separator);
}

static bool put_attention(char out[LAYOUT_NAME_LIMIT], const char *block, uint32_t place, const char *rest, char separator) {
    char made[LAYOUT_NAME_LIMIT];
    snprintf(made, sizeof made, "%s.attentions.%u", block, place);
    return put(out, made, rest, separator);
}

/* Whatever resamples stands in the last place of its block: "op" down, "conv" up. */
static bool put_resample(char out[LAYOUT_NAME_LIMIT], const char *block, const char *what, const char *rest, char separator) {
    char made[LAYOUT_NAME_LIMIT];
    snprintf(made, sizeof made, "%s.%s.0.conv", block, what);
    return put(out, made, rest, separator);
}

static bool put_input(char out[LAYOUT_NAME_LIMIT], uint32_t place, uint32_t part, const char *rest, char separator,
                      uint32_t layers) {
    char block[32];
    uint32_t layer = (place - 1) % (layers + 1);
    snprintf(block, sizeof block, "down_blocks.%u", (place - 1) / (layers + 1));
    const char *op = *rest == separator ? behind(rest + 1, "op", separator) : NULL;
    if (layer == layers)
        return part == 0 && op && put_resample(out, block, "downsamplers", op, separator);
    return part == 0 ? put_resnet(out, block, layer, rest, separator)
                     : part == 1 && put_attention(out, block, layer, rest, separator);
}

static bool put_output(char out[LAYOUT_NAME_LIMIT], uint32_t place, uint32_t part, const char *rest, char separator,
                       uint32_t layers) {
    char block[32];
    uint32_t layer = place % (layers + 1);
    snprintf(block, sizeof block, "up_blocks.%u", place / (layers + 1));
    const char *conv = part > 0 && *rest == separator ? behind(rest + 1, "conv", separator) : NULL;
    if (conv)
        return layer == layers && put_resample(out, block, "upsamplers", conv, separator);
    return part == 0 ? put_resnet(out, block, layer, rest, separator)
                     : part == 1 && put_attention(out, block, layer, rest, separator);
}

bool layout_unet_name(char out[LAYOUT_NAME_LIMIT], const char *name, char separator, uint32_t layers) {
    uint32_t place, part;
    const char *rest;
    if (PUT_RENAMED(out, "", name, UNET_ENDS, separator))
        return true;
    if ((rest = behind(name, "middle_block", separator)) && (rest = number(&place, rest, separator)))
        return place == 1 ? put_attention(out, "mid_block", 0, rest, separator)
                          : place < 3 && put_resnet(out, "mid_block", place / 2, rest, separator);
    bool input = (rest = behind(name, "input_blocks", separator)) != NULL;
    if (!rest && !(rest = behind(name, "output_blocks", separator)))
        return false;
    if (!(rest = number(&place, rest, separator)) || !(rest = number(&part, rest, separator)) || (input && place == 0))
        return false;
    return input ? put_input(out, place, part, rest, separator, layers) : put_output(out, place, part, rest, separator, layers);
}

/* ---- the VAE -------------------------------------------------------------------------------------------------------- */

static const struct rename VAE_REST[] = {
    { "mid.block_1", "mid_block.resnets.0" },
    { "mid.block_2", "mid_block.resnets.1" },
    { "mid.attn_1.norm", "mid_block.attentions.0.group_norm" },
    { "mid.attn_1.q", "mid_block.attentions.0.to_q" },
    { "mid.attn_1.k", "mid_block.attentions.0.to_k" },
    { "mid.attn_1.v", "mid_block.attentions.0.to_v" },
    { "mid.attn_1.proj_out", "mid_block.attentions.0.to_out.0" },
    { "norm_out", "conv_norm_out" },
    { "conv_in", "conv_in" },
    { "conv_out", "conv_out" },
};

/* "block.M.nin_shortcut..." or "downsample.conv..." of one level */
static bool put_vae_level(char out[LAYOUT_NAME_LIMIT], const char *block, const char *rest) {
    static const struct rename RESAMPLE[] = { { "downsample.conv", "downsamplers.0.conv" },
                                              { "upsample.conv", "upsamplers.0.conv" } };
    char before[LAYOUT_NAME_LIMIT];
    uint32_t place;
    snprintf(before, sizeof before, "%s.", block);
    if (*rest != '.')
        return false;
    if (PUT_RENAMED(out, before, rest + 1, RESAMPLE, '.'))
        return true;
    if (!(rest = behind(rest + 1, "block", '.')) || !(rest = number(&place, rest, '.')))
        return false;
    const char *shortcut = *rest == '.' ? behind(rest + 1, "nin_shortcut", '.') : NULL;
    snprintf(before, sizeof before, "%s.resnets.%u%s", block, place, shortcut ? ".conv_shortcut" : "");
    return put(out, before, shortcut ? shortcut : rest, '.');
}

bool layout_vae_name(char out[LAYOUT_NAME_LIMIT], const char *name, uint32_t levels) {
    char block[48];
    uint32_t level;
    const char *rest;
    if (behind(name, "quant_conv", '.') || behind(name, "post_quant_conv", '.'))
        return put(out, name, "", '.');
    bool encoder = (rest = behind(name, "encoder", '.')) != NULL;
    if ((!rest && !(rest = behind(name, "decoder", '.'))) || *rest != '.')
        return false;
    const char *half = encoder ? "encoder" : "decoder", *place = behind(rest + 1, encoder ? "down" : "up", '.');
    if (place && (place = number(&level, place, '.'))) {
        if (level >= levels)
            return false;
        snprintf(block, sizeof block, "%s.%s_blocks.%u", half, encoder ? "down" : "up", encoder ? level : levels - 1 - level);
        return put_vae_level(out, block, place);
    }
    snprintf(block, sizeof block, "%s.", half);
    if (!PUT_RENAMED(out, block, rest + 1, VAE_REST, '.'))
        return false;
    return true;
}

/* ---- OpenCLIP ------------------------------------------------------------------------------------------------------- */

static const struct rename OPEN_CLIP_ENDS[] = {
    { "positional_embedding", "text_model.embeddings.position_embedding.weight" },
    { "token_embedding", "text_model.embeddings.token_embedding" },
    { "ln_final", "text_model.final_layer_norm" },
    { "text_projection", "text_projection.weight" },
};
static const struct rename OPEN_CLIP_LAYER[] = {
    { "ln_1", "layer_norm1" },
    { "ln_2", "layer_norm2" },
    { "mlp.c_fc", "mlp.fc1" },
    { "mlp.c_proj", "mlp.fc2" },
    { "attn.out_proj", "self_attn.out_proj" },
    { "attn.in_proj_weight", "self_attn.in_proj_weight" },
    { "attn.in_proj_bias", "self_attn.in_proj_bias" },
};

bool layout_open_clip_name(char out[LAYOUT_NAME_LIMIT], const char *name) {
    char before[64];
    uint32_t layer;
    const char *rest = behind(name, "transformer.resblocks", '.');
    if (!rest)
        return PUT_RENAMED(out, "", name, OPEN_CLIP_ENDS, '.');
    if (!(rest = number(&layer, rest, '.')) || *rest != '.')
        return false;
    snprintf(before, sizeof before, "text_model.encoder.layers.%u.", layer);
    return PUT_RENAMED(out, before, rest + 1, OPEN_CLIP_LAYER, '.');
}
