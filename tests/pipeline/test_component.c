/*
 * test_component.c - the layouts of a diffusers folder, found or refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "pipeline/weights/lora.h"
#include "pipeline/weights/weights.h"

#define MODEL BINARY_DIR "/tests/test_component.model"
#define PART MODEL "/unet"

static const float DATA[24];

static void must(enum err err, const struct error *error) {
    if (err != ERR_OK)
        fail_msg("%s", error->message);
}

static void put_text(const char *name, const char *text) {
    struct error error;
    char *path = path_join(PART, name);
    must(file_write(path, text, strlen(text), &error), &error);
    free(path);
}

/* A file of tensors of shape [first,3]. */
static void put_tensors(const char *name, uint64_t first, const char *const *names, size_t count) {
    struct safetensors_entry entries[4];
    struct error error;
    char *path = path_join(PART, name);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct safetensors_entry){ names[i], DTYPE_F32, 2, { first, 3 }, DATA };
    must(safetensors_write(path, entries, count, &error), &error);
    free(path);
}

static int setup(void **state) {
    static const char *const FILES[] = {
        "config.json", "model.safetensors", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
        "model.fp16.safetensors", "model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors.index.fp16.json", "one-00001-of-00002.safetensors", "one-00002-of-00002.safetensors",
        "diffusion_pytorch_model.bin", "pytorch_model.bin",
    };
    struct error error;
    (void)state;
    must(folder_create(PART, &error), &error);
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char *path = path_join(PART, FILES[i]);
        unlink(path);
        free(path);
    }
    put_text("config.json", "{\"sample_size\": 16}");
    return 0;
}

static uint64_t first_dim(const char *tensor) {
    struct component *component;
    struct weight_view view;
    struct error error;
    must(component_open(&component, MODEL, "unet", &error), &error);
    must(component_tensor(&view, component, tensor, 0, NULL, &error), &error);
    component_close(component);
    return view.shape[0];
}

static void refuse(enum err want, const char *sentence) {
    struct component *component = NULL;
    struct error error = { 0 };
    assert_int_equal(component_open(&component, MODEL, "unet", &error), want);
    assert_null(component);
    if (!strstr(error.message, sentence))
        fail_msg("want \"%s\", got \"%s\"", sentence, error.message);
}

static const char *const TENSORS[] = { "a.weight", "b.weight", "text_model.c.weight", "d.weight" };

/* Each layout added wins over those before it: whole before sharded, full before half precision. */
static void test_layouts(void **state) {
    (void)state;
    put_tensors("one-00001-of-00002.safetensors", 1, TENSORS, 1);
    put_text("diffusion_pytorch_model.safetensors.index.fp16.json", "{\"weight_map\":{\"a.weight\":\"one-00001-of-00002.safetensors\"}}");
    assert_int_equal(first_dim("a.weight"), 1);
    put_tensors("model.fp16.safetensors", 2, TENSORS, 1);
    assert_int_equal(first_dim("a.weight"), 2);
    put_tensors("diffusion_pytorch_model.fp16.safetensors", 3, TENSORS, 1);
    assert_int_equal(first_dim("a.weight"), 3);
    put_tensors("one-00002-of-00002.safetensors", 4, TENSORS, 1);
    put_text("model.safetensors.index.json", "{\"weight_map\":{\"a.weight\":\"one-00002-of-00002.safetensors\"}}");
    assert_int_equal(first_dim("a.weight"), 4);
    put_tensors("model.safetensors", 5, TENSORS, 1);
    assert_int_equal(first_dim("a.weight"), 5);
    put_tensors("diffusion_pytorch_model.safetensors", 6, TENSORS, 1);
    assert_int_equal(first_dim("a.weight"), 6);
}

static void test_asking(void **state) {
    (void)state;
    static const char *const NAMES[] = { "a.weight", "b.weight", "text_model.c.weight", "embeddings.position_ids" };
    const uint64_t right[] = { 2, 3 }, wrong[] = { 2, 4 };
    struct component *component;
    struct weight_view view = { .dims = 99 };
    struct error error;
    put_tensors("model.safetensors", 2, NAMES, 4);
    must(component_open(&component, MODEL, "unet", &error), &error);
    assert_int_equal(json_integer_value(json_object_get(component_config(component), "sample_size")), 16);
    assert_int_equal(component_tensor(&view, component, "a.weight", 2, wrong, &error), ERR_CORRUPT);
    assert_string_equal(error.message, "unet: a.weight: want [2,4], file has [2,3]");
    assert_int_equal(component_tensor(&view, component, "a.weight", 1, right, &error), ERR_CORRUPT);
    assert_string_equal(error.message, "unet: a.weight: want [2], file has [2,3]");
    assert_int_equal(component_tensor(&view, component, "x", 2, right, &error), ERR_NOT_FOUND);
    assert_string_equal(error.message, "unet: x: want [2,3], file has no such tensor");
    assert_int_equal(view.dims, 99);
    assert_int_equal(component_check_all_used(component, &error), ERR_CORRUPT);
    assert_non_null(strstr(error.message, "file has 3: a.weight, b.weight, text_model.c.weight"));
    must(component_tensor(&view, component, "a.weight", 2, right, &error), &error);
    assert_int_equal(component_check_all_used(component, &error), ERR_CORRUPT);
    assert_non_null(strstr(error.message, "file has 2: b.weight"));
    /* the prefix of transformers 4: in the file, in the question, or in both */
    assert_true(component_has(component, "text_model.b.weight"));
    assert_true(component_has(component, "text_model.c.weight"));
    assert_false(component_has(component, "c.weight"));
    must(component_tensor(&view, component, "text_model.b.weight", 2, right, &error), &error);
    must(component_tensor(&view, component, "text_model.c.weight", 0, NULL, &error), &error);
    must(component_check_all_used(component, &error), &error);
    component_close(component);
}

