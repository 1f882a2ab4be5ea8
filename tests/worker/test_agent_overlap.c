/* test_agent_overlap.c - what an agent does while pictures that are drawn become PNG files. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/worker/agent_kit.h"
#include "worker/finisher.h"

enum { PATIENCE_MS = 20000, WHILE_MS = 200 };

static void wait_for(const atomic_uint *value, unsigned want) {
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (atomic_load(value) < want) {
        if (clock_monotonic_ms() > until_ms)
            fail_msg("want %u, have %u", want, atomic_load(value));
        clock_sleep_ms(1);
    }
}

/* Seeds first to first + count - 1 in this order, each with its own bytes. */
static void take_in_order(struct bench *bench, uint64_t lease, uint64_t first, size_t count, uint32_t steps) {
    struct message message;
    for (size_t seen = 0; seen < count; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        assert_int_equal(message.results.lease, lease);
        for (size_t i = 0; i < message.results.count; i++, seen++) {
            const struct result_item *item = &message.results.items[i];
            struct digest key = double_key(&bench->model, first + seen, steps);
            struct bytes png = BYTES_INIT;
            struct spec spec;
            double_spec(&spec, &bench->model, first + seen, steps);
            double_png(&png, &spec);
            assert_memory_equal(&item->key, &key, sizeof key);
            assert_int_equal(item->png_size, png.size);
            assert_memory_equal(item->png, png.data, png.size);
            spec_release(&spec);
            bytes_release(&png);
        }
        coordinator_acknowledge(&bench->coordinator, &message);
    }
}

/* Not one PNG is done, and the device draws on: until the bound. Then all come, in order. */
static void draws_on_while_pictures_are_finished(void **state) {
    struct bench *bench = *state;
    bench->options.batch = 2;
    atomic_store(&bench->painter.hold, true);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 100, 40, 1);
    wait_for(&bench->painter.batches, FINISH_BATCHES + 1);
    clock_sleep_ms(WHILE_MS);
    assert_int_equal(atomic_load(&bench->painter.batches), FINISH_BATCHES + 1); /* the last one waits for room */
    assert_int_equal(outbox_pictures(bench), 0);
    atomic_store(&bench->painter.hold, false);
    take_in_order(bench, 5, 100, 40, 1);
    assert_int_equal(atomic_load(&bench->painter.batches), 20);
    assert_in_range(atomic_load(&bench->painter.together), 1, bench->options.threads);
}

/* A device that draws two pictures in 50 ms, and a PNG of 45 ms, on two threads: one after another, it would idle half of its time. */
static void slow_pictures_leave_the_device_busy(void **state) {
    struct bench *bench = *state;
    bench->options.batch = 2;
    atomic_store(&bench->painter.step_ms, 50);
    atomic_store(&bench->painter.finish_ms, 45);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 20, 1);
    take_in_order(bench, 5, 1, 20, 1);
    double span_ns = (double)(atomic_load(&bench->painter.end_ns) - atomic_load(&bench->painter.begin_ns));
    assert_true((double)atomic_load(&bench->painter.drawing_ns) > 0.75 * span_ns);
}

static void finishes_several_at_once(void **state) {
    struct bench *bench = *state;
    atomic_store(&bench->painter.hold, true);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 8, 1);
    wait_for(&bench->painter.finishing, bench->options.threads);
    atomic_store(&bench->painter.hold, false);
    take_in_order(bench, 5, 1, 8, 1);
}

/* A lease whose pictures are drawn keeps no other from being asked for. */
static void asks_for_the_next_lease_meanwhile(void **state) {
    struct bench *bench = *state;
    atomic_store(&bench->painter.hold, true);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    expect(bench, MESSAGE_LEASE_REQUEST);
    for (uint64_t lease = 1; lease <= 3; lease++) {
        coordinator_assign(&bench->coordinator, lease, &bench->model, 10 * lease, 4, 2);
        expect(bench, MESSAGE_LEASE_REQUEST);
        wait_for(&bench->painter.batches, (unsigned)lease);
    }
    assert_int_equal(outbox_pictures(bench), 0);
    atomic_store(&bench->painter.hold, false);
    for (uint64_t lease = 1; lease <= 3; lease++)
        take_in_order(bench, lease, 10 * lease, 4, 2);
}

/* What was drawn is finished and delivered, whatever has become of its lease and of the agent. */
static void stopping_loses_nothing_that_is_drawn(void **state) {
    struct bench *bench = *state;
    atomic_store(&bench->painter.hold, true);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 1);
    wait_for(&bench->painter.batches, 1);
    wait_for(&bench->painter.finishing, 1);
    agent_stop(bench->agent);
    clock_sleep_ms(50);
    atomic_store(&bench->painter.hold, false);
    take_in_order(bench, 5, 1, 4, 1);
    expect(bench, MESSAGE_GOODBYE);
    join_agent(bench);
    assert_int_equal(bench->result, ERR_OK);
}

