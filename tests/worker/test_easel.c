/*
 * test_easel.c - which models stay ready within a device's memory, and who gives way for whom. With EMULATED on an emulated card
 * of just that memory, else on the CPU under a budget.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/worker/double.h"
#include "worker/easel.h"

#ifdef EMULATED
#include "tests/emulation/emulation.h"
enum { ROUNDS = 8 };
static const char device_name[] = "emulated:0", folder[] = SOURCE_DIR "/tests/golden/models/tiny-b";
#else
enum { ROUNDS = 40 };
static const char device_name[] = "cpu", folder[] = SOURCE_DIR "/models/demo";
#endif

enum { SIDE = 16, STEPS = 2, MODELS = 5, MATES = 8, LOADING = 8 << 20 };

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

/* A card has a little more than what is planned on it: what weights are loaded with lies there, too. */
static void open_easel(struct bench *bench, uint64_t memory_bytes) {
    struct error error;
#ifdef EMULATED
    struct emulation emulation = emulation_default();
    emulation.memory_bytes = memory_bytes + LOADING;
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

static enum err draw_watched(struct bench *bench, struct digest *pixels, unsigned model, size_t count,
                             const struct render_watch *watch, struct error *error) {
    static const struct file_places no_places;
    struct rendered rendered[4 * MATES];
    struct spec specs[4 * MATES];
    const struct spec *all[4 * MATES] = { NULL };
    for (size_t i = 0; i < count; i++) {
        make_spec(&specs[i], &bench->models[model], i);
        all[i] = &specs[i];
    }
    enum err err = bench->painter.draw(bench->painter.context, rendered, all, count, &no_places, watch, error);
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

static enum err draw(struct bench *bench, struct digest *pixels, unsigned model, size_t count, struct error *error) {
    static const struct render_watch nobody;
    return draw_watched(bench, pixels, model, count, &nobody, error);
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

/* ---- loading ahead -------------------------------------------------------------------------------------------------- */

/* Another thread that loads a model ahead, begun at one moment of a drawing and waited for at another. */
struct ahead {
    struct bench *bench;
    const char *folder;
    unsigned model;
    const struct digest *refiner; /* NULL: none */
    enum render_phase begins, ends; /* RENDER_TEXT: before the first step; of steps, the first */
    pthread_t thread;
    bool begun, ended;
};

static void want(struct spec *spec, struct file_places *places, const struct digest *model, const struct digest *refiner,
                 const char *path) {
    *places = (struct file_places){ 0 };
    make_spec(spec, model, 0);
    file_places_add(places, model, text_copy(path));
    if (refiner) {
        spec->refiner = *refiner;
        file_places_add(places, refiner, text_copy(path));
    }
}

static void *prepare(void *context) {
    struct ahead *ahead = context;
    struct bench *bench = ahead->bench;
    struct file_places places;
    struct spec spec;
    want(&spec, &places, &bench->models[ahead->model], ahead->refiner, ahead->folder);
    bench->painter.prepare(bench->painter.context, &spec, &places);
    file_places_release(&places);
    spec_release(&spec);
    return NULL;
}

static void ahead_begin(struct ahead *ahead) {
    assert_int_equal(pthread_create(&ahead->thread, NULL, prepare, ahead), 0);
    ahead->begun = true;
}

static void ahead_end(struct ahead *ahead) {
    assert_int_equal(pthread_join(ahead->thread, NULL), 0);
    ahead->ended = true;
}

static bool at_phase(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct ahead *ahead = context;
    (void)step;
    (void)steps;
    if (phase == ahead->begins && !ahead->begun)
        ahead_begin(ahead);
    if (phase == ahead->ends && ahead->begun && !ahead->ended)
        ahead_end(ahead);
    return true;
}

static struct ahead ahead_of(struct bench *bench, unsigned model, enum render_phase begins, enum render_phase ends) {
    return (struct ahead){ bench, folder, model, NULL, begins, ends, 0, false, false };
}

/* Draw a picture with the model loaded last, and meanwhile load another. */
static void draw_beside(struct digest *pixels, unsigned model, struct ahead *ahead) {
    const struct render_watch watch = { .progress = at_phase, .context = ahead };
    struct error error;
    if (draw_watched(ahead->bench, pixels, model, 1, &watch, &error) != ERR_OK)
        fail_msg("%s", error.message);
    if (!ahead->ended)
        ahead_end(ahead);
}

static enum err load_from(struct bench *bench, unsigned model, const struct digest *refiner, const char *path,
                          struct error *error) {
    struct file_places places;
    struct spec spec;
    want(&spec, &places, &bench->models[model], refiner, path);
    enum err err = bench->painter.load(bench->painter.context, &spec, &places, error);
    file_places_release(&places);
    spec_release(&spec);
    return err;
}

/* All of it between two steps of a picture; then there is nothing left to read. */
static void a_model_is_loaded_between_two_steps(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_STEP, RENDER_STEP);
    struct digest alone, beside, next;
    struct error error;
    open_easel(bench, 2 * bench->one.weights + 2 * bench->one.run);
    load(bench, 0);
    assert_int_equal(draw(bench, &alone, 0, 1, &error), ERR_OK);
    draw_beside(&beside, 0, &ahead);
    expect_ready(bench, "01");
    assert_int_equal(load_from(bench, 1, NULL, "/nowhere", &error), ERR_OK);
    expect_ready(bench, "10");
    assert_int_equal(draw(bench, &next, 1, 1, &error), ERR_OK);
    assert_memory_equal(&alone, &beside, sizeof alone);
    assert_memory_equal(&alone, &next, sizeof alone);
}

/* What a job's pictures are drawn with is loaded as one; its run is within the bound, too. */
static void a_refiner_is_loaded_with_its_model(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_STEP, RENDER_STEP);
    struct digest alone, refined;
    struct error error;
    ahead.refiner = &bench->models[2];
    open_easel(bench, 3 * bench->one.weights + 2 * bench->one.run);
    load(bench, 0);
    draw_beside(&alone, 0, &ahead);
    assert_int_equal(load_from(bench, 1, &bench->models[2], "/nowhere", &error), ERR_OK);
    if (draw(bench, &refined, 1, 1, &error) != ERR_OK)
        fail_msg("%s", error.message);
    assert_memory_equal(&alone, &refined, sizeof alone); /* the same files: it goes on as it began */
}

/* A batch takes its memory first; who wants to load waits for that, and for no more. */
static void loading_ahead_waits_until_a_batch_has_its_memory(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_TEXT, RENDER_DECODE);
    struct digest pixels;
    open_easel(bench, 2 * bench->one.weights + bench->one.run);
    load(bench, 0);
    draw_beside(&pixels, 0, &ahead);
    expect_ready(bench, "01");
}

