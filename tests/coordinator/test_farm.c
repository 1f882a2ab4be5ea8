/*
 * test_farm.c - the real loop, in a thread, with a scripted client and scripted workers over ipc; pictures are fakes that
 * hold every rule a real one does.
 */
#include "tests/coordinator/kit_served.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "picture/picture.h"

/* Every picture of the sweep by LIST and FETCH: as many as wanted, each with its job's chunk. */
static void check_pictures(struct served *farm, const char *sweep, size_t want) {
    struct message jobs, chunk;
    struct message list = { .type = MESSAGE_LIST, .list = { (char *)sweep, 0, 10, JOB_DONE } };
    size_t seen = 0;
    do {
        served_ask(&jobs, farm, &list, MESSAGE_JOBS);
        for (size_t i = 0; i < jobs.jobs.count; i++) {
            const struct listed_job *job = &jobs.jobs.jobs[i];
            struct message fetch = { .type = MESSAGE_FETCH, .fetch = { job->picture, 0, LIMIT_CHUNK } };
            served_ask(&chunk, farm, &fetch, MESSAGE_CHUNK);
            struct digest digest = digest_of(chunk.chunk.data, chunk.chunk.size);
            assert_true(digest_equal(&digest, &job->picture));
            assert_int_equal(chunk.chunk.total, chunk.chunk.size);
            struct digest key = digest_of(job->spec, strlen(job->spec));
            assert_true(digest_equal(&key, &job->key));
            message_release(&chunk);
        }
        seen += jobs.jobs.count;
        list.list.from = jobs.jobs.next;
        message_release(&jobs);
    } while (list.list.from);
    assert_int_equal(seen, want);
}

static void test_whole_way(void **state) {
    struct served farm;
    struct worker worker;
    struct message_submitted submitted;
    (void)state;
    served_setup(&farm);
    served_submit(&submitted, &farm, "frog", 0, 25);
    assert_int_equal(submitted.jobs, 25);
    assert_false(submitted.known);
    served_assert_rule(&farm, "frog", 3, "no-workers");
    worker_open(&worker, &farm, "w1", 10);
    served_assert_rule(&farm, "frog", 3, "queued");
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    worker_progress(&worker, PHASE_STEP, 1);
    worker_deliver(&worker, 0, 3, 0);
    worker_acknowledged(&worker, 3);
    assert_int_equal(served_status(&farm, "frog").done, 3);
    assert_int_equal(served_status(&farm, "frog").running, 5);
    served_assert_rule(&farm, "frog", 0, "done");
    served_assert_rule(&farm, "frog", 4, "leased");
    worker_deliver(&worker, 3, 5, 0);
    worker_acknowledged(&worker, 5);
    assert_int_equal(worker_work_off(&worker, &farm, "frog"), 17);
    check_pictures(&farm, "frog", 25);
    /* The very same again: nothing to draw. */
    served_submit(&submitted, &farm, "frog", 0, 25);
    assert_true(submitted.known);
    assert_int_equal(served_status(&farm, "frog").state, SWEEP_DONE);
    /* Grown, and another one with a shared part: only what is new, the rest without any worker's help. */
    served_submit(&submitted, &farm, "grown", 0, 40);
    assert_int_equal(worker_work_off(&worker, &farm, "grown"), 15);
    assert_int_equal(served_status(&farm, "grown").rendered, 15);
    check_pictures(&farm, "grown", 40);
    served_submit(&submitted, &farm, "part", 5, 20);
    served_wait_state(&farm, "part", SWEEP_DONE);
    assert_int_equal(served_status(&farm, "part").rendered, 0);
    worker_close(&worker);
    served_teardown(&farm);
}

