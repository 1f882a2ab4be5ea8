/*
 * test_farm.c - the real loop, in a thread, with a scripted client and scripted workers over ipc; pictures are fakes that
 * hold every rule a real one does.
 */
#include "tests/coordinator/kit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "coordinator/coordinator.h"
#include "picture/picture.h"
#include "proto/link.h"
#include "proto/model.h"

enum { ANSWER_MS = 20000 };

struct farm {
    char *folder, *store, *address;
    const char *addresses[1];
    struct coordinator *coordinator;
    pthread_t thread;
    struct link *client;
    struct digest model;
    struct coordinator_options options;
};

static void *run(void *argument) {
    struct error error;
    assert_ok(coordinator_run(argument, &error), error);
    return NULL;
}

static void start(struct farm *farm) {
    struct error error;
    farm->addresses[0] = farm->address;
    farm->options.store = farm->store;
    farm->options.addresses = farm->addresses;
    farm->options.address_count = 1;
    assert_ok(coordinator_create(&farm->coordinator, &farm->options, &error), error);
    assert_int_equal(pthread_create(&farm->thread, NULL, run, farm->coordinator), 0);
    assert_ok(link_connect(&farm->client, farm->address, &error), error);
}

static void stop(struct farm *farm) {
    link_destroy(farm->client);
    coordinator_stop(farm->coordinator);
    pthread_join(farm->thread, NULL);
    coordinator_destroy(farm->coordinator);
}

static void ask(struct message *answer, struct farm *farm, struct message *question, enum message_type want) {
    struct error error;
    assert_ok(link_ask(answer, farm->client, question, ANSWER_MS, &error), error);
    assert_int_equal(answer->type, want);
}

static enum err refusal(struct error *error, struct farm *farm, struct message *question) {
    struct message answer;
    enum err err = link_ask(&answer, farm->client, question, ANSWER_MS, error);
    if (!err)
        message_release(&answer);
    return err;
}

static struct digest put(struct farm *farm, const char *text) {
    struct message answer;
    struct digest digest = digest_of(text, strlen(text));
    size_t half = strlen(text) / 2;
    struct message first = { .type = MESSAGE_PUT, .put = { digest, 0, strlen(text), (uint8_t *)text, half } };
    struct message second = { .type = MESSAGE_PUT,
                              .put = { digest, half, strlen(text), (uint8_t *)text + half, strlen(text) - half } };
    ask(&answer, farm, &first, MESSAGE_DONE);
    ask(&answer, farm, &second, MESSAGE_DONE);
    return digest;
}

/* A model of which the farm needs to know no more than its configs. */
static void put_model(struct farm *farm) {
    static const char *const files[][2] = {
        { "model_index.json", "{\"_class_name\":\"StableDiffusionPipeline\",\"text_encoder\":[\"transformers\",\"CLIPTextModel\"]}" },
        { "unet/config.json", "{\"_class_name\":\"UNet2DConditionModel\",\"cross_attention_dim\":32,\"in_channels\":4,\"sample_size\":8}" },
        { "vae/config.json", "{\"_class_name\":\"AutoencoderKL\",\"latent_channels\":4,\"block_out_channels\":[8,8]}" },
    };
    struct bytes manifest = BYTES_INIT;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char hex[DIGEST_HEX_SIZE];
        struct digest digest = put(farm, files[i][1]);
        digest_hex(&digest, hex);
        bytes_add_format(&manifest, "%s %s\n", files[i][0], hex);
    }
    farm->model = put(farm, bytes_text(&manifest));
    bytes_release(&manifest);
}

enum { LONG_MS = 60000 /* the scripted workers have no heartbeat */, SHORT_MS = 2000 };

static void setup_liveness(struct farm *farm, uint32_t liveness_ms) {
    *farm = (struct farm){ .folder = kit_folder() };
    farm->store = path_join(farm->folder, "store");
    farm->address = text_format("ipc://%s/farm.sock", farm->folder);
    farm->options.heartbeat_ms = 100;
    farm->options.liveness_ms = liveness_ms;
    start(farm);
    put_model(farm);
}

static void setup(struct farm *farm) {
    setup_liveness(farm, LONG_MS);
}

static void teardown(struct farm *farm) {
    stop(farm);
    free(farm->store);
    free(farm->address);
    kit_remove(farm->folder);
}