static void a_job_that_failed_is_reported_beside_its_mates(void **state) {
    struct bench *bench = *state;
    struct message message;
    bool failed = false;
    size_t results = 0;
    atomic_store(&bench->painter.bad_seed, 3);
    atomic_store(&bench->painter.finish_ms, 20);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 6, 1);
    for (; !failed || results < 5; message_release(&message)) {
        if (!coordinator_hear(&message, &bench->coordinator, PATIENCE_MS))
            fail_msg("silence");
        failed = failed || message.type == MESSAGE_FAILURE;
        results += message.type == MESSAGE_RESULTS ? message.results.count : 0;
    }
    assert_int_equal(results, 5);
}

/* ---- loading ahead -------------------------------------------------------------------------------------------------- */

static void wait_until_loading(struct bench *bench) {
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (!atomic_load(&bench->painter.loading_ahead)) {
        if (clock_monotonic_ms() > until_ms)
            fail_msg("nothing is loaded ahead");
        clock_sleep_ms(1);
    }
}

/* Lease 1 of 10 pictures is drawn, in batches of 2; the models of lease 2 are being loaded, and do not come to the end of it. */
static void draw_one_and_load_the_next(struct bench *bench) {
    bench->options.batch = 2;
    atomic_store(&bench->painter.step_ms, 20);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 1, &bench->model, 10, 10, 2);
    wait_for(&bench->painter.prepares, 1);
    atomic_store(&bench->painter.hold_loading, true);
    coordinator_assign(&bench->coordinator, 2, &bench->model, 20, 4, 2);
    wait_until_loading(bench);
}

static void draws_on_while_the_next_models_are_loaded(void **state) {
    struct bench *bench = *state;
    draw_one_and_load_the_next(bench);
    take_in_order(bench, 1, 10, 10, 2);
    clock_sleep_ms(WHILE_MS);
    assert_int_equal(atomic_load(&bench->painter.batches), 5); /* lease 2 waits */
    assert_true(atomic_load(&bench->painter.loading_ahead));
    atomic_store(&bench->painter.hold_loading, false);
    take_in_order(bench, 2, 20, 4, 2);
    assert_int_equal(atomic_load(&bench->painter.loads), 2); /* asked for all the same */
}

/* Its jobs live until the thread that loads for them is done with them. */
static void a_lease_revoked_while_it_is_loaded_for_is_not_drawn(void **state) {
    struct bench *bench = *state;
    struct message revoke = { .type = MESSAGE_REVOKE, .revoke = { 2, 1 } };
    draw_one_and_load_the_next(bench);
    coordinator_say(&bench->coordinator, &revoke);
    take_in_order(bench, 1, 10, 10, 2);
    clock_sleep_ms(WHILE_MS);
    atomic_store(&bench->painter.hold_loading, false);
    coordinator_assign(&bench->coordinator, 3, &bench->model, 30, 2, 2);
    take_in_order(bench, 3, 30, 2, 2);
    assert_int_equal(atomic_load(&bench->painter.jobs), 12);
}

static void *let_load_soon(void *context) {
    struct bench *bench = context;
    clock_sleep_ms(WHILE_MS);
    atomic_store(&bench->painter.hold_loading, false);
    return NULL;
}

static void closing_waits_for_what_is_being_loaded(void **state) {
    struct bench *bench = *state;
    pthread_t thread;
    draw_one_and_load_the_next(bench);
    coordinator_close(&bench->coordinator);
    assert_int_equal(pthread_create(&thread, NULL, let_load_soon, bench), 0);
    stop_agent(bench);
    pthread_join(thread, NULL);
    assert_false(atomic_load(&bench->painter.loading_ahead));
    assert_int_equal(atomic_load(&bench->painter.prepares), 2);
    assert_in_range(atomic_load(&bench->painter.jobs), 0, 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        AGENT_TEST(draws_on_while_pictures_are_finished),
        AGENT_TEST(slow_pictures_leave_the_device_busy),
        AGENT_TEST(finishes_several_at_once),
        AGENT_TEST(asks_for_the_next_lease_meanwhile),
        AGENT_TEST(stopping_loses_nothing_that_is_drawn),
        AGENT_TEST(a_job_that_failed_is_reported_beside_its_mates),
        AGENT_TEST(draws_on_while_the_next_models_are_loaded),
        AGENT_TEST(a_lease_revoked_while_it_is_loaded_for_is_not_drawn),
        AGENT_TEST(closing_waits_for_what_is_being_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
