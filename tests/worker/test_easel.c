/*
 * test_easel.c - which models stay ready within a device's memory, and who gives way for whom. With EMULATED on an emulated card
 * of just that memory, else on the CPU under a budget.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/worker/double.h"
#include "worker/easel.h"

#ifdef EMULATED
#include "tests/emulation/emulation.h"
static const char device_name[] = "emulated:0", folder[] = SOURCE_DIR "/tests/golden/models/tiny-b";
#else
static const char device_name[] = "cpu", folder[] = SOURCE_DIR "/models/demo";
#endif

enum { SIDE = 16, STEPS = 1, MODELS = 5, MATES = 8 };

struct bench {
    struct easel *easel;
    struct painter painter;
    struct digest models[MODELS]; /* names for the same files */
    struct memory_need one, many; /* of one picture, and of MATES */
};

static void make_spec(struct spec *spec, const struct digest *model, uint64_t seed) {
    double_spec(spec, model, seed, STEPS);
    spec->width = spec->height = SIDE;
}

static struct file_places places_of(const struct digest *model) {
    struct file_places places = { 0 };
    file_places_add(&places, model, text_copy(folder));
    return places;
}

static void predict(struct memory_need *need, const struct bench *bench, size_t batch) {
    struct file_places places = places_of(&bench->models[0]);
    struct device *device;
    struct spec spec;
    struct error error;
    make_spec(&spec, &bench->models[0], 0);
    if (device_open(&device, device_name, "fp32", 1, &error) != ERR_OK ||
        spec_memory_check(need, device, &spec, &places, batch, 0, &error) != ERR_OK)
        fail_msg("%s", error.message);
    device_close(device);
    spec_release(&spec);
    file_places_release(&places);
}

/* A card has a little more than what is planned on it: allocations are counted whole there, and weights pass through it twice. */
static void open_easel(struct bench *bench, uint64_t memory_bytes) {
    struct error error;
#ifdef EMULATED
    struct emulation emulation = emulation_default();
    emulation.memory_bytes = memory_bytes + bench->one.weights / 2;
    emulation_set(&emulation);
#endif
    if (easel_create(&bench->easel, device_name, 1, memory_bytes, &error) != ERR_OK)
        fail_msg("%s", error.message);
    bench->painter = easel_painter(bench->easel);
}

static int set_up(void **state) {
    struct bench *bench = memory_get(sizeof *bench);
    for (unsigned i = 0; i < MODELS; i++)
        bench->models[i] = digest_of(&i, sizeof i);
#ifdef EMULATED
    struct emulation emulation = emulation_default();
    emulation_set(&emulation);
#endif
    predict(&bench->one, bench, 1);
    predict(&bench->many, bench, MATES);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    easel_destroy(bench->easel);
#ifdef EMULATED
    assert_int_equal(emulation_memory_held(), 0);
#endif
    free(bench);
    return 0;
}

static void load(struct bench *bench, unsigned model) {
    struct file_places places = places_of(&bench->models[model]);
    struct error error;
    struct spec spec;
    make_spec(&spec, &bench->models[model], 0);
    if (bench->painter.load(bench->painter.context, &spec, &places, &error) != ERR_OK)
        fail_msg("model %u: %s", model, error.message);
    file_places_release(&places);
    spec_release(&spec);
}

static enum err draw(struct bench *bench, struct digest *pixels, unsigned model, size_t count, struct error *error) {
    static const struct file_places no_places;
    static const struct render_watch nobody;
    struct rendered rendered[4 * MATES];
    struct spec specs[4 * MATES];
    const struct spec *all[4 * MATES] = { NULL };
    for (size_t i = 0; i < count; i++) {
        make_spec(&specs[i], &bench->models[model], i);
        all[i] = &specs[i];
    }
    enum err err = bench->painter.draw(bench->painter.context, rendered, all, count, &no_places, &nobody, error);
    for (size_t i = 0; i < count; i++) {
        if (!err) {
            bench->painter.finish(bench->painter.context, &rendered[i], &specs[i]);
            assert_int_equal(rendered[i].error.code, ERR_OK);
            *pixels = rendered[i].pixels; /* the last one's */
            rendered_release(&rendered[i]);
        }
        spec_release(&specs[i]);
    }
    return err;
}

