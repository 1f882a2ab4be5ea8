/* Every message there and back with extreme values; bytes that are no message; limits. */
#include <float.h>

#include "proto/message.h"
#include "fixture.h"

static struct digest digest_draw(uint64_t *seed)
{
    struct digest digest;
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        digest.bytes[i] = (uint8_t)draw(seed);
    return digest;
}

static char *text_filled(size_t size, char with)
{
    char *text = memory_get(size + 1);
    memset(text, with, size);
    return text;
}

/* Encode, decode, encode: the same bytes, so nothing was lost on the way. */
static void there_and_back(struct message *message)
{
    struct error error;
    struct bytes first = BYTES_INIT, second = BYTES_INIT;
    struct message read;

    message->request = UINT64_MAX;
    message_encode(&first, message);
    assert_ok(message_decode(&read, first.data, first.size, &error));
    assert_int_equal(read.type, message->type);
    assert_true(read.request == UINT64_MAX);
    message_encode(&second, &read);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    message_release(&read);
    /* cut anywhere: refused or another message, never a crash */
    for (size_t size = 0; size < first.size; size += 1 + first.size / 200)
        if (message_decode(&read, first.data, size, &error) == ERR_OK)
            message_release(&read);
    bytes_release(&first);
    bytes_release(&second);
}

static void test_worker_messages(void **state)
{
    (void)state;
    uint64_t seed = 5;
    char *name = text_filled(LIMIT_NAME, 'n'), *sentence = text_filled(LIMIT_SENTENCE, 's'), *spec = text_filled(LIMIT_SPEC_BYTES, 'j');
    struct digest keys[LIMIT_BATCH];
    struct assigned_job jobs[LIMIT_BATCH];
    struct lease_progress leases[300];
    uint8_t png[5000];
    struct result_item items[LIMIT_BATCH];
    uint8_t *rgb = memory_get_array(LIMIT_PREVIEW_SIDE * LIMIT_PREVIEW_SIDE, 3);

    memset(png, 0, sizeof png);
    for (int i = 0; i < LIMIT_BATCH; i++) {
        keys[i] = digest_draw(&seed);
        jobs[i] = (struct assigned_job){keys[i], i ? "{}" : spec};
        items[i] = (struct result_item){keys[i], digest_draw(&seed), digest_draw(&seed), UINT32_MAX, png, i ? 1 : sizeof png};
    }
    for (int i = 0; i < 300; i++)
        leases[i] = (struct lease_progress){draw(&seed), (uint32_t)draw(&seed), (enum work_phase)(1 + i % PHASE_DELIVER), UINT32_MAX, 0};
    struct message messages[] = {
        {.type = MESSAGE_REFUSED, .refused = {ERR_INTERNAL, sentence}},
        {.type = MESSAGE_REFUSED, .refused = {ERR_INVALID, ""}},
        {.type = MESSAGE_DONE},
        {.type = MESSAGE_WORKER_HELLO, .worker_hello = {3, UINT32_MAX, name, name, UINT32_MAX, name, name, name, UINT32_MAX, LIMIT_BATCH,
                                                           UINT64_MAX, UINT32_MAX, keys, LIMIT_MODELS_AT_HAND}},
        {.type = MESSAGE_WORKER_HELLO, .worker_hello = {1, 1, "w", "", 0, "cpu", "cpu x", "", 0, 1, 0, 1, NULL, 0}},
        {.type = MESSAGE_LEASE_REQUEST, .lease_request = {UINT32_MAX, LIMIT_BATCH, LIMIT_SIDE, LIMIT_SIDE, keys, LIMIT_MODELS_AT_HAND}},
        {.type = MESSAGE_LEASE_REQUEST, .lease_request = {.jobs = 1}},
        {.type = MESSAGE_PROGRESS, .progress = {leases, 300}},
        {.type = MESSAGE_PROGRESS, .progress = {NULL, 0}},
        {.type = MESSAGE_RESULTS, .results = {UINT64_MAX, UINT32_MAX, items, LIMIT_BATCH}},
        {.type = MESSAGE_FAILURE, .failure = {1, 2, keys, LIMIT_BATCH, ERR_NUMERIC, sentence}},
        {.type = MESSAGE_FAILURE, .failure = {1, 2, NULL, 0, ERR_MEMORY, ""}},
        {.type = MESSAGE_GOODBYE},
        {.type = MESSAGE_WELCOME, .welcome = {UINT32_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX}},
        {.type = MESSAGE_ASSIGN, .assign = {UINT64_MAX, UINT32_MAX, UINT32_MAX, jobs, LIMIT_BATCH}},
        {.type = MESSAGE_ACKNOWLEDGED, .keys = {keys, LIMIT_BATCH}},
        {.type = MESSAGE_REVOKE, .revoke = {UINT64_MAX, UINT32_MAX}},
        {.type = MESSAGE_MISSING, .keys = {keys, 3}},
        {.type = MESSAGE_MISSING, .keys = {NULL, 0}},
        {.type = MESSAGE_HOLD, .assign = {UINT64_MAX, UINT32_MAX, 0, jobs, LIMIT_BATCH}},
        {.type = MESSAGE_OFFER, .keys = {keys, LIMIT_BATCH}},
        {.type = MESSAGE_WANTED, .keys = {keys, LIMIT_BATCH}},
        {.type = MESSAGE_DRAIN},
        {.type = MESSAGE_SHOW, .show = {keys[0]}},
        {.type = MESSAGE_PREVIEWED, .previewed = {keys[0], UINT32_MAX, UINT32_MAX, LIMIT_PREVIEW_SIDE, LIMIT_PREVIEW_SIDE, rgb, name}},
        {.type = MESSAGE_PREVIEWED, .previewed = {keys[1], 0, 1, 1, 1, rgb, ""}},
    };
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        there_and_back(&messages[i]);
    free(rgb);
    free(name);
    free(sentence);
    free(spec);
}

