/* test_configs.c - what a config.json may not say, and the sentence it gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/json.h"
#include "pipeline/denoise/unet.h"
#include "pipeline/image/vae.h"
#include "pipeline/text/text_encoder.h"

/* The demo model's config of `part`, with `key` set to the JSON `value` (NULL: taken out). */
static json_t *changed(const char *part, const char *key, const char *value) {
    struct error error;
    json_t *json = NULL;
    char *path = text_format("%s/models/demo/%s/config.json", SOURCE_DIR, part);
    if (json_read_file(&json, path, 1 << 20, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    free(path);
    if (value == NULL) {
        json_object_del(json, key);
    } else if (key != NULL) {
        json_t *made = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(made);
        json_object_set_new(json, key, made);
    }
    return json;
}

static enum err read_part(const char *part, const json_t *json, struct error *error) {
    struct unet_config unet;
    struct vae_config vae;
    struct text_encoder_config text;
    return strcmp(part, "unet") == 0 ? unet_config_read(&unet, json, error)
         : strcmp(part, "vae") == 0  ? vae_config_read(&vae, json, error)
                                     : text_encoder_config_read(&text, json, part, error);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *part, *key, *value;
        enum err code;
        const char *sentence;
    } CASES[] = {
        { "unet", "act_fn", "\"gelu\"", ERR_UNSUPPORTED, "unet: act_fn: want \"silu\", config.json has \"gelu\"" },
        { "unet", "class_embed_type", "\"timestep\"", ERR_UNSUPPORTED,
          "unet: class_embed_type: want null, config.json has \"timestep\"" },
        { "unet", "addition_embed_type", "\"image\"", ERR_UNSUPPORTED,
          "unet: addition_embed_type: want null, config.json has \"image\"" },
        { "unet", "resnet_time_scale_shift", "\"scale_shift\"", ERR_UNSUPPORTED,
          "unet: resnet_time_scale_shift: want \"default\", config.json has \"scale_shift\"" },
        { "unet", "dual_cross_attention", "true", ERR_UNSUPPORTED,
          "unet: dual_cross_attention: want false, config.json has true" },
        { "unet", "mid_block_type", "null", ERR_UNSUPPORTED,
          "unet: mid_block_type: want \"UNetMidBlock2DCrossAttn\", config.json has null" },
        { "unet", "num_attention_heads", "8", ERR_UNSUPPORTED, "unet: num_attention_heads: want null, config.json has 8" },
        { "unet", "in_channels", "8", ERR_UNSUPPORTED,
          "unet: in_channels: want out_channels (4), or for inpainting twice as many and a mask (9), config.json has 8" },
        { "unet", "in_channels", "\"4\"", ERR_INVALID,
          "unet: in_channels: want a whole number 1..64, config.json has \"4\"" },
        { "unet", "norm_eps", "-1", ERR_INVALID, "unet: norm_eps: want a number 0..1, config.json has -1" },
        { "unet", "flip_sin_to_cos", "1", ERR_INVALID, "unet: flip_sin_to_cos: want true or false, config.json has 1" },
        { "unet", "block_out_channels", "[]", ERR_INVALID,
          "unet: block_out_channels: want a list of 1..8 whole numbers 1..16384, config.json has []" },
        { "unet", "block_out_channels", NULL, ERR_INVALID,
          "unet: block_out_channels: want a list of 1..8 whole numbers 1..16384, config.json has no such field" },
        { "unet", "block_out_channels", "[64,128,190]", ERR_INVALID,
          "unet: norm_num_groups: want a divisor of every block_out_channels, config.json has 32 for 190" },
        { "unet", "down_block_types", "[\"CrossAttnDownBlock2D\",\"AttnDownBlock2D\",\"DownBlock2D\"]", ERR_UNSUPPORTED,
          "unet: down_block_types: want DownBlock2D or CrossAttnDownBlock2D, config.json has \"AttnDownBlock2D\"" },
        { "unet", "up_block_types", "[\"UpBlock2D\"]", ERR_INVALID,
          "unet: up_block_types: want a list of 3 names, one a level, config.json has [\"UpBlock2D\"]" },
        { "unet", "attention_head_dim", "5", ERR_INVALID, "unet: attention_head_dim (the number of heads): want a divisor"
          " of block_out_channels, config.json has 5 for 64" },
        { "unet", "attention_head_dim", "[4,4]", ERR_INVALID,
          "unet: attention_head_dim: want one number for each of 3 levels, config.json has [4,4]" },
        { "unet", "layers_per_block", "0", ERR_INVALID,
          "unet: layers_per_block: want a whole number 1..8, config.json has 0" },
        { "unet", "cross_attention_dim", "[128,128,128]", ERR_INVALID,
          "unet: cross_attention_dim: want a whole number 1..16384, config.json has [128,128,128]" },
        { "unet", "some_new_gate", "0.5", ERR_UNSUPPORTED,
          "unet: some_new_gate: want null or no such field (this version does not know it), config.json has 0.5" },
        { "vae", "shift_factor", "0.1", ERR_UNSUPPORTED, "vae: shift_factor: want null, config.json has 0.1" },
        { "vae", "use_quant_conv", "false", ERR_UNSUPPORTED, "vae: use_quant_conv: want true, config.json has false" },
        { "vae", "mid_block_add_attention", "false", ERR_UNSUPPORTED,
          "vae: mid_block_add_attention: want true, config.json has false" },
        { "vae", "scaling_factor", "0", ERR_INVALID, "vae: scaling_factor: want a number 1e-06..1e+06, config.json has 0" },
        { "vae", "norm_num_groups", "24", ERR_INVALID,
          "vae: norm_num_groups: want a divisor of every block_out_channels, config.json has 24 for 32" },
        { "vae", "out_channels", "4", ERR_UNSUPPORTED, "vae: out_channels: want 3, config.json has 4" },
        { "text_encoder", "hidden_act", "\"relu\"", ERR_UNSUPPORTED,
          "text_encoder: hidden_act: want \"quick_gelu\", config.json has \"relu\"" },
        { "text_encoder", "num_attention_heads", "3", ERR_INVALID,
          "text_encoder: num_attention_heads: want a divisor of hidden_size 128, config.json has 3" },
        { "text_encoder", "model_type", "\"t5\"", ERR_UNSUPPORTED,
          "text_encoder: model_type: want \"clip_text_model\", config.json has \"t5\"" },
        { "text_encoder", "num_hidden_layers", "1000000000000", ERR_INVALID,
          "text_encoder: num_hidden_layers: want a whole number 1..64, config.json has 1000000000000" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct error error = { 0 };
        json_t *json = changed(CASES[i].part, CASES[i].key, CASES[i].value);
        enum err err = read_part(CASES[i].part, json, &error);
        assert_string_equal(error.message, CASES[i].sentence);
        assert_int_equal(err, CASES[i].code);
        json_decref(json);
    }
}

/* Fields that do not matter, and new ones not in use. */
static void test_accepted(void **state) {
    (void)state;
    static const struct { const char *part, *key, *value; } CASES[] = {
        { "unet", "_name_or_path", "\"x\"" },  { "unet", "dropout", "0.1" },         { "unet", "some_new_gate", "false" },
        { "unet", "some_new_gate", "null" },   { "unet", "upcast_attention", "true" }, { "unet", "norm_eps", "null" },
        { "unet", "attention_head_dim", "[4,8,2]" }, { "unet", "mid_block_scale_factor", "1.0" },
        { "vae", "force_upcast", "false" },    { "vae", "sample_size", "512" },      { "text_encoder", "hidden_act", "\"gelu\"" },
        { "text_encoder", "torch_dtype", "\"float16\"" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct error error = { 0 };
        json_t *json = changed(CASES[i].part, CASES[i].key, CASES[i].value);
        if (read_part(CASES[i].part, json, &error) != ERR_OK) {
            fail_msg("%s", error.message);
        }
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_refusals), cmocka_unit_test(test_accepted) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
