/* test_log.c - what is logged can be read back as JSON, one whole line an event, from many threads. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "tests/base/test.h"

enum { THREADS = 4, EVENTS = 500 };

static FILE *capture(enum log_level from) {
    FILE *file = tmpfile();
    assert_non_null(file);
    log_open(fileno(file), from, "worker");
    return file;
}

/* The next line as JSON, or NULL at the end. */
static json_t *next_event(FILE *file) {
    char line[4096];
    json_t *event = NULL;
    struct error error;
    if (!fgets(line, sizeof line, file))
        return NULL;
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_int_equal(json_parse(&event, line, strlen(line), "log", &error), ERR_OK);
    return event;
}

static const char *field(const json_t *event, const char *key) {
    return json_string_value(json_object_get(event, key));
}

static void silent_before_it_is_opened(void **state) {
    (void)state;
    log_event(LOG_ERROR, "nobody", "hears", "this", NULL);
}

static void an_event_is_a_json_line(void **state) {
    FILE *file = capture(LOG_INFO);
    (void)state;
    log_event(LOG_WARN, "lease", "worker", "w\"1\"", "text", "two\nlines \033[31m", NULL);
    rewind(file);
    json_t *event = next_event(file);
    assert_string_equal(field(event, "level"), "warn");
    assert_string_equal(field(event, "service"), "worker");
    assert_string_equal(field(event, "event"), "lease");
    assert_string_equal(field(event, "worker"), "w\"1\"");
    assert_string_equal(field(event, "text"), "two\nlines \033[31m");
    assert_int_equal(strlen(field(event, "time")), strlen("2026-01-02T03:04:05.678Z"));
    json_decref(event);
    fclose(file);
}

static void control_bytes_never_reach_a_terminal(void **state) {
    char raw[1024] = { 0 };
    FILE *file = capture(LOG_INFO);
    (void)state;
    log_event(LOG_INFO, "prompt", "text", "\033]0;title\007\r\n", NULL);
    rewind(file);
    assert_true(fread(raw, 1, sizeof raw - 1, file) > 0);
    for (const char *p = raw; p[0] && p[1]; p++)
        assert_true((unsigned char)*p >= 0x20);
    fclose(file);
}

static void bytes_that_are_no_text_are_counted(void **state) {
    FILE *file = capture(LOG_INFO);
    (void)state;
    log_event(LOG_INFO, "odd", "value", "\xff\xfe", "none", NULL, NULL);
    rewind(file);
    json_t *event = next_event(file);
    assert_string_equal(field(event, "value"), "(2 bytes that are not UTF-8)");
    assert_string_equal(field(event, "none"), "");
    json_decref(event);
    fclose(file);
}

static void lower_levels_are_left_out(void **state) {
    FILE *file = capture(LOG_WARN);
    (void)state;
    log_event(LOG_DEBUG, "a", NULL);
    log_event(LOG_INFO, "b", NULL);
    log_event(LOG_WARN, "c", NULL);
    log_event(LOG_ERROR, "d", NULL);
    rewind(file);
    json_t *third = next_event(file), *fourth = next_event(file);
    assert_string_equal(field(third, "event"), "c");
    assert_string_equal(field(fourth, "event"), "d");
    assert_null(next_event(file));
    json_decref(third);
    json_decref(fourth);
    fclose(file);
}

static void *log_many(void *name) {
    for (int i = 0; i < EVENTS; i++)
        log_event(LOG_INFO, "many", "thread", (const char *)name, NULL);
    return NULL;
}

static void threads_do_not_tear_lines(void **state) {
    pthread_t threads[THREADS];
    int count = 0;
    FILE *file = capture(LOG_INFO);
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, "a rather long name of a thread"), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    rewind(file);
    for (json_t *event; (event = next_event(file)); count++)
        json_decref(event);
    assert_int_equal(count, THREADS * EVENTS);
    fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_before_it_is_opened),         cmocka_unit_test(an_event_is_a_json_line),
        cmocka_unit_test(control_bytes_never_reach_a_terminal), cmocka_unit_test(bytes_that_are_no_text_are_counted),
        cmocka_unit_test(lower_levels_are_left_out),          cmocka_unit_test(threads_do_not_tear_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
