/*
 * test_malformed.c - files that are not what they claim to be: every one is refused with its own sentence, whoever reads it.
 * What the sanitizers have to say is said under the preset asan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "pipeline/pipeline.h"
#include "pipeline/weights/checkpoint.h"
#include "pipeline/weights/embedding.h"
#include "pipeline/weights/lora.h"
#include "pipeline/weights/weights.h"
#include "tests/golden/random_model.h"

#define MODEL SOURCE_DIR "/tests/golden/models/tiny-a"

/* A header and so many bytes of tensors behind it. */
struct bad_file {
    const char *header;
    size_t data;
    enum err code;
    const char *words;
};

static struct bytes file_of(const char *header, size_t data) {
    struct bytes file = BYTES_INIT;
    uint8_t length[8] = { 0 };
    size_t size = strlen(header);
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)size >> (8 * i));
    bytes_add(&file, length, 8);
    bytes_add(&file, header, size);
    for (size_t i = 0; i < data; i++)
        bytes_add(&file, "\0", 1);
    return file;
}

static void want(enum err have, enum err code, const struct error *error, const char *words, const char *what) {
    if (have != code || strstr(error->message, words) == NULL)
        fail_msg("%s:\n  want %s with \"%s\"\n  have %s: %s", what, err_name(code), words, err_name(have), error->message);
}

/* ---- the container -------------------------------------------------------------------------------------------------- */

#define GOOD "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}"
#define A(dtype, shape, from, to) \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}," GOOD "}"

static const struct bad_file CONTAINERS[] = {
    { A("\"F32\"", "[2]", "0", "8"), 15, ERR_CORRUPT, "truncated?" },
    { A("\"F32\"", "[2]", "0", "8"), 0, ERR_CORRUPT, "truncated?" },
    { A("\"F32\"", "[2]", "0", "8"), 17, ERR_CORRUPT, "bytes that no tensor owns" },
    { A("\"F32\"", "[3]", "0", "12"), 16, ERR_CORRUPT, "an overlap" },
    { A("\"F32\"", "[2]", "8", "16"), 16, ERR_CORRUPT, "where the one before ends" },
    { A("\"F32\"", "[1]", "0", "4"), 16, ERR_CORRUPT, "a hole" },
    { A("\"F32\"", "[1]", "4", "8"), 16, ERR_CORRUPT, "a hole" },
    { A("\"F32\"", "[2]", "8", "0"), 16, ERR_CORRUPT, "an end not before its begin" },
    { A("\"F32\"", "[3]", "0", "8"), 16, ERR_CORRUPT, "want 12 bytes for shape [3] of F32, file has 8" },
    { A("\"F16\"", "[2]", "0", "8"), 16, ERR_CORRUPT, "want 4 bytes for shape [2] of F16, file has 8" },
    { A("\"F99\"", "[2]", "0", "8"), 16, ERR_CORRUPT, "want a dtype of the format" },
    { A("\"f32\"", "[2]", "0", "8"), 16, ERR_CORRUPT, "file has \"f32\"" },
    { A("7", "[2]", "0", "8"), 16, ERR_CORRUPT, "want a dtype, file has none" },
    { A("\"F4\"", "[3]", "0", "8"), 16, ERR_CORRUPT, "want whole bytes" },
    { A("\"F32\"", "2", "0", "8"), 16, ERR_CORRUPT, "want a shape, file has none" },
    { A("\"F32\"", "[-2]", "0", "8"), 16, ERR_CORRUPT, "whole numbers from 0 on" },
    { A("\"F32\"", "[2.0]", "0", "8"), 16, ERR_CORRUPT, "dimension 0 is not" },
    { A("\"F32\"", "[\"2\"]", "0", "8"), 16, ERR_CORRUPT, "dimension 0 is not" },
    { A("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "0", "8"), 16, ERR_LIMIT, "want at most 8 dimensions, file has 9" },
    { A("\"F32\"", "[4294967296,4294967296]", "0", "8"), 16, ERR_CORRUPT, "below 2^64 bits" },
    { A("\"F32\"", "[9223372036854775807]", "0", "8"), 16, ERR_CORRUPT, "below 2^64 bits" },
    { A("\"F32\"", "[2]", "-8", "0"), 16, ERR_CORRUPT, "data_offsets of two whole numbers" },
    { A("\"F32\"", "[2]", "0.0", "8"), 16, ERR_CORRUPT, "data_offsets of two whole numbers" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}," GOOD "}", 16, ERR_CORRUPT, "data_offsets of two" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,16]}," GOOD "}", 16, ERR_CORRUPT, "data_offsets of two" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}," GOOD "}", 16, ERR_CORRUPT, "data_offsets of two" },
    { "{\"a\":[0,8]," GOOD "}", 16, ERR_CORRUPT, "want an object, file has another kind of value" },
    { "{\"a\":null," GOOD "}", 16, ERR_CORRUPT, "want an object, file has another kind of value" },
    { "{" GOOD "," GOOD "}", 16, ERR_INVALID, "duplicate object key" },
    { "{\"\\u0001\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}," GOOD "}", 16, ERR_CORRUPT, "without control bytes" },
    { "{\"__metadata__\":7," GOOD "}", 16, ERR_CORRUPT, "__metadata__: want an object of texts" },
    { "{\"__metadata__\":{\"a\":1}," GOOD "}", 16, ERR_CORRUPT, "__metadata__: want a text for \"a\"" },
    { "{" GOOD, 16, ERR_INVALID, "not valid JSON" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[NaN],\"data_offsets\":[0,8]}}", 8, ERR_INVALID, "not valid JSON" },
    { "{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, ERR_INVALID, "not valid JSON" },
    { "[]", 0, ERR_CORRUPT, "begins with '{'" },
    { "", 0, ERR_CORRUPT, "an empty one" },
    { "{}extra", 0, ERR_INVALID, "not valid JSON" },
};