static void submit(struct message_submitted *submitted, struct farm *farm, const char *name, uint64_t from, uint64_t count) {
    struct message answer;
    struct error error;
    struct bytes json = BYTES_INIT;
    struct sweep *sweep = kit_sweep("a frog", from, count, &farm->model);
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    struct message question = { .type = MESSAGE_SUBMIT,
                                .submit = { (char *)name, "tester", (char *)json.data, json.size } };
    ask(&answer, farm, &question, MESSAGE_SUBMITTED);
    *submitted = answer.submitted;
    bytes_release(&json);
    kit_sweep_free(sweep);
}

static struct sweep_status status_of(struct farm *farm, const char *name) {
    struct message answer;
    struct message question = { .type = MESSAGE_STATUS, .sweep_ref = { (char *)name } };
    ask(&answer, farm, &question, MESSAGE_STATUS_REPORT);
    assert_int_equal(answer.status_report.count, 1);
    struct sweep_status status = answer.status_report.sweeps[0];
    message_release(&answer);
    status.name = status.user = status.last_error = NULL;
    return status;
}

static void assert_rule(struct farm *farm, const char *sweep, int64_t index, const char *rule) {
    struct message answer;
    struct message question = { .type = MESSAGE_EXPLAIN, .explain = { (char *)sweep, index >= 0, (uint64_t)index } };
    ask(&answer, farm, &question, MESSAGE_EXPLANATION);
    if (strcmp(answer.explanation.rule, rule) != 0)
        fail_msg("explain %s/%lld: want %s, have %s: %s", sweep, (long long)index, rule, answer.explanation.rule,
                 answer.explanation.text);
    message_release(&answer);
}

/* ---- a worker ------------------------------------------------------------------------------------------------------- */

struct worker {
    struct link *link;
    uint64_t lease;
    uint32_t epoch;
    struct message assign; /* the last one */
};

static void worker_send(struct worker *worker, const struct message *message) {
    struct error error;
    enum err err;
    for (int i = 0; (err = link_send(worker->link, NULL, message, &error)) == ERR_UNREACHABLE && i < 1000; i++)
        clock_sleep_ms(5); /* it is only just connecting */
    assert_ok(err, error);
}

/* The next message of this type; heartbeats' answers and probes in between are passed over. */
static void worker_expect(struct message *message, struct worker *worker, enum message_type type) {
    struct error error;
    uint64_t until_ms = clock_monotonic_ms() + ANSWER_MS;
    for (;;) {
        bool got = false;
        struct route route;
        assert_ok(link_wait(&got, worker->link, 100, &error), error);
        if (got)
            assert_ok(link_receive(&got, &route, message, worker->link, &error), error);
        if (got && message->type == type)
            return;
        if (got && message->type == MESSAGE_REFUSED)
            fail_msg("want %s, was refused: %s", message_type_name(type), message->refused.text);
        if (got)
            message_release(message);
        if (clock_monotonic_ms() >= until_ms)
            fail_msg("want %s, nothing came", message_type_name(type));
    }
}

static void worker_hello(struct worker *worker, const char *name, uint32_t pid, uint32_t protocol) {
    struct message hello = {
        .type = MESSAGE_WORKER_HELLO,
        .request = 1,
        .worker_hello = { .protocol = protocol, .name = (char *)name, .host = "here", .pid = pid, .device = "cpu",
                          .device_class = "test", .version = "0", .threads = 1, .batch = 16 },
    };
    worker_send(worker, &hello);
}

static void worker_open(struct worker *worker, struct farm *farm, const char *name, uint32_t pid) {
    struct error error;
    struct message welcome;
    *worker = (struct worker){ .link = NULL };
    assert_ok(link_connect(&worker->link, farm->address, &error), error);
    worker_hello(worker, name, pid, PROTOCOL_VERSION);
    worker_expect(&welcome, worker, MESSAGE_WELCOME);
    assert_int_equal(welcome.welcome.heartbeat_ms, 100);
}

static void worker_close(struct worker *worker) {
    if (worker->assign.type)
        message_release(&worker->assign);
    link_destroy(worker->link);
}

