/* Model folders: manifest, digest, facts, refusals by name, and where models are found. */
#include "proto/model.h"
#include "fixture.h"

static void test_manifest(void **state)
{
    (void)state;
    struct error error;
    struct manifest manifest, again;
    struct bytes text = BYTES_INIT;
    char *folder = folder_new();
    model_put(folder, "m", 3, 16);
    file_put(folder, "m/.cache/hidden.json", "{}");
    char *path = path_join(folder, "m");
    assert_ok(manifest_of_folder(&manifest, path, &error));
    assert_int_equal(manifest.count, 6); /* README.md and what is hidden are no part of it */
    assert_string_equal(manifest.files[0].path, "model_index.json");
    assert_string_equal(manifest.files[5].path, "vae/diffusion_pytorch_model.safetensors");
    manifest_text(&text, &manifest);
    struct digest digest = digest_of(text.data, text.size);
    assert_true(digest_equal(&digest, &manifest.digest));
    assert_ok(manifest_parse(&again, text.data, text.size, &error));
    assert_true(again.count == 6 && digest_equal(&again.digest, &manifest.digest));
    manifest_release(&again);

    file_put(folder, "m/unet/diffusion_pytorch_model.safetensors", "other weights of the unet");
    assert_ok(manifest_of_folder(&again, path, &error));
    assert_false(digest_equal(&again.digest, &manifest.digest));
    manifest_release(&again);
    file_put(folder, "m/bad name.json", "{}");
    assert_fails(manifest_of_folder(&again, path, &error), ERR_INVALID, "bad name.json");
    manifest_release(&manifest);
    bytes_release(&text);
    free(path);
    folder_drop(folder);
}

static void test_manifest_parse_refuses(void **state)
{
    (void)state;
#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
    static const struct { const char *text, *words; } bad[] = {
        {"", "want 1.."}, {"a.json " HEX, "line 1: want a plain path"}, {"../a.json " HEX "\n", "line 1"},
        {"/a.json " HEX "\n", "line 1"}, {"a//b.json " HEX "\n", "line 1"}, {"a/./b.json " HEX "\n", "line 1"},
        {"a.json  " HEX "\n", "line 1"}, {"a.json 00\n", "line 1"}, {"a b.json " HEX "\n", "line 1"}, {"\n", "line 1"},
        {"b.json " HEX "\na.json " HEX "\n", "is not behind"}, {"a.json " HEX "\na.json " HEX "\n", "is not behind"},
        {"a/ " HEX "\n", "line 1"}, {"a\xff " HEX "\n", "line 1"}, {" " HEX "\n", "line 1"},
    };
    struct error error;
    struct manifest manifest;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error.message[0] = '\0';
        assert_int_not_equal(manifest_parse(&manifest, bad[i].text, strlen(bad[i].text), &error), ERR_OK);
        if (!strstr(error.message, bad[i].words))
            fail_msg("%s: %s", bad[i].text, error.message);
    }
}