static void test_client_messages(void **state)
{
    (void)state;
    uint64_t seed = 6;
    char *name = text_filled(LIMIT_NAME, 'n'), *sweep = text_filled(100000, '7');
    uint8_t *chunk = memory_get(LIMIT_CHUNK);
    struct digest some = digest_draw(&seed);
    struct sweep_status sweeps[2] = {
        {some, name, name, SWEEP_PAUSED, UINT64_MAX, 1, 2, 3, 4, 5, 6, 7, 8, DBL_MAX, 9, "late", LIMIT_PRIORITY, 0.5, UINT64_MAX},
        {some, "", "", SWEEP_ACTIVE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, NULL, -LIMIT_PRIORITY, 0, 0},
    };
    struct listed_job jobs[2] = {
        {UINT64_MAX, JOB_DONE, some, some, some, "{}", ""},
        {0, JOB_FAILED, some, {{0}}, {{0}}, "", "why"},
    };
    struct worker_status workers[1] = {
        {UINT64_MAX, name, name, name, name, name, 1, 2, 3, UINT64_MAX, 4, 5, 6, 7, (enum work_phase)0, 8, 9, 0.5,
         UINT32_MAX, true, UINT64_MAX, "three in a row", DBL_MAX, some, UINT64_MAX},
    };
    struct user_usage users[2] = {{name, LIMIT_WEIGHT, UINT64_MAX, 1, 2, 3}, {"", 1, 0, 0, 0, 0}};
    struct message messages[] = {
        {.type = MESSAGE_SUBMIT, .submit = {name, name, sweep, 100000, -LIMIT_PRIORITY}},
        {.type = MESSAGE_SUBMITTED, .submitted = {some, UINT64_MAX, UINT64_MAX, true, NUMERICS_AUTO}},
        {.type = MESSAGE_SUBMITTED, .submitted = {some, 1, 1, false, NUMERICS_FP16}},
        {.type = MESSAGE_PUT, .put = {some, LIMIT_OBJECT - LIMIT_CHUNK, LIMIT_OBJECT, chunk, LIMIT_CHUNK}},
        {.type = MESSAGE_PUT, .put = {some, 0, 0, NULL, 0}},
        {.type = MESSAGE_FETCH, .fetch = {some, LIMIT_OBJECT, LIMIT_CHUNK}},
        {.type = MESSAGE_CHUNK, .chunk = {some, 5, 10, chunk, 5}},
        {.type = MESSAGE_STATUS, .sweep_ref = {name}},
        {.type = MESSAGE_STATUS, .sweep_ref = {""}},
        {.type = MESSAGE_LIST, .list = {name, UINT64_MAX, LIMIT_LIST, JOB_EXCLUDED}},
        {.type = MESSAGE_CANCEL, .sweep_ref = {"a sweep"}},
        {.type = MESSAGE_EXPLAIN, .explain = {name, true, UINT64_MAX}},
        {.type = MESSAGE_WORKERS},
        {.type = MESSAGE_STATUS_REPORT, .status_report = {sweeps, 2, UINT64_MAX, UINT32_MAX}},
        {.type = MESSAGE_JOBS, .jobs = {jobs, 2, UINT64_MAX}},
        {.type = MESSAGE_EXPLANATION, .explanation = {"no-workers", "none is there"}},
        {.type = MESSAGE_WORKERS_REPORT, .workers_report = {workers, 1}},
        {.type = MESSAGE_PAUSE, .sweep_ref = {name}},
        {.type = MESSAGE_RESUME, .sweep_ref = {"a sweep"}},
        {.type = MESSAGE_RETRY, .sweep_ref = {"a sweep"}},
        {.type = MESSAGE_PRIORITY, .priority = {name, LIMIT_PRIORITY}},
        {.type = MESSAGE_DRAIN_WORKER, .drain_worker = {name, true}},
        {.type = MESSAGE_USAGE},
        {.type = MESSAGE_PREVIEW, .preview = {name, UINT64_MAX}},
        {.type = MESSAGE_USAGE_REPORT, .usage_report = {users, 2}},
        {.type = MESSAGE_USAGE_REPORT, .usage_report = {NULL, 0}},
    };
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
        there_and_back(&messages[i]);
    free(name);
    free(sweep);
    free(chunk);
}

