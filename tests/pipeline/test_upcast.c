/* test_upcast.c - a VAE whose activations overflow fp16, on an emulated card: force_upcast makes it f32, and nothing else does. */
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
#include "base/json.h"
#include "pipeline/pipeline.h"
#include "pipeline/weights/weights.h"
#include "tests/golden/random_model.h"

enum { SIDE = 32, FACTOR = 4, LATENTS = SIDE / FACTOR * (SIDE / FACTOR) * 4 };

#define VAE "/vae/diffusion_pytorch_model.safetensors"
#define VAE_CONFIG "/vae/config.json"

static char folder[] = "/tmp/seedfarm-upcast-XXXXXX";

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

/* What comes out of the decoder's first layer, times 30,000: thousands would be millions. Norms behind it take it back. */
static void make_loud(void) {
    static const char name[] = "\"decoder.conv_in.weight\"";
    struct bytes file = BYTES_INIT;
    struct error error;
    char *path = text_format("%s%s", folder, VAE);
    uint64_t header;
    size_t first, end;
    ok(file_read(&file, path, 1 << 24, &error), &error);
    memcpy(&header, file.data, sizeof header);
    char *text = text_copy_size((const char *)file.data + 8, header), *at = strstr(text, name);
    assert_non_null(at);
    at = strstr(at, "data_offsets");
    assert_int_equal(sscanf(at, "data_offsets\":[%zu,%zu]", &first, &end), 2);
    for (uint8_t *place = file.data + 8 + header + first; place < file.data + 8 + header + end; place += sizeof(float)) {
        float value;
        memcpy(&value, place, sizeof value);
        value *= 30000.0f;
        memcpy(place, &value, sizeof value);
    }
    ok(file_write(path, file.data, file.size, &error), &error);
    bytes_release(&file);
    free(text);
    free(path);
}

static void set_upcast(bool upcast) {
    json_t *config = NULL;
    struct error error;
    char *path = text_format("%s%s", folder, VAE_CONFIG);
    ok(json_read_file(&config, path, 1 << 20, &error), &error);
    json_object_set_new(config, "force_upcast", json_boolean(upcast));
    char *text = json_dumps(config, 0);
    ok(file_write(path, text, strlen(text), &error), &error);
    json_decref(config);
    free(text);
    free(path);
}

/* A decode of the same latents; and what a run of the model takes, beside its weights. */
struct decoded {
    struct render_output output;
    uint64_t run, weights, predicted;
};

static struct decoded decode(const char *numerics) {
    struct decoded decoded = { .run = 0 };
    struct device *device;
    struct model *model;
    struct renderer *renderer;
    struct memory_need need;
    struct error error;
    const struct model_files files = { .model = folder };
    const struct render_size size = { .width = SIDE, .height = SIDE, .batch = 1 };
    float latents[LATENTS];
    for (int i = 0; i < LATENTS; i++) {
        latents[i] = (float)(i * 37 % 101) / 50.0f - 1.0f;
    }
    ok(device_open(&device, "emulated:0", numerics, 1, &error), &error);
    ok(model_memory(&need, device, &files, NULL, &size, &error), &error);
    ok(model_load(&model, device, folder, &error), &error);
    ok(render_memory(&decoded.run, model, &size, &error), &error);
    decoded.weights = model_shape(model)->weight_bytes;
    assert_int_equal(need.weights, decoded.weights);
    assert_int_equal(need.run, decoded.run);
    ok(renderer_create(&renderer, model, 0, &error), &error);
    ok(renderer_decode(renderer, latents, SIDE, SIDE, &decoded.output, &error), &error);
    renderer_destroy(renderer);
    model_destroy(model);
    device_close(device);
    return decoded;
}

static void loud_vaes_are_drawn_in_f32(void **state) {
    (void)state;
    set_upcast(true);
    struct decoded full = decode("fp32"), half = decode("fp16"), brain = decode("bf16");
    assert_int_equal(full.output.error.code, ERR_OK);
    assert_int_equal(half.output.error.code, ERR_OK);
    assert_int_equal(brain.output.error.code, ERR_OK); /* as wide as f32, and left as it is */
    assert_memory_equal(half.output.rgb, full.output.rgb, SIDE * SIDE * 3);
    assert_memory_not_equal(brain.output.rgb, full.output.rgb, SIDE * SIDE * 3);
    set_upcast(false);
    struct decoded narrow = decode("fp16");
    assert_int_equal(narrow.output.error.code, ERR_NUMERIC);
    assert_true(half.weights > narrow.weights && half.run > narrow.run);
    assert_int_equal(brain.weights, narrow.weights);
    render_output_release(&full.output);
    render_output_release(&half.output);
    render_output_release(&brain.output);
    render_output_release(&narrow.output);
}

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    random_model_write(folder, "sdxl-a", false);
    make_loud();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char *command = text_format("rm -rf '%s'", folder);
    int status = system(command);
    free(command);
    return status;
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(loud_vaes_are_drawn_in_f32) };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