static void test_facts(void **state)
{
    (void)state;
    struct error error;
    struct model_facts facts;
    struct manifest manifest;
    char *folder = folder_new(), *path = path_join(folder, "m");
    model_put(folder, "m", 3, 16);
    assert_ok(model_facts_read(&facts, path, &error));
    assert_string_equal(facts.family, "sd1");
    assert_true(facts.pixels_per_latent == 4 && facts.default_width == 64 && facts.default_height == 64);
    assert_true(facts.parameters_bytes == strlen("weights of the unet" "weights of the vae" "weights of the text encoder"));
    assert_ok(manifest_of_folder(&manifest, path, &error));
    assert_true(digest_equal(&facts.digest, &manifest.digest));
    manifest_release(&manifest);

    struct bytes index = BYTES_INIT, unet = BYTES_INIT, vae = BYTES_INIT;
    bytes_add_text(&index, "{\"_class_name\": \"StableDiffusionPipeline\", \"text_encoder\": [\"transformers\", \"CLIPTextModel\"]}");
    bytes_add_text(&unet, "{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 768, \"in_channels\": 4}");
    bytes_add_text(&vae, "{\"_class_name\": \"AutoencoderKL\", \"latent_channels\": 4, \"block_out_channels\": [1, 2, 4, 4]}");
    assert_ok(model_facts_parse(&facts, &index, &unet, &vae, &error));
    assert_true(facts.pixels_per_latent == 8 && facts.default_width == 512 && digest_is_zero(&facts.digest));
    unet.size = index.size = 0;
    bytes_add_text(&unet, "{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 1024, \"in_channels\": 4,"
                          " \"use_linear_projection\": true}");
    bytes_add_text(&index, "{\"_class_name\": \"StableDiffusionPipeline\", \"text_encoder\": [\"transformers\", \"CLIPTextModel\"]}");
    assert_ok(model_facts_parse(&facts, &index, &unet, &vae, &error));
    assert_string_equal(facts.family, "sd2");
    unet.size = index.size = 0;
    bytes_add_text(&unet, "{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 2048, \"in_channels\": 4,"
                          " \"addition_embed_type\": \"text_time\"}");
    bytes_add_text(&index, "{\"_class_name\": \"StableDiffusionXLPipeline\", \"text_encoder\": [\"transformers\", \"CLIPTextModel\"],"
                           " \"text_encoder_2\": [\"transformers\", \"CLIPTextModelWithProjection\"]}");
    assert_ok(model_facts_parse(&facts, &index, &unet, &vae, &error));
    assert_string_equal(facts.family, "sdxl");
    assert_int_equal(facts.default_width, 1024);
    index.size = 0;
    bytes_add_text(&index, "{\"_class_name\": \"StableDiffusionXLImg2ImgPipeline\", \"text_encoder\": [null, null],"
                           " \"text_encoder_2\": [\"transformers\", \"CLIPTextModelWithProjection\"]}");
    assert_ok(model_facts_parse(&facts, &index, &unet, &vae, &error));
    assert_string_equal(facts.family, "sdxl-refiner");
    bytes_release(&index);
    bytes_release(&unet);
    bytes_release(&vae);
    free(path);
    folder_drop(folder);
}

/* A good model with one file changed. */
static void changed(const char *file, const char *text, enum err want, const char *words)
{
    struct error error;
    struct model_facts facts;
    char *folder = folder_new(), *path = path_join(folder, "m");
    model_put(folder, "m", 3, 16);
    if (text) {
        char *name = text_format("m/%s", file);
        file_put(folder, name, text);
        free(name);
    } else {
        char *name = path_join(path, file);
        assert_int_equal(unlink(name), 0);
        free(name);
    }
    assert_fails(model_facts_read(&facts, path, &error), want, words);
    free(path);
    folder_drop(folder);
}

static void test_other_kinds(void **state)
{
    (void)state;
#define INDEX(class) "{\"_class_name\": \"" class "\", \"text_encoder\": [\"transformers\", \"CLIPTextModel\"]}"
#define UNET(more) "{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 768, \"in_channels\": 4" more "}"
    changed("model_index.json", NULL, ERR_INVALID, "no model_index.json");
    changed("model_index.json", "{", ERR_INVALID, "not valid JSON");
    changed("model_index.json", "{}", ERR_NOT_FOUND, "_class_name");
    changed("model_index.json", INDEX("StableDiffusionXLPipeline"), ERR_UNSUPPORTED,
            "text_encoder_2: want CLIPTextModelWithProjection, have none");
    changed("model_index.json", INDEX("StableDiffusion3Pipeline"), ERR_UNSUPPORTED,
            "is Stable Diffusion 3, not supported by this version");
    changed("model_index.json", INDEX("StableDiffusionXLControlNetPipeline"), ERR_UNSUPPORTED, "a ControlNet");
    changed("model_index.json", INDEX("WanImageToVideoPipeline"), ERR_UNSUPPORTED, "a video model");
    changed("model_index.json", INDEX("HunyuanVideoPipeline"), ERR_UNSUPPORTED, "a video model");
    changed("model_index.json", INDEX("FluxInpaintPipeline"), ERR_UNSUPPORTED, "is Flux, not supported");
    changed("model_index.json", INDEX("FluxPipeline"), ERR_UNSUPPORTED, "Flux");
    changed("model_index.json", INDEX("StableVideoDiffusionPipeline"), ERR_UNSUPPORTED, "a video model");
    changed("model_index.json", INDEX("MadeUpPipeline"), ERR_UNSUPPORTED, "no kind of model that is known");
    changed("model_index.json", "{\"_class_name\": \"StableDiffusionPipeline\", \"text_encoder\": [\"transformers\", \"T5EncoderModel\"]}",
            ERR_UNSUPPORTED, "want CLIPTextModel, have T5EncoderModel");
    changed("unet/config.json", UNET(", \"addition_embed_type\": \"text_time\""), ERR_INVALID,
            "addition_embed_type: want none in a model of this class, have one");
    changed("unet/config.json", "{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 768, \"in_channels\": 8}",
            ERR_UNSUPPORTED, "want 4, or 9 for inpainting, have 8");
    changed("unet/config.json", "{\"_class_name\": \"Transformer2DModel\"}", ERR_UNSUPPORTED, "want UNet2DConditionModel, have \"Transformer2DModel\"");
    changed("unet/config.json", UNET(", \"sample_size\": 5000"), ERR_INVALID, "sample_size: want 1..1024, have 5000");
    changed("unet/config.json", NULL, ERR_NOT_FOUND, "unet/config.json");
    changed("vae/config.json", "{\"_class_name\": \"AutoencoderKL\", \"latent_channels\": 16, \"block_out_channels\": [1]}",
            ERR_UNSUPPORTED, "latent_channels: want 4, have 16");
    changed("vae/config.json", "{\"_class_name\": \"AutoencoderKL\", \"latent_channels\": 4, \"block_out_channels\": []}",
            ERR_INVALID, "want 1..6 levels, have 0");
    changed("unet/diffusion_pytorch_model.safetensors", NULL, ERR_UNSUPPORTED, "no safetensors in its unet folder");
}