/* The members, not only the bytes. */
static void test_values_arrive(void **state)
{
    (void)state;
    struct error error;
    uint64_t seed = 7;
    uint8_t png[] = {1, 2, 3};
    struct result_item item = {digest_draw(&seed), digest_draw(&seed), digest_draw(&seed), 77, png, 3};
    struct message message = {.type = MESSAGE_RESULTS, .request = 4, .results = {11, 12, &item, 1}}, read;
    struct bytes bytes = BYTES_INIT;
    message_encode(&bytes, &message);
    assert_ok(message_decode(&read, bytes.data, bytes.size, &error));
    assert_true(read.request == 4 && read.results.lease == 11 && read.results.epoch == 12 && read.results.count == 1);
    assert_true(digest_equal(&read.results.items[0].key, &item.key) && digest_equal(&read.results.items[0].pixels, &item.pixels) &&
                digest_equal(&read.results.items[0].picture, &item.picture));
    assert_int_equal(read.results.items[0].render_ms, 77);
    assert_memory_equal(read.results.items[0].png, png, 3);
    message_release(&read);
    bytes_release(&bytes);
}

static void test_previews_arrive(void **state)
{
    (void)state;
    struct error error;
    uint64_t seed = 8;
    uint8_t rgb[2 * 3 * 3];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)draw(&seed);
    struct message message = {.type = MESSAGE_PREVIEWED, .previewed = {digest_draw(&seed), 7, 20, 3, 2, rgb, "box-1"}}, read;
    struct bytes bytes = BYTES_INIT;
    message_encode(&bytes, &message);
    assert_ok(message_decode(&read, bytes.data, bytes.size, &error));
    assert_true(digest_equal(&read.previewed.key, &message.previewed.key));
    assert_true(read.previewed.step == 7 && read.previewed.steps == 20 && read.previewed.width == 3 && read.previewed.height == 2);
    assert_memory_equal(read.previewed.rgb, rgb, sizeof rgb);
    assert_string_equal(read.previewed.worker, "box-1");
    message_release(&read);
    /* other sides than there are pixels: by hand, for the encoder asserts. The last byte of the height's field is 2. */
    uint8_t *height = memchr(bytes.data, 0x28, bytes.size); /* field 5, a varint */
    while (height && height[1] != 2)
        height = memchr(height + 1, 0x28, bytes.size - (size_t)(height + 1 - bytes.data));
    assert_non_null(height);
    height[1] = 3;
    assert_fails(message_decode(&read, bytes.data, bytes.size, &error), ERR_CORRUPT, "rgb: want 27..27, have 18");
    height[1] = 0;
    assert_fails(message_decode(&read, bytes.data, bytes.size, &error), ERR_CORRUPT, "height: want 1..128, have 0");
    bytes_release(&bytes);
}

