/*
 * test_families.c - every family against diffusers (tests/golden/record_families.py): random models of many shapes, stage by
 * stage on both backends; and a batch of three different jobs against each of them alone, bit for bit.
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
#include "tests/golden/random_model.h"

enum { MATES = 3 };

struct subject {
    const char *model;  /* with a refiner: FIRST+SECOND */
    const char *family;
    bool old_keys;      /* text encoders as transformers wrote them before version 5 */
    const char *cases;  /* tests/golden/families/CASES.json; NULL: the model's name */
};

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

struct scene {
    struct device *device;
    struct model *model, *refiner;
    struct renderer *renderer;
};

static struct model *random_model(struct device *device, const char *name, const char *family, bool old_keys) {
    struct error error;
    struct model *model;
    char *folder = text_format("%s/families-%s", BINARY_DIR, name);
    random_model_write(folder, name, old_keys);
    ok(model_load(&model, device, folder, &error), &error);
    assert_string_equal(model_shape(model)->family, family);
    free(folder);
    return model;
}

static void scene_open(struct scene *scene, const char *device, const struct subject *subject, uint32_t threads) {
    struct error error;
    char *name = text_copy(subject->model), *refiner = strchr(name, '+');
    if (refiner != NULL) {
        *refiner++ = '\0';
    }
    *scene = (struct scene){ 0 };
    ok(device_open(&scene->device, device, "fp32", threads, &error), &error);
    scene->model = random_model(scene->device, name, subject->family, subject->old_keys);
    ok(renderer_create(&scene->renderer, scene->model, 0, &error), &error);
    if (refiner != NULL) {
        scene->refiner = random_model(scene->device, refiner, "sdxl-refiner", subject->old_keys);
        ok(renderer_refine(scene->renderer, scene->refiner, &error), &error);
    }
    free(name);
}

static void scene_close(struct scene *scene) {
    renderer_destroy(scene->renderer);
    model_destroy(scene->model);
    model_destroy(scene->refiner);
    device_close(scene->device);
}

static double compare_case(struct scene *scene, const struct golden *golden, const char *device,
                           const struct subject *subject, size_t place) {
    struct render_job job = golden_job(golden, place);
    struct render_output output = { 0 };
    struct error error;
    char *path = text_format("%s/families-%s.trace", BINARY_DIR, subject->model);
    char *title = text_format("%s %s %zu (%s, %s)", device, subject->model, place, job.sampler, job.schedule);
    ok(renderer_render(scene->renderer, &job, 1, NULL, path, &output, &error), &error);
    struct tolerance tolerance = golden_tolerance(golden, place, "fp32");
    double used = golden_compare(golden, place, path, &tolerance, title);
    render_output_release(&output);
    unlink(path);
    free(path);
    free(title);
    return used;
}

/* `count` cases at most: the reference is plain C and takes its time. */
static void compare(const char *device, const struct subject *subject, size_t count) {
    struct scene scene;
    struct golden golden;
    char *name = text_format("families/%s", subject->cases != NULL ? subject->cases : subject->model);
    double worst = 0.0;
    scene_open(&scene, device, subject, 2);
    golden_open(&golden, name);
    for (size_t i = 0; i < json_array_size(golden.cases) && i < count; i++) {
        double used = compare_case(&scene, &golden, device, subject, i);
        worst = used > worst ? used : worst;
    }
    print_message("%s %s: %.1f %% of the tolerance\n", device, name, 100.0 * worst);
    golden_close(&golden);
    scene_close(&scene);
    free(name);
}

static void test_subject(void **state) {
    compare("cpu", *state, SIZE_MAX);
    compare("reference", *state, 1);
}

/* All at once on two threads, then each alone on one. */
static void test_mates(void **state) {
    static const char *const PROMPTS[MATES] = { "a van gogh painting of a frog on a red ground, 3 stars!", "", "neon" };
    static const char *const NEGATIVES[MATES] = { "", "blue, watercolor", "" };
    const struct subject *subject = *state;
    struct scene two, one;
    struct render_job jobs[MATES];
    struct render_output batch[MATES] = { 0 };
    struct error error;
    for (uint32_t i = 0; i < MATES; i++) {
        jobs[i] = (struct render_job){ .prompt = PROMPTS[i], .negative = NEGATIVES[i], .seed = 7 + i, .width = 40,
                                       .height = 24, .steps = 3, .cfg = 3.0 + i, .sampler = "Euler a", .schedule = "karras",
                                       .clip_skip = 1, .refiner_switch = 0.5 };
    }
    scene_open(&two, "cpu", subject, 2);
    ok(renderer_render(two.renderer, jobs, MATES, NULL, NULL, batch, &error), &error);
    scene_close(&two);
    scene_open(&one, "cpu", subject, 1);
    for (uint32_t i = 0; i < MATES; i++) {
        struct render_output alone = { 0 };
        ok(renderer_render(one.renderer, &jobs[i], 1, NULL, NULL, &alone, &error), &error);
        assert_non_null(alone.rgb);
        assert_memory_equal(alone.rgb, batch[i].rgb, (size_t)alone.width * alone.height * 3);
        render_output_release(&alone);
        render_output_release(&batch[i]);
    }
    scene_close(&one);
}

int main(void) {
    static struct subject subjects[] = {
        { "sd1-a", "sd1", true, NULL },      { "sd1-b", "sd1", false, NULL },
        { "sd2-a", "sd2", true, NULL },      { "sd2-b", "sd2", false, NULL },    { "sd2-c", "sd2", true, NULL },
        { "sdxl-a", "sdxl", true, NULL },    { "sdxl-b", "sdxl", false, NULL },  { "sdxl-c", "sdxl", true, NULL },
        { "refiner-a", "sdxl-refiner", true, NULL }, { "refiner-b", "sdxl-refiner", false, NULL },
        { "sdxl-a+refiner-a", "sdxl", true, NULL },  { "sdxl-b+refiner-b", "sdxl", false, NULL },
        { "sdxl-c", "sdxl", true, "sdxl-c-kept" },
    };
    enum { SUBJECTS = sizeof subjects / sizeof *subjects };
    struct CMUnitTest tests[2 * SUBJECTS];
    for (size_t i = 0; i < SUBJECTS; i++) {
        const char *name = subjects[i].cases != NULL ? subjects[i].cases : subjects[i].model;
        tests[2 * i] = (struct CMUnitTest){ name, test_subject, NULL, NULL, &subjects[i] };
        tests[2 * i + 1] = (struct CMUnitTest){ "in a batch", test_mates, NULL, NULL, &subjects[i] };
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
