/*
 * test_golden.c - the whole pipeline against diffusers: ids, conditioning, noise levels, the latents of every step, picture
 * and pixels (tests/golden/record.py).
 *
 * usage: test_golden [DEVICE NUMERICS]     without arguments: `cpu` all cases, `reference` what its time allows
 */
#include <math.h>
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

struct subject {
    const char *device, *numerics, *model, *folder;
    size_t stride; /* every which case: the reference is plain C and takes its time */
};

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

struct scene {
    struct device *device;
    struct model *model;
    struct renderer *renderer;
    struct golden golden;
};

static void scene_open(struct scene *scene, const struct subject *subject) {
    struct error error;
    char *folder = text_format("%s/%s", SOURCE_DIR, subject->folder);
    ok(device_open(&scene->device, subject->device, subject->numerics, 2, &error), &error);
    ok(model_load(&scene->model, scene->device, folder, &error), &error);
    ok(renderer_create(&scene->renderer, scene->model, 0, &error), &error);
    golden_open(&scene->golden, subject->model);
    free(folder);
}

static void scene_close(struct scene *scene) {
    golden_close(&scene->golden);
    renderer_destroy(scene->renderer);
    model_destroy(scene->model);
    device_close(scene->device);
}

static void compare_case(struct scene *scene, const struct subject *subject, size_t place) {
    struct render_job job = golden_job(&scene->golden, place);
    struct render_output output = { 0 };
    struct error error;
    char *path = text_format("%s/golden-%s-%s-%s.safetensors", BINARY_DIR, subject->device, subject->numerics,
                             subject->model);
    char *title = text_format("%s %s %s %zu (%s, %s)", subject->device, subject->numerics, subject->model, place,
                              job.sampler, job.schedule);
    ok(renderer_render(scene->renderer, &job, 1, NULL, path, &output, &error), &error);
    assert_int_equal(output.error.code, ERR_OK);
    assert_non_null(output.rgb);
    struct tolerance tolerance = golden_tolerance(&scene->golden, place, subject->numerics);
    double used = golden_compare(&scene->golden, place, path, &tolerance, title);
    print_message("%s: %.1f %% of the tolerance\n", title, 100.0 * used);
    render_output_release(&output);
    unlink(path);
    free(path);
    free(title);
}

/* The VAE's encoder, alone, where it was recorded. */
static void compare_encoder(struct scene *scene, float tolerance) {
    struct weight_view rgb, wanted;
    struct error error;
    if (safetensors_view(&rgb, scene->golden.tensors, "encode.rgb", &error) != ERR_OK) {
        return;
    }
    ok(safetensors_view(&wanted, scene->golden.tensors, "encode.moments", &error), &error);
    size_t count = wanted.shape[0] * wanted.shape[1] * wanted.shape[2];
    float *moments = memory_get_array(count, sizeof *moments), *recorded = memory_get_array(count, sizeof *recorded);
    memcpy(recorded, wanted.data, count * sizeof *recorded);
    ok(renderer_encode(scene->renderer, moments, rgb.data, (uint32_t)rgb.shape[1], (uint32_t)rgb.shape[0], &error), &error);
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(moments[i] - recorded[i]) <= tolerance * fmaxf(1.0f, fabsf(recorded[i])))) {
            fail_msg("encode: value %zu: want %g, is %g", i, (double)recorded[i], (double)moments[i]);
        }
    }
    free(moments);
    free(recorded);
}

static void test_subject(void **state) {
    const struct subject *subject = *state;
    struct scene scene;
    scene_open(&scene, subject);
    for (size_t i = 0; i < json_array_size(scene.golden.cases); i += subject->stride) {
        compare_case(&scene, subject, i);
    }
    compare_encoder(&scene, (float)golden_tolerance(&scene.golden, 0, subject->numerics).encode);
    scene_close(&scene);
}

/* A card's, where one is emulated: a few cases, for it takes its time. What halves cost is known of two models (numerics.json). */
static int test_device(const char *device, const char *numerics) {
    struct subject subjects[] = {
        { device, numerics, "tiny-a", "tests/golden/models/tiny-a", 16 },
        { device, numerics, "tiny-b", "tests/golden/models/tiny-b", 8 },
        { device, numerics, "process-kept", "tests/golden/models/tiny-a", 4 },
    };
    const struct CMUnitTest tests[] = {
        { "tiny-a", test_subject, NULL, NULL, &subjects[0] },
        { "tiny-b", test_subject, NULL, NULL, &subjects[1] },
    };
    const struct CMUnitTest single[] = { { "process-kept", test_subject, NULL, NULL, &subjects[2] } };
    int failed = cmocka_run_group_tests_name(device, tests, NULL, NULL);
    return strcmp(numerics, "fp32") != 0 ? failed : failed + cmocka_run_group_tests_name("fp32", single, NULL, NULL);
}

int main(int count, char **arguments) {
    static struct subject subjects[] = {
        { "cpu", "fp32", "tiny-a", "tests/golden/models/tiny-a", 1 },
        { "cpu", "fp32", "tiny-b", "tests/golden/models/tiny-b", 1 },
        { "cpu", "fp32", "demo", "models/demo", 1 },
        { "cpu", "fp32", "process-a", "tests/golden/models/tiny-a", 1 },
        { "cpu", "fp32", "process-inpaint", "tests/golden/models/tiny-inpaint", 1 },
        { "cpu", "fp32", "process-lcm", "tests/golden/models/tiny-lcm", 1 },
        { "cpu", "fp32", "process-kept", "tests/golden/models/tiny-a", 1 },
        { "reference", "fp32", "process-kept", "tests/golden/models/tiny-a", 1 },
        { "reference", "fp32", "tiny-a", "tests/golden/models/tiny-a", 1 },
        { "reference", "fp32", "tiny-b", "tests/golden/models/tiny-b", 1 },
        { "reference", "fp32", "demo", "models/demo", 5 },
        { "reference", "fp32", "process-a", "tests/golden/models/tiny-a", 1 },
        { "reference", "fp32", "process-inpaint", "tests/golden/models/tiny-inpaint", 1 },
        { "reference", "fp32", "process-lcm", "tests/golden/models/tiny-lcm", 1 },
        { "cpu", "fp32", "curves-a", "tests/golden/models/tiny-a", 1 },
        { "reference", "fp32", "curves-a", "tests/golden/models/tiny-a", 1 },
        { "cpu", "fp32", "tiled-a", "tests/golden/models/tiny-a", 1 },
        { "reference", "fp32", "tiled-a", "tests/golden/models/tiny-a", 1 },
    };
    enum { SUBJECTS = sizeof subjects / sizeof *subjects };
    struct CMUnitTest tests[SUBJECTS];
    char names[SUBJECTS][80];
    for (size_t i = 0; i < SUBJECTS; i++) {
        snprintf(names[i], sizeof names[i], "%s: %s", subjects[i].device, subjects[i].model);
        tests[i] = (struct CMUnitTest){ .name = names[i], .test_func = test_subject, .initial_state = &subjects[i] };
    }
    return count > 2 ? test_device(arguments[1], arguments[2]) : cmocka_run_group_tests(tests, NULL, NULL);
}
