/* test_error.c - sentences, codes and exit statuses. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "tests/base/test.h"

static void sentence_names_both_values(void **state) {
    struct error error = { 0 };
    (void)state;
    assert_int_equal(error_set(&error, ERR_INVALID, "steps: want 1..1000, line %d has %d", 4, 0), ERR_INVALID);
    assert_int_equal(error.code, ERR_INVALID);
    assert_string_equal(error.message, "steps: want 1..1000, line 4 has 0");
}

static void nobody_needs_to_listen(void **state) {
    (void)state;
    assert_int_equal(error_set(NULL, ERR_LIMIT, "%s", "unheard"), ERR_LIMIT);
    errno = EACCES;
    assert_int_equal(error_errno(NULL, "%s", "unheard"), ERR_IO);
}

static void long_sentence_is_cut(void **state) {
    struct error error = { 0 };
    char text[2 * sizeof error.message];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(&error, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    error_prefix(&error, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    errno = EIO;
    error_errno(&error, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

static void errno_picks_the_code(void **state) {
    static const struct { int cause; enum err want; } cases[] = {
        { ENOSPC, ERR_NO_SPACE }, { EDQUOT, ERR_NO_SPACE }, { ENOENT, ERR_NOT_FOUND }, { EACCES, ERR_IO }, { EIO, ERR_IO },
    };
    struct error error = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        errno = cases[i].cause;
        assert_int_equal(error_errno(&error, "frog.png"), cases[i].want);
        assert_int_equal(error.code, cases[i].want);
    }
    assert_string_equal(error.message, "frog.png: Input/output error");
}

static void prefix_goes_in_front(void **state) {
    struct error error = { 0 };
    (void)state;
    error_set(&error, ERR_CORRUPT, "hash differs");
    assert_int_equal(error_prefix(&error, "object %d", 7), ERR_CORRUPT);
    assert_string_equal(error.message, "object 7: hash differs");
}

static void every_code_has_a_word_and_a_status(void **state) {
    (void)state;
    for (int code = 0; code < ERR_COUNT; code++) {
        assert_string_not_equal(err_name((enum err)code), "unknown");
        assert_in_range(err_exit_status((enum err)code), 0, 3);
        assert_int_equal(err_exit_status((enum err)code) == 0, code == ERR_OK);
    }
    assert_string_equal(err_name((enum err)ERR_COUNT), "unknown");
    assert_string_equal(err_name((enum err)-1), "unknown");
    assert_int_equal(err_exit_status(ERR_INVALID), 2);
    assert_int_equal(err_exit_status(ERR_UNREACHABLE), 3);
    assert_int_equal(err_exit_status(ERR_IO), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentence_names_both_values), cmocka_unit_test(nobody_needs_to_listen),
        cmocka_unit_test(long_sentence_is_cut),       cmocka_unit_test(errno_picks_the_code),
        cmocka_unit_test(prefix_goes_in_front),       cmocka_unit_test(every_code_has_a_word_and_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