static void test_restart(void **state) {
    struct served farm;
    struct worker worker;
    struct message_submitted submitted;
    (void)state;
    served_setup(&farm);
    served_submit(&submitted, &farm, "frog", 0, 30);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    worker_deliver(&worker, 0, 5, 0);
    worker_acknowledged(&worker, 5);
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    served_stop(&farm);
    served_start(&farm);
    assert_int_equal(served_status(&farm, "frog").done, 5);
    assert_int_equal(served_status(&farm, "frog").running, 0);
    /* What the worker held over the restart is welcome, after a new hello. */
    struct message refused;
    worker_progress(&worker, PHASE_STEP, 1);
    worker_expect(&refused, &worker, MESSAGE_REFUSED);
    assert_int_equal(refused.refused.code, ERR_STALE);
    message_release(&refused);
    worker_hello(&worker, "w1", 10, PROTOCOL_VERSION);
    worker_expect(&refused, &worker, MESSAGE_WELCOME);
    worker_deliver(&worker, 0, 8, 0);
    worker_acknowledged(&worker, 8);
    assert_int_equal(served_status(&farm, "frog").done, 13);
    assert_int_equal(worker_work_off(&worker, &farm, "frog"), 17);
    check_pictures(&farm, "frog", 30);
    worker_close(&worker);
    served_teardown(&farm);
}

static void test_late_and_double_results(void **state) {
    struct served farm;
    struct worker slow, quick;
    struct message_submitted submitted;
    (void)state;
    served_setup_liveness(&farm, SHORT_MS);
    served_submit(&submitted, &farm, "frog", 0, 4);
    worker_open(&slow, &farm, "slow", 10);
    worker_ask(&slow, 4);
    assert_int_equal(worker_take(&slow), 4);
    served_wait_silence(&farm);
    worker_open(&quick, &farm, "quick", 11);
    worker_ask(&quick, 2);
    assert_int_equal(worker_take(&quick), 2);
    assert_true(quick.epoch > slow.epoch);
    worker_deliver(&quick, 0, 2, 0);
    worker_acknowledged(&quick, 2);
    struct message welcome;
    worker_hello(&slow, "slow", 10, PROTOCOL_VERSION);
    worker_expect(&welcome, &slow, MESSAGE_WELCOME);
    worker_deliver(&slow, 0, 4, 0); /* two known, two new; its lease is long gone */
    worker_acknowledged(&slow, 4);
    assert_int_equal(served_status(&farm, "frog").state, SWEEP_DONE);
    worker_deliver(&slow, 0, 4, 7); /* other pixels for the same jobs: the first valid commit stays */
    worker_acknowledged(&slow, 4);
    struct message jobs, list = { .type = MESSAGE_LIST, .list = { "frog", 0, 10, 0 } };
    struct result_item first;
    served_ask(&jobs, &farm, &list, MESSAGE_JOBS);
    kit_result(&first, jobs.jobs.jobs[0].spec, 0);
    assert_true(digest_equal(&jobs.jobs.jobs[0].picture, &first.picture));
    free(first.png);
    message_release(&jobs);
    worker_close(&slow);
    worker_close(&quick);
    served_teardown(&farm);
}

static void expect_refused_result(struct worker *worker, struct result_item *item, const char *word) {
    struct message results = { .type = MESSAGE_RESULTS, .request = 9, .results = { worker->lease, worker->epoch, item, 1 } };
    struct message answer;
    worker_send(worker, &results);
    worker_expect(&answer, worker, MESSAGE_REFUSED);
    assert_int_equal(answer.request, 9);
    if (!strstr(answer.refused.text, word))
        fail_msg("want \"%s\" in: %s", word, answer.refused.text);
    message_release(&answer);
}

static void test_invalid_results(void **state) {
    struct served farm;
    struct worker worker;
    struct message_submitted submitted;
    struct result_item item, other;
    (void)state;
    served_setup(&farm);
    served_submit(&submitted, &farm, "frog", 0, 2);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 2);
    assert_int_equal(worker_take(&worker), 2);
    kit_result(&item, worker.assign.assign.jobs[0].spec, 0);
    kit_result(&other, worker.assign.assign.jobs[1].spec, 0);
    struct result_item swapped = item;
    swapped.key = other.key;
    expect_refused_result(&worker, &swapped, "want in its own chunk the job");
    struct result_item pixels = item;
    pixels.pixels = other.pixels;
    expect_refused_result(&worker, &pixels, "want pixel digest");
    struct result_item torn = item;
    torn.png[torn.png_size - 20] ^= 1;
    expect_refused_result(&worker, &torn, "want a file of sha256");
    torn.picture = digest_of(torn.png, torn.png_size);
    expect_refused_result(&worker, &torn, "");
    torn.png_size = 30;
    torn.picture = digest_of(torn.png, torn.png_size);
    expect_refused_result(&worker, &torn, "");
    free(item.png);
    free(other.png);
    assert_int_equal(served_status(&farm, "frog").done, 0);
    assert_int_equal(worker_work_off(&worker, &farm, "frog"), 2); /* both went back */
    worker_close(&worker);
    served_teardown(&farm);
}

