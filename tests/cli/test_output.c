/* test_output.c - durations, counts, and text that is safe on a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/output.h"

static void test_durations_and_counts(void **state) {
    (void)state;
    char text[32];
    output_duration(text, 12400);
    assert_string_equal(text, "12 s");
    output_duration(text, 200000);
    assert_string_equal(text, "3m 20s");
    output_duration(text, 3725000);
    assert_string_equal(text, "1h 02m");
    output_count(text, 0);
    assert_string_equal(text, "0");
    output_count(text, 1234567);
    assert_string_equal(text, "1,234,567");
    output_count(text, 999);
    assert_string_equal(text, "999");
}

static void test_control_bytes_never_reach_a_terminal(void **state) {
    (void)state;
    assert_string_equal(output_safe("a\033[31mb\nc\x7f"), "a?[31mb?c?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_and_counts),
        cmocka_unit_test(test_control_bytes_never_reach_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