static void worker_ask(struct worker *worker, uint32_t jobs) {
    struct message request = { .type = MESSAGE_LEASE_REQUEST, .request = 2, .lease_request = { jobs } };
    worker_send(worker, &request);
}

static size_t worker_take(struct worker *worker) {
    if (worker->assign.type)
        message_release(&worker->assign);
    worker_expect(&worker->assign, worker, MESSAGE_ASSIGN);
    assert_int_equal(worker->assign.request, 2);
    worker->lease = worker->assign.assign.lease;
    worker->epoch = worker->assign.assign.epoch;
    return worker->assign.assign.count;
}

static void worker_progress(struct worker *worker, enum work_phase phase, uint32_t step) {
    struct lease_progress lease = { worker->lease, worker->epoch, phase, step, 2 };
    struct message progress = { .type = MESSAGE_PROGRESS, .progress = { &lease, worker->lease ? 1 : 0 } };
    worker_send(worker, &progress);
}

static void worker_deliver(struct worker *worker, size_t first, size_t count, uint8_t shade) {
    struct result_item items[LIMIT_BATCH];
    struct message results = { .type = MESSAGE_RESULTS, .request = 3,
                               .results = { worker->lease, worker->epoch, items, count } };
    for (size_t i = 0; i < count; i++)
        kit_result(&items[i], worker->assign.assign.jobs[first + i].spec, shade);
    worker_send(worker, &results);
    for (size_t i = 0; i < count; i++)
        free(items[i].png);
}

static void worker_acknowledged(struct worker *worker, size_t count) {
    struct message answer;
    worker_expect(&answer, worker, MESSAGE_ACKNOWLEDGED);
    assert_int_equal(answer.keys.count, count);
    message_release(&answer);
}

/* Draw until the sweep is done; how many jobs that took. */
static size_t work_off(struct worker *worker, struct farm *farm, const char *sweep) {
    size_t drawn = 0;
    while (status_of(farm, sweep).state == SWEEP_ACTIVE) {
        worker_ask(worker, 7);
        size_t count = worker_take(worker);
        worker_deliver(worker, 0, count, 0);
        worker_acknowledged(worker, count);
        drawn += count;
    }
    return drawn;
}

static void wait_state(struct farm *farm, const char *sweep, enum sweep_state state) {
    for (int i = 0; i < 2000 && status_of(farm, sweep).state != state; i++)
        clock_sleep_ms(5);
    assert_int_equal(status_of(farm, sweep).state, state);
}

/* Until every worker has been silent for too long. */
static void wait_silence(struct farm *farm) {
    struct message answer, question = { .type = MESSAGE_WORKERS };
    size_t count;
    do {
        clock_sleep_ms(20);
        ask(&answer, farm, &question, MESSAGE_WORKERS_REPORT);
        count = answer.workers_report.count;
        message_release(&answer);
    } while (count);
}

/* ---- tests ---------------------------------------------------------------------------------------------------------- */