/* Models by their numbers, the one used last first: "20". */
static void expect_ready(const struct bench *bench, const char *want) {
    struct digest ready[MODELS];
    char have[MODELS + 1] = "";
    size_t count = bench->painter.ready(bench->painter.context, ready, MODELS);
    for (unsigned m = 0; m < MODELS; m++) {
        struct spec spec;
        make_spec(&spec, &bench->models[m], 0);
        struct digest key = spec_model_key(&spec);
        for (size_t i = 0; i < count; i++)
            if (digest_equal(&ready[i], &key))
                have[i] = (char)('0' + m);
        spec_release(&spec);
    }
    assert_string_equal(have, want);
}

static void keeps_as_many_models_as_memory_holds(void **state) {
    struct bench *bench = *state;
    open_easel(bench, 3 * bench->one.weights + bench->one.run);
    expect_ready(bench, "");
    load(bench, 0);
    load(bench, 1);
    load(bench, 2);
    expect_ready(bench, "210");
    load(bench, 0);
    expect_ready(bench, "021");
    load(bench, 3); /* one too many: the one used longest ago goes */
    expect_ready(bench, "302");
    load(bench, 1);
    expect_ready(bench, "130");
}

static void pictures_stay_the_same_as_models_come_and_go(void **state) {
    struct bench *bench = *state;
    struct digest first, again;
    struct error error;
    open_easel(bench, 2 * bench->one.weights + 2 * bench->one.run);
    load(bench, 0);
    assert_int_equal(draw(bench, &first, 0, 1, &error), ERR_OK);
    for (unsigned model = 1; model < MODELS; model++) {
        load(bench, model);
        assert_int_equal(draw(bench, &again, model, 1, &error), ERR_OK);
        assert_memory_equal(&first, &again, sizeof first);
    }
    load(bench, 0);
    assert_int_equal(draw(bench, &again, 0, 1, &error), ERR_OK);
    assert_memory_equal(&first, &again, sizeof first);
}

/* Work goes before models that nobody draws with; what is drawn with never goes. */
static void a_large_batch_takes_the_memory_of_idle_models(void **state) {
    struct bench *bench = *state;
    struct digest pixels;
    struct error error;
    uint64_t budget = bench->many.weights + bench->many.run;
    assert_true(budget < 2 * bench->one.weights + bench->many.run);
    open_easel(bench, budget < 2 * bench->one.weights + bench->one.run ? 2 * bench->one.weights + bench->one.run : budget);
    load(bench, 0);
    load(bench, 1);
    expect_ready(bench, "10");
    assert_int_equal(draw(bench, &pixels, 1, 1, &error), ERR_OK);
    expect_ready(bench, "10");
    assert_int_equal(draw(bench, &pixels, 1, 4 * MATES, &error), ERR_MEMORY); /* more than there is */
    expect_ready(bench, "1");
    assert_int_equal(draw(bench, &pixels, 1, 1, &error), ERR_OK);
    assert_int_equal(draw(bench, &pixels, 1, MATES, &error), ERR_OK);
}

static void a_model_too_large_is_refused_and_disturbs_nobody(void **state) {
    struct bench *bench = *state;
    struct file_places places = places_of(&bench->models[1]);
    struct digest pixels;
    struct error error;
    struct spec spec;
    open_easel(bench, bench->one.weights + bench->one.run);
    load(bench, 0);
    make_spec(&spec, &bench->models[1], 0);
    spec.width = spec.height = 1024;
    assert_int_equal(bench->painter.load(bench->painter.context, &spec, &places, &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "1024x1024"));
    assert_int_equal(draw(bench, &pixels, 1, 1, &error), ERR_INTERNAL); /* it is not there */
    expect_ready(bench, "0");
    load(bench, 0);
    assert_int_equal(draw(bench, &pixels, 0, 1, &error), ERR_OK);
    file_places_release(&places);
    spec_release(&spec);
}

#define EASEL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        EASEL_TEST(keeps_as_many_models_as_memory_holds),
        EASEL_TEST(pictures_stay_the_same_as_models_come_and_go),
        EASEL_TEST(a_large_batch_takes_the_memory_of_idle_models),
        EASEL_TEST(a_model_too_large_is_refused_and_disturbs_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
