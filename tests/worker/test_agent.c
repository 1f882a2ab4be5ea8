/* test_agent.c - a whole agent against a scripted coordinator, over real sockets on ipc. Only what draws is a double. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "proto/model.h"
#include "tests/worker/double.h"

struct bench {
    char *place, *address, *cache, *outbox, *model_folder;
    struct digest model;
    struct double_painter painter;
    struct double_coordinator coordinator;
    struct agent_options options;
    struct agent *agent;
    pthread_t thread;
    struct error error;
    enum err result;
    bool running;
};

static void *run_agent(void *context) {
    struct bench *bench = context;
    bench->result = agent_run(bench->agent, &bench->error);
    return NULL;
}

static void start_agent(struct bench *bench) {
    struct error error;
    if (agent_create(&bench->agent, &bench->options, &error) != ERR_OK)
        fail_msg("%s", error.message);
    assert_int_equal(pthread_create(&bench->thread, NULL, run_agent, bench), 0);
    bench->running = true;
}

static void join_agent(struct bench *bench) {
    pthread_join(bench->thread, NULL);
    agent_destroy(bench->agent);
    bench->agent = NULL;
    bench->running = false;
}

static void stop_agent(struct bench *bench) {
    agent_stop(bench->agent);
    join_agent(bench);
}

static int set_up(void **state) {
    struct bench *bench = memory_get(sizeof *bench);
    struct manifest manifest;
    bench->place = place_create();
    bench->address = text_format("ipc://%s/farm.sock", bench->place);
    bench->cache = path_join(bench->place, "cache");
    bench->outbox = path_join(bench->cache, "outbox");
    bench->model_folder = path_join(bench->place, "model");
    model_create(bench->model_folder, 3000000);
    assert_int_equal(manifest_of_folder(&manifest, bench->model_folder, NULL), ERR_OK);
    bench->model = manifest.digest;
    manifest_release(&manifest);
    bench->options = (struct agent_options){
        .coordinator = bench->address,
        .name = "w1",
        .host = "here",
        .device = "cpu",
        .threads = 2,
        .batch = 8,
        .cache = bench->cache,
        .models = bench->model_folder,
        .painter = double_painter(&bench->painter),
    };
    coordinator_open(&bench->coordinator, bench->address);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    coordinator_close(&bench->coordinator); /* first: else what is not acknowledged is waited for */
    if (bench->running)
        stop_agent(bench);
    place_remove(bench->place);
    free(bench->address);
    free(bench->cache);
    free(bench->outbox);
    free(bench->model_folder);
    free(bench);
    return 0;
}

/* Wait until the outbox has so many files. */
static void wait_for_outbox(struct bench *bench, size_t count) {
    uint64_t until_ms = clock_monotonic_ms() + 20000;
    while (place_count(bench->outbox) != count) {
        if (clock_monotonic_ms() > until_ms)
            fail_msg("outbox: want %zu files, have %zu", count, place_count(bench->outbox));
        clock_sleep_ms(5);
    }
}

static void expect(struct bench *bench, enum message_type type) {
    struct message message;
    coordinator_expect(&message, &bench->coordinator, type);
    message_release(&message);
}

