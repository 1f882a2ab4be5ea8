/* test_clock.c - clocks move forward, by the units their names say. */
#include "base/clock.h"
#include "tests/base/test.h"

static void monotonic_never_turns_back(void **state) {
    uint64_t before = clock_monotonic_ns();
    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= before);
        before = now;
    }
}

static void sleep_lasts(void **state) {
    uint64_t ns = clock_monotonic_ns(), ms = clock_monotonic_ms();
    (void)state;
    clock_sleep_ms(20);
    uint64_t slept_ns = clock_monotonic_ns() - ns;
    assert_true(slept_ns >= 20000000u);
    assert_true(clock_monotonic_ms() - ms >= 19); /* both ends are rounded down */
}

static void unix_time_is_in_this_century(void **state) {
    (void)state;
    assert_in_range(clock_unix_ms(), UINT64_C(1700000000000), UINT64_C(4102444800000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_never_turns_back), cmocka_unit_test(sleep_lasts),
        cmocka_unit_test(unix_time_is_in_this_century),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
