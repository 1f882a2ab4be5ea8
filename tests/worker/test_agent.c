/* test_agent.c - an agent's connection, leases and renders. */
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

static void says_who_it_is(void **state) {
    struct bench *bench = *state;
    struct message hello;
    start_agent(bench);
    coordinator_expect(&hello, &bench->coordinator, MESSAGE_WORKER_HELLO);
    assert_int_equal(hello.worker_hello.protocol, PROTOCOL_VERSION);
    assert_string_equal(hello.worker_hello.name, "w1");
    assert_string_equal(hello.worker_hello.device, "cpu");
    assert_string_equal(hello.worker_hello.device_class, "double");
    assert_int_equal(hello.worker_hello.batch, 8);
    assert_int_equal(hello.worker_hello.threads, 2);
    message_release(&hello);
}

static void renders_and_delivers(void **state) {
    struct bench *bench = *state;
    struct message message;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_LEASE_REQUEST);
    assert_int_equal(message.lease_request.jobs, LIMIT_BATCH); /* the coordinator decides, by our speed */
    message_release(&message);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 100, 8, 3);
    size_t seen = 0;
    while (seen < 8) { /* in one message or in several, as they become ready */
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        assert_int_equal(message.results.lease, 5);
        assert_int_equal(message.results.epoch, 1);
        assert_in_range(message.results.count, 1, 8 - seen);
        assert_in_range(outbox_pictures(bench), message.results.count, 8); /* on disk until they are acknowledged */
        for (size_t i = 0; i < message.results.count; i++, seen++) {
            const struct result_item *item = &message.results.items[i];
            struct digest key = double_key(&bench->model, 100 + seen, 3), picture = digest_of(item->png, item->png_size);
            assert_memory_equal(&item->key, &key, sizeof key);
            assert_memory_equal(&item->picture, &picture, sizeof picture);
            assert_int_equal(item->render_ms, 7);
        }
        coordinator_acknowledge(&bench->coordinator, &message);
        message_release(&message);
    }
    wait_for_outbox(bench, 0);
    assert_int_equal(atomic_load(&bench->painter.batches), 1);
}

static void reports_steps_while_it_renders(void **state) {
    struct bench *bench = *state;
    struct message message;
    uint32_t last = 0, reports = 0;
    atomic_store(&bench->painter.step_ms, 40);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 7, &bench->model, 1, 16, 20); /* two batches: the count goes on growing */
    for (bool done = false; !done; message_release(&message)) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        done = message.type == MESSAGE_RESULTS && ++reports && last > 20;
        if (message.type != MESSAGE_PROGRESS || message.progress.count == 0)
            continue;
        const struct lease_progress *progress = &message.progress.leases[0];
        assert_int_equal(progress->lease, 7);
        if (progress->phase == PHASE_STEP) {
            assert_in_range(progress->step, last, 40);
            assert_int_equal(progress->steps, 40);
            reports += progress->step > last;
            last = progress->step;
        }
    }
    assert_true(reports >= 10);
}

/* One lease waits while one renders, not more, and it is asked for late. */
static void asks_for_the_next_in_time(void **state) {
    struct bench *bench = *state;
    struct message message;
    uint32_t step = 0, asked = 0;
    atomic_store(&bench->painter.step_ms, 50);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    expect(bench, MESSAGE_LEASE_REQUEST);
    coordinator_assign(&bench->coordinator, 1, &bench->model, 1, 8, 40);
    for (bool done = false; !done; message_release(&message)) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        if (message.type == MESSAGE_PROGRESS && message.progress.count)
            step = message.progress.leases[0].step;
        if (message.type == MESSAGE_LEASE_REQUEST) {
            asked++;
            assert_true(step >= 17); /* of 40 in 2 s: about a second before its end */
        }
        done = message.type == MESSAGE_RESULTS;
    }
    assert_int_equal(asked, 1);
}