static void loading_ahead_takes_what_is_idle_and_never_what_is_drawn_with(void **state) {
    struct bench *bench = *state;
    struct ahead second = ahead_of(bench, 2, RENDER_STEP, RENDER_STEP), third = ahead_of(bench, 3, RENDER_STEP, RENDER_STEP);
    struct digest pixels;
    open_easel(bench, 2 * bench->one.weights + bench->one.run);
    load(bench, 0);
    load(bench, 1);
    draw_beside(&pixels, 1, &second);
    expect_ready(bench, "12");
    draw_beside(&pixels, 1, &third); /* plans have changed */
    expect_ready(bench, "13");
}

static void without_room_for_both_it_is_loaded_when_its_turn_comes(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_STEP, RENDER_STEP);
    struct digest pixels;
    struct error error;
    open_easel(bench, bench->one.weights + bench->one.run);
    load(bench, 0);
    draw_beside(&pixels, 0, &ahead);
    expect_ready(bench, "0");
    load(bench, 1);
    expect_ready(bench, "1");
    assert_int_equal(draw(bench, &pixels, 1, 1, &error), ERR_OK);
}

static void a_large_batch_takes_what_was_loaded_ahead(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_STEP, RENDER_STEP);
    struct digest pixels;
    struct error error;
    uint64_t both = 2 * bench->one.weights + bench->one.run, many = bench->many.weights + bench->many.run;
    open_easel(bench, both > many ? both : many);
    assert_true(many + bench->one.weights > both); /* not with the other */
    load(bench, 0);
    draw_beside(&pixels, 0, &ahead);
    expect_ready(bench, "01");
    assert_int_equal(draw(bench, &pixels, 0, MATES, &error), ERR_OK);
    expect_ready(bench, "0");
}

/* The error is the one that loading it at once has. */
static void what_fails_ahead_is_said_when_its_turn_comes(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_STEP, RENDER_STEP);
    struct digest pixels;
    struct error error, plain;
    open_easel(bench, 3 * bench->one.weights + 2 * bench->one.run);
    enum err want = load_from(bench, 1, NULL, "/nowhere", &plain);
    assert_int_not_equal(want, ERR_OK);
    load(bench, 0);
    ahead.folder = "/nowhere";
    draw_beside(&pixels, 0, &ahead);
    expect_ready(bench, "0");
    assert_int_equal(load_from(bench, 1, NULL, "/nowhere", &error), want);
    assert_string_equal(error.message, plain.message);
    expect_ready(bench, "0");
}

