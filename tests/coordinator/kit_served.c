/* kit_served.c - the real loop in a thread, a scripted client and scripted workers. */
#include "tests/coordinator/kit_served.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"

enum { ANSWER_MS = 20000 };

static void *loop(void *argument) {
    struct error error;
    assert_ok(coordinator_run(argument, &error), error);
    return NULL;
}

void served_start(struct served *farm) {
    struct error error;
    farm->addresses[0] = farm->address;
    farm->options.store = farm->store;
    farm->options.addresses = farm->addresses;
    farm->options.address_count = 1;
    assert_ok(coordinator_create(&farm->coordinator, &farm->options, &error), error);
    assert_int_equal(pthread_create(&farm->thread, NULL, loop, farm->coordinator), 0);
    assert_ok(link_connect(&farm->client, farm->address, &error), error);
}

void served_stop(struct served *farm) {
    link_destroy(farm->client);
    coordinator_stop(farm->coordinator);
    pthread_join(farm->thread, NULL);
    coordinator_destroy(farm->coordinator);
}

void served_ask(struct message *answer, struct served *farm, struct message *question, enum message_type want) {
    struct error error;
    assert_ok(link_ask(answer, farm->client, question, ANSWER_MS, &error), error);
    assert_int_equal(answer->type, want);
}

enum err served_refusal(struct error *error, struct served *farm, struct message *question) {
    struct message answer;
    enum err err = link_ask(&answer, farm->client, question, ANSWER_MS, error);
    if (!err)
        message_release(&answer);
    return err;
}

struct digest served_put(struct served *farm, const char *text) {
    struct message answer;
    struct digest digest = digest_of(text, strlen(text));
    size_t half = strlen(text) / 2;
    struct message first = { .type = MESSAGE_PUT, .put = { digest, 0, strlen(text), (uint8_t *)text, half } };
    struct message second = { .type = MESSAGE_PUT,
                              .put = { digest, half, strlen(text), (uint8_t *)text + half, strlen(text) - half } };
    served_ask(&answer, farm, &first, MESSAGE_DONE);
    served_ask(&answer, farm, &second, MESSAGE_DONE);
    return digest;
}

/* A model of which the farm needs to know no more than its configs. */
static void put_model(struct served *farm) {
    static const char *const files[][2] = {
        { "model_index.json", "{\"_class_name\":\"StableDiffusionPipeline\",\"text_encoder\":[\"transformers\",\"CLIPTextModel\"]}" },
        { "unet/config.json", "{\"_class_name\":\"UNet2DConditionModel\",\"cross_attention_dim\":32,\"in_channels\":4,\"sample_size\":8}" },
        { "vae/config.json", "{\"_class_name\":\"AutoencoderKL\",\"latent_channels\":4,\"block_out_channels\":[8,8]}" },
    };
    struct bytes manifest = BYTES_INIT;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char hex[DIGEST_HEX_SIZE];
        struct digest digest = served_put(farm, files[i][1]);
        digest_hex(&digest, hex);
        bytes_add_format(&manifest, "%s %s\n", files[i][0], hex);
    }
    farm->model = served_put(farm, bytes_text(&manifest));
    bytes_release(&manifest);
}

void served_setup_liveness(struct served *farm, uint32_t liveness_ms) {
    *farm = (struct served){ .folder = kit_folder() };
    farm->store = path_join(farm->folder, "store");
    farm->address = text_format("ipc://%s/farm.sock", farm->folder);
    farm->options.heartbeat_ms = 100;
    farm->options.liveness_ms = liveness_ms;
    served_start(farm);
    put_model(farm);
}

void served_setup(struct served *farm) {
    served_setup_liveness(farm, LONG_MS);
}

void served_teardown(struct served *farm) {
    served_stop(farm);
    free(farm->store);
    free(farm->address);
    kit_remove(farm->folder);
}

void served_submit(struct message_submitted *submitted, struct served *farm, const char *name, uint64_t from, uint64_t count) {
    struct message answer;
    struct error error;
    struct bytes json = BYTES_INIT;
    struct sweep *sweep = kit_sweep("a frog", from, count, &farm->model);
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    struct message question = { .type = MESSAGE_SUBMIT,
                                .submit = { (char *)name, "tester", (char *)json.data, json.size } };
    served_ask(&answer, farm, &question, MESSAGE_SUBMITTED);
    *submitted = answer.submitted;
    bytes_release(&json);
    kit_sweep_free(sweep);
}

struct sweep_status served_status(struct served *farm, const char *name) {
    struct message answer;
    struct message question = { .type = MESSAGE_STATUS, .sweep_ref = { (char *)name } };
    served_ask(&answer, farm, &question, MESSAGE_STATUS_REPORT);
    assert_int_equal(answer.status_report.count, 1);
    struct sweep_status status = answer.status_report.sweeps[0];
    message_release(&answer);
    status.name = status.user = status.last_error = NULL;
    return status;
}

