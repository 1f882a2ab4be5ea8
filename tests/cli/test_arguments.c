/* test_arguments.c - flags from a table: values, positionals, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/arguments.h"

static const struct command command = { "try", "SWEEP", "a command to try flags on", "", NULL };

struct parsed {
    const char *out;
    uint32_t count;
    bool json, help;
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    size_t word_count;
    struct error error;
};

static enum err parse(struct parsed *parsed, int argc, char **argv) {
    *parsed = (struct parsed){ .count = 5 };
    const struct flag table[] = {
        { "out", 'o', "DIR", "", &parsed->out, NULL, NULL },
        { "count", 'n', "N", "", NULL, &parsed->count, NULL },
        { "json", 0, NULL, "", NULL, NULL, &parsed->json },
    };
    return arguments_parse(&parsed->help, parsed->words, &parsed->word_count, 1, 1, table, 3, argc, argv, &command,
                           &parsed->error);
}
#define PARSE(parsed, ...)                                                                                             \
    parse(parsed, (int)(sizeof((char *[]){ "try", __VA_ARGS__ }) / sizeof(char *)), (char *[]){ "try", __VA_ARGS__, NULL })

static void test_values_go_where_the_table_says(void **state) {
    (void)state;
    struct parsed p;
    assert_int_equal(PARSE(&p, "frog", "--out", "here", "-n", "7", "--json"), ERR_OK);
    assert_string_equal(p.words[0], "frog");
    assert_string_equal(p.out, "here");
    assert_int_equal(p.count, 7);
    assert_true(p.json);
    assert_int_equal(PARSE(&p, "--out=there", "frog"), ERR_OK);
    assert_string_equal(p.out, "there");
    assert_int_equal(p.count, 5);
}

static void test_wrong_flags_are_refused_by_name(void **state) {
    (void)state;
    struct parsed p;
    assert_int_equal(PARSE(&p, "frog", "--outt", "x"), ERR_INVALID);
    assert_non_null(strstr(p.error.message, "--outt"));
    assert_int_equal(PARSE(&p, "frog", "--out"), ERR_INVALID);
    assert_non_null(strstr(p.error.message, "--out wants a value"));
    assert_int_equal(PARSE(&p, "frog", "--count", "many"), ERR_INVALID);
    assert_non_null(strstr(p.error.message, "many"));
    assert_int_equal(PARSE(&p, "frog", "--count", "4294967296"), ERR_INVALID);
    assert_int_equal(PARSE(&p, "frog", "--count", "-1"), ERR_INVALID);
    assert_int_equal(PARSE(&p, "frog", "toad"), ERR_INVALID);
    assert_non_null(strstr(p.error.message, "SWEEP"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_go_where_the_table_says),
        cmocka_unit_test(test_wrong_flags_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
