/*
 * fixture.h - what the tests of proto/ share: a folder of their own, files in it, and a model that is one by its configs
 * (its weights are a few bytes: nothing here reads them).
 */
#ifndef TESTS_PROTO_FIXTURE_H
#define TESTS_PROTO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

#define assert_ok(call)                                          \
    do {                                                         \
        enum err code_ = (call);                                 \
        if (code_ != ERR_OK)                                     \
            fail_msg("%s: %s", #call, error.message);            \
    } while (0)

/* The call fails with this code, and its sentence has these words in it. */
#define assert_fails(call, want_code, words)                                                        \
    do {                                                                                            \
        error.message[0] = '\0';                                                                    \
        enum err code_ = (call);                                                                    \
        if (code_ != (want_code) || !strstr(error.message, (words)))                                \
            fail_msg("%s: want %s with \"%s\", have %s: %s", #call, err_name(want_code), (words),   \
                     err_name(code_), error.message);                                               \
    } while (0)

/* A new folder, owned by the caller; folder_drop removes it with what is in it. */
static inline char *folder_new(void)
{
    char *path = text_copy("/tmp/seedfarm-test-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void folder_drop(char *path)
{
    char *command = text_format("rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
    free(command);
    free(path);
}

static inline void file_put_size(const char *folder, const char *name, const void *data, size_t size)
{
    struct error error;
    char *path = path_join(folder, name);
    char *parent = text_copy_size(path, (size_t)(path_name(path) - path));
    assert_ok(folder_create(parent, &error));
    assert_ok(file_write(path, data, size, &error));
    free(parent);
    free(path);
}

static inline void file_put(const char *folder, const char *name, const char *text)
{
    file_put_size(folder, name, text, strlen(text));
}

/* A diffusers folder of the SD 1.x kind with `levels` levels of VAE and this sample size. */
static inline void model_put(const char *folder, const char *name, unsigned levels, unsigned sample_size)
{
    char *root = path_join(folder, name);
    char *unet = text_format("{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 128, \"in_channels\": 4, "
                             "\"sample_size\": %u, \"use_linear_projection\": false, \"addition_embed_type\": null}", sample_size);
    char *vae = text_format("{\"_class_name\": \"AutoencoderKL\", \"latent_channels\": 4, \"block_out_channels\": [%.*s32]}",
                            (int)(4 * (levels - 1)), "32, 32, 32, 32, 32, ");
    file_put(root, "model_index.json", "{\"_class_name\": \"StableDiffusionPipeline\", "
                                       "\"text_encoder\": [\"transformers\", \"CLIPTextModel\"]}");
    file_put(root, "unet/config.json", unet);
    file_put(root, "unet/diffusion_pytorch_model.safetensors", "weights of the unet");
    file_put(root, "vae/config.json", vae);
    file_put(root, "vae/diffusion_pytorch_model.safetensors", "weights of the vae");
    file_put(root, "text_encoder/model.safetensors", "weights of the text encoder");
    file_put(root, "README.md", "not a part of it");
    free(unet);
    free(vae);
    free(root);
}

/* A small generator with a seed: a failure is a number. */
static inline uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
