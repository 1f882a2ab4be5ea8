/* test_cards.c - specs to pictures on an emulated card: what a card does not promise, and what makes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/emulation/emulation.h"
#include "tests/worker/double.h"
#include "worker/easel.h"

enum { JOBS = 2, STEPS = 2 };

static const char tiny[] = SOURCE_DIR "/tests/golden/models/tiny-b";

struct bench {
    struct easel *easel;
    struct painter painter;
    struct spec specs[JOBS];
    uint32_t calls, last_step, steps; /* of the watch */
};

static bool count_steps(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct bench *bench = context;
    (void)phase;
    bench->calls++;
    assert_true(step >= bench->last_step && step <= steps);
    bench->last_step = step;
    bench->steps = steps;
    return true;
}

static int set_up(void **state) {
    struct bench *bench = memory_get(sizeof *bench);
    struct emulation choosy = emulation_default();
    struct error error;
    struct digest model = digest_of("tiny", 4);
    choosy.choosy = 1;
    emulation_set(&choosy);
    if (easel_create(&bench->easel, "emulated:0", 1, 0, &error) != ERR_OK)
        fail_msg("%s", error.message);
    bench->painter = easel_painter(bench->easel);
    for (uint64_t i = 0; i < JOBS; i++) {
        double_spec(&bench->specs[i], &model, i, STEPS);
        bench->specs[i].width = bench->specs[i].height = 40;
        bench->specs[i].numerics = NUMERICS_FP16;
    }
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    for (int i = 0; i < JOBS; i++)
        spec_release(&bench->specs[i]);
    easel_destroy(bench->easel);
    free(bench);
    return 0;
}

static void draw(struct bench *bench, struct rendered *out, size_t first, size_t count) {
    const struct render_watch watch = { .progress = count_steps, .context = bench };
    const struct spec *specs[JOBS];
    struct file_places places = { 0 };
    struct error error;
    for (size_t i = 0; i < count; i++)
        specs[i] = &bench->specs[first + i];
    bench->calls = bench->last_step = 0;
    file_places_add(&places, &specs[0]->model, text_copy(tiny));
    if (bench->painter.load(bench->painter.context, specs[0], &places, &error) != ERR_OK ||
        bench->painter.draw(bench->painter.context, out, specs, count, &places, &watch, &error) != ERR_OK)
        fail_msg("%s", error.message);
    for (size_t i = 0; i < count; i++)
        render_finish(&out[i], specs[i]);
    file_places_release(&places);
}

/* How many of the jobs come out with other pixels when they are drawn alone. */
static int changed_by_mates(struct bench *bench) {
    struct rendered together[JOBS], alone;
    int changed = 0;
    draw(bench, together, 0, JOBS);
    for (size_t i = 0; i < JOBS; i++) {
        draw(bench, &alone, i, 1);
        assert_int_equal(alone.error.code, ERR_OK);
        changed += !digest_equal(&alone.pixels, &together[i].pixels);
        rendered_release(&alone);
        rendered_release(&together[i]);
    }
    return changed;
}

static void deterministic_jobs_do_not_see_their_mates(void **state) {
    struct bench *bench = *state;
    for (enum numerics numerics = NUMERICS_FP32; numerics < NUMERICS_COUNT; numerics++) {
        for (int i = 0; i < JOBS; i++) {
            bench->specs[i].numerics = numerics;
            bench->specs[i].deterministic = false;
        }
        if (numerics != NUMERICS_FP32) /* f32 sums in another order may round to the same pixels */
            assert_int_not_equal(changed_by_mates(bench), 0);
        for (int i = 0; i < JOBS; i++)
            bench->specs[i].deterministic = true;
        assert_int_equal(changed_by_mates(bench), 0);
    }
}

/* A batch takes its steps once; jobs drawn alone take them each, and progress goes on without a step back. */
static void deterministic_jobs_are_drawn_alone(void **state) {
    struct bench *bench = *state;
    struct rendered rendered[JOBS];
    uint32_t calls[2];
    for (int alone = 0; alone < 2; alone++) {
        for (int i = 0; i < JOBS; i++)
            bench->specs[i].deterministic = alone;
        draw(bench, rendered, 0, JOBS);
        calls[alone] = bench->calls;
        assert_int_equal(bench->steps, STEPS);
        assert_int_equal(bench->last_step, STEPS);
        for (int i = 0; i < JOBS; i++)
            rendered_release(&rendered[i]);
    }
    assert_true(calls[0] < calls[1]);
    assert_int_equal(calls[1], JOBS * (STEPS + 2)); /* text, steps, decode */
}

#define CARD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CARD_TEST(deterministic_jobs_do_not_see_their_mates),
        CARD_TEST(deterministic_jobs_are_drawn_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