/* Results of lease `lease` until `count` came, in one message or in several, as they became ready. Others are passed over. */
static void take_results(struct bench *bench, uint64_t lease, size_t count, bool acknowledge) {
    struct message message;
    for (size_t seen = 0; seen < count; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        if (message.results.lease != lease)
            continue;
        seen += message.results.count;
        assert_in_range(seen, 1, count);
        if (acknowledge)
            coordinator_acknowledge(&bench->coordinator, &message);
    }
}

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
    assert_int_equal(message.lease_request.jobs, 8);
    message_release(&message);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 100, 8, 3);
    size_t seen = 0;
    while (seen < 8) { /* in one message or in several, as they become ready */
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        assert_int_equal(message.results.lease, 5);
        assert_int_equal(message.results.epoch, 1);
        assert_in_range(message.results.count, 1, 8 - seen);
        assert_in_range(place_count(bench->outbox), message.results.count, 8); /* on disk until they are acknowledged */
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

static void delivers_what_an_earlier_life_left(void **state) {
    struct bench *bench = *state;
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 4, 2);
    take_results(bench, 5, 4, false);
    coordinator_close(&bench->coordinator);
    stop_agent(bench);
    assert_int_equal(place_count(bench->outbox), 4);
    coordinator_open(&bench->coordinator, bench->address);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    take_results(bench, 0, 4, false);
    /* Leased to us again all the same: not drawn again, but delivered under the new lease. */
    coordinator_assign(&bench->coordinator, 6, &bench->model, 1, 4, 2);
    take_results(bench, 6, 4, false);
    assert_int_equal(atomic_load(&bench->painter.jobs), 4);
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

static void one_bad_job_fails_alone(void **state) {
    struct bench *bench = *state;
    struct message message;
    size_t results = 0, failures = 0;
    atomic_store(&bench->painter.bad_seed, 3);
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
            assert_int_equal(message.failure.code, ERR_NUMERIC);
            assert_int_equal(message.failure.count, 1);
            assert_memory_equal(&message.failure.keys[0], &key, sizeof key);
            assert_non_null(strstr(message.failure.text, "NaN"));
        }
        message_release(&message);
    }
    assert_int_equal(results, 5);
}

static void halves_the_batch_when_memory_runs_out(void **state) {
    struct bench *bench = *state;
    struct message message;
    size_t results = 0, wanted = 0;
    atomic_store(&bench->painter.most, 3);
    start_agent(bench);
    coordinator_welcome(&bench->coordinator);
    coordinator_assign(&bench->coordinator, 5, &bench->model, 1, 8, 2);
    while (results < 8 || wanted != 2) { /* it asks for no more than that from now on */
        if (!coordinator_hear(&message, &bench->coordinator, 20000))
            fail_msg("silence");
        if (message.type == MESSAGE_RESULTS)
            results += message.results.count;
        if (message.type == MESSAGE_LEASE_REQUEST)
            wanted = message.lease_request.jobs;
        message_release(&message);
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
    assert_int_equal(place_count(bench->outbox), 0);
}

static void draining_without_a_coordinator_does_not_wait(void **state) {
    struct bench *bench = *state;
    coordinator_close(&bench->coordinator);
    start_agent(bench);
    clock_sleep_ms(50);
    stop_agent(bench); /* returns: it does not wait for somebody to say goodbye to */
    assert_int_equal(bench->result, ERR_OK);
}

static void two_workers_do_not_share_a_cache(void **state) {
    struct bench *bench = *state;
    struct agent *second;
    struct error error;
    start_agent(bench);
    assert_int_equal(agent_create(&second, &bench->options, &error), ERR_INVALID);
    assert_non_null(strstr(error.message, bench->cache));
}

#define AGENT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        AGENT_TEST(says_who_it_is),
        AGENT_TEST(renders_and_delivers),
        AGENT_TEST(reports_steps_while_it_renders),
        AGENT_TEST(asks_for_the_next_in_time),
        AGENT_TEST(delivers_again_after_a_new_connection),
        AGENT_TEST(says_hello_again_to_one_that_forgot),
        AGENT_TEST(renders_on_while_nobody_is_there),
        AGENT_TEST(delivers_what_an_earlier_life_left),
        AGENT_TEST(revoke_stops_within_a_step),
        AGENT_TEST(one_bad_job_fails_alone),
        AGENT_TEST(halves_the_batch_when_memory_runs_out),
        AGENT_TEST(what_is_no_job_is_a_failure),
        AGENT_TEST(fetches_models_while_heart_beats),
        AGENT_TEST(a_model_nobody_has_fails_the_jobs),
        AGENT_TEST(revoke_ends_a_fetch),
        AGENT_TEST(comes_back_when_its_name_is_taken),
        AGENT_TEST(ends_where_another_protocol_is_spoken),
        AGENT_TEST(results_wait_for_a_full_disk),
        AGENT_TEST(refused_content_goes_alone),
        AGENT_TEST(draining_delivers_then_goes),
        AGENT_TEST(draining_without_a_coordinator_does_not_wait),
        AGENT_TEST(two_workers_do_not_share_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
