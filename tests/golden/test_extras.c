/*
 * test_extras.c - LoRAs and embeddings of every form, alone and several at once, against diffusers' load_lora_weights with
 * set_adapters and load_textual_inversion: condition within 2e-5, latents within 1e-4 of their largest
 * (tests/golden/record_extras.py, record_xl_loras.py, record_embeddings.py).
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

enum { FILES_LIMIT = 4 };

struct subject {
    const char *golden; /* tests/golden/GOLDEN.json: its cases' files lie in FOLDER */
    const char *folder;
    const char *random_model; /* tests/golden/models/NAME.json; NULL: tiny-a */
};

/* What a case is drawn with; owned. */
struct scene {
    char *model;
    char *paths[2 * FILES_LIMIT];
    size_t path_count;
    struct model_lora loras[FILES_LIMIT];
    struct model_embedding embeddings[FILES_LIMIT];
    struct model_files files;
};

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

/* Of [file, weight or word]. */
static const char *file_path(struct scene *scene, const struct subject *subject, const json_t *pair) {
    char *path = text_format("%s/tests/golden/%s/%s", SOURCE_DIR, subject->folder, json_string_value(json_array_get(pair, 0)));
    scene->paths[scene->path_count++] = path;
    return path;
}

static void scene_open(struct scene *scene, const struct subject *subject, const json_t *item) {
    const json_t *loras = json_object_get(item, "loras"), *embeddings = json_object_get(item, "embeddings"), *pair;
    size_t i;
    *scene = (struct scene){ .files = { .loras = scene->loras, .embeddings = scene->embeddings } };
    if (subject->random_model == NULL) {
        scene->model = text_format("%s/tests/golden/models/tiny-a", SOURCE_DIR);
    } else {
        scene->model = text_format("%s/extras-%s", BINARY_DIR, subject->random_model);
        random_model_write(scene->model, subject->random_model, false);
    }
    assert_true(json_array_size(loras) <= FILES_LIMIT && json_array_size(embeddings) <= FILES_LIMIT);
    json_array_foreach(loras, i, pair) {
        scene->loras[i] = (struct model_lora){ file_path(scene, subject, pair), json_number_value(json_array_get(pair, 1)) };
    }
    json_array_foreach(embeddings, i, pair) {
        scene->embeddings[i] = (struct model_embedding){ file_path(scene, subject, pair), json_string_value(json_array_get(pair, 1)) };
    }
    scene->files.model = scene->model;
    scene->files.lora_count = json_array_size(loras);
    scene->files.embedding_count = json_array_size(embeddings);
    assert_true(scene->path_count > 0);
}

static void scene_close(struct scene *scene) {
    for (size_t i = 0; i < scene->path_count; i++) {
        free(scene->paths[i]);
    }
    free(scene->model);
}

static double compare_case(const struct golden *golden, const struct subject *subject, struct device *device, size_t place) {
    struct render_job job = golden_job(golden, place);
    struct render_output output = { 0 };
    struct scene scene;
    struct model *model;
    struct renderer *renderer;
    struct error error;
    char *title = text_format("%s %zu", subject->golden, place), *trace = text_format("%s/extras.trace", BINARY_DIR);
    scene_open(&scene, subject, json_array_get(golden->cases, place));
    ok(model_load_files(&model, device, &scene.files, &error), &error);
    ok(renderer_create(&renderer, model, 0, &error), &error);
    ok(renderer_render(renderer, &job, 1, NULL, trace, &output, &error), &error);
    struct tolerance tolerance = golden_tolerance(golden, place, "fp32");
    double used = golden_compare(golden, place, trace, &tolerance, title);
    render_output_release(&output);
    renderer_destroy(renderer);
    model_destroy(model);
    scene_close(&scene);
    unlink(trace);
    free(trace);
    free(title);
    return used;
}

static void compare(const struct subject *subject, const char *name) {
    struct golden golden;
    struct device *device;
    struct error error;
    double worst = 0.0;
    golden_open(&golden, subject->golden);
    ok(device_open(&device, name, "fp32", 2, &error), &error);
    for (size_t i = 0; i < json_array_size(golden.cases); i++) {
        double used = compare_case(&golden, subject, device, i);
        worst = used > worst ? used : worst;
    }
    print_message("%s %s: %.1f %% of the tolerance\n", name, subject->golden, 100.0 * worst);
    device_close(device);
    golden_close(&golden);
}

static void test_subject(void **state) {
    compare(*state, "cpu");
}

int main(void) {
    static struct subject subjects[] = {
        { "extras", "extras", NULL },
        { "loras/sdxl-a", "loras", "sdxl-a" },
        { "embeddings/sd1-a", "embeddings", "sd1-a" },
        { "embeddings/sdxl-a", "embeddings", "sdxl-a" },
        { "embeddings/sdxl-b", "embeddings", "sdxl-b" },
    };
    enum { SUBJECTS = sizeof subjects / sizeof *subjects };
    struct CMUnitTest tests[SUBJECTS];
    for (size_t i = 0; i < SUBJECTS; i++) {
        tests[i] = (struct CMUnitTest){ subjects[i].golden, test_subject, NULL, NULL, &subjects[i] };
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