static void refuse_container(const void *data, size_t size, enum err code, const char *words, const char *what) {
    struct error error = { .message = "" };
    struct safetensors *file;
    struct loras *loras;
    struct checkpoint *checkpoint;
    struct embedding embedding;
    want(safetensors_open_memory(&file, data, size, "bad", &error), code, &error, words, what);
    want(loras_open_memory(&loras, data, size, "bad", &error), code, &error, words, what);
    want(checkpoint_open_memory(&checkpoint, data, size, "bad", &error), code, &error, words, what);
    want(embedding_read_memory(&embedding, data, size, "bad", &error), code, &error, words, what);
}

static void test_containers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CONTAINERS / sizeof *CONTAINERS; i++) {
        struct bytes file = file_of(CONTAINERS[i].header, CONTAINERS[i].data);
        refuse_container(file.data, file.size, CONTAINERS[i].code, CONTAINERS[i].words, CONTAINERS[i].header);
        bytes_release(&file);
    }
    static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, '{', '}' };
    static const uint8_t large[] = { 0, 0, 0, 0x10, 0, 0, 0, 0, '{', '}' }, longer[] = { 3, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    refuse_container(huge, sizeof huge, ERR_LIMIT, "want a header of at most 100000000 bytes", "a huge header");
    refuse_container(large, sizeof large, ERR_LIMIT, "is it a safetensors file?", "a large header");
    refuse_container(longer, sizeof longer, ERR_CORRUPT, "want a header of 3 bytes, file has 2", "a header cut short");
    for (size_t size = 0; size < 8; size++)
        refuse_container(huge, size, ERR_CORRUPT, "want at least 8 bytes", "less than a length");
}

/* A good file cut at every place, and with every byte of its header changed: refused, or read as what it then says. */
static void test_every_byte(void **state) {
    (void)state;
    struct bytes file = file_of(A("\"F32\"", "[2]", "0", "8"), 16);
    struct safetensors *opened;
    struct error error;
    assert_int_equal(safetensors_open_memory(&opened, file.data, file.size, "good", &error), ERR_OK);
    safetensors_close(opened);
    for (size_t size = 0; size < file.size; size++) {
        uint8_t *cut = malloc(size + 1); /* of that size alone, for the sanitizer */
        memcpy(cut, file.data, size);
        assert_int_not_equal(safetensors_open_memory(&opened, cut, size, "cut", &error), ERR_OK);
        free(cut);
    }
    for (size_t at = 0; at < file.size - 16; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            file.data[at] ^= (uint8_t)(1u << bit);
            if (safetensors_open_memory(&opened, file.data, file.size, "changed", &error) == ERR_OK)
                safetensors_close(opened);
            file.data[at] ^= (uint8_t)(1u << bit);
        }
    bytes_release(&file);
}

/* ---- LoRAs ---------------------------------------------------------------------------------------------------------- */