/* Back within a heartbeat, and nobody noticed but the coordinator: "who are you?" */
static void says_hello_again_to_one_that_forgot(void **state) {
    struct bench *bench = *state;
    struct message message;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 2);
    expect(bench, MESSAGE_RESULTS);
    expect(bench, MESSAGE_PROGRESS);
    message = (struct message){ .type = MESSAGE_REFUSED, .refused = { ERR_NOT_FOUND, "no such worker: say hello" } };
    coordinator_say(&bench->coordinator, &message);
    coordinator_welcome(&bench->coordinator);
    expect(bench, MESSAGE_RESULTS);
}

static void revoke_stops_within_a_step(void **state) {
    struct bench *bench = *state;
    struct message message;
    atomic_store(&bench->painter.step_ms, 50);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 500); /* 25 s */
    for (uint32_t step = 0; step < 3; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_PROGRESS);
        step = message.progress.count ? message.progress.leases[0].step : 0;
    }
    message = (struct message){ .type = MESSAGE_REVOKE, .revoke = { 5, 1 } };
    coordinator_say(&bench->coordinator, &message);
    coordinator_assign(&bench->coordinator, 6, &bench->model, 50, 1, 1);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
    assert_int_equal(message.results.lease, 6);
    message_release(&message);
    assert_int_equal(atomic_load(&bench->painter.jobs), 1); /* of the revoked four none was finished */
}

/* Seed 3 of 1 to 6 fails with `code`, and nothing else does. */
static void expect_third_to_fail(struct bench *bench, enum err code) {
    struct message message;
    size_t results = 0, failures = 0;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 6, 2);
    while (results < 5 || failures < 1) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        if (message.type == MESSAGE_RESULTS)
            results += message.results.count;
        if (message.type == MESSAGE_FAILURE) {
            struct digest key = double_key(&bench->model, 3, 2);
            failures++;
            assert_int_equal(message.failure.code, code);
            assert_int_equal(message.failure.count, 1);
            assert_memory_equal(&message.failure.keys[0], &key, sizeof key);
            assert_non_null(strstr(message.failure.text, "seed 3"));
        }
        message_release(&message);
    }
    assert_int_equal(results, 5);
}

static void one_bad_job_fails_alone(void **state) {
    struct bench *bench = *state;
    atomic_store(&bench->painter.bad_seed, 3);
    expect_third_to_fail(bench, ERR_NUMERIC);
}

static void batch_mates_of_a_bad_job_are_drawn_alone(void **state) {
    struct bench *bench = *state;
    atomic_store(&bench->painter.worse_seed, 3);
    expect_third_to_fail(bench, ERR_INVALID);
    assert_int_equal(atomic_load(&bench->painter.largest), 1);
}

static void halves_the_batch_when_memory_runs_out(void **state) {
    struct bench *bench = *state;
    struct message message;
    size_t results = 0;
    atomic_store(&bench->painter.most, 3);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 8, 2);
    for (; results < 8; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        results += message.results.count;
    }
    assert_int_equal(atomic_load(&bench->painter.batches), 4); /* 8 and 4 do not fit, 2 does */
    assert_int_equal(atomic_load(&bench->painter.largest), 2);
}

static void what_is_no_job_is_a_failure(void **state) {
    struct bench *bench = *state;
    struct message message;
    struct assigned_job job = { .spec = "{\"not\":\"a job\"}" };
    job.key = digest_of(job.spec, strlen(job.spec));
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    message = (struct message){ .type = MESSAGE_ASSIGN, .assign = { 9, 1, 60000, &job, 1 } };
    coordinator_say(&bench->coordinator, &message);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_FAILURE);
    assert_int_equal(message.failure.lease, 9);
    assert_int_equal(message.failure.count, 1);
    message_release(&message);
}

