/* Links over ipc and tcp: addresses, questions and answers, peers that go, frames that are no message. */
#include <pthread.h>
#include <zmq.h>

#include "base/clock.h"
#include "proto/link.h"
#include "fixture.h"

static void test_addresses(void **state)
{
    (void)state;
    static const char *const may_bind[] = {"ipc:///tmp/x", "ipc://@abstract", "tcp://127.0.0.1:5555", "tcp://127.1.2.3:1",
                                           "tcp://[::1]:5555", "tcp://localhost:5555", "tcp://127.0.0.1:*"};
    static const struct { const char *address, *words; } no_bind[] = {
        {"tcp://0.0.0.0:5555", "without keys only ipc and loopback"}, {"tcp://*:5555", "\"*\" is neither"},
        {"tcp://192.168.1.5:5555", "\"192.168.1.5\" is neither"}, {"tcp://eth0:5555", "without keys"},
        {"tcp://127.0.0.1.evil.example:5555", "without keys"}, {"tcp://127.0.0.1", "want tcp://HOST:PORT"},
        {"tcp://[::]:5555", "without keys"}, {"tcp://127.0.0.1:0", "want a port of 1..65535"},
        {"tcp://127.0.0.1:70000", "\"70000\""}, {"tcp://127.0.0.1:5x", "want a port"}, {"tcp://:5555", "want tcp://HOST:PORT"},
        {"udp://127.0.0.1:1", "want ipc://PATH or tcp://HOST:PORT"}, {"", "want ipc://"}, {"ipc://", "want a path"},
        {"tcp://::1:5555", "want tcp://HOST:PORT"},
    };
    struct error error;
    for (size_t i = 0; i < sizeof may_bind / sizeof *may_bind; i++)
        assert_ok(address_check_bind(may_bind[i], &error));
    for (size_t i = 0; i < sizeof no_bind / sizeof *no_bind; i++)
        assert_fails(address_check_bind(no_bind[i].address, &error), ERR_INVALID, no_bind[i].words);
    assert_ok(address_check_connect("tcp://farm.example:5555", &error));
    assert_fails(address_check_connect("tcp://0.0.0.0:5555", &error), ERR_INVALID, "is every one");
    assert_fails(address_check_connect("tcp://h:*", &error), ERR_INVALID, "want a port");
    char path[160] = "ipc:///";
    memset(path + 7, 'p', 107);
    assert_fails(address_check_bind(path, &error), ERR_INVALID, "at most 107 bytes, this one has 108");
    path[7 + 106] = '\0';
    assert_ok(address_check_bind(path, &error));
}

/* A coordinator that answers SUBMIT's cousins: STATUS with REFUSED, everything else with DONE; ends on GOODBYE. */
static void *answerer(void *context)
{
    struct link *link = context;
    for (bool open = true; open;) {
        struct error error;
        struct message message, answer = {.type = MESSAGE_DONE};
        struct route from;
        bool got = false;
        if (link_wait(&got, link, 5000, &error) != ERR_OK || !got)
            break;
        enum err code = link_receive(&got, &from, &message, link, &error);
        if (code == ERR_CORRUPT) {
            answer = (struct message){.type = MESSAGE_REFUSED, .refused = {code, error.message}};
        } else if (code != ERR_OK || !got) {
            continue;
        } else {
            answer.request = message.request;
            if (message.type == MESSAGE_STATUS)
                answer = (struct message){.type = MESSAGE_REFUSED, .request = message.request, .refused = {ERR_NOT_FOUND, "sweep x: none"}};
            open = message.type != MESSAGE_GOODBYE;
            message_release(&message);
        }
        if (link_send(link, &from, &answer, &error) != ERR_OK)
            break;
    }
    return NULL;
}

static void ask_through(const char *bind_address)
{
    struct error error;
    struct link *server, *client;
    pthread_t thread;
    assert_ok(link_bind(&server, &bind_address, 1, &error));
    const char *address = link_address(server);
    assert_int_equal(pthread_create(&thread, NULL, answerer, server), 0);
    assert_ok(link_connect(&client, address, &error));
    for (int i = 0; i < 50; i++) {
        struct message question = {.type = MESSAGE_WORKERS}, answer;
        assert_ok(link_ask(&answer, client, &question, 5000, &error));
        assert_int_equal(answer.type, MESSAGE_DONE);
        message_release(&answer);
    }
    struct message status = {.type = MESSAGE_STATUS, .sweep_ref = {"x"}}, answer;
    assert_fails(link_ask(&answer, client, &status, 5000, &error), ERR_NOT_FOUND, "sweep x: none");
    struct message bye = {.type = MESSAGE_GOODBYE};
    assert_ok(link_ask(&answer, client, &bye, 5000, &error));
    pthread_join(thread, NULL);
    link_destroy(client);
    link_destroy(server);
}

static void test_ask_ipc(void **state)
{
    (void)state;
    char *folder = folder_new();
    char *address = text_format("ipc://%s/socket", folder);
    ask_through(address);
    free(address);
    folder_drop(folder);
}

