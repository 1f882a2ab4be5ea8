/* test_process.c - seedfarm-worker as a process: options, a real job, kill -9 of the child, leaving in order. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "picture/picture.h"
#include "proto/model.h"
#include "tests/worker/double.h"

static const char program[] = BINARY_DIR "/bin/seedfarm-worker";
static const char demo[] = SOURCE_DIR "/models/demo";

enum { ARGUMENTS = 16 };

/* stdout and stderr go into `output`. */
static pid_t start(const char *output, const char *const *arguments) {
    pid_t parent = getpid(), pid = fork();
    if (pid)
        return pid;
    char *argv[ARGUMENTS + 2] = { (char *)program };
    for (int i = 0; i < ARGUMENTS && arguments[i]; i++)
        argv[i + 1] = (char *)arguments[i];
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || !freopen(output, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
        _exit(99);
    unsetenv("SEEDFARM_COORDINATOR");
    execv(program, argv);
    _exit(98);
}

static int status_of(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Run to its end: its status is `status`, and it said `words`. */
static void assert_says(int status, const char *words, const char *const *arguments) {
    char *place = place_create(), *output = path_join(place, "output");
    struct bytes text = BYTES_INIT;
    assert_int_equal(status_of(start(output, arguments)), status);
    assert_int_equal(file_read(&text, output, 1 << 20, NULL), ERR_OK);
    if (!strstr(bytes_text(&text), words))
        fail_msg("want \"%s\" in \"%s\"", words, bytes_text(&text));
    bytes_release(&text);
    free(output);
    place_remove(place);
}

#define SAYS(status, words, ...) assert_says(status, words, (const char *const[]){ __VA_ARGS__, NULL })

static void write_config(const char *path, const char *text) {
    assert_int_equal(file_write(path, text, strlen(text), NULL), ERR_OK);
}

static void options(void **state) {
    (void)state;
    char *place = place_create(), *config = path_join(place, "c.json");
    SAYS(0, "examples:", "--help");
    SAYS(0, "seedfarm-worker " SEEDFARM_VERSION, "--version");
    SAYS(2, "--coordinator ADDR is missing", "--device", "cpu");
    SAYS(2, "there is \"cpu\", \"cuda:N\"", "--coordinator", "ipc:///tmp/x", "--device", "gpu");
    SAYS(2, "--batch: want 1..256, have \"0\"", "--batch", "0");
    SAYS(2, "--threads: want 1..1024, have \"two\"", "--threads", "two");
    SAYS(2, "--memory", "--memory", "99999999999999999999G");
    SAYS(2, "--frobnicate", "--frobnicate");
    SAYS(2, "stray", "stray");
    SAYS(2, "http://x", "--coordinator", "http://x");
    SAYS(2, "/no/such/models", "--coordinator", "ipc:///tmp/x", "--cache", place, "--models", "/no/such/models");
    write_config(config, "{\"thread\":4}");
    SAYS(2, "unknown option \"thread\"", "--config", config);
    write_config(config, "{\"threads\":4096}");
    SAYS(2, "--threads: want 1..1024, have \"4096\"", "--config", config);
    write_config(config, "{\"device\":\"gpu\",\"coordinator\":\"ipc:///tmp/x\"}");
    SAYS(2, "there is \"cpu\", \"cuda:N\"", "--config", config);
    SAYS(2, "device \"tpu\"", "--config", config, "--device", "tpu");
    free(config);
    place_remove(place);
}

static void assert_real_picture(const struct result_item *item) {
    struct picture picture;
    assert_int_equal(png_decode(&picture, item->png, item->png_size, NULL), ERR_OK);
    struct digest digest = picture_pixel_digest(&picture);
    assert_memory_equal(&digest, &item->pixels, sizeof digest);
    picture_release(&picture);
}

static void draws_is_killed_and_delivers_all_the_same(void **state) {
    (void)state;
    char *place = place_create(), *address = text_format("ipc://%s/farm.sock", place), *output = path_join(place, "output");
    char *cache = path_join(place, "cache"), *outbox = path_join(cache, "outbox");
    struct double_coordinator coordinator;
    struct manifest manifest;
    struct message message;
    assert_int_equal(manifest_of_folder(&manifest, demo, NULL), ERR_OK);
    coordinator_open(&coordinator, address);
    pid_t pid = start(output, (const char *const[]){ "--coordinator", address, "--device", "all", "--threads", "2", "--cache", cache,
                                                      "--models", demo, "--name", "w", NULL });
    coordinator_expect(&message, &coordinator, MESSAGE_WORKER_HELLO);
    pid_t child = (pid_t)message.worker_hello.pid;
    assert_int_not_equal(child, pid);
    assert_string_equal(message.worker_hello.device, "cpu");
    struct message welcome = { .type = MESSAGE_WELCOME, .request = message.request,
                               .welcome = { PROTOCOL_VERSION, 1, 50, 1000, 16 << 20 } };
    message_release(&message);
    coordinator_say(&coordinator, &welcome);
    coordinator_assign(&coordinator, 1, &manifest.digest, 0, 2, 2);
    coordinator_expect(&message, &coordinator, MESSAGE_RESULTS);
    assert_int_equal(message.results.count, 2);
    assert_real_picture(&message.results.items[0]);
    struct digest first = message.results.items[0].picture;
    message_release(&message);

    kill(child, SIGKILL); /* before it is acknowledged: its successor has them, and draws nothing */
    coordinator_welcome(&coordinator);
    coordinator_expect(&message, &coordinator, MESSAGE_RESULTS);
    assert_int_equal(message.results.count, 2);
    assert_int_equal(message.results.lease, 0);
    assert_true(digest_equal(&first, &message.results.items[0].picture) || digest_equal(&first, &message.results.items[1].picture));
    coordinator_acknowledge(&coordinator, &message);
    message_release(&message);

    kill(pid, SIGTERM);
    coordinator_expect(&message, &coordinator, MESSAGE_GOODBYE);
    message_release(&message);
    assert_int_equal(status_of(pid), 0);
    assert_int_equal(place_count(outbox), 0);
    coordinator_close(&coordinator);
    manifest_release(&manifest);
    free(address);
    free(output);
    free(cache);
    free(outbox);
    place_remove(place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options),
        cmocka_unit_test(draws_is_killed_and_delivers_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