static void worker_fail(struct worker *worker, const struct digest *key, enum err code, const char *text) {
    struct message failure = { .type = MESSAGE_FAILURE, .request = 4,
                               .failure = { worker->lease, worker->epoch, (struct digest *)key, key ? 1 : 0, code, (char *)text } };
    worker_send(worker, &failure);
    worker_acknowledged(worker, key ? 1 : 0);
}

/* A worker's own trouble charges nobody; three distinct workers end a job; `retry` asks for it again, over a restart. */
static void test_failures(void **state) {
    static const char *const names[] = { "w1", "w2", "w3" };
    struct served farm;
    struct worker workers[3];
    struct message_submitted submitted;
    struct error error;
    struct message answer, retry = { .type = MESSAGE_RETRY, .sweep_ref = { "frog" } };
    (void)state;
    served_setup(&farm);
    served_submit(&submitted, &farm, "frog", 0, 1);
    worker_open(&workers[0], &farm, names[0], 10);
    worker_ask(&workers[0], 2);
    assert_int_equal(worker_take(&workers[0]), 1);
    worker_fail(&workers[0], NULL, ERR_IO, "no room in the outbox");
    for (uint32_t i = 0; i < 3; i++) {
        if (i)
            worker_open(&workers[i], &farm, names[i], 10 + i);
        worker_ask(&workers[i], 2);
        assert_int_equal(worker_take(&workers[i]), 1);
        struct digest poison = workers[i].assign.assign.jobs[0].key;
        worker_fail(&workers[i], &poison, ERR_NUMERIC, "NaN in step 1");
    }
    while (!served_status(&farm, "frog").failed)
        clock_sleep_ms(5);
    assert_int_equal(served_status(&farm, "frog").state, SWEEP_DONE);
    served_assert_rule(&farm, "frog", 0, "failed");
    struct message list = { .type = MESSAGE_LIST, .list = { "frog", 0, 10, JOB_FAILED } };
    served_ask(&answer, &farm, &list, MESSAGE_JOBS);
    assert_int_equal(answer.jobs.count, 1);
    assert_string_equal(answer.jobs.jobs[0].error, "NaN in step 1");
    message_release(&answer);
    for (int i = 0; i < 3; i++)
        worker_close(&workers[i]);
    served_stop(&farm);
    served_start(&farm);
    assert_int_equal(served_status(&farm, "frog").failed, 1);
    served_ask(&answer, &farm, &retry, MESSAGE_DONE);
    assert_int_equal(served_status(&farm, "frog").state, SWEEP_ACTIVE);
    worker_open(&workers[0], &farm, "w4", 12);
    assert_int_equal(worker_work_off(&workers[0], &farm, "frog"), 1);
    assert_int_equal(served_status(&farm, "frog").done, 1);
    assert_int_equal(served_refusal(&error, &farm, &retry), ERR_INVALID);
    assert_string_equal(error.message, "sweep \"frog\": none of its 1 jobs has failed, there is nothing to retry");
    worker_close(&workers[0]);
    served_teardown(&farm);
}

