/* test_render.c - specs to PNG objects with the demo model: what the farm's digests promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "picture/picture.h"
#include "tests/worker/double.h"
#include "worker/easel.h"

enum { STEPS = 2 };

static const char demo[] = SOURCE_DIR "/models/demo";

struct bench {
    struct easel *easel;
    struct painter painter;
    struct digest model;
    struct spec specs[3];
};

static uint32_t steps_taken;

static bool goes_on(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    (void)step;
    (void)steps;
    steps_taken += phase == RENDER_STEP;
    return !context || --*(int *)context > 0;
}

static const struct render_watch watch = { .progress = goes_on };

static void open_easel(struct bench *bench, uint64_t memory_bytes) {
    struct error error;
    if (easel_create(&bench->easel, "cpu", 2, memory_bytes, &error) != ERR_OK)
        fail_msg("%s", error.message);
    bench->painter = easel_painter(bench->easel);
}

static int set_up(void **state) {
    struct bench *bench = memory_get(sizeof *bench);
    bench->model = digest_of("demo", 4);
    for (int i = 0; i < 3; i++)
        double_spec(&bench->specs[i], &bench->model, (uint64_t)i, STEPS);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    for (int i = 0; i < 3; i++)
        spec_release(&bench->specs[i]);
    easel_destroy(bench->easel);
    free(bench);
    return 0;
}

/* A job of `model`, which lies at `folder`. */
static enum err load_at(struct bench *bench, const struct digest *model, const char *folder, struct error *error) {
    struct file_places places = { 0 };
    struct spec spec;
    double_spec(&spec, model, 0, STEPS);
    file_places_add(&places, model, text_copy(folder));
    enum err err = bench->painter.load(bench->painter.context, &spec, &places, error);
    file_places_release(&places);
    spec_release(&spec);
    return err;
}

static void load(struct bench *bench, const struct digest *model) {
    struct error error;
    if (load_at(bench, model, demo, &error) != ERR_OK)
        fail_msg("%s", error.message);
}

static const struct file_places no_places;

static void draw(struct bench *bench, struct rendered *out, const struct spec *const *specs, size_t count) {
    struct error error;
    if (bench->painter.draw(bench->painter.context, out, specs, count, &no_places, &watch, &error) != ERR_OK)
        fail_msg("%s", error.message);
    for (size_t i = 0; i < count; i++)
        bench->painter.finish(bench->painter.context, &out[i], specs[i]);
}

static void a_png_says_what_it_is(void **state) {
    struct bench *bench = *state;
    struct rendered rendered;
    struct picture picture;
    struct picture_text *texts;
    struct bytes canonical = BYTES_INIT;
    size_t count, found = 0;
    const struct spec *specs[] = { &bench->specs[0] };
    open_easel(bench, 0);
    load(bench, &bench->model);
    draw(bench, &rendered, specs, 1);
    assert_int_equal(rendered.error.code, ERR_OK);
    struct digest digest = digest_of(rendered.png.data, rendered.png.size);
    assert_memory_equal(&digest, &rendered.picture, sizeof digest);
    assert_int_equal(png_decode(&picture, rendered.png.data, rendered.png.size, NULL), ERR_OK);
    assert_int_equal(picture.width, 64);
    assert_int_equal(picture.height, 64);
    digest = picture_pixel_digest(&picture);
    assert_memory_equal(&digest, &rendered.pixels, sizeof digest);
    assert_int_equal(png_texts(&texts, &count, rendered.png.data, rendered.png.size, NULL), ERR_OK);
    spec_canonical(&canonical, &bench->specs[0]);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(texts[i].key, "seedfarm") == 0)
            found += strcmp(texts[i].text, bytes_text(&canonical)) == 0;
        if (strcmp(texts[i].key, "seedfarm-device") == 0)
            found += strcmp(texts[i].text, bench->painter.device_class) == 0;
        if (strcmp(texts[i].key, "parameters") == 0)
            found += strncmp(texts[i].text, "a frog\n", 7) == 0;
    }
    assert_int_equal(found, 3);
    png_texts_release(texts, count);
    bytes_release(&canonical);
    picture_release(&picture);
    rendered_release(&rendered);
}