/* What a coordinator does about FETCH: serve the files of a model's folder. */
static void serve_model(struct bench *bench, const struct message_fetch *fetch, uint64_t request) {
    struct manifest manifest;
    struct bytes data = BYTES_INIT;
    assert_int_equal(manifest_of_folder(&manifest, bench->model_folder, NULL), ERR_OK);
    if (digest_equal(&fetch->digest, &manifest.digest))
        manifest_text(&data, &manifest);
    for (size_t i = 0; i < manifest.count; i++)
        if (digest_equal(&fetch->digest, &manifest.files[i].digest)) {
            char *path = path_join(bench->model_folder, manifest.files[i].path);
            assert_int_equal(file_read(&data, path, 8 << 20, NULL), ERR_OK);
            free(path);
        }
    struct message message = { .type = MESSAGE_REFUSED, .request = request, .refused = { ERR_NOT_FOUND, "no such object" } };
    if (data.size) {
        size_t left = data.size - (size_t)fetch->offset;
        message = (struct message){ .type = MESSAGE_CHUNK, .request = request,
                                    .chunk = { fetch->digest, fetch->offset, data.size, data.data + fetch->offset,
                                               left < fetch->size ? left : fetch->size } };
    }
    coordinator_say(&bench->coordinator, &message);
    manifest_release(&manifest);
    bytes_release(&data);
}

static void fetches_models_while_heart_beats(void **state) {
    struct bench *bench = *state;
    struct message message;
    bool done = false;
    uint32_t beats = 0;
    bench->options.models = NULL;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 2, 2);
    while (!done) {
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        if (message.type == MESSAGE_FETCH) {
            clock_sleep_ms(20);
            serve_model(bench, &message.fetch, message.request);
        }
        beats += message.type == MESSAGE_PROGRESS && message.progress.count && message.progress.leases[0].phase == PHASE_FETCH;
        done = message.type == MESSAGE_RESULTS;
        message_release(&message);
    }
    assert_true(beats >= 2);
}

static void a_model_nobody_has_fails_the_jobs(void **state) {
    struct bench *bench = *state;
    struct digest none = digest_of("none", 4);
    struct message message;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &none, 1, 2, 2);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_FETCH);
    serve_model(bench, &message.fetch, message.request);
    message_release(&message);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_FAILURE);
    assert_int_equal(message.failure.code, ERR_NOT_FOUND);
    assert_int_equal(message.failure.count, 2);
    message_release(&message);
}

/* Revoked while its model is fetched from a coordinator that does not answer: the next lease goes ahead. */
static void revoke_ends_a_fetch(void **state) {
    struct bench *bench = *state;
    struct digest none = digest_of("none", 4);
    struct message message;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &none, 1, 2, 2);
    expect(bench, MESSAGE_FETCH);
    message = (struct message){ .type = MESSAGE_REVOKE, .revoke = { 5, 1 } };
    coordinator_say(&bench->coordinator, &message);
    coordinator_assign(&bench->coordinator, 6, &bench->model, 1, 2, 2);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
    assert_int_equal(message.results.lease, 6);
    message_release(&message);
}

static void refuse_hello(struct bench *bench, enum err code, char *text) {
    struct message hello, refused;
    coordinator_expect(&hello, &bench->coordinator, MESSAGE_WORKER_HELLO);
    refused = (struct message){ .type = MESSAGE_REFUSED, .request = hello.request, .refused = { code, text } };
    message_release(&hello);
    coordinator_say(&bench->coordinator, &refused);
}

static void comes_back_when_its_name_is_taken(void **state) {
    struct bench *bench = *state;
    start_agent(bench);
    refuse_hello(bench, ERR_INVALID, "worker w1: that name is taken");
    uint64_t begin_ms = clock_monotonic_ms();
    coordinator_welcome(&bench->coordinator);
    assert_true(clock_monotonic_ms() - begin_ms >= 900); /* with back-off, not at once */
    expect(bench, MESSAGE_LEASE_REQUEST);
}