void served_assert_rule(struct served *farm, const char *sweep, int64_t index, const char *rule) {
    struct message answer;
    struct message question = { .type = MESSAGE_EXPLAIN, .explain = { (char *)sweep, index >= 0, (uint64_t)index } };
    served_ask(&answer, farm, &question, MESSAGE_EXPLANATION);
    if (strcmp(answer.explanation.rule, rule) != 0)
        fail_msg("explain %s/%lld: want %s, have %s: %s", sweep, (long long)index, rule, answer.explanation.rule,
                 answer.explanation.text);
    message_release(&answer);
}

/* ---- a worker ------------------------------------------------------------------------------------------------------- */

void worker_send(struct worker *worker, const struct message *message) {
    struct error error;
    enum err err;
    for (int i = 0; (err = link_send(worker->link, NULL, message, &error)) == ERR_UNREACHABLE && i < 1000; i++)
        clock_sleep_ms(5); /* it is only just connecting */
    assert_ok(err, error);
}

void worker_expect(struct message *message, struct worker *worker, enum message_type type) {
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

void worker_hello(struct worker *worker, const char *name, uint32_t pid, uint32_t protocol) {
    struct message hello = {
        .type = MESSAGE_WORKER_HELLO,
        .request = 1,
        .worker_hello = { .protocol = protocol, .name = (char *)name, .host = "here", .pid = pid, .device = "cpu",
                          .device_class = "test", .version = "0", .threads = 1, .batch = 16 },
    };
    worker_send(worker, &hello);
}

void worker_open(struct worker *worker, struct served *farm, const char *name, uint32_t pid) {
    struct error error;
    struct message welcome;
    *worker = (struct worker){ .link = NULL };
    assert_ok(link_connect(&worker->link, farm->address, &error), error);
    worker_hello(worker, name, pid, PROTOCOL_VERSION);
    worker_expect(&welcome, worker, MESSAGE_WELCOME);
    assert_int_equal(welcome.welcome.heartbeat_ms, 100);
}

void worker_close(struct worker *worker) {
    if (worker->assign.type)
        message_release(&worker->assign);
    link_destroy(worker->link);
}

void worker_ask(struct worker *worker, uint32_t jobs) {
    struct message request = { .type = MESSAGE_LEASE_REQUEST, .request = 2, .lease_request = { jobs } };
    worker_send(worker, &request);
}

size_t worker_take(struct worker *worker) {
    if (worker->assign.type)
        message_release(&worker->assign);
    worker_expect(&worker->assign, worker, MESSAGE_ASSIGN);
    assert_int_equal(worker->assign.request, 2);
    worker->lease = worker->assign.assign.lease;
    worker->epoch = worker->assign.assign.epoch;
    return worker->assign.assign.count;
}

void worker_progress(struct worker *worker, enum work_phase phase, uint32_t step) {
    struct lease_progress lease = { worker->lease, worker->epoch, phase, step, 2 };
    struct message progress = { .type = MESSAGE_PROGRESS, .progress = { &lease, worker->lease ? 1 : 0 } };
    worker_send(worker, &progress);
}

void worker_deliver(struct worker *worker, size_t first, size_t count, uint8_t shade) {
    struct result_item items[LIMIT_BATCH];
    struct message results = { .type = MESSAGE_RESULTS, .request = 3,
                               .results = { worker->lease, worker->epoch, items, count } };
    for (size_t i = 0; i < count; i++)
        kit_result(&items[i], worker->assign.assign.jobs[first + i].spec, shade);
    worker_send(worker, &results);
    for (size_t i = 0; i < count; i++)
        free(items[i].png);
}

void worker_acknowledged(struct worker *worker, size_t count) {
    struct message answer;
    worker_expect(&answer, worker, MESSAGE_ACKNOWLEDGED);
    assert_int_equal(answer.keys.count, count);
    message_release(&answer);
}

size_t worker_work_off(struct worker *worker, struct served *farm, const char *sweep) {
    size_t drawn = 0;
    while (served_status(farm, sweep).state == SWEEP_ACTIVE) {
        worker_ask(worker, 7);
        size_t count = worker_take(worker);
        worker_deliver(worker, 0, count, 0);
        worker_acknowledged(worker, count);
        drawn += count;
    }
    return drawn;
}

void served_wait_state(struct served *farm, const char *sweep, enum sweep_state state) {
    for (int i = 0; i < 2000 && served_status(farm, sweep).state != state; i++)
        clock_sleep_ms(5);
    assert_int_equal(served_status(farm, sweep).state, state);
}

void served_wait_silence(struct served *farm) {
    struct message answer, question = { .type = MESSAGE_WORKERS };
    size_t count;
    do {
        clock_sleep_ms(20);
        served_ask(&answer, farm, &question, MESSAGE_WORKERS_REPORT);
        count = answer.workers_report.count;
        message_release(&answer);
    } while (count);
}
