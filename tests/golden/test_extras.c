/*
 * test_extras.c - LoRAs of every form, alone and two at once, against diffusers' load_lora_weights and set_adapters: latents
 * within 1e-4 of their largest (tests/golden/record_extras.py).
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
#include "tests/golden/golden.h"

enum { LORAS_LIMIT = 4 };

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

static void compare_case(const struct golden *golden, struct device *device, size_t place) {
    const json_t *item = json_array_get(golden->cases, place), *loras = json_object_get(item, "loras");
    struct render_job job = golden_job(golden, place);
    struct render_output output = { 0 };
    struct model_lora files[LORAS_LIMIT];
    struct model *model;
    struct renderer *renderer;
    struct error error;
    char *folder = text_format("%s/tests/golden/models/tiny-a", SOURCE_DIR);
    char *trace = text_format("%s/extras-%zu.safetensors", BINARY_DIR, place), *title = text_format("extras %zu", place);
    size_t count = json_array_size(loras);
    for (size_t i = 0; i < count; i++) {
        const json_t *lora = json_array_get(loras, i);
        files[i].path = text_format("%s/tests/golden/extras/%s", SOURCE_DIR, json_string_value(json_array_get(lora, 0)));
        files[i].weight = json_number_value(json_array_get(lora, 1));
    }
    struct model_files wanted = { .model = folder, .loras = files, .lora_count = count };
    ok(model_load_files(&model, device, &wanted, &error), &error);
    ok(renderer_create(&renderer, model, 0, &error), &error);
    ok(renderer_render(renderer, &job, 1, NULL, trace, &output, &error), &error);
    struct tolerance tolerance = golden_tolerance(golden, place, "fp32");
    double used = golden_compare(golden, place, trace, &tolerance, title);
    print_message("%s (%s, ...): %.1f %% of the tolerance\n", title, json_string_value(json_array_get(json_array_get(loras, 0), 0)),
                  100.0 * used);
    render_output_release(&output);
    renderer_destroy(renderer);
    model_destroy(model);
    for (size_t i = 0; i < count; i++) {
        free((char *)files[i].path);
    }
    unlink(trace);
    free(trace);
    free(title);
    free(folder);
}

static void test_extras(void **state) {
    struct golden golden;
    struct device *device;
    struct error error;
    (void)state;
    golden_open(&golden, "extras");
    ok(device_open(&device, "cpu", "fp32", 2, &error), &error);
    for (size_t i = 0; i < json_array_size(golden.cases); i++) {
        compare_case(&golden, device, i);
    }
    device_close(device);
    golden_close(&golden);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_extras) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
