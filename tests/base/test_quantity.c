/* test_quantity.c - numbers as people write them, and what is none. */
#include "base/quantity.h"
#include "tests/base/test.h"

static void numbers_are_read(void **state) {
    static const struct { const char *text; uint64_t value; } cases[] = {
        { "0", 0 }, { "7", 7 }, { "18446744073709551615", UINT64_MAX }, { "1K", 1024 }, { "3M", 3 << 20 },
        { "12G", UINT64_C(12) << 30 }, { "17179869183G", UINT64_C(17179869183) << 30 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value = 1;
        assert_true(quantity_parse(&value, cases[i].text, true));
        assert_int_equal(value, cases[i].value);
    }
}

static void others_are_refused(void **state) {
    static const char *const none[] = { "", "-1", "+1", " 1", "1 ", "K", "1k", "1KB", "1.5G", "18446744073709551616", "17179869184G", "12T" };
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        uint64_t value = 42;
        assert_false(quantity_parse(&value, none[i], true));
        assert_int_equal(value, 42);
    }
    uint64_t value = 42;
    assert_false(quantity_parse(&value, "1K", false));
    assert_true(quantity_parse(&value, "1000", false));
    assert_int_equal(value, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(numbers_are_read), cmocka_unit_test(others_are_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