/* Every picture of the sweep by LIST and FETCH: as many as wanted, each with its job's chunk. */
static void check_pictures(struct farm *farm, const char *sweep, size_t want) {
    struct message jobs, chunk;
    struct message list = { .type = MESSAGE_LIST, .list = { (char *)sweep, 0, 10, JOB_DONE } };
    size_t seen = 0;
    do {
        ask(&jobs, farm, &list, MESSAGE_JOBS);
        for (size_t i = 0; i < jobs.jobs.count; i++) {
            const struct listed_job *job = &jobs.jobs.jobs[i];
            struct message fetch = { .type = MESSAGE_FETCH, .fetch = { job->picture, 0, LIMIT_CHUNK } };
            ask(&chunk, farm, &fetch, MESSAGE_CHUNK);
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
    struct farm farm;
    struct worker worker;
    struct message_submitted submitted;
    (void)state;
    setup(&farm);
    submit(&submitted, &farm, "frog", 0, 25);
    assert_int_equal(submitted.jobs, 25);
    assert_false(submitted.known);
    assert_rule(&farm, "frog", 3, "no-workers");
    worker_open(&worker, &farm, "w1", 10);
    assert_rule(&farm, "frog", 3, "queued");
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    worker_progress(&worker, PHASE_STEP, 1);
    worker_deliver(&worker, 0, 3, 0);
    worker_acknowledged(&worker, 3);
    assert_int_equal(status_of(&farm, "frog").done, 3);
    assert_int_equal(status_of(&farm, "frog").running, 5);
    assert_rule(&farm, "frog", 0, "done");
    assert_rule(&farm, "frog", 4, "leased");
    worker_deliver(&worker, 3, 5, 0);
    worker_acknowledged(&worker, 5);
    assert_int_equal(work_off(&worker, &farm, "frog"), 17);
    check_pictures(&farm, "frog", 25);
    /* The very same again: nothing to draw. */
    submit(&submitted, &farm, "frog", 0, 25);
    assert_true(submitted.known);
    assert_int_equal(status_of(&farm, "frog").state, SWEEP_DONE);
    /* Grown, and another one with a shared part: only what is new, the rest without any worker's help. */
    submit(&submitted, &farm, "grown", 0, 40);
    assert_int_equal(work_off(&worker, &farm, "grown"), 15);
    assert_int_equal(status_of(&farm, "grown").rendered, 15);
    check_pictures(&farm, "grown", 40);
    submit(&submitted, &farm, "part", 5, 20);
    wait_state(&farm, "part", SWEEP_DONE);
    assert_int_equal(status_of(&farm, "part").rendered, 0);
    worker_close(&worker);
    teardown(&farm);
}

static void test_restart(void **state) {
    struct farm farm;
    struct worker worker;
    struct message_submitted submitted;
    (void)state;
    setup(&farm);
    submit(&submitted, &farm, "frog", 0, 30);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    worker_deliver(&worker, 0, 5, 0);
    worker_acknowledged(&worker, 5);
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    stop(&farm);
    start(&farm);
    assert_int_equal(status_of(&farm, "frog").done, 5);
    assert_int_equal(status_of(&farm, "frog").running, 0);
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
    assert_int_equal(status_of(&farm, "frog").done, 13);
    assert_int_equal(work_off(&worker, &farm, "frog"), 17);
    check_pictures(&farm, "frog", 30);
    worker_close(&worker);
    teardown(&farm);
}

static void test_late_and_double_results(void **state) {
    struct farm farm;
    struct worker slow, quick;
    struct message_submitted submitted;
    (void)state;
    setup_liveness(&farm, SHORT_MS);
    submit(&submitted, &farm, "frog", 0, 4);
    worker_open(&slow, &farm, "slow", 10);
    worker_ask(&slow, 4);
    assert_int_equal(worker_take(&slow), 4);
    wait_silence(&farm);
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
    assert_int_equal(status_of(&farm, "frog").state, SWEEP_DONE);
    worker_deliver(&slow, 0, 4, 7); /* other pixels for the same jobs: the first valid commit stays */
    worker_acknowledged(&slow, 4);
    struct message jobs, list = { .type = MESSAGE_LIST, .list = { "frog", 0, 10, 0 } };
    struct result_item first;
    ask(&jobs, &farm, &list, MESSAGE_JOBS);
    kit_result(&first, jobs.jobs.jobs[0].spec, 0);
    assert_true(digest_equal(&jobs.jobs.jobs[0].picture, &first.picture));
    free(first.png);
    message_release(&jobs);
    worker_close(&slow);
    worker_close(&quick);
    teardown(&farm);
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
    struct farm farm;
    struct worker worker;
    struct message_submitted submitted;
    struct result_item item, other;
    (void)state;
    setup(&farm);
    submit(&submitted, &farm, "frog", 0, 2);
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
    assert_int_equal(status_of(&farm, "frog").done, 0);
    assert_int_equal(work_off(&worker, &farm, "frog"), 2); /* both went back */
    worker_close(&worker);
    teardown(&farm);
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
    struct farm farm;
    struct worker workers[3];
    struct message_submitted submitted;
    struct error error;
    struct message answer, retry = { .type = MESSAGE_RETRY, .sweep_ref = { "frog" } };
    (void)state;
    setup(&farm);
    submit(&submitted, &farm, "frog", 0, 1);
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
    while (!status_of(&farm, "frog").failed)
        clock_sleep_ms(5);
    assert_int_equal(status_of(&farm, "frog").state, SWEEP_DONE);
    assert_rule(&farm, "frog", 0, "failed");
    struct message list = { .type = MESSAGE_LIST, .list = { "frog", 0, 10, JOB_FAILED } };
    ask(&answer, &farm, &list, MESSAGE_JOBS);
    assert_int_equal(answer.jobs.count, 1);
    assert_string_equal(answer.jobs.jobs[0].error, "NaN in step 1");
    message_release(&answer);
    for (int i = 0; i < 3; i++)
        worker_close(&workers[i]);
    stop(&farm);
    start(&farm);
    assert_int_equal(status_of(&farm, "frog").failed, 1);
    ask(&answer, &farm, &retry, MESSAGE_DONE);
    assert_int_equal(status_of(&farm, "frog").state, SWEEP_ACTIVE);
    worker_open(&workers[0], &farm, "w4", 12);
    assert_int_equal(work_off(&workers[0], &farm, "frog"), 1);
    assert_int_equal(status_of(&farm, "frog").done, 1);
    assert_int_equal(refusal(&error, &farm, &retry), ERR_INVALID);
    assert_string_equal(error.message, "sweep \"frog\": none of its 1 jobs has failed, there is nothing to retry");
    worker_close(&workers[0]);
    teardown(&farm);
}

static void test_cancel(void **state) {
    struct farm farm;
    struct worker worker;
    struct message_submitted submitted;
    struct message answer, question = { .type = MESSAGE_CANCEL, .sweep_ref = { "frog" } };
    (void)state;
    setup(&farm);
    submit(&submitted, &farm, "frog", 0, 20);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 8);
    assert_int_equal(worker_take(&worker), 8);
    ask(&answer, &farm, &question, MESSAGE_DONE);
    worker_expect(&answer, &worker, MESSAGE_REVOKE);
    assert_int_equal(answer.revoke.lease, worker.lease);
    assert_int_equal(status_of(&farm, "frog").state, SWEEP_CANCELLED);
    assert_rule(&farm, "frog", 3, "cancelled");
    worker_deliver(&worker, 0, 2, 0); /* what it had finished is kept for whoever asks */
    worker_acknowledged(&worker, 2);
    stop(&farm);
    start(&farm);
    assert_int_equal(status_of(&farm, "frog").state, SWEEP_CANCELLED);
    submit(&submitted, &farm, "frog", 0, 20);
    assert_true(submitted.known);
    worker_close(&worker);
    worker_open(&worker, &farm, "w2", 11);
    assert_int_equal(work_off(&worker, &farm, "frog"), 18);
    struct error error;
    assert_int_equal(refusal(&error, &farm, &question), ERR_INVALID);
    worker_close(&worker);
    teardown(&farm);
}

static void test_hello(void **state) {
    struct farm farm;
    struct worker worker, other;
    struct message answer;
    struct error error;
    (void)state;
    setup(&farm);
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
    assert_string_equal(answer.refused.text, "worker \"w2\": want protocol 1..2, it speaks 99..99; upgrade the coordinator");
    message_release(&answer);
    worker_close(&worker); /* gone: the name is free long before its silence would be noticed */
    wait_silence(&farm);
    worker_hello(&other, "w1", 11, PROTOCOL_VERSION);
    worker_expect(&answer, &other, MESSAGE_WELCOME);
    struct message question = { .type = MESSAGE_WORKERS };
    ask(&answer, &farm, &question, MESSAGE_WORKERS_REPORT);
    assert_int_equal(answer.workers_report.count, 1);
    assert_int_equal(answer.workers_report.workers[0].pid, 11);
    message_release(&answer);
    worker_close(&other);
    teardown(&farm);
}

static void test_refusals(void **state) {
    struct farm farm;
    struct error error;
    struct digest stranger = { { 7 } };
    (void)state;
    setup(&farm);
    struct message status = { .type = MESSAGE_STATUS, .sweep_ref = { "nothing" } };
    assert_int_equal(refusal(&error, &farm, &status), ERR_NOT_FOUND);
    struct message fetch = { .type = MESSAGE_FETCH, .fetch = { stranger, 0, 10 } };
    assert_int_equal(refusal(&error, &farm, &fetch), ERR_NOT_FOUND);
    struct message bad = { .type = MESSAGE_SUBMIT, .submit = { "bad", "tester", "{\"sweep\":1}", 11 } };
    assert_int_not_equal(refusal(&error, &farm, &bad), ERR_OK);
    struct message explain = { .type = MESSAGE_EXPLAIN, .explain = { "nothing", true, 3 } };
    assert_int_equal(refusal(&error, &farm, &explain), ERR_NOT_FOUND);
    struct message wrong = { .type = MESSAGE_PUT, .put = { stranger, 5, 10, (uint8_t *)"abc", 3 } };
    assert_int_equal(refusal(&error, &farm, &wrong), ERR_INVALID);
    struct message lie = { .type = MESSAGE_PUT, .put = { stranger, 0, 3, (uint8_t *)"abc", 3 } };
    assert_int_equal(refusal(&error, &farm, &lie), ERR_CORRUPT);
    struct message odd = { .type = MESSAGE_WELCOME };
    assert_int_equal(refusal(&error, &farm, &odd), ERR_UNSUPPORTED);
    struct message answer, missing = { .type = MESSAGE_MISSING,
                                       .keys = { (struct digest[]){ farm.model, stranger }, 2 } };
    ask(&answer, &farm, &missing, MESSAGE_MISSING);
    assert_int_equal(answer.keys.count, 1);
    assert_true(digest_equal(&answer.keys.keys[0], &stranger));
    message_release(&answer);
    /* A model that is not there: nothing of the sweep is kept. */
    struct digest model = farm.model;
    struct sweep *sweep = kit_sweep("a frog", 0, 5, &stranger);
    struct bytes json = BYTES_INIT;
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    struct message submission = { .type = MESSAGE_SUBMIT, .submit = { "frog", "tester", (char *)json.data, json.size } };
    assert_int_equal(refusal(&error, &farm, &submission), ERR_NOT_FOUND);
    struct digest id = digest_of(json.data, json.size);
    struct message asked = { .type = MESSAGE_MISSING, .keys = { &id, 1 } };
    ask(&answer, &farm, &asked, MESSAGE_MISSING);
    assert_int_equal(answer.keys.count, 1);
    message_release(&answer);
    bytes_release(&json);
    kit_sweep_free(sweep);
    farm.model = model;
    teardown(&farm);
}

/* A store without room: leasing stops, results are not acknowledged, questions are answered; then it goes on. */
static void test_store_full(void **state) {
    struct farm farm;
    struct worker worker;
    struct message_submitted submitted;
    (void)state;
    setup(&farm);
    submit(&submitted, &farm, "frog", 0, 4);
    stop(&farm);
    farm.options.free_mark_bytes = UINT64_C(1) << 62; /* more than there is */
    start(&farm);
    worker_open(&worker, &farm, "w1", 10);
    worker_ask(&worker, 4);
    clock_sleep_ms(300);
    assert_rule(&farm, "frog", 0, "store-full");
    assert_rule(&farm, "frog", -1, "store-full");
    assert_int_equal(status_of(&farm, "frog").running, 0);
    stop(&farm);
    farm.options.free_mark_bytes = 0;
    start(&farm);
    worker_close(&worker);
    worker_open(&worker, &farm, "w2", 11);
    assert_int_equal(work_off(&worker, &farm, "frog"), 4);
    worker_close(&worker);
    teardown(&farm);
}

/* A sweep that names files is taken once they are here, and until then refused with the field and the object said. */
static void test_files(void **state) {
    struct farm scene, *farm = &scene;
    struct error error;
    struct message answer;
    struct bytes json = BYTES_INIT;
    struct digest ink = digest_of("ink", 3);
    char hex[DIGEST_HEX_SIZE];
    (void)state;
    setup(farm);
    struct sweep *sweep = kit_sweep("a frog", 900, 1, &farm->model);
    digest_hex(&ink, hex);
    assert_ok(spec_set(&sweep->fixed, FIELD_LORA, hex, &error), error);
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    struct message question = { .type = MESSAGE_SUBMIT, .submit = { (char *)"ink", "tester", (char *)json.data, json.size } };
    assert_int_equal(refusal(&error, farm, &question), ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, "lora: its file (object "));
    assert_non_null(strstr(error.message, hex));
    put(farm, "ink");
    ask(&answer, farm, &question, MESSAGE_SUBMITTED);
    assert_int_equal(answer.submitted.jobs, 1);
    message_release(&answer);
    bytes_release(&json);
    kit_sweep_free(sweep);
    teardown(farm);
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
