/*
 * test_refined_memory.c - a model and its refiner within one budget: what is predicted from their files' shapes is what both hold
 * once they draw, to the byte, and what a sentence says would fit does.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "pipeline/pipeline.h"
#include "tests/golden/random_model.h"

enum { MOST = 9 };

static struct device *device;
static struct model *model, *refiner;
static struct model_files files, refiner_files;

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

static struct model *load(struct model_files *of, const char *name) {
    struct model *loaded;
    struct error error;
    char *folder = text_format("%s/refined-%s", BINARY_DIR, name);
    random_model_write(folder, name, true);
    *of = (struct model_files){ .model = folder };
    ok(model_load(&loaded, device, folder, &error), &error);
    return loaded;
}

static int set_up(void **state) {
    struct error error;
    (void)state;
    ok(device_open(&device, "cpu", "fp32", 2, &error), &error);
    model = load(&files, "sdxl-a");
    refiner = load(&refiner_files, "refiner-a");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    model_destroy(model);
    model_destroy(refiner);
    device_close(device);
    free((char *)files.model);
    free((char *)refiner_files.model);
    return 0;
}

static struct memory_need need_of(struct render_size size) {
    struct memory_need need;
    struct error error;
    ok(model_memory(&need, device, &files, &refiner_files, &size, &error), &error);
    return need;
}

static struct render_size size_of(uint32_t width, uint32_t batch) {
    return (struct render_size){ .width = width, .height = 24, .batch = batch, .guided = true, .started = true };
}

static struct renderer *renderer_of(uint64_t budget) {
    struct renderer *renderer;
    struct error error;
    ok(renderer_create(&renderer, model, budget, &error), &error);
    ok(renderer_refine(renderer, refiner, &error), &error);
    return renderer;
}

static enum err draw(struct renderer *renderer, struct render_size size, struct error *error) {
    struct render_job jobs[MOST] = { { .prompt = NULL } };
    struct render_output outputs[MOST] = { 0 };
    uint8_t *white = memory_get((size_t)size.width * size.height * 3); /* to start from, and nothing of it kept: the most there is */
    memset(white, 255, (size_t)size.width * size.height * 3);
    for (uint32_t i = 0; i < size.batch; i++) {
        jobs[i] = (struct render_job){ .prompt = "a frog", .negative = "", .seed = i, .width = size.width, .height = size.height,
                                       .steps = 3, .cfg = 5.0, .sampler = "Euler a", .schedule = "karras", .clip_skip = 1,
                                       .init = white, .mask = white, .strength = 1.0, .refiner_switch = 0.5 };
    }
    enum err err = renderer_render(renderer, jobs, size.batch, NULL, NULL, outputs, error);
    for (uint32_t i = 0; i < size.batch; i++) {
        render_output_release(&outputs[i]);
    }
    free(white);
    return err;
}

static void what_is_predicted_is_what_both_hold(void **state) {
    struct error error;
    (void)state;
    for (uint32_t batch = 1; batch <= 3; batch++) {
        struct memory_need need = need_of(size_of(40, batch));
        assert_int_equal(need.weights, model_shape(model)->weight_bytes + model_shape(refiner)->weight_bytes);
        struct renderer *renderer = renderer_of(need.run);
        ok(draw(renderer, size_of(40, batch), &error), &error);
        assert_int_equal(renderer_held(renderer), need.run);
        renderer_destroy(renderer);
        renderer = renderer_of(need.run - 1);
        assert_int_equal(draw(renderer, size_of(40, batch), &error), ERR_MEMORY);
        renderer_destroy(renderer);
    }
}

/* Whatever either has kept of them goes where the next one wants its room. */
static void one_kind_of_batch_after_another_fits(void **state) {
    static const uint32_t widths[] = { 40, 8, 24, 40, 16, 40, 32, 40 };
    uint64_t budget = need_of(size_of(40, 2)).run;
    struct renderer *renderer = renderer_of(budget);
    struct error error;
    (void)state;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        ok(draw(renderer, size_of(widths[i], 2), &error), &error);
        assert_true(renderer_held(renderer) <= budget);
    }
    renderer_destroy(renderer);
}

static void what_would_fit_is_said_of_both(void **state) {
    const struct render_size many = size_of(40, MOST);
    struct memory_need need;
    struct error error;
    char words[80];
    (void)state;
    for (uint32_t fitting = 1; fitting < MOST; fitting += 3) {
        need = need_of(size_of(40, fitting));
        uint64_t budget = need.weights + need.run;
        assert_int_equal(model_memory_check(&need, device, &files, &refiner_files, &many, budget, &error), ERR_MEMORY);
        snprintf(words, sizeof words, " too many; a batch of %u would fit", fitting);
        assert_non_null(strstr(error.message, words));
        assert_non_null(strstr(error.message, " the weights of model and refiner need "));
        const struct render_size smaller = size_of(40, fitting);
        ok(model_memory_check(&need, device, &files, &refiner_files, &smaller, budget, &error), &error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_predicted_is_what_both_hold),
        cmocka_unit_test(one_kind_of_batch_after_another_fits),
        cmocka_unit_test(what_would_fit_is_said_of_both),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
