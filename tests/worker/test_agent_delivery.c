/* test_agent_delivery.c - what an agent has drawn comes to the coordinator, whatever happens to either. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "proto/model.h"
#include "tests/worker/agent_kit.h"

static void delivers_again_after_a_new_connection(void **state) {
    struct bench *bench = *state;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 2);
    take_results(bench, 5, 4, false); /* not acknowledged: it is killed before it could */
    coordinator_close(&bench->coordinator);
    clock_sleep_ms(300);
    coordinator_open(&bench->coordinator, bench->address);
    coordinator_welcome(&bench->coordinator);
    take_results(bench, 5, 4, true);
    wait_for_outbox(bench, 0);
    assert_int_equal(atomic_load(&bench->painter.jobs), 4);
}

static void renders_on_while_nobody_is_there(void **state) {
    struct bench *bench = *state;
    struct message message;
    size_t results = 0;
    atomic_store(&bench->painter.step_ms, 30);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 16, 10);
    for (bool begun = false; !begun; message_release(&message)) { /* the lease has arrived */
        coordinator_expect(&message, &bench->coordinator, MESSAGE_PROGRESS);
        begun = message.progress.count > 0;
    }
    coordinator_close(&bench->coordinator);
    wait_for_outbox(bench, 16);
    coordinator_open(&bench->coordinator, bench->address);
    coordinator_welcome(&bench->coordinator);
    while (results < 16) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        results += message.results.count;
        message_release(&message);
    }
}

/* Committed before the acknowledgement was lost: offered, known, and not carried again. */
static void does_not_carry_what_is_there(void **state) {
    struct bench *bench = *state;
    struct message message;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 2);
    take_results(bench, 5, 4, false);
    coordinator_close(&bench->coordinator);
    coordinator_open(&bench->coordinator, bench->address);
    bench->coordinator.has_all = true;
    coordinator_welcome(&bench->coordinator);
    for (bool offered = false; !offered; message_release(&message)) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        assert_int_not_equal(message.type, MESSAGE_RESULTS);
        offered = message.type == MESSAGE_OFFER;
        if (offered) {
            struct digest key = double_key(&bench->model, 1, 2);
            assert_int_equal(message.keys.count, 4);
            assert_memory_equal(&message.keys.keys[0], &key, sizeof key);
        }
    }
    wait_for_outbox(bench, 0);
}

static void delivers_what_an_earlier_life_left(void **state) {
    struct bench *bench = *state;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 2);
    take_results(bench, 5, 4, false);
    coordinator_close(&bench->coordinator);
    stop_agent(bench);
    assert_int_equal(outbox_pictures(bench), 4);
    coordinator_open(&bench->coordinator, bench->address);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    take_results(bench, 0, 4, false);
    /* Leased to us again all the same: not drawn again, but delivered under the new lease. */
    coordinator_assign(&bench->coordinator, 6, &bench->model, 1, 4, 2);
    take_results(bench, 6, 4, false);
    assert_int_equal(atomic_load(&bench->painter.jobs), 4);
}

static void refuse_results(struct bench *bench, const struct message *results, enum err code) {
    struct message refused = { .type = MESSAGE_REFUSED, .request = results->request, .refused = { code, "no" } };
    coordinator_say(&bench->coordinator, &refused);
}

/* A full disk over there: the same result later. */
static void results_wait_for_a_full_disk(void **state) {
    struct bench *bench = *state;
    struct message message;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 1, 2);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
    uint64_t begin_ms = clock_monotonic_ms();
    refuse_results(bench, &message, ERR_NO_SPACE);
    message_release(&message);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
    assert_true(clock_monotonic_ms() - begin_ms >= 900); /* not at once again: the disk needs time */
    coordinator_acknowledge(&bench->coordinator, &message);
    message_release(&message);
    wait_for_outbox(bench, 0);
}

/* Content that is refused comes again alone, so that the good one beside it gets through; then the bad one is dropped. */
static void refused_content_goes_alone(void **state) {
    struct bench *bench = *state;
    struct message message;
    struct digest bad = double_key(&bench->model, 1, 2);
    bool bad_alone = false, good = false;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 2, 2);
    while (!bad_alone || !good) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        bool holds_bad = false;
        for (size_t i = 0; i < message.results.count; i++)
            holds_bad |= digest_equal(&message.results.items[i].key, &bad);
        bad_alone |= holds_bad && message.results.count == 1;
        good |= !holds_bad;
        if (holds_bad)
            refuse_results(bench, &message, ERR_CORRUPT);
        else
            coordinator_acknowledge(&bench->coordinator, &message);
        message_release(&message);
    }
    wait_for_outbox(bench, 0);
}

static void draining_delivers_then_goes(void **state) {
    struct bench *bench = *state;
    struct message message;
    bench->options.batch = 1;
    atomic_store(&bench->painter.step_ms, 50);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 50, 4);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS); /* 49 to go */
    agent_stop(bench->agent);
    coordinator_acknowledge(&bench->coordinator, &message);
    message_release(&message);
    for (bool over = false; !over; message_release(&message)) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        assert_int_not_equal(message.type, MESSAGE_LEASE_REQUEST);
        if (message.type == MESSAGE_RESULTS)
            coordinator_acknowledge(&bench->coordinator, &message);
        over = message.type == MESSAGE_GOODBYE;
    }
    join_agent(bench);
    assert_int_equal(bench->result, ERR_OK);
    assert_true(atomic_load(&bench->painter.jobs) < 50); /* what had not begun was given back */
    assert_int_equal(outbox_pictures(bench), 0);
}

/* Drained by the coordinator: all of the lease is drawn and acknowledged first. */
static void drained_ends_what_it_has(void **state) {
    struct bench *bench = *state;
    struct message message;
    size_t results = 0;
    bench->options.batch = 1;
    atomic_store(&bench->painter.step_ms, 20);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    expect(bench, MESSAGE_LEASE_REQUEST);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 6, 4);
    coordinator_say(&bench->coordinator, &(struct message){ .type = MESSAGE_DRAIN });
    for (bool over = false; !over; message_release(&message)) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        assert_int_not_equal(message.type, MESSAGE_LEASE_REQUEST);
        if (message.type == MESSAGE_RESULTS) {
            results += message.results.count;
            coordinator_acknowledge(&bench->coordinator, &message);
        }
        over = message.type == MESSAGE_GOODBYE;
    }
    join_agent(bench);
    assert_int_equal(bench->result, ERR_OK);
    assert_int_equal(results, 6);
    assert_int_equal(outbox_pictures(bench), 0);
}

static void draining_without_a_coordinator_does_not_wait(void **state) {
    struct bench *bench = *state;
    coordinator_close(&bench->coordinator);
    start_agent(bench);
    clock_sleep_ms(50);
    stop_agent(bench); /* returns: it does not wait for somebody to say goodbye to */
    assert_int_equal(bench->result, ERR_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        AGENT_TEST(delivers_again_after_a_new_connection),
        AGENT_TEST(renders_on_while_nobody_is_there),
        AGENT_TEST(does_not_carry_what_is_there),
        AGENT_TEST(delivers_what_an_earlier_life_left),
        AGENT_TEST(results_wait_for_a_full_disk),
        AGENT_TEST(refused_content_goes_alone),
        AGENT_TEST(draining_delivers_then_goes),
        AGENT_TEST(drained_ends_what_it_has),
        AGENT_TEST(draining_without_a_coordinator_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