static void test_cancel(void **state) {
    struct served farm;
    struct worker worker;
    struct message_submitted submitted;
    struct message answer, question = { .type = MESSAGE_CANCEL, .sweep_ref = { "frog" } };
    (void)state;
    served_setup(&farm);
    served_submit(&submitted, &farm, "frog", 0, 20);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    served_ask(&answer, &farm, &question, MESSAGE_DONE);
    worker_expect(&answer, &worker, MESSAGE_REVOKE);
    assert_int_equal(answer.revoke.lease, worker.lease);
    assert_int_equal(served_status(&farm, "frog").state, SWEEP_CANCELLED);
    served_assert_rule(&farm, "frog", 3, "cancelled");
    worker_deliver(&worker, 0, 2, 0); /* what it had finished is kept for whoever asks */
    worker_acknowledged(&worker, 2);
    served_stop(&farm);
    served_start(&farm);
    assert_int_equal(served_status(&farm, "frog").state, SWEEP_CANCELLED);
    served_submit(&submitted, &farm, "frog", 0, 20);
    assert_true(submitted.known);
    worker_close(&worker);
    worker_open(&worker, &farm, "w2", 11);
    assert_int_equal(worker_work_off(&worker, &farm, "frog"), 18);
    struct error error;
    assert_int_equal(served_refusal(&error, &farm, &question), ERR_INVALID);
    worker_close(&worker);
    served_teardown(&farm);
}

static void test_hello(void **state) {
    struct served farm;
    struct worker worker, other;
    struct message answer;
    struct error error;
    (void)state;
    served_setup(&farm);
    worker_open(&worker, &farm, "w1", 10);
    assert_ok(link_connect(&other.link, farm.address, &error), error);
    other.assign.type = 0;
    worker_hello(&other, "w1", 11, PROTOCOL_VERSION);
    worker_expect(&answer, &other, MESSAGE_REFUSED);
    assert_string_equal(answer.refused.text,
                        "worker name \"w1\": taken by process 10 on here, asked for by process 11 on here");
    message_release(&answer);
    worker_hello(&other, "w2", 11, 99);
    worker_expect(&answer, &other, MESSAGE_REFUSED);
    assert_int_equal(answer.refused.code, ERR_UNSUPPORTED);
    assert_string_equal(answer.refused.text, "worker \"w2\": want protocol 1..3, it speaks 99..99; upgrade the coordinator");
    message_release(&answer);
    worker_close(&worker); /* gone: the name is free long before its silence would be noticed */
    served_wait_silence(&farm);
    worker_hello(&other, "w1", 11, PROTOCOL_VERSION);
    worker_expect(&answer, &other, MESSAGE_WELCOME);
    struct message question = { .type = MESSAGE_WORKERS };
    served_ask(&answer, &farm, &question, MESSAGE_WORKERS_REPORT);
    assert_int_equal(answer.workers_report.count, 1);
    assert_int_equal(answer.workers_report.workers[0].pid, 11);
    message_release(&answer);
    worker_close(&other);
    served_teardown(&farm);
}

static void test_refusals(void **state) {
    struct served farm;
    struct error error;
    struct digest stranger = { { 7 } };
    (void)state;
    served_setup(&farm);
    struct message status = { .type = MESSAGE_STATUS, .sweep_ref = { "nothing" } };
    assert_int_equal(served_refusal(&error, &farm, &status), ERR_NOT_FOUND);
    struct message fetch = { .type = MESSAGE_FETCH, .fetch = { stranger, 0, 10 } };
    assert_int_equal(served_refusal(&error, &farm, &fetch), ERR_NOT_FOUND);
    struct message bad = { .type = MESSAGE_SUBMIT, .submit = { "bad", "tester", "{\"sweep\":1}", 11 } };
    assert_int_not_equal(served_refusal(&error, &farm, &bad), ERR_OK);
    struct message explain = { .type = MESSAGE_EXPLAIN, .explain = { "nothing", true, 3 } };
    assert_int_equal(served_refusal(&error, &farm, &explain), ERR_NOT_FOUND);
    struct message wrong = { .type = MESSAGE_PUT, .put = { stranger, 5, 10, (uint8_t *)"abc", 3 } };
    assert_int_equal(served_refusal(&error, &farm, &wrong), ERR_INVALID);
    struct message lie = { .type = MESSAGE_PUT, .put = { stranger, 0, 3, (uint8_t *)"abc", 3 } };
    assert_int_equal(served_refusal(&error, &farm, &lie), ERR_CORRUPT);
    struct message odd = { .type = MESSAGE_WELCOME };
    assert_int_equal(served_refusal(&error, &farm, &odd), ERR_UNSUPPORTED);
    struct message answer, missing = { .type = MESSAGE_MISSING,
                                       .keys = { (struct digest[]){ farm.model, stranger }, 2 } };
    served_ask(&answer, &farm, &missing, MESSAGE_MISSING);
    assert_int_equal(answer.keys.count, 1);
    assert_true(digest_equal(&answer.keys.keys[0], &stranger));
    message_release(&answer);
    /* A model that is not there: nothing of the sweep is kept. */
    struct digest model = farm.model;
    struct sweep *sweep = kit_sweep("a frog", 0, 5, &stranger);
    struct bytes json = BYTES_INIT;
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    struct message submission = { .type = MESSAGE_SUBMIT, .submit = { "frog", "tester", (char *)json.data, json.size } };
    assert_int_equal(served_refusal(&error, &farm, &submission), ERR_NOT_FOUND);
    struct digest id = digest_of(json.data, json.size);
    struct message asked = { .type = MESSAGE_MISSING, .keys = { &id, 1 } };
    served_ask(&answer, &farm, &asked, MESSAGE_MISSING);
    assert_int_equal(answer.keys.count, 1);
    message_release(&answer);
    bytes_release(&json);
    kit_sweep_free(sweep);
    farm.model = model;
    served_teardown(&farm);
}