static void mates_change_nothing(void **state) {
    struct bench *bench = *state;
    struct rendered together[3], alone;
    const struct spec *all[] = { &bench->specs[0], &bench->specs[1], &bench->specs[2] };
    for (int i = 0; i < 3; i++)
        bench->specs[i].deterministic = true; /* which costs nothing here: one batch */
    open_easel(bench, 0);
    load(bench, &bench->model);
    steps_taken = 0;
    draw(bench, together, all, 3);
    assert_int_equal(steps_taken, STEPS);
    for (int i = 0; i < 3; i++) {
        draw(bench, &alone, &all[i], 1);
        assert_int_equal(alone.png.size, together[i].png.size);
        assert_memory_equal(alone.png.data, together[i].png.data, alone.png.size);
        assert_int_equal(i && digest_equal(&together[0].pixels, &together[i].pixels), 0);
        rendered_release(&alone);
    }
    for (int i = 0; i < 3; i++)
        rendered_release(&together[i]);
}

static void models_come_and_go(void **state) {
    struct bench *bench = *state;
    struct rendered first, again;
    const struct spec *specs[] = { &bench->specs[1] };
    open_easel(bench, 0);
    load(bench, &bench->model);
    draw(bench, &first, specs, 1);
    for (unsigned i = 0; i < 4; i++) { /* more than are kept */
        struct digest other = digest_of(&i, sizeof i);
        load(bench, &other);
    }
    load(bench, &bench->model);
    draw(bench, &again, specs, 1);
    assert_memory_equal(&first.picture, &again.picture, sizeof first.picture);
    rendered_release(&first);
    rendered_release(&again);
}

static void holds_to_its_memory(void **state) {
    struct bench *bench = *state;
    struct error error;
    struct rendered rendered[3];
    struct model *model;
    struct device *device;
    uint64_t one, three;
    const struct spec *all[] = { &bench->specs[0], &bench->specs[1], &bench->specs[2] };
    assert_int_equal(device_open(&device, "cpu", "fp32", 2, &error), ERR_OK);
    assert_int_equal(model_load(&model, device, demo, &error), ERR_OK);
    uint64_t weights = model_shape(model)->weight_bytes;
    assert_int_equal(render_memory(&one, model, &(struct render_size){ .width = 64, .height = 64, .batch = 1, .guided = true }, &error), ERR_OK);
    assert_int_equal(render_memory(&three, model, &(struct render_size){ .width = 64, .height = 64, .batch = 3, .guided = true }, &error), ERR_OK);
    model_destroy(model);
    device_close(device);
    assert_true(three > one);
    open_easel(bench, weights / 2);
    assert_int_equal(load_at(bench, &bench->model, demo, &error), ERR_MEMORY);
    easel_destroy(bench->easel);
    open_easel(bench, weights + one);
    load(bench, &bench->model);
    assert_int_equal(bench->painter.draw(bench->painter.context, rendered, all, 3, &no_places, &watch, &error), ERR_MEMORY);
    draw(bench, rendered, all, 1);
    rendered_release(&rendered[0]);
}

static void stops_when_told(void **state) {
    struct bench *bench = *state;
    struct error error;
    struct rendered rendered;
    int calls = 2;
    const struct spec *specs[] = { &bench->specs[0] };
    const struct render_watch stop = { .progress = goes_on, .context = &calls };
    open_easel(bench, 0);
    assert_int_equal(bench->painter.draw(bench->painter.context, &rendered, specs, 1, &no_places, &stop, &error), ERR_INTERNAL);
    load(bench, &bench->model);
    assert_int_equal(bench->painter.draw(bench->painter.context, &rendered, specs, 1, &no_places, &stop, &error), ERR_CANCELLED);
    assert_int_equal(calls, 0);
}

static void a_folder_that_is_no_model(void **state) {
    struct bench *bench = *state;
    struct error error;
    open_easel(bench, 0);
    assert_int_not_equal(load_at(bench, &bench->model, SOURCE_DIR "/worker", &error), ERR_OK);
    load(bench, &bench->model); /* and the easel is as good as before */
}

#define RENDER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        RENDER_TEST(a_png_says_what_it_is),
        RENDER_TEST(mates_change_nothing),
        RENDER_TEST(models_come_and_go),
        RENDER_TEST(holds_to_its_memory),
        RENDER_TEST(stops_when_told),
        RENDER_TEST(a_folder_that_is_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
