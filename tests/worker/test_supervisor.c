/* test_supervisor.c - real children and real signals: restarts with back-off, last words, stopping, dying with the parent. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "tests/worker/double.h"
#include "worker/supervisor.h"

enum { PATIENCE_MS = 20000 };

static const struct supervisor_pace quick = { 50, 400, 60000 };

/* Run a supervisor over `script` in a process of its own, its log and the children's stderr in files of `place`. */
static pid_t supervise(const char *place, const char *script) {
    pid_t pid = fork();
    if (pid)
        return pid;
    char *log = path_join(place, "log"), *words = path_join(place, "words");
    char *argv[] = { "/bin/sh", "-c", (char *)script, NULL };
    struct supervised child = { "cpu", argv };
    struct error error;
    int status = 99;
    if (chdir(place) != 0 || !freopen(log, "w", stdout) || !freopen(words, "w", stderr))
        _exit(98);
    log_open(STDOUT_FILENO, LOG_DEBUG, "supervisor");
    if (supervisor_run(&status, &child, 1, &quick, STDERR_FILENO, &error) != ERR_OK)
        status = 97;
    _exit(status);
}

static char *read_text(const char *place, const char *name) {
    struct bytes text = BYTES_INIT;
    char *path = path_join(place, name);
    if (file_read(&text, path, 1 << 20, NULL) != ERR_OK)
        bytes_add_text(&text, "");
    free(path);
    char *copy = text_copy(bytes_text(&text));
    bytes_release(&text);
    return copy;
}

static size_t count_lines(const char *place, const char *name) {
    char *text = read_text(place, name);
    size_t lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    free(text);
    return lines;
}

static void wait_for_lines(const char *place, const char *name, size_t lines) {
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (count_lines(place, name) < lines) {
        if (clock_monotonic_ms() > until_ms)
            fail_msg("%s/%s: want %zu lines, have %zu", place, name, lines, count_lines(place, name));
        clock_sleep_ms(5);
    }
}

static int status_of(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void done_is_done(void **state) {
    (void)state;
    char *place = place_create();
    assert_int_equal(status_of(supervise(place, "echo x >> lives; exit 0")), 0);
    assert_int_equal(count_lines(place, "lives"), 1);
    assert_int_equal(status_of(supervise(place, "echo x >> lives; exit 2")), 2);
    assert_int_equal(count_lines(place, "lives"), 2);
    place_remove(place);
}

static void restarts_with_back_off_and_last_words(void **state) {
    (void)state;
    char *place = place_create();
    uint64_t begin_ms = clock_monotonic_ms();
    pid_t pid = supervise(place, "echo x >> lives; echo 'no such device' >&2; [ $(wc -l < lives) -ge 5 ] && exit 0; kill -SEGV $$");
    assert_int_equal(status_of(pid), 0);
    assert_int_equal(count_lines(place, "lives"), 5);
    assert_true(clock_monotonic_ms() - begin_ms >= 50 + 100 + 200 + 400);
    char *log = read_text(place, "log"), *words = read_text(place, "words");
    assert_non_null(strstr(log, "child-died"));
    assert_non_null(strstr(log, "signal 11"));
    assert_non_null(strstr(log, "\"deaths\":\"4\""));
    assert_non_null(strstr(log, "no such device"));
    assert_non_null(strstr(words, "no such device\n"));
    free(log);
    free(words);
    place_remove(place);
}

static void first_signal_is_handed_on(void **state) {
    (void)state;
    char *place = place_create();
    pid_t pid = supervise(place, "trap 'echo term >> ends; exit 0' TERM; echo x >> lives; while :; do sleep 0.05; done");
    wait_for_lines(place, "lives", 1);
    kill(pid, SIGINT);
    assert_int_equal(status_of(pid), 0);
    assert_int_equal(count_lines(place, "ends"), 1);
    place_remove(place);
}

static void second_signal_kills(void **state) {
    (void)state;
    char *place = place_create();
    pid_t pid = supervise(place, "trap 'echo term >> ends' TERM; echo x >> lives; while :; do sleep 0.05; done");
    wait_for_lines(place, "lives", 1);
    kill(pid, SIGTERM);
    wait_for_lines(place, "ends", 1);
    kill(pid, SIGTERM);
    assert_int_equal(status_of(pid), 1);
    assert_int_equal(count_lines(place, "lives"), 1); /* not started again */
    place_remove(place);
}

static void stops_while_waiting_to_restart(void **state) {
    (void)state;
    char *place = place_create();
    pid_t pid = supervise(place, "echo x >> lives; exit 1");
    wait_for_lines(place, "lives", 4);
    kill(pid, SIGTERM);
    assert_int_equal(status_of(pid), 1);
    place_remove(place);
}

static void children_die_with_it(void **state) {
    (void)state;
    char *place = place_create();
    pid_t pid = supervise(place, "echo $$ >> lives; exec sleep 1000");
    wait_for_lines(place, "lives", 1);
    char *text = read_text(place, "lives");
    pid_t child = (pid_t)atoi(text);
    free(text);
    assert_int_equal(kill(child, 0), 0);
    kill(pid, SIGKILL);
    assert_int_equal(status_of(pid), 128 + SIGKILL);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    char *stat = text_format("/proc/%ld/stat", (long)child);
    for (;;) { /* gone, or a zombie that whoever adopted it has not buried */
        struct bytes line = BYTES_INIT;
        bool there = file_read(&line, stat, 4096, NULL) == ERR_OK;
        const char *end = there ? strrchr(bytes_text(&line), ')') : NULL;
        bool gone = !there || (end && end[2] == 'Z');
        bytes_release(&line);
        if (gone)
            break;
        assert_true(clock_monotonic_ms() < until_ms);
        clock_sleep_ms(5);
    }
    free(stat);
    place_remove(place);
}

static void says_when_there_is_no_program(void **state) {
    (void)state;
    char *place = place_create();
    pid_t pid = supervise(place, "exec /no/such/program");
    wait_for_lines(place, "words", 2);
    kill(pid, SIGTERM);
    status_of(pid);
    char *log = read_text(place, "log");
    assert_non_null(strstr(log, "exit status 127"));
    assert_non_null(strstr(log, "/no/such/program"));
    free(log);
    place_remove(place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(done_is_done),
        cmocka_unit_test(restarts_with_back_off_and_last_words),
        cmocka_unit_test(first_signal_is_handed_on),
        cmocka_unit_test(second_signal_kills),
        cmocka_unit_test(stops_while_waiting_to_restart),
        cmocka_unit_test(children_die_with_it),
        cmocka_unit_test(says_when_there_is_no_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