static void test_single_files(void **state)
{
    (void)state;
    struct error error;
    struct model_facts facts;
    char *folder = folder_new();
    file_put(folder, "m.safetensors", "x");
    file_put(folder, "m.ckpt", "x");
    char *path = path_join(folder, "m.safetensors");
    assert_fails(model_facts_read(&facts, path, &error), ERR_CORRUPT, "want a safetensors header");
    free(path);
    path = path_join(folder, "m.ckpt");
    assert_fails(model_facts_read(&facts, path, &error), ERR_UNSUPPORTED, "a pickle can run any code");
    free(path);
    path = path_join(folder, "none");
    assert_fails(model_facts_read(&facts, path, &error), ERR_NOT_FOUND, "no such folder");
    free(path);
    folder_drop(folder);
}

static void test_find(void **state)
{
    (void)state;
    struct error error;
    struct model_facts facts;
    char hex[DIGEST_HEX_SIZE], *found;
    char *folder = folder_new(), *beside = folder_new();
    char *list = text_format("/nowhere::%s", folder);
    setenv("SEEDFARM_MODELS", list, 1);
    model_put(folder, "tiny", 3, 16);
    model_put(folder, "other", 3, 32);
    model_put(beside, "near", 3, 16);
    assert_ok(model_find(&found, "tiny", beside, &error));
    assert_string_equal(path_name(found), "tiny");
    assert_ok(model_facts_read(&facts, found, &error));
    free(found);
    digest_hex(&facts.digest, hex);
    assert_ok(model_find(&found, hex, NULL, &error));
    assert_string_equal(path_name(found), "tiny");
    free(found);
    assert_ok(model_find(&found, "near", beside, &error));
    free(found);
    assert_ok(model_find(&found, "./near", beside, &error));
    free(found);
    assert_fails(model_find(&found, "near", NULL, &error), ERR_NOT_FOUND, "model \"near\": no such folder");
    assert_fails(model_find(&found, "", NULL, &error), ERR_INVALID, "want a folder or a name");
    hex[0] = hex[0] == '0' ? '1' : '0';
    assert_fails(model_find(&found, hex, NULL, &error), ERR_NOT_FOUND, "no model of this digest");
    assert_fails(model_find(&found, "/tmp", NULL, &error), ERR_INVALID, "no model_index.json");
    unsetenv("SEEDFARM_MODELS");
    free(list);
    folder_drop(folder);
    folder_drop(beside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest), cmocka_unit_test(test_manifest_parse_refuses), cmocka_unit_test(test_facts),
        cmocka_unit_test(test_other_kinds), cmocka_unit_test(test_single_files), cmocka_unit_test(test_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