static void test_ask_tcp(void **state)
{
    (void)state;
    ask_through("tcp://127.0.0.1:*");
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct error error;
    struct link *client;
    char *folder = folder_new();
    char *address = text_format("ipc://%s/none", folder);
    assert_ok(link_connect(&client, address, &error));
    struct message question = {.type = MESSAGE_WORKERS}, answer;
    assert_fails(link_send(client, NULL, &question, &error), ERR_UNREACHABLE, address);
    assert_fails(link_ask(&answer, client, &question, 200, &error), ERR_UNREACHABLE, "no answer within 200 ms");
    assert_non_null(strstr(error.message, address));
    link_destroy(client);
    free(address);
    folder_drop(folder);
}

static void wait_and_receive(struct route *from, struct message *message, struct link *link)
{
    struct error error;
    bool got = false;
    for (int i = 0; i < 100 && !got; i++) {
        assert_ok(link_wait(&got, link, 100, &error));
        if (got)
            assert_ok(link_receive(&got, from, message, link, &error));
    }
    assert_true(got);
}

/* A ROUTER is told when its peer has gone, and does not pretend to have sent. */
static void test_peer_gone(void **state)
{
    (void)state;
    struct error error;
    struct link *server, *client;
    struct route from;
    struct message message, done = {.type = MESSAGE_DONE};
    const char *address = "tcp://127.0.0.1:*";
    assert_ok(link_bind(&server, &address, 1, &error));
    assert_ok(link_connect(&client, link_address(server), &error));
    struct message hello = {.type = MESSAGE_GOODBYE};
    enum err code = ERR_UNREACHABLE;
    for (int i = 0; i < 200 && code == ERR_UNREACHABLE; i++) { /* until it is connected */
        code = link_send(client, NULL, &hello, &error);
        clock_sleep_ms(10);
    }
    assert_int_equal(code, ERR_OK);
    wait_and_receive(&from, &message, server);
    message_release(&message);
    assert_ok(link_send(server, &from, &done, &error));
    wait_and_receive(NULL, &message, client);
    message_release(&message);
    link_destroy(client);
    for (int i = 0; i < 200 && (code = link_send(server, &from, &done, &error)) == ERR_OK; i++)
        clock_sleep_ms(10);
    assert_int_equal(code, ERR_UNREACHABLE);
    struct route stranger = {.bytes = {1, 2, 3}, .size = 3};
    assert_fails(link_send(server, &stranger, &done, &error), ERR_UNREACHABLE, "gone");
    link_destroy(server);
}

static void raw_send(void *socket, const char *data, size_t size, int flags)
{
    assert_int_equal(zmq_send(socket, data, size, flags), (int)size);
}

/* Foreign frames: refused with a way back, and the link goes on. */
static void test_foreign_frames(void **state)
{
    (void)state;
    struct error error;
    struct link *server;
    const char *address = "tcp://127.0.0.1:*";
    assert_ok(link_bind(&server, &address, 1, &error));
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    int linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(socket, link_address(server)), 0);
    raw_send(socket, "junk", 4, 0);
    raw_send(socket, "", 0, 0);
    for (int i = 0; i < 100; i++)
        raw_send(socket, "a", 1, ZMQ_SNDMORE);
    raw_send(socket, "b", 1, 0);
    raw_send(socket, "\x8a\x01\x00", 3, 0); /* DONE */
    static const char *const words[] = {"no message", "hold no body", "want one frame, have 101"};
    struct route from = {.size = 0};
    struct message message;
    bool got = false;
    for (int i = 0; i < 3; i++) {
        for (bool ready = false; !ready;)
            assert_ok(link_wait(&ready, server, 5000, &error));
        from.size = 0;
        assert_fails(link_receive(&got, &from, &message, server, &error), ERR_CORRUPT, words[i]);
        assert_true(from.size > 0);
    }
    wait_and_receive(&from, &message, server);
    assert_int_equal(message.type, MESSAGE_DONE);
    assert_ok(link_receive(&got, &from, &message, server, &error));
    assert_false(got);
    zmq_close(socket);
    zmq_ctx_term(context);
    link_destroy(server);
}

static void test_bind_fails(void **state)
{
    (void)state;
    struct error error;
    struct link *one, *two;
    const char *address = "tcp://127.0.0.1:*";
    assert_ok(link_bind(&one, &address, 1, &error));
    const char *taken = link_address(one);
    assert_fails(link_bind(&two, &taken, 1, &error), ERR_IO, "cannot listen there");
    const char *nowhere = "ipc:///nowhere/at/all/socket";
    assert_fails(link_bind(&two, &nowhere, 1, &error), ERR_IO, "/nowhere/at/all/socket");
    link_destroy(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_ask_ipc), cmocka_unit_test(test_ask_tcp),
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_peer_gone), cmocka_unit_test(test_foreign_frames),
        cmocka_unit_test(test_bind_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
