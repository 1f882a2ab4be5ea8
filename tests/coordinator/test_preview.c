/* test_preview.c - PREVIEW: asked of the worker that draws the job, once for all who want it; and what is said where there is nothing. */
#include "tests/coordinator/kit_served.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { PATIENCE_MS = 20000 };

/* ---- clients, who wait while others talk ------------------------------------------------------------------------------ */

struct viewer {
    struct link *link;
};

static struct viewer viewer_open(const struct served *farm) {
    struct viewer viewer;
    struct error error;
    assert_ok(link_connect(&viewer.link, farm->address, &error), error);
    return viewer;
}

static void viewer_ask(const struct viewer *viewer, const char *sweep, uint64_t index, uint64_t request) {
    struct message question = { .type = MESSAGE_PREVIEW, .request = request, .preview = { (char *)sweep, index } };
    struct error error;
    enum err err;
    for (int i = 0; (err = link_send(viewer->link, NULL, &question, &error)) == ERR_UNREACHABLE && i < 1000; i++)
        clock_sleep_ms(5); /* it is only just connecting */
    assert_ok(err, error);
}

/* The answer to `request`; there is no other before it. */
static void viewer_expect(struct message *answer, const struct viewer *viewer, uint64_t request, enum message_type type) {
    struct error error;
    struct route route;
    bool got = false;
    assert_ok(link_wait(&got, viewer->link, PATIENCE_MS, &error), error);
    assert_true(got);
    assert_ok(link_receive(&got, &route, answer, viewer->link, &error), error);
    assert_int_equal(answer->request, request);
    if (answer->type != type)
        fail_msg("want %s, have %s: %s", message_type_name(type), message_type_name(answer->type),
                 answer->type == MESSAGE_REFUSED ? answer->refused.text : "");
}

static void viewer_refused(const struct viewer *viewer, uint64_t request, enum err code, const char *words) {
    struct message answer;
    viewer_expect(&answer, viewer, request, MESSAGE_REFUSED);
    assert_int_equal(answer.refused.code, code);
    if (!strstr(answer.refused.text, words))
        fail_msg("want \"%s\" in \"%s\"", words, answer.refused.text);
    message_release(&answer);
}

static void viewer_shown(const struct viewer *viewer, uint64_t request, uint8_t shade, const char *worker) {
    struct message answer;
    viewer_expect(&answer, viewer, request, MESSAGE_PREVIEWED);
    assert_int_equal(answer.previewed.rgb[0], shade);
    assert_int_equal(answer.previewed.step, 3);
    assert_int_equal(answer.previewed.steps, 20);
    assert_string_equal(answer.previewed.worker, worker);
    message_release(&answer);
}

static void refused_at_once(struct served *farm, const char *sweep, uint64_t index, enum err code, const char *words) {
    struct message question = { .type = MESSAGE_PREVIEW, .preview = { (char *)sweep, index } };
    struct error error;
    assert_int_equal(served_refusal(&error, farm, &question), code);
    if (!strstr(error.message, words))
        fail_msg("want \"%s\" in \"%s\"", words, error.message);
}

/* ---- a worker that draws ---------------------------------------------------------------------------------------------- */

/* Is asked for job `index` of its lease; the question's number. */
static uint64_t expect_show(struct worker *worker, size_t index) {
    struct message show;
    worker_expect(&show, worker, MESSAGE_SHOW);
    assert_true(digest_equal(&show.show.key, &worker->assign.assign.jobs[index].key));
    return show.request;
}

static void show(struct worker *worker, uint64_t request, size_t index, uint8_t shade) {
    uint8_t rgb[2 * 3] = { shade };
    struct message preview = { .type = MESSAGE_PREVIEWED, .request = request,
                               .previewed = { worker->assign.assign.jobs[index].key, 3, 20, 2, 1, rgb, "" } };
    worker_send(worker, &preview);
}

/* It is sent nothing but heartbeats' answers. */
static void expect_silence(struct worker *worker) {
    uint64_t until_ms = clock_monotonic_ms() + 200;
    struct message message;
    struct route route;
    struct error error;
    while (clock_monotonic_ms() < until_ms) {
        bool got = false;
        assert_ok(link_wait(&got, worker->link, 50, &error), error);
        if (!got)
            continue;
        assert_ok(link_receive(&got, &route, &message, worker->link, &error), error);
        assert_int_not_equal(message.type, MESSAGE_SHOW);
        message_release(&message);
    }
}

static void begin(struct served *farm, struct worker *worker, uint64_t jobs) {
    struct message_submitted submitted;
    served_setup(farm);
    served_submit(&submitted, farm, "frog", 0, jobs);
    worker_open(worker, farm, "w1", 10);
    worker_ask(worker, (uint32_t)jobs);
    assert_int_equal(worker_take(worker), jobs);
}

/* ---- tests ------------------------------------------------------------------------------------------------------------ */