#define T(name, shape, from, to) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"
#define DOWN(name) T(name ".lora_down.weight", "[1,2]", "0", "8")
#define UP(name) T(name ".lora_up.weight", "[2,1]", "8", "16")

static const struct bad_file LORAS[] = {
    { "{}", 0, ERR_INVALID, "want a LoRA, file has no tensor" },
    { "{" DOWN("lora_unet_x") "}", 8, ERR_CORRUPT, "want its down and its up, file has no up" },
    { "{" T("lora_unet_x.lora_up.weight", "[2,1]", "0", "8") "}", 8, ERR_CORRUPT, "file has no down" },
    { "{" T("lora_unet_x.alpha", "[]", "0", "4") "}", 4, ERR_CORRUPT, "file has no down" },
    { "{" DOWN("lora_unet_x") "," T("lora_unet_x.lora_up.weight", "[1,2]", "8", "16") "}", 16, ERR_CORRUPT, "file has ranks 1 and 2" },
    { "{" DOWN("lora_unet_x") "," T("lora_unet_x.lora_up.weight", "[2]", "8", "16") "}", 16, ERR_CORRUPT, "want [rank, in] and [out, rank]" },
    { "{" T("lora_unet_x.lora_down.weight", "[0,2]", "0", "0") "," T("lora_unet_x.lora_up.weight", "[2,0]", "0", "0") "}", 0, ERR_CORRUPT,
      "want [rank, in] and [out, rank]" },
    { "{" DOWN("lora_unet_x") "," UP("lora_unet_x") "," T("lora_unet_x.alpha", "[2]", "16", "24") "}", 24, ERR_CORRUPT,
      "want one finite number as its alpha, file has 2" },
    { "{" DOWN("lora_unet_x") "," UP("lora_unet_x") "," T("lora_unet_x.dora_scale", "[2]", "16", "24") "}", 24, ERR_UNSUPPORTED, "this is DoRA" },
    { "{" T("unet.x.lora_magnitude_vector", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "this is DoRA" },
    { "{" T("lora_unet_x.hada_w1_a", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "this is LoHa" },
    { "{" T("lora_unet_x.lokr_w1", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "this is LoKr" },
    { "{" T("lora_unet_x.lora_mid.weight", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "Tucker" },
    { "{" T("lora_unet_x.diff", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "full differences" },
    { "{" T("unet.x.oft_R.weight", "[2]", "0", "8") "}", 8, ERR_UNSUPPORTED, "this is OFT" },
    { "{" T("model.diffusion_model.out.2.weight", "[2]", "0", "8") "}", 8, ERR_INVALID, "want keys of a LoRA" },
    { "{" T("lora_unet_x.lora_down", "[2]", "0", "8") "}", 8, ERR_INVALID, "want keys of a LoRA" },
    { "{" T("emb_params", "[2]", "0", "8") "}", 8, ERR_INVALID, "want keys of a LoRA" },
    { "{\"__metadata__\":{\"lora_adapter_metadata\":\"{\"}," DOWN("unet.x") "," UP("unet.x") "}", 16, ERR_INVALID, "lora_adapter_metadata" },
    { "{\"__metadata__\":{\"lora_adapter_metadata\":\"{\\\"unet.use_dora\\\":true}\"}," DOWN("unet.x") "," UP("unet.x") "}", 16,
      ERR_UNSUPPORTED, "this is DoRA" },
    { "{\"__metadata__\":{\"lora_adapter_metadata\":\"{\\\"unet.use_rslora\\\":true}\"}," DOWN("unet.x") "," UP("unet.x") "}", 16,
      ERR_UNSUPPORTED, "rank-stabilised" },
    { "{\"lora_unet_x.alpha\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8, ERR_UNSUPPORTED, "want F32, F16 or BF16, file has I64" },
};

static void test_loras(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof LORAS / sizeof *LORAS; i++) {
        struct bytes file = file_of(LORAS[i].header, LORAS[i].data);
        struct error error = { .message = "" };
        struct loras *loras;
        want(loras_open_memory(&loras, file.data, file.size, "bad", &error), LORAS[i].code, &error, LORAS[i].words, LORAS[i].header);
        bytes_release(&file);
    }
}

/* Fine alone, but not of this model. */
#define FC1 "text_model_encoder_layers_0_mlp_fc1"

static const struct bad_file OTHER_LORAS[] = {
    { "{" DOWN("lora_unet_conv_in") "," UP("lora_unet_conv_in") "}", 16, ERR_INVALID, "want a difference of 16x36 for unet.conv_in.weight, file has 2x2" },
    { "{" DOWN("lora_te_text_model_encoder_layers_0_mlp_fc1") "," UP("lora_te_text_model_encoder_layers_0_mlp_fc1") "}", 16, ERR_INVALID,
      "for another family of models?" },
    { "{" DOWN("lora_te2_text_model_encoder_layers_0_mlp_fc1") "," UP("lora_te2_text_model_encoder_layers_0_mlp_fc1") "}", 16, ERR_INVALID,
      "want a weight of the model for each of its 1 modules, 1 have none: lora_te2" },
    { "{" DOWN("lora_unet_nowhere") "," UP("lora_unet_nowhere") "}", 16, ERR_INVALID, "lora_unet_nowhere.lora_down.weight" },
    { "{" DOWN("lora_unet_input_blocks_8_1_proj_in") "," UP("lora_unet_input_blocks_8_1_proj_in") "}", 16, ERR_INVALID, "1 have none" },
};

/* The same of sdxl-b. */
static const struct bad_file OTHER_XL_LORAS[] = {
    { "{" DOWN("lora_te1_" FC1) "," UP("lora_te1_" FC1) "}", 16, ERR_INVALID, "want a difference of 40x16 for text_encoder.", },
    { "{" DOWN("lora_te2_" FC1) "," UP("lora_te2_" FC1) "}", 16, ERR_INVALID, "want a difference of 56x40 for text_encoder_2." },
    { "{" DOWN("lora_te3_" FC1) "," UP("lora_te3_" FC1) "}", 16, ERR_INVALID, "1 have none: lora_te3" },
    { "{" DOWN("lora_unet_input_blocks_3_1_proj_in") "," UP("lora_unet_input_blocks_3_1_proj_in") "}", 16, ERR_INVALID,
      "want a difference of 24x24 for unet.down_blocks.1.attentions.0.proj_in.weight, file has 2x2" },
    { "{" DOWN("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k") ","
      UP("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k") "}", 16, ERR_INVALID, "want a difference of 24x56 for unet." },
};

/* Everything through the door that jobs come by. */
static void refuse_model(const struct model_files *files, enum err code, const char *words, const char *what) {
    struct error error = { .message = "" };
    want(model_check_files(files, &error), code, &error, words, what);
}

/* tests/golden/models/NAME.json as a folder; owned. */
static char *random_model(const char *name) {
    char *folder = text_format("%s/malformed-%s", BINARY_DIR, name);
    random_model_write(folder, name, false);
    return folder;
}

static void with_file(const char *header, size_t data, char path[64]) {
    struct bytes file = file_of(header, data);
    struct error error;
    snprintf(path, 64, "/tmp/seedfarm-malformed-%d", (int)getpid());
    assert_int_equal(file_write(path, file.data, file.size, &error), ERR_OK);
    bytes_release(&file);
}

static void refuse_loras(const char *model, const struct bad_file *bad, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char path[64];
        with_file(bad[i].header, bad[i].data, path);
        struct model_lora lora = { path, 1.0 };
        refuse_model(&(struct model_files){ .model = model, .loras = &lora, .lora_count = 1 }, bad[i].code, bad[i].words, bad[i].header);
        unlink(path);
    }
}

static void test_other_loras(void **state) {
    (void)state;
    char *xl = random_model("sdxl-b");
    refuse_loras(MODEL, OTHER_LORAS, sizeof OTHER_LORAS / sizeof *OTHER_LORAS);
    refuse_loras(xl, OTHER_XL_LORAS, sizeof OTHER_XL_LORAS / sizeof *OTHER_XL_LORAS);
    free(xl);
}

/* ---- embeddings ----------------------------------------------------------------------------------------------------- */

static const struct bad_file EMBEDDINGS[] = {
    { "{}", 0, ERR_UNSUPPORTED, "want one tensor (emb_params, or called as its word) or clip_l and clip_g, file has 0 tensors" },
    { "{" T("emb_params", "[1,2]", "0", "8") "," T("more", "[1,2]", "8", "16") "}", 16, ERR_UNSUPPORTED, "file has 2 tensors, the first is emb_params" },
    { "{" T("clip_l", "[1,2]", "0", "8") "}", 8, ERR_CORRUPT, "a part for each text encoder of SDXL, file has no clip_g" },
    { "{" T("clip_g", "[1,2]", "0", "8") "}", 8, ERR_CORRUPT, "file has no clip_l" },
    { "{" T("clip_g", "[1,2]", "0", "8") "," T("clip_l", "[2,1]", "8", "16") "," T("t5", "[1]", "16", "20") "}", 20, ERR_UNSUPPORTED, "file has 3 tensors" },
    { "{" T("clip_g", "[1,2]", "0", "8") "," T("clip_l", "[2,1]", "8", "16") "}", 16, ERR_CORRUPT, "as many vectors in clip_g as in clip_l, file has 1 and 2" },
    { "{" T("emb_params", "[]", "0", "4") "}", 4, ERR_CORRUPT, "want vectors [n,width] or one [width], file has 0 dimensions" },
    { "{" T("emb_params", "[1,1,2]", "0", "8") "}", 8, ERR_CORRUPT, "file has 3 dimensions" },
    { "{" T("emb_params", "[0,2]", "0", "0") "}", 0, ERR_CORRUPT, "want at least one vector, file has 0 of width 2" },
    { "{" T("emb_params", "[2,0]", "0", "0") "}", 0, ERR_CORRUPT, "want at least one vector, file has 2 of width 0" },
    { "{" T("emb_params", "[76,1]", "0", "304") "}", 304, ERR_LIMIT, "want at most 75 vectors of width 8192, file has 76 of width 1" },
    { "{" T("emb_params", "[8193]", "0", "32772") "}", 32772, ERR_LIMIT, "file has 1 of width 8193" },
    { "{\"emb_params\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, ERR_UNSUPPORTED, "want F32, F16 or BF16" },
    { "{\"emb_params\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", 8, ERR_UNSUPPORTED, "embedding: bad: emb_params: want F32, F16 or BF16, file has U8" },
};

static void test_embeddings(void **state) {
    (void)state;
    struct embedding embedding;
    struct error error = { .message = "" };
    for (size_t i = 0; i < sizeof EMBEDDINGS / sizeof *EMBEDDINGS; i++) {
        struct bytes file = file_of(EMBEDDINGS[i].header, EMBEDDINGS[i].data);
        want(embedding_read_memory(&embedding, file.data, file.size, "bad", &error), EMBEDDINGS[i].code, &error, EMBEDDINGS[i].words,
             EMBEDDINGS[i].header);
        bytes_release(&file);
    }
    static const uint32_t WRONG[] = { 0x7fc00000, 0x7f800000, 0xff800000 }; /* NaN, Inf, -Inf */
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        struct bytes file = file_of("{" T("emb_params", "[3,2]", "0", "24") "}", 24);
        memcpy(file.data + file.size - 4, &WRONG[i], 4);
        want(embedding_read_memory(&embedding, file.data, file.size, "bad", &error), ERR_CORRUPT, &error, "want finite numbers, file has",
             "not finite");
        assert_non_null(strstr(error.message, "in vector 2"));
        bytes_release(&file);
    }
}

/* Fine alone, but not of this model: tiny-a's encoder is 40 wide, sdxl-b's are 16 and 40. */
#define ONE(width, bytes) "{" T("emb_params", "[1," width "]", "0", bytes) "}"
#define TWO(first, middle, second, end) "{" T("clip_l", "[1," first "]", "0", middle) "," T("clip_g", "[1," second "]", middle, end) "}"

static const struct { struct bad_file file; const char *word; bool xl; } OTHER_EMBEDDINGS[] = {
    { { ONE("768", "3072"), 3072, ERR_INVALID, "want vectors of width 40, that of the model's text_encoder, file has width 768 (an embedding for Stable Diffusion 1)" }, "w", false },
    { { ONE("1024", "4096"), 4096, ERR_INVALID, "file has width 1024 (an embedding for Stable Diffusion 2)" }, "w", false },
    { { ONE("4", "16"), 16, ERR_INVALID, "file has width 4 (an embedding for another family of models)" }, "w", false },
    { { TWO("768", "3072", "1280", "8192"), 8192, ERR_INVALID, "want one tensor of width 40, that of the model's one text encoder, file has clip_l of width 768"
        " and clip_g of width 1280 (an embedding for Stable Diffusion XL)" }, "w", false },
    { { ONE("768", "3072"), 3072, ERR_INVALID, "want clip_l and clip_g, a part for each text encoder of Stable Diffusion XL, file has one tensor of width 768"
        " (an embedding for Stable Diffusion 1)" }, "w", true },
    { { TWO("40", "160", "16", "224"), 224, ERR_INVALID, "want vectors of width 16, that of the model's text_encoder, file has width 40" }, "w", true },
    { { TWO("16", "64", "1280", "5184"), 5184, ERR_INVALID, "want vectors of width 40, that of the model's text_encoder_2, file has width 1280" }, "w", true },
    { { ONE("40", "160"), 160, ERR_INVALID, "have nothing but spaces" }, "\xc2\xa0", false },
    { { ONE("40", "160"), 160, ERR_INVALID, "have nothing but spaces" }, "", false },
    { { ONE("40", "160"), 160, ERR_INVALID, "want a word in UTF-8, byte 0xff at place 1" }, "a\xff", false },
    { { ONE("40", "160"), 160, ERR_INVALID, "want a word that stands for nothing yet, have \"<|endoftext|>\"" }, "<|EndOfText|>", false },
};

static void test_other_embeddings(void **state) {
    (void)state;
    char *xl = random_model("sdxl-b");
    for (size_t i = 0; i < sizeof OTHER_EMBEDDINGS / sizeof *OTHER_EMBEDDINGS; i++) {
        const struct bad_file *bad = &OTHER_EMBEDDINGS[i].file;
        char path[64];
        with_file(bad->header, bad->data, path);
        struct model_embedding embedding = { path, OTHER_EMBEDDINGS[i].word };
        const char *model = OTHER_EMBEDDINGS[i].xl ? xl : MODEL;
        refuse_model(&(struct model_files){ .model = model, .embeddings = &embedding, .embedding_count = 1 }, bad->code, bad->words, bad->header);
        refuse_model(&(struct model_files){ .model = model, .embeddings = &embedding, .embedding_count = 1 }, bad->code, path, bad->header);
        unlink(path);
    }
    free(xl);
}

/* The same word twice, in other letters. */
static void test_words(void **state) {
    (void)state;
    char path[64];
    with_file(ONE("40", "160"), 160, path);
    struct model_embedding twice[] = { { path, "Frog" }, { path, "fROG" } };
    refuse_model(&(struct model_files){ .model = MODEL, .embeddings = twice, .embedding_count = 2 }, ERR_INVALID,
                 "want a word that stands for nothing yet, have \"Frog\"", "twice");
    unlink(path);
}

/* ---- VAEs and checkpoints ------------------------------------------------------------------------------------------- */

static const struct bad_file VAES[] = {
    { "{}", 0, ERR_UNSUPPORTED, "want an AutoencoderKL of diffusers' or LDM's layout" },
    { "{" T("post_quant_conv.weight", "[1]", "0", "4") "}", 4, ERR_UNSUPPORTED, "its tensors are of neither" },
    { "{" T("encoder.down.0.block.0.conv1.weight", "[1]", "0", "4") "," T("post_quant_conv.weight", "[1]", "4", "8") "}", 8, ERR_INVALID,
      "want 3 levels (4 pixels a latent), as the model's own, file has 1" },
    { "{" T("encoder.down_blocks.0.resnets.0.conv1.weight", "[4]", "0", "16") "," T("encoder.down_blocks.1.resnets.0.conv1.weight", "[4]", "16", "32") ","
      T("encoder.down_blocks.2.resnets.0.conv1.weight", "[4]", "32", "48") "," T("post_quant_conv.weight", "[4]", "48", "64") "}", 64,
      ERR_CORRUPT, "want [4,4,3,3], file has [4]" },
};

/* Fine, and of 16 latent channels. */
#define LEVELS3 T("encoder.down_blocks.0.resnets.0.conv1.weight", "[4]", "0", "16") "," T("encoder.down_blocks.1.resnets.0.conv1.weight", "[4]", "16", "32") "," \
    T("encoder.down_blocks.2.resnets.0.conv1.weight", "[4]", "32", "48")

static const struct bad_file LATENTS[] = {
    { "{" LEVELS3 "," T("post_quant_conv.weight", "[16]", "48", "112") "}", 112, ERR_INVALID,
      "want 4 latent channels, as the model's own, file has 16 (a VAE for another family of models?)" },
    { "{" LEVELS3 "," T("decoder.conv_in.weight", "[1,16]", "48", "112") "}", 112, ERR_INVALID, "want 4 latent channels, as the model's own, file has 16" },
};

static const struct bad_file CHECKPOINTS[] = {
    { "{}", 0, ERR_UNSUPPORTED, "its tensors are of no layout that is known" },
    { "{" T("model.diffusion_model.out.2.weight", "[1]", "0", "4") "}", 4, ERR_UNSUPPORTED, "of no layout that is known" },
    { "{" T("cond_stage_model.model.ln_final.weight", "[1]", "0", "4") "}", 4, ERR_CORRUPT, "want the text_encoder of Stable Diffusion 2" },
    { "{" T("conditioner.embedders.1.model.ln_final.weight", "[1]", "0", "4") "}", 4, ERR_CORRUPT, "want the text_encoder of Stable Diffusion XL" },
    { "{" T("conditioner.embedders.0.model.ln_final.weight", "[1]", "0", "4") "}", 4, ERR_CORRUPT, "text_encoder_2 of Stable Diffusion XL's refiner" },
    { "{" T("cond_stage_model.transformer.text_model.final_layer_norm.weight", "[1]", "0", "4") ","
      T("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", "[1,1]", "4", "8") ","
      T("cond_stage_model.transformer.text_model.encoder.layers.0.layer_norm1.weight", "[1]", "8", "12") ","
      T("cond_stage_model.transformer.text_model.encoder.layers.1.layer_norm1.weight", "[1]", "12", "16") "}", 16, ERR_CORRUPT,
      "want the U-Net of Stable Diffusion 1" },
};

static void refuse_vaes(const struct bad_file *bad, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char path[64];
        with_file(bad[i].header, bad[i].data, path);
        refuse_model(&(struct model_files){ .model = MODEL, .vae = path }, bad[i].code, bad[i].words, bad[i].header);
        unlink(path);
    }
}

static void test_vaes(void **state) {
    (void)state;
    refuse_vaes(VAES, sizeof VAES / sizeof *VAES);
    refuse_vaes(LATENTS, sizeof LATENTS / sizeof *LATENTS);
}

/* Parts that are whole, of one model each, and do not fit together: `part` of `other` in `model`'s place. */
static void refuse_mixture(const char *model, const char *other, const char *part, const char *words) {
    static const char *const PARTS[] = { "model_index.json", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet",
                                         "vae" };
    char *first = random_model(model), *second = random_model(other), *folder = text_format("%s/malformed-mixture", BINARY_DIR);
    struct error error;
    assert_int_equal(folder_create(folder, &error), ERR_OK);
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) { /* those that a model does not have lead nowhere */
        char *from = path_join(strcmp(PARTS[i], part) == 0 ? second : first, PARTS[i]), *to = path_join(folder, PARTS[i]);
        unlink(to);
        assert_int_equal(symlink(from, to), 0);
        free(from);
        free(to);
    }
    refuse_model(&(struct model_files){ .model = folder }, ERR_INVALID, words, part);
    free(first);
    free(second);
    free(folder);
}

static void test_mixtures(void **state) {
    (void)state;
    refuse_mixture("sd1-a", "sd1-b", "text_encoder", "unet: cross_attention_dim: want the text encoder's hidden_size 24, config.json has 32");
    refuse_mixture("sdxl-a", "sdxl-b", "text_encoder", "unet: cross_attention_dim: want the text encoders' common hidden_size 48, config.json has 56");
    refuse_mixture("sdxl-a", "sdxl-c", "text_encoder", "common hidden_size 64, config.json has 56");
}

static void test_checkpoints(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof CHECKPOINTS / sizeof *CHECKPOINTS; i++) {
        char path[64];
        with_file(CHECKPOINTS[i].header, CHECKPOINTS[i].data, path);
        refuse_model(&(struct model_files){ .model = path }, CHECKPOINTS[i].code, CHECKPOINTS[i].words, CHECKPOINTS[i].header);
        unlink(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_containers),  cmocka_unit_test(test_every_byte), cmocka_unit_test(test_loras),
        cmocka_unit_test(test_other_loras), cmocka_unit_test(test_embeddings), cmocka_unit_test(test_other_embeddings),
        cmocka_unit_test(test_words),       cmocka_unit_test(test_vaes),       cmocka_unit_test(test_mixtures),
        cmocka_unit_test(test_checkpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