/* Nobody draws: whoever comes for it waits, and does not load it once more. */
static void who_comes_early_waits(void **state) {
    struct bench *bench = *state;
    struct digest pixels;
    struct error error;
    open_easel(bench, 2 * bench->one.weights + bench->one.run);
    for (unsigned model = 0; model < MODELS; model++) {
        struct ahead ahead = ahead_of(bench, model, RENDER_TEXT, RENDER_TEXT);
        ahead_begin(&ahead);
        load(bench, model);
        assert_int_equal(draw(bench, &pixels, model, 1, &error), ERR_OK);
        ahead_end(&ahead);
    }
    expect_ready(bench, "43");
}

struct stream {
    struct bench *bench;
    atomic_bool stop;
};

static unsigned any_model(uint32_t *random) {
    *random = *random * 1664525 + 1013904223;
    return (*random >> 16) % MODELS;
}

static void *prepare_any(void *context) {
    struct stream *stream = context;
    uint32_t random = 2;
    while (!atomic_load(&stream->stop)) {
        struct ahead ahead = ahead_of(stream->bench, any_model(&random), RENDER_TEXT, RENDER_TEXT);
        prepare(&ahead);
    }
    return NULL;
}

/* Whoever asks for what and when: one model and its largest batch have their memory, nothing waits for ever, pictures are the same. */
static void whatever_is_loaded_ahead_drawing_goes_on(void **state) {
    struct bench *bench = *state;
    struct stream stream = { .bench = bench };
    struct digest want[2] = { { { 0 } } }, pixels;
    uint32_t random = 1;
    pthread_t thread;
    struct error error;
    uint64_t room = bench->many.weights + bench->many.run, two = 2 * bench->one.weights + bench->one.run;
    open_easel(bench, room > two ? room : two);
    assert_int_equal(pthread_create(&thread, NULL, prepare_any, &stream), 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned model = any_model(&random), large = round % 2;
        load(bench, model);
        if (draw(bench, &pixels, model, large ? MATES : 1, &error) != ERR_OK)
            fail_msg("round %u: %s", round, error.message);
        if (round < 2)
            want[large] = pixels;
        assert_memory_equal(&pixels, &want[large], sizeof pixels);
    }
    atomic_store(&stream.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

#ifdef EMULATED
/* A card that vanishes while a model is loaded ahead has vanished for whoever draws. */
static bool vanish_at_step(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct ahead *ahead = context;
    struct emulation emulation = emulation_default();
    emulation.fail_after = 10;
    if (phase == RENDER_STEP && !ahead->begun)
        emulation_set(&emulation);
    return at_phase(context, phase, step, steps);
}

static void a_card_lost_while_loading_is_lost(void **state) {
    struct bench *bench = *state;
    struct ahead ahead = ahead_of(bench, 1, RENDER_STEP, RENDER_STEP);
    const struct render_watch watch = { .progress = vanish_at_step, .context = &ahead };
    struct digest pixels;
    struct error error;
    open_easel(bench, 2 * (bench->one.weights + bench->one.run));
    load(bench, 0);
    assert_int_equal(draw_watched(bench, &pixels, 0, 1, &watch, &error), ERR_DEVICE);
    assert_non_null(strstr(error.message, "a weight"));
    expect_ready(bench, "0");
    assert_int_equal(load_from(bench, 1, NULL, folder, &error), ERR_DEVICE);
    assert_non_null(strstr(error.message, "a weight"));
}
#endif

#define EASEL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        EASEL_TEST(keeps_as_many_models_as_memory_holds),
        EASEL_TEST(pictures_stay_the_same_as_models_come_and_go),
        EASEL_TEST(a_large_batch_takes_the_memory_of_idle_models),
        EASEL_TEST(a_model_too_large_is_refused_and_disturbs_nobody),
        EASEL_TEST(a_model_is_loaded_between_two_steps),
        EASEL_TEST(a_refiner_is_loaded_with_its_model),
        EASEL_TEST(loading_ahead_waits_until_a_batch_has_its_memory),
        EASEL_TEST(loading_ahead_takes_what_is_idle_and_never_what_is_drawn_with),
        EASEL_TEST(without_room_for_both_it_is_loaded_when_its_turn_comes),
        EASEL_TEST(a_large_batch_takes_what_was_loaded_ahead),
        EASEL_TEST(what_fails_ahead_is_said_when_its_turn_comes),
        EASEL_TEST(who_comes_early_waits),
        EASEL_TEST(whatever_is_loaded_ahead_drawing_goes_on),
#ifdef EMULATED
        EASEL_TEST(a_card_lost_while_loading_is_lost),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
