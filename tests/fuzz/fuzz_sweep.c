/* Sweep files (YAML), and whatever a good one becomes: its JSON must be read back, its first and last job made. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/sweep.h"

static char folder[] = "/tmp/seedfarm-fuzz-XXXXXX";

static void model_drop(void)
{
    char *command = text_format("rm -rf '%s'", folder);
    if (system(command) != 0)
        abort();
    free(command);
}

/* A model to be found, so that a good sweep goes all the way; made once. */
static void model_once(void)
{
    static const struct { const char *name, *text; } files[] = {
        {"model_index.json", "{\"_class_name\": \"StableDiffusionPipeline\", \"text_encoder\": [\"t\", \"CLIPTextModel\"]}"},
        {"unet/config.json", "{\"_class_name\": \"UNet2DConditionModel\", \"cross_attention_dim\": 128, \"in_channels\": 4, \"sample_size\": 16}"},
        {"vae/config.json", "{\"_class_name\": \"AutoencoderKL\", \"latent_channels\": 4, \"block_out_channels\": [1, 2, 3]}"},
        {"unet/m.safetensors", "u"}, {"vae/m.safetensors", "v"}, {"text_encoder/m.safetensors", "t"},
    };
    static int done;
    if (done++ || !mkdtemp(folder))
        return;
    atexit(model_drop);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = text_format("%s/demo/%s", folder, files[i].name);
        char *parent = text_copy_size(path, (size_t)(path_name(path) - path));
        if (folder_create(parent, NULL) != ERR_OK || file_write(path, files[i].text, strlen(files[i].text), NULL) != ERR_OK)
            abort();
        free(parent);
        free(path);
    }
    setenv("SEEDFARM_MODELS", folder, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sweep_file file;
    struct sweep again;
    struct bytes json = BYTES_INIT;
    struct error error;

    model_once();
    if (sweep_file_parse(&file, data, size, "fuzz.yaml", "/nowhere", &error) != ERR_OK)
        return 0;
    if (sweep_resolved(&json, &file.sweep, &error) != ERR_OK || sweep_parse(&again, json.data, json.size, &error) != ERR_OK)
        abort();
    uint64_t places, ends[2] = {0, 0};
    if (sweep_jobs(&again) != sweep_jobs(&file.sweep) || sweep_places(&places, &again, &error) != ERR_OK)
        abort();
    ends[1] = places - 1;
    for (int i = 0; i < 2; i++) {
        struct spec a, b;
        if (sweep_excluded(&again, ends[i]) != sweep_excluded(&file.sweep, ends[i]))
            abort();
        if (sweep_excluded(&again, ends[i])) /* its sampler and schedule need not fit */
            continue;
        if (sweep_job(&a, &file.sweep, ends[i], &error) != ERR_OK || sweep_job(&b, &again, ends[i], &error) != ERR_OK)
            abort();
        struct digest left = spec_key(&a), right = spec_key(&b);
        if (!digest_equal(&left, &right))
            abort();
        spec_release(&a);
        spec_release(&b);
    }
    sweep_release(&again);
    sweep_file_release(&file);
    bytes_release(&json);
    return 0;
}
