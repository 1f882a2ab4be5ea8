/* test_agent_preview.c - what an agent answers when it is asked to show a job. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/worker/agent_kit.h"

enum { JOBS = 4, BATCH = 2, STEPS = 40 };

/* A lease of JOBS jobs, seeds 100..., drawn two at a time, 10 ms a step: the first batch is on its way. */
static void begin(struct bench *bench, bool blind, bool colourless) {
    struct message message;
    bench->options.batch = BATCH;
    bench->coordinator.heartbeat_ms = 20;
    atomic_store(&bench->painter.step_ms, 10);
    atomic_store(&bench->painter.blind, blind);
    atomic_store(&bench->painter.colourless, colourless);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 100, JOBS, STEPS);
    for (bool drawing = false; !drawing; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_PROGRESS);
        drawing = message.progress.count && message.progress.leases[0].phase == PHASE_STEP;
    }
}

static struct digest ask(struct bench *bench, uint64_t seed, uint64_t request) {
    struct digest key = double_key(&bench->model, seed, STEPS);
    coordinator_say(&bench->coordinator, &(struct message){ .type = MESSAGE_SHOW, .request = request, .show = { key } });
    return key;
}

static void expect_refusal(struct bench *bench, uint64_t request, enum err code, const char *words) {
    struct message answer;
    coordinator_expect(&answer, &bench->coordinator, MESSAGE_REFUSED);
    assert_int_equal(answer.request, request);
    assert_int_equal(answer.refused.code, code);
    if (!strstr(answer.refused.text, words))
        fail_msg("want \"%s\" in \"%s\"", words, answer.refused.text);
    message_release(&answer);
}

static void shows_a_job_that_is_drawn(void **state) {
    struct bench *bench = *state;
    struct message answer;
    uint32_t before = 0;
    begin(bench, false, false);
    for (uint64_t i = 0; i < 2 * BATCH; i++) { /* again and again, each later than the last */
        struct digest key = ask(bench, 100 + i % BATCH, 77 + i);
        coordinator_expect(&answer, &bench->coordinator, MESSAGE_PREVIEWED);
        assert_int_equal(answer.request, 77 + i);
        assert_memory_equal(&answer.previewed.key, &key, sizeof key);
        assert_true(answer.previewed.step > before && answer.previewed.steps == STEPS);
        before = answer.previewed.step;
        assert_int_equal(answer.previewed.width, 1);
        assert_int_equal(answer.previewed.rgb[0], i % BATCH);
        message_release(&answer);
    }
    take_results(bench, 5, JOBS, true);
}

static void says_what_it_does_not_draw(void **state) {
    struct bench *bench = *state;
    begin(bench, false, false);
    ask(bench, 103, 78); /* of the next batch */
    expect_refusal(bench, 78, ERR_NOT_FOUND, "it waits for its model or its turn");
    ask(bench, 999, 79);
    expect_refusal(bench, 79, ERR_NOT_FOUND, "it waits for its model or its turn");
    take_results(bench, 5, JOBS, true);
    ask(bench, 100, 80);
    expect_refusal(bench, 80, ERR_NOT_FOUND, "or is finished");
}

/* Asked for, and the batch ends before anything could be shown: answered all the same. */
static void answers_when_drawing_ends(void **state) {
    struct bench *bench = *state;
    begin(bench, true, false);
    ask(bench, 101, 81);
    expect_refusal(bench, 81, ERR_NOT_FOUND, "its drawing has ended");
    take_results(bench, 5, JOBS, true);
}

static void says_that_colours_are_unknown(void **state) {
    struct bench *bench = *state;
    begin(bench, false, true);
    ask(bench, 101, 82);
    expect_refusal(bench, 82, ERR_UNSUPPORTED, "no colours are known for");
    take_results(bench, 5, JOBS, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        AGENT_TEST(shows_a_job_that_is_drawn),
        AGENT_TEST(says_what_it_does_not_draw),
        AGENT_TEST(answers_when_drawing_ends),
        AGENT_TEST(says_that_colours_are_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