/* A store without room: leasing stops, results are not acknowledged, questions are answered; then it goes on. */
static void test_store_full(void **state) {
    struct served farm;
    struct worker worker;
    struct message_submitted submitted;
    (void)state;
    served_setup(&farm);
    served_submit(&submitted, &farm, "frog", 0, 4);
    served_stop(&farm);
    farm.options.free_mark_bytes = UINT64_C(1) << 62; /* more than there is */
    served_start(&farm);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 4);
    clock_sleep_ms(300);
    served_assert_rule(&farm, "frog", 0, "store-full");
    served_assert_rule(&farm, "frog", -1, "store-full");
    assert_int_equal(served_status(&farm, "frog").running, 0);
    served_stop(&farm);
    farm.options.free_mark_bytes = 0;
    served_start(&farm);
    worker_close(&worker);
    worker_open(&worker, &farm, "w2", 11);
    assert_int_equal(worker_work_off(&worker, &farm, "frog"), 4);
    worker_close(&worker);
    served_teardown(&farm);
}

/* A sweep that names files is taken once they are here, and until then refused with the field and the object said. */
static void test_files(void **state) {
    struct served scene, *farm = &scene;
    struct error error;
    struct message answer;
    struct bytes json = BYTES_INIT;
    struct digest ink = digest_of("ink", 3);
    char hex[DIGEST_HEX_SIZE];
    (void)state;
    served_setup(farm);
    struct sweep *sweep = kit_sweep("a frog", 900, 1, &farm->model);
    digest_hex(&ink, hex);
    assert_ok(spec_set(&sweep->fixed, FIELD_LORA, hex, &error), error);
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    struct message question = { .type = MESSAGE_SUBMIT, .submit = { (char *)"ink", "tester", (char *)json.data, json.size } };
    assert_int_equal(served_refusal(&error, farm, &question), ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "lora: its file (object "));
    assert_non_null(strstr(error.message, hex));
    served_put(farm, "ink");
    served_ask(&answer, farm, &question, MESSAGE_SUBMITTED);
    assert_int_equal(answer.submitted.jobs, 1);
    message_release(&answer);
    bytes_release(&json);
    kit_sweep_free(sweep);
    served_teardown(farm);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_way), cmocka_unit_test(test_restart),  cmocka_unit_test(test_late_and_double_results),
        cmocka_unit_test(test_invalid_results), cmocka_unit_test(test_failures), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_hello), cmocka_unit_test(test_refusals), cmocka_unit_test(test_store_full),
        cmocka_unit_test(test_files),
    };
    if (getenv("SEEDFARM_TEST_LOG"))
        log_open(2, LOG_DEBUG, "test");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
