/*
 * test_invariance.c - same job, same bytes: whatever its batch mates, its place in the batch, the threads, and what was
 * rendered before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "pipeline/pipeline.h"

enum { JOBS = 5, SIDE = 64 };

static const char *const PROMPTS[JOBS] = { "a van gogh painting of a frog", "neon sign of a penguin", "",
                                           "a watercolor castle", "a van gogh painting of a frog" };
static const char *const NEGATIVES[JOBS] = { "", "blue", "pixel art", "", "" };

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

struct scene {
    struct device *device;
    struct model *model;
    struct renderer *renderer;
};

static void scene_open(struct scene *scene, const char *device, const char *folder, uint32_t threads) {
    struct error error;
    char *path = text_format("%s/%s", SOURCE_DIR, folder);
    ok(device_open(&scene->device, device, "fp32", threads, &error), &error);
    ok(model_load(&scene->model, scene->device, path, &error), &error);
    ok(renderer_create(&scene->renderer, scene->model, 0, &error), &error);
    free(path);
}

static void scene_close(struct scene *scene) {
    renderer_destroy(scene->renderer);
    model_destroy(scene->model);
    device_close(scene->device);
}

/* Two pictures and a mask, of 64 x 64 at most: any pixels do. */
static uint8_t pictures[3][SIDE * SIDE * 3];

static void fill_pictures(void) {
    for (size_t i = 0; i < sizeof pictures; i++) {
        pictures[i / sizeof *pictures][i % sizeof *pictures] = (uint8_t)(i * i / 97 + i / 7);
    }
}

/* Jobs of a batch differ in all that they may. */
static void give_pictures(struct render_job jobs[JOBS], double strength) {
    fill_pictures();
    for (uint32_t i = 0; i < JOBS; i++) {
        jobs[i].init = pictures[i / 2 % 2];
        jobs[i].mask = pictures[1 + i % 2];
        jobs[i].strength = strength;
    }
}

static void fill_jobs(struct render_job jobs[JOBS], const char *sampler, double cfg, uint32_t height) {
    for (uint32_t i = 0; i < JOBS; i++) {
        jobs[i] = (struct render_job){ .prompt = PROMPTS[i], .negative = NEGATIVES[i], .seed = 100 + 7 * i, .width = 64,
                                       .height = height, .steps = 3, .cfg = cfg > 1.0 ? cfg + i : cfg, .sampler = sampler,
                                       .schedule = "automatic", .clip_skip = 1 + i % 2,
                                       .cfg_rescale = 0.2 * i };
    }
}

static void render(struct scene *scene, const struct render_job *jobs, size_t count, struct render_output *outputs) {
    struct error error;
    ok(renderer_render(scene->renderer, jobs, count, NULL, NULL, outputs, &error), &error);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(outputs[i].rgb);
    }
}

static void assert_same(const struct render_output *a, const struct render_output *b) {
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_memory_equal(a->rgb, b->rgb, (size_t)a->width * a->height * 3);
}

static void release(struct render_output *outputs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        render_output_release(&outputs[i]);
    }
}

/* All at once on two threads, then each alone on one. */
static void check_jobs(const char *device, const char *folder, const struct render_job jobs[JOBS]) {
    struct scene two, one;
    struct render_output batch[JOBS] = { 0 };
    scene_open(&two, device, folder, 2);
    scene_open(&one, device, folder, 1);
    render(&two, jobs, JOBS, batch);
    for (size_t i = 0; i < JOBS; i++) {
        struct render_output alone = { 0 };
        render(&one, &jobs[i], 1, &alone);
        assert_same(&alone, &batch[i]);
        render_output_release(&alone);
    }
    /* other mates, other places, slots and recorded runs of batches before */
    struct render_output pair[2] = { 0 };
    render(&two, &jobs[2], 2, pair);
    assert_same(&pair[0], &batch[2]);
    assert_same(&pair[1], &batch[3]);
    release(pair, 2);
    release(batch, JOBS);
    scene_close(&one);
    scene_close(&two);
}

static void check_mates(const char *device, const char *folder, const char *sampler, double cfg, uint32_t height) {
    struct render_job jobs[JOBS];
    fill_jobs(jobs, sampler, cfg, height);
    check_jobs(device, folder, jobs);
}

static void check_inpainting(const char *device, const char *folder, const char *sampler, double cfg, double strength) {
    struct render_job jobs[JOBS];
    fill_jobs(jobs, sampler, cfg, 48);
    give_pictures(jobs, strength);
    check_jobs(device, folder, jobs);
}

static void test_process(void **state) {
    (void)state;
    check_inpainting("cpu", "tests/golden/models/tiny-inpaint", "Euler a", 5.0, 1.0);
    check_inpainting("cpu", "tests/golden/models/tiny-inpaint", "DPM++ 2M", 5.0, 0.7);
    check_inpainting("reference", "tests/golden/models/tiny-inpaint", "LCM", 1.0, 1.0);
    check_inpainting("cpu", "tests/golden/models/tiny-a", "Euler a", 5.0, 0.7); /* whose U-Net sees no mask */
    check_inpainting("reference", "tests/golden/models/tiny-a", "DPM++ 2M", 5.0, 1.0);
    check_mates("cpu", "tests/golden/models/tiny-lcm", "LCM", 4.0, 64);
}

static void test_cpu_tiny(void **state) {
    (void)state;
    check_mates("cpu", "tests/golden/models/tiny-a", "Euler a", 5.0, 48);
    check_mates("cpu", "tests/golden/models/tiny-a", "DPM++ 2M", 1.0, 64);
    check_mates("cpu", "tests/golden/models/tiny-b", "Euler", 5.0, 40);
    check_mates("cpu", "tests/golden/models/tiny-b", "DDIM", 5.0, 64);
}

static void test_cpu_demo(void **state) {
    (void)state;
    check_mates("cpu", "models/demo", "Euler", 5.0, 64);
    check_mates("cpu", "models/demo", "DPM++ 2M", 5.0, 52);
}

static void test_reference(void **state) {
    (void)state;
    check_mates("reference", "tests/golden/models/tiny-b", "Euler a", 5.0, 40);
}

/* More prompts than slots at first: prompts go and come back. */
static void test_many_prompts(void **state) {
    (void)state;
    struct scene scene;
    struct render_job jobs[JOBS];
    struct render_output first = { 0 }, again = { 0 };
    scene_open(&scene, "cpu", "tests/golden/models/tiny-a", 2);
    fill_jobs(jobs, "Euler", 5.0, 48);
    jobs[0].steps = 1;
    render(&scene, jobs, 1, &first);
    for (int i = 0; i < 40; i++) {
        char *prompt = text_format("prompt %d", i);
        struct render_job job = jobs[0];
        struct render_output output = { 0 };
        job.prompt = prompt;
        render(&scene, &job, 1, &output);
        render_output_release(&output);
        free(prompt);
    }
    render(&scene, jobs, 1, &again);
    assert_same(&first, &again);
    release(&first, 1);
    release(&again, 1);
    scene_close(&scene);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_tiny),
        cmocka_unit_test(test_cpu_demo),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_process),
        cmocka_unit_test(test_many_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