/* Two want the same and get the same; a third wants another job, which is asked for behind it; and one comes again. */
static void test_one_at_a_time(void **state) {
    struct served farm;
    struct worker worker;
    (void)state;
    begin(&farm, &worker, 3);
    struct viewer ann = viewer_open(&farm), bob = viewer_open(&farm), cat = viewer_open(&farm);
    viewer_ask(&ann, "frog", 1, 7);
    uint64_t first = expect_show(&worker, 1);
    viewer_ask(&bob, "frog", 1, 8);
    viewer_ask(&cat, "frog", 2, 9);
    expect_silence(&worker);
    show(&worker, first, 1, 100);
    viewer_shown(&ann, 7, 100, "w1");
    viewer_shown(&bob, 8, 100, "w1");
    uint64_t second = expect_show(&worker, 2);
    assert_int_not_equal(second, first);
    show(&worker, first, 1, 50);  /* nobody waits for it any more */
    show(&worker, second, 1, 60); /* another job than was asked for */
    show(&worker, second, 2, 70);
    viewer_shown(&cat, 9, 70, "w1");
    viewer_ask(&ann, "frog", 1, 10);
    show(&worker, expect_show(&worker, 1), 1, 110);
    viewer_shown(&ann, 10, 110, "w1");
    link_destroy(ann.link);
    link_destroy(bob.link);
    link_destroy(cat.link);
    worker_close(&worker);
    served_teardown(&farm);
}

static void test_worker_refuses(void **state) {
    struct served farm;
    struct worker worker;
    (void)state;
    begin(&farm, &worker, 2);
    struct viewer ann = viewer_open(&farm), bob = viewer_open(&farm);
    viewer_ask(&ann, "frog", 0, 7);
    uint64_t first = expect_show(&worker, 0);
    viewer_ask(&bob, "frog", 1, 8);
    worker_send(&worker, &(struct message){ .type = MESSAGE_REFUSED, .request = first,
                                            .refused = { ERR_NOT_FOUND, (char *)"it waits for its turn" } });
    viewer_refused(&ann, 7, ERR_NOT_FOUND, "job 0 of sweep \"frog\": worker \"w1\" has it, and nothing to show: it waits for its turn");
    show(&worker, expect_show(&worker, 1), 1, 5);
    viewer_shown(&bob, 8, 5, "w1");
    link_destroy(ann.link);
    link_destroy(bob.link);
    worker_close(&worker);
    served_teardown(&farm);
}

/* Who waits is told, by name: the worker that leaves, the one that comes anew, and the coordinator that ends. */
static void test_gone(void **state) {
    struct served farm;
    struct worker worker;
    (void)state;
    begin(&farm, &worker, 1);
    struct viewer ann = viewer_open(&farm);
    viewer_ask(&ann, "frog", 0, 7);
    expect_show(&worker, 0);
    worker_hello(&worker, "w1", 10, PROTOCOL_VERSION); /* the same process */
    viewer_refused(&ann, 7, ERR_UNREACHABLE, "worker \"w1\" had it: it has connected anew");
    viewer_ask(&ann, "frog", 0, 8);
    expect_show(&worker, 0);
    worker_send(&worker, &(struct message){ .type = MESSAGE_GOODBYE });
    viewer_refused(&ann, 8, ERR_UNREACHABLE, "worker \"w1\" had it: goodbye");
    worker_close(&worker);
    worker_open(&worker, &farm, "w2", 11);
    worker_ask(&worker, 1);
    assert_int_equal(worker_take(&worker), 1);
    viewer_ask(&ann, "frog", 0, 9);
    expect_show(&worker, 0);
    coordinator_stop(farm.coordinator);
    viewer_refused(&ann, 9, ERR_UNREACHABLE, "the coordinator ends");
    link_destroy(ann.link);
    worker_close(&worker);
    served_teardown(&farm);
}

static void test_nothing_to_see(void **state) {
    struct served farm;
    struct worker worker;
    struct message_submitted submitted;
    struct message jobs, list = { .type = MESSAGE_LIST, .list = { (char *)"frog", 0, 1, 0 } };
    char hex[DIGEST_HEX_SIZE];
    (void)state;
    served_setup(&farm);
    refused_at_once(&farm, "frog", 0, ERR_NOT_FOUND, "sweep \"frog\"");
    served_submit(&submitted, &farm, "frog", 0, 2);
    refused_at_once(&farm, "frog", 2, ERR_INVALID, "want an index of 0..1, have 2");
    refused_at_once(&farm, "frog", 0, ERR_NOT_FOUND, "job 0 of sweep \"frog\": no worker has it now");
    worker_open(&worker, &farm, "w1", 10);
    worker_hello(&worker, "w1", 10, PROTOCOL_SHOWS - 1);
    worker_ask(&worker, 2);
    assert_int_equal(worker_take(&worker), 2);
    refused_at_once(&farm, "frog", 0, ERR_UNSUPPORTED, "worker \"w1\" has it and speaks protocol 2, previews are of 3: upgrade it");
    worker_deliver(&worker, 0, 1, 0);
    worker_acknowledged(&worker, 1);
    served_ask(&jobs, &farm, &list, MESSAGE_JOBS);
    digest_hex(&jobs.jobs.jobs[0].picture, hex);
    refused_at_once(&farm, "frog", 0, ERR_NOT_FOUND, hex);
    refused_at_once(&farm, "frog", 0, ERR_NOT_FOUND, "it is done, its picture is object");
    message_release(&jobs);
    struct message answer, cancel = { .type = MESSAGE_CANCEL, .sweep_ref = { (char *)"frog" } };
    served_ask(&answer, &farm, &cancel, MESSAGE_DONE);
    refused_at_once(&farm, "frog", 1, ERR_NOT_FOUND, "its sweep was cancelled");
    worker_close(&worker);
    served_teardown(&farm);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_at_a_time), cmocka_unit_test(test_worker_refuses),
                                        cmocka_unit_test(test_gone), cmocka_unit_test(test_nothing_to_see) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