/* A sentence that quotes foreign bytes still arrives, as UTF-8 and cut. */
static void test_prose_is_cleaned(void **state)
{
    (void)state;
    struct error error;
    char *endless = text_filled(LIMIT_SENTENCE + 50, 'e');
    memcpy(endless + LIMIT_SENTENCE - 1, "\xc3\xa9", 2); /* cut inside a character */
    static const char *const bad[] = {"a\xff" "b\xc3", "\xed\xa0\x80", NULL};
    for (int i = 0; i < 4; i++) {
        struct bytes bytes = BYTES_INIT;
        const char *text = i < 3 ? bad[i] : endless;
        struct message message = {.type = MESSAGE_FAILURE, .failure = {.code = ERR_IO, .text = (char *)text}}, read;
        message_encode(&bytes, &message);
        assert_ok(message_decode(&read, bytes.data, bytes.size, &error));
        assert_true(utf8_valid(read.failure.text, strlen(read.failure.text), NULL));
        if (i == 0)
            assert_string_equal(read.failure.text, "a?b?");
        if (i == 3)
            assert_int_equal(strlen(read.failure.text), LIMIT_SENTENCE - 1);
        message_release(&read);
        bytes_release(&bytes);
    }
    free(endless);
}

static void decode_bad(const struct message *message, const char *words)
{
    struct error error = {ERR_OK, ""};
    struct bytes bytes = BYTES_INIT;
    struct message read;
    message_encode(&bytes, message);
    enum err code = message_decode(&read, bytes.data, bytes.size, &error);
    if (code != ERR_CORRUPT || !strstr(error.message, words))
        fail_msg("%s: want \"%s\", have %s: %s", message_type_name(message->type), words, err_name(code), error.message);
    bytes_release(&bytes);
}

static void test_decode_refuses(void **state)
{
    (void)state;
    struct digest some = {{1}};
    uint8_t byte = 0;
    struct lease_progress lease = {1, 1, (enum work_phase)9, 0, 0};
    struct sweep_status sweep = {some, "n", "u", SWEEP_ACTIVE, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1.0, 0, "", 0, 0, 0};
    struct user_usage user = {"ann", 0, 0, 0, 0, 0};
    struct assigned_job job = {some, "a\xff"};
    decode_bad(&(struct message){.type = MESSAGE_REFUSED, .refused = {(enum err)99, "x"}}, "code: want 1..14, have 99");
    decode_bad(&(struct message){.type = MESSAGE_REFUSED, .refused = {ERR_OK, "x"}}, "code: want 1..14, have 0");
    decode_bad(&(struct message){.type = MESSAGE_WORKER_HELLO, .worker_hello = {.device = "c", .device_class = "c", .batch = 1}}, "name: want 1..120, have 0");
    decode_bad(&(struct message){.type = MESSAGE_WORKER_HELLO, .worker_hello = {.name = "a\033[2J", .device = "c", .device_class = "c", .batch = 1}}, "control characters");
    decode_bad(&(struct message){.type = MESSAGE_WORKER_HELLO, .worker_hello = {.name = "a", .device = "c", .device_class = "c", .batch = 257}}, "batch: want 1..256, have 257");
    decode_bad(&(struct message){.type = MESSAGE_LEASE_REQUEST}, "jobs: want 1..");
    decode_bad(&(struct message){.type = MESSAGE_PROGRESS, .progress = {&lease, 1}}, "phase: want 1..6, have 9");
    decode_bad(&(struct message){.type = MESSAGE_ASSIGN, .assign = {.jobs = &job, .count = 1}}, "spec: want UTF-8");
    decode_bad(&(struct message){.type = MESSAGE_PUT, .put = {some, 2, 2, &byte, 1}}, "bytes behind offset: want 0..0, have 1");
    decode_bad(&(struct message){.type = MESSAGE_PUT, .put = {some, 3, 2, NULL, 0}}, "offset: want 0..2, have 3");
    decode_bad(&(struct message){.type = MESSAGE_PUT, .put = {some, 0, LIMIT_OBJECT + 1, NULL, 0}}, "total: want 0..");
    decode_bad(&(struct message){.type = MESSAGE_FETCH, .fetch = {some, 0, LIMIT_CHUNK + 1}}, "size: want 1..1048576");
    decode_bad(&(struct message){.type = MESSAGE_LIST, .list = {"s", 0, 0, 0}}, "limit: want 1..10000, have 0");
    decode_bad(&(struct message){.type = MESSAGE_LIST, .list = {"s", 0, 1, 7}}, "state: want 0..6, have 7");
    decode_bad(&(struct message){.type = MESSAGE_STATUS_REPORT, .status_report = {&sweep, 1, 0, 0}}, "jobs_per_second: want a rate");
    decode_bad(&(struct message){.type = MESSAGE_PRIORITY, .priority = {"s", 101}}, "priority: want -100..100, have 101");
    decode_bad(&(struct message){.type = MESSAGE_SUBMIT, .submit = {"n", "u", "s", 1, -101}}, "priority: want -100..100, have -101");
    decode_bad(&(struct message){.type = MESSAGE_USAGE_REPORT, .usage_report = {&user, 1}}, "weight: want 1..1000, have 0");
    decode_bad(&(struct message){.type = MESSAGE_PREVIEW, .preview = {"", 1}}, "sweep: want 1..120, have 0");
    decode_bad(&(struct message){.type = MESSAGE_PREVIEWED, .previewed = {some, 3, 2, 1, 1, (uint8_t[3]){0}, ""}}, "step: want 0..2, have 3");
    decode_bad(&(struct message){.type = MESSAGE_WORKER_HELLO, .worker_hello = {.name = "a", .device = "c", .device_class = "c", .batch = 1, .protocol_least = 3, .protocol = 2}},
               "protocol_least: want 0..2, have 3");
}

