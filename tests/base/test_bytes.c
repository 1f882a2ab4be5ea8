/* test_bytes.c - growing buffers and UTF-8. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/base/test.h"

static void empty_is_a_text(void **state) {
    struct bytes bytes = BYTES_INIT;
    (void)state;
    assert_string_equal(bytes_text(&bytes), "");
    bytes_clear(&bytes);
    bytes_add(&bytes, NULL, 0);
    assert_string_equal(bytes_text(&bytes), "");
    bytes_release(&bytes);
    assert_null(bytes.data);
}

static void adding_keeps_the_end(void **state) {
    struct bytes bytes = BYTES_INIT;
    (void)state;
    bytes_add_text(&bytes, "a ");
    bytes_add(&bytes, "fr\0og", 5);
    bytes_add_format(&bytes, " %d%s", 42, "!");
    assert_int_equal(bytes.size, 11);
    assert_memory_equal(bytes.data, "a fr\0og 42!", 12);
    bytes_clear(&bytes);
    assert_int_equal(bytes.size, 0);
    assert_string_equal(bytes_text(&bytes), "");
    bytes_release(&bytes);
}

static void growth_keeps_what_was_there(void **state) {
    struct bytes bytes = BYTES_INIT;
    (void)state;
    for (uint32_t i = 0; i < 100000; i++)
        bytes_add(&bytes, &i, sizeof i);
    assert_int_equal(bytes.size, 400000);
    assert_true(bytes.capacity > bytes.size);
    for (uint32_t i = 0; i < 100000; i++)
        assert_memory_equal(bytes.data + 4 * i, &i, sizeof i);
    bytes_release(&bytes);
}

static void taking_leaves_nothing(void **state) {
    struct bytes bytes = BYTES_INIT;
    (void)state;
    bytes_add_text(&bytes, "frog");
    struct bytes taken = bytes_take(&bytes);
    assert_null(bytes.data);
    assert_int_equal(bytes.size, 0);
    assert_string_equal(bytes_text(&taken), "frog");
    bytes_release(&taken);
}

static void texts_are_copied(void **state) {
    char *whole = text_copy("penguin"), *part = text_copy_size("penguin", 3), *made = text_format("%s-%d", "owl", 7);
    (void)state;
    assert_string_equal(whole, "penguin");
    assert_string_equal(part, "pen");
    assert_string_equal(made, "owl-7");
    free(whole);
    free(part);
    free(made);
}

static void memory_is_zeroed(void **state) {
    static const uint8_t zero[300];
    uint8_t *memory = memory_get_array(100, 3);
    (void)state;
    assert_memory_equal(memory, zero, sizeof zero);
    memory = memory_grow(memory, 1000, 3);
    assert_memory_equal(memory, zero, sizeof zero);
    free(memory);
    free(memory_get(0));
}

/* Table 3-7 of the Unicode standard, both ends of each row, and what lies just outside. */
static void utf8_is_exact(void **state) {
    static const struct { const char *text; size_t bad; } cases[] = {
        { "plain ASCII, longer than one machine word", 41 },
        { "\x7f", 1 },             { "\x80", 0 },             { "\xc1\xbf", 0 },         { "\xc2\x80", 2 },
        { "\xdf\xbf", 2 },         { "\xe0\x9f\xbf", 0 },     { "\xe0\xa0\x80", 3 },     { "\xec\xbf\xbf", 3 },
        { "\xed\x9f\xbf", 3 },     { "\xed\xa0\x80", 0 },     { "\xee\x80\x80", 3 },     { "\xef\xbf\xbf", 3 },
        { "\xf0\x8f\xbf\xbf", 0 }, { "\xf0\x90\x80\x80", 4 }, { "\xf4\x8f\xbf\xbf", 4 }, { "\xf4\x90\x80\x80", 0 },
        { "\xf5\x80\x80\x80", 0 }, { "\xff", 0 },             { "a\xc3", 1 },            { "a\xe2\x82", 1 },
        { "12345678\xe2\x82\xac", 11 }, { "1234567\xff", 7 }, { "12345678\xf0\x9f\x90", 8 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size = strlen(cases[i].text), place = 99;
        bool good = cases[i].bad == size;
        assert_int_equal(utf8_valid(cases[i].text, size, &place), good);
        assert_int_equal(place, good ? 99 : cases[i].bad);
        assert_int_equal(utf8_valid(cases[i].text, size, NULL), good);
    }
    assert_true(utf8_valid("a\0b", 3, NULL));
    assert_true(utf8_valid(NULL, 0, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_a_text),       cmocka_unit_test(adding_keeps_the_end),
        cmocka_unit_test(growth_keeps_what_was_there), cmocka_unit_test(taking_leaves_nothing),
        cmocka_unit_test(texts_are_copied),      cmocka_unit_test(memory_is_zeroed),
        cmocka_unit_test(utf8_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