static void test_shards(void **state) {
    (void)state;
    static const char *const INDEX = "diffusion_pytorch_model.safetensors.index.json";
    struct component *component;
    struct weight_view view;
    struct error error;
    put_tensors("one-00001-of-00002.safetensors", 1, TENSORS, 2);
    put_tensors("one-00002-of-00002.safetensors", 2, TENSORS + 2, 2);
#define SHARD(name, number) "\"" name "\":\"one-0000" number "-of-00002.safetensors\""
    put_text(INDEX, "{\"metadata\":{\"total_size\":1},\"weight_map\":{" SHARD("a.weight", "1") "," SHARD("b.weight", "1") ","
                    SHARD("text_model.c.weight", "2") "," SHARD("d.weight", "2") "}}");
    must(component_open(&component, MODEL, "unet", &error), &error);
    must(component_tensor(&view, component, "b.weight", 0, NULL, &error), &error);
    assert_int_equal(view.shape[0], 1);
    must(component_tensor(&view, component, "d.weight", 0, NULL, &error), &error);
    assert_int_equal(view.shape[0], 2);
    component_close(component);
    put_text(INDEX, "{\"weight_map\":{" SHARD("a.weight", "1") "," SHARD("b.weight", "2") "}}");
    refuse(ERR_CORRUPT, "b.weight: want it in one-00002-of-00002.safetensors, it is in one-00001-of-00002.safetensors");
    put_text(INDEX, "{\"weight_map\":{" SHARD("a.weight", "1") "}}");
    refuse(ERR_CORRUPT, "b.weight: want it in no shard");
    put_text(INDEX, "{\"weight_map\":{" SHARD("a.weight", "1") "," SHARD("b.weight", "1") "," SHARD("x", "1") "}}");
    refuse(ERR_CORRUPT, "one-00001-of-00002.safetensors: want 3 tensors, file has 2");
    put_text(INDEX, "{\"weight_map\":{" SHARD("a.weight", "3") "}}");
    refuse(ERR_NOT_FOUND, "one-00003-of-00002.safetensors");
    static const char *const BAD[] = { "../unet/one-00001-of-00002.safetensors", "/etc/x.safetensors", ".safetensors", "model.bin", "a b.safetensors", "..safetensors" };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char *text = text_format("{\"weight_map\":{\"a.weight\":\"%s\"}}", BAD[i]);
        put_text(INDEX, text);
        free(text);
        refuse(ERR_CORRUPT, BAD[i]);
    }
    put_text(INDEX, "{\"weight_map\":{\"a.weight\":5}}");
    refuse(ERR_CORRUPT, "another kind of value");
    put_text(INDEX, "{}");
    refuse(ERR_CORRUPT, "want a weight_map");
    put_text(INDEX, "[");
    refuse(ERR_INVALID, "JSON");
}

static void test_refusals(void **state) {
    (void)state;
    struct component *component = NULL;
    struct error error;
    refuse(ERR_NOT_FOUND, "folder has none");
    put_text("pytorch_model.bin", "x");
    refuse(ERR_UNSUPPORTED, "folder has pytorch_model.bin, a pickle");
    refuse(ERR_UNSUPPORTED, "safe_serialization=True");
    put_tensors("model.safetensors", 1, TENSORS, 1);
    must(component_open(&component, MODEL, "unet", &error), &error); /* the pickle beside it is no matter */
    component_close(component);
    put_text("model.safetensors", "garbage, and more of it");
    refuse(ERR_LIMIT, "is it a safetensors file?");
    put_text("config.json", "5");
    refuse(ERR_CORRUPT, "config.json: want a JSON object");
    unlink(PART "/config.json");
    refuse(ERR_NOT_FOUND, "config.json");
    component = NULL;
    assert_int_equal(component_open(&component, MODEL, "vae", &error), ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "want a folder vae in it"));
}

/* Shapes alone: nothing is read, and no LoRA merged. */
static void test_measured(void **state) {
    (void)state;
    const struct model_lora lora = { SOURCE_DIR "/tests/golden/extras/kohya.safetensors", 1.0 };
    struct component *component;
    struct loras *loras;
    struct weight_view view;
    struct error error;
    must(component_open(&component, SOURCE_DIR "/tests/golden/models/tiny-a", "unet", &error), &error);
    must(loras_open(&loras, &lora, 1, &error), &error);
    component_measure(component);
    must(loras_attach(loras, component, &error), &error);
    must(component_tensor(&view, component, "conv_in.weight", 0, NULL, &error), &error);
    assert_null(view.data);
    assert_int_equal(view.dtype, DTYPE_F32);
    assert_int_equal(view.dims, 4);
    must(component_tensor(&view, component, "conv_norm_out.weight", 0, NULL, &error), &error); /* no LoRA's */
    assert_null(view.data);
    component_close(component);
    loras_close(loras);
}

/* What the repository ships opens, all three components of it. */
static void test_demo(void **state) {
    (void)state;
    static const char *const PARTS[] = { "unet", "vae", "text_encoder" };
    for (size_t i = 0; i < 3; i++) {
        struct component *component;
        struct error error;
        must(component_open(&component, SOURCE_DIR "/models/demo", PARTS[i], &error), &error);
        assert_int_equal(component_check_all_used(component, &error), ERR_CORRUPT);
        component_close(component);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_layouts, setup),  cmocka_unit_test_setup(test_asking, setup),
        cmocka_unit_test_setup(test_shards, setup),   cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test(test_demo),                  cmocka_unit_test(test_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