/* What a worker of protocol 1 leaves out has the meaning it had then. */
static void test_old_hello(void **state)
{
    (void)state;
    struct message hello = {.type = MESSAGE_WORKER_HELLO, .worker_hello = {.name = "a", .device = "c", .device_class = "c", .batch = 1, .protocol = 1}};
    struct message read;
    struct bytes bytes = BYTES_INIT;
    struct error error;
    message_encode(&bytes, &hello);
    assert_ok(message_decode(&read, bytes.data, bytes.size, &error));
    assert_int_equal(read.worker_hello.protocol_least, 1);
    assert_int_equal(read.worker_hello.numerics, 1u << NUMERICS_FP32);
    assert_int_equal(read.worker_hello.model_count, 0);
    message_release(&read);
    bytes_release(&bytes);
}

static void test_foreign_bytes(void **state)
{
    (void)state;
    struct error error;
    struct message read;
    uint64_t seed = 8;
    assert_fails(message_decode(&read, "", 0, &error), ERR_CORRUPT, "hold no body");
    assert_fails(message_decode(&read, "\x08\x01", 2, &error), ERR_CORRUPT, "hold no body");
    assert_fails(message_decode(&read, "hello", 5, &error), ERR_CORRUPT, "no message of this protocol");
    /* an unknown body (field 63) */
    assert_fails(message_decode(&read, "\xfa\x03\x00", 3, &error), ERR_CORRUPT, "hold no body");
    /* 16 MB of empty jobs inside ASSIGN: would be gigabytes of structs, is refused by its budget */
    size_t empty = 16 << 20;
    struct bytes bomb = BYTES_INIT;
    uint8_t head[] = {0xca, 0x01, 0x80, 0x80, 0x80, 0x08};
    bytes_add(&bomb, head, sizeof head);
    bytes_reserve(&bomb, empty);
    for (size_t i = 0; i < empty; i += 2)
        memcpy(bomb.data + bomb.size + i, "\x22\x00", 2);
    bomb.size += empty;
    assert_fails(message_decode(&read, bomb.data, bomb.size, &error), ERR_CORRUPT, "no message");
    bytes_release(&bomb);
    for (int i = 0; i < 20000; i++) {
        uint8_t noise[64];
        size_t size = draw(&seed) % sizeof noise;
        for (size_t b = 0; b < size; b++)
            noise[b] = (uint8_t)draw(&seed);
        if (size > 3) { /* most of the time a plausible body */
            noise[0] = (uint8_t)(0x82 + 8 * (draw(&seed) % 16));
            noise[1] = (uint8_t)(1 + draw(&seed) % 2);
            noise[2] = (uint8_t)(size - 3);
        }
        if (message_decode(&read, noise, size, &error) == ERR_OK)
            message_release(&read);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_messages), cmocka_unit_test(test_client_messages), cmocka_unit_test(test_values_arrive), cmocka_unit_test(test_previews_arrive),
        cmocka_unit_test(test_prose_is_cleaned), cmocka_unit_test(test_decode_refuses), cmocka_unit_test(test_foreign_bytes),
        cmocka_unit_test(test_old_hello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