static void ends_where_another_protocol_is_spoken(void **state) {
    struct bench *bench = *state;
    start_agent(bench);
    refuse_hello(bench, ERR_UNSUPPORTED, "protocol: want 2, have 1");
    join_agent(bench);
    assert_int_equal(bench->result, ERR_UNSUPPORTED);
    assert_non_null(strstr(bench->error.message, "want 2, have 1"));
}

/* A drawing thread that does not come back is found out; the process is to end, and another takes its place. */
static void a_hung_render_ends_the_agent(void **state) {
    struct bench *bench = *state;
    bench->options.hang_ms = 300;
    atomic_store(&bench->painter.step_ms, 2000);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 1, 1);
    join_agent(bench);
    assert_int_equal(bench->result, ERR_STALE);
    assert_non_null(strstr(bench->error.message, "lease 5: no progress"));
}

/* Steps are slow, but each comes within the time allowed; a lease that waits its turn does not count. */
static void slow_is_not_hung(void **state) {
    struct bench *bench = *state;
    bench->options.hang_ms = 2000;
    atomic_store(&bench->painter.step_ms, 150);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 1, 16);
    coordinator_assign(&bench->coordinator, 6, &bench->model, 9, 1, 1);
    take_results(bench, 5, 1, true);
    take_results(bench, 6, 1, true);
}

/* What it works on survives a coordinator that has forgotten it. */
static void holds_its_lease_over_a_restart(void **state) {
    struct bench *bench = *state;
    struct message message;
    struct digest key = double_key(&bench->model, 2, 120);
    atomic_store(&bench->painter.step_ms, 30);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 3, 120);
    for (bool begun = false; !begun; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_PROGRESS);
        begun = message.progress.count > 0;
    }
    coordinator_close(&bench->coordinator);
    coordinator_open(&bench->coordinator, bench->address);
    coordinator_welcome(&bench->coordinator);
    coordinator_expect(&message, &bench->coordinator, MESSAGE_HOLD);
    assert_int_equal(message.assign.lease, 5);
    assert_int_equal(message.assign.epoch, 1);
    assert_int_equal(message.assign.count, 3);
    assert_memory_equal(&message.assign.jobs[1].key, &key, sizeof key);
    message_release(&message);
    take_results(bench, 5, 3, true);
    assert_int_equal(atomic_load(&bench->painter.jobs), 3);
}

static void two_workers_do_not_share_a_cache(void **state) {
    struct bench *bench = *state;
    struct agent *second;
    struct error error;
    start_agent(bench);
    assert_int_equal(agent_create(&second, &bench->options, &error), ERR_INVALID);
    assert_non_null(strstr(error.message, bench->cache));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        AGENT_TEST(says_who_it_is),
        AGENT_TEST(renders_and_delivers),
        AGENT_TEST(reports_steps_while_it_renders),
        AGENT_TEST(asks_for_the_next_in_time),
        AGENT_TEST(says_hello_again_to_one_that_forgot),
        AGENT_TEST(revoke_stops_within_a_step),
        AGENT_TEST(one_bad_job_fails_alone),
        AGENT_TEST(batch_mates_of_a_bad_job_are_drawn_alone),
        AGENT_TEST(halves_the_batch_when_memory_runs_out),
        AGENT_TEST(what_is_no_job_is_a_failure),
        AGENT_TEST(fetches_models_while_heart_beats),
        AGENT_TEST(a_model_nobody_has_fails_the_jobs),
        AGENT_TEST(revoke_ends_a_fetch),
        AGENT_TEST(comes_back_when_its_name_is_taken),
        AGENT_TEST(ends_where_another_protocol_is_spoken),
        AGENT_TEST(a_hung_render_ends_the_agent),
        AGENT_TEST(slow_is_not_hung),
        AGENT_TEST(holds_its_lease_over_a_restart),
        AGENT_TEST(two_workers_do_not_share_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
