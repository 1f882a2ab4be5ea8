/* test_json.c - strict parsing, typed members, and RFC 8785. */
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "tests/base/test.h"

static json_t *parse(const char *text) {
    json_t *value = NULL;
    struct error error = { 0 };
    if (json_parse(&value, text, strlen(text), "test", &error) != ERR_OK)
        fail_msg("%s", error.message);
    return value;
}

static void assert_canonical(const char *text, const char *want) {
    struct bytes out = BYTES_INIT;
    struct error error = { 0 };
    json_t *value = parse(text);
    assert_int_equal(json_canonical(&out, value, &error), ERR_OK);
    assert_string_equal(bytes_text(&out), want);
    bytes_release(&out);
    json_decref(value);
}

static void assert_refused(const char *text, size_t size) {
    json_t *value = NULL;
    struct error error = { 0 };
    assert_int_equal(json_parse(&value, text, size, "frog.json", &error), ERR_INVALID);
    assert_null(value);
    assert_non_null(strstr(error.message, "frog.json:"));
}

static void only_one_whole_value_is_read(void **state) {
    static const char *const bad[] = { "", "{", "{} {}", "{\"a\":1,\"a\":2}", "[1,]", "NaN", "{a:1}", "\"\xff\"", "\"\\ud800\"" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(bad[i], strlen(bad[i]));
    assert_refused("\"a\\u0000b\"", 10); /* a text ends at NUL everywhere else in the project */
    json_decref(parse(" 7 "));
}

static void depth_is_bounded(void **state) {
    struct bytes deep = BYTES_INIT;
    (void)state;
    for (int i = 0; i < 100000; i++)
        bytes_add_text(&deep, "[");
    assert_refused(bytes_text(&deep), deep.size);
    bytes_release(&deep);
}

static void canonical_has_one_form(void **state) {
    (void)state;
    assert_canonical("{ \"b\" : [ 1 , -2,true,false , null ], \"a\":{} , \"\":[]}",
                     "{\"\":[],\"a\":{},\"b\":[1,-2,true,false,null]}");
    assert_canonical("9007199254740991", "9007199254740991");
    assert_canonical("-9007199254740991", "-9007199254740991");
}

/* RFC 8785 section 3.2.2.2: the shortest escapes, everything else as UTF-8. */
static void canonical_escapes_little(void **state) {
    (void)state;
    assert_canonical("\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"", "\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
    assert_canonical("\"\\b\\t\\n\\f\\r\\u001f\\u007f\"", "\"\\b\\t\\n\\f\\r\\u001f\x7f\"");
}

/* The example of RFC 8785 section 3.2.3: order by UTF-16 code units, where U+1F600 (D83D DE00) precedes U+FB33. */
static void canonical_sorts_by_utf16(void **state) {
    (void)state;
    assert_canonical("{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
                     "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,\"\xf0\x9f\x98\x80\":5,\"\xef\xac\xb3\":3}");
    assert_canonical("{\"\\ud7ff\":1,\"\\ud800\\udc00\":2,\"\\ue000\":3,\"a\":4,\"ab\":5,\"a\\ud83d\\ude00\":6,\"a\\uffff\":7}",
                     "{\"a\":4,\"ab\":5,\"a\xf0\x9f\x98\x80\":6,\"a\xef\xbf\xbf\":7,\"\xed\x9f\xbf\":1,\"\xf0\x90\x80\x80\":2,\"\xee\x80\x80\":3}");
}

static void canonical_refuses_inexact_numbers(void **state) {
    static const char *const bad[] = { "1.5", "1.0", "[9007199254740992]", "{\"a\":-9007199254740992}" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes out = BYTES_INIT;
        struct error error = { 0 };
        json_t *value = parse(bad[i]);
        assert_int_equal(json_canonical(&out, value, &error), ERR_INVALID);
        assert_null(out.data);
        json_decref(value);
    }
}

static void members_are_typed(void **state) {
    json_t *object = parse("{\"n\":4294967295,\"over\":4294967296,\"minus\":-1,\"x\":0.5,\"t\":\"frog\",\"yes\":true,\"nil\":null}");
    struct error error = { 0 };
    uint32_t number = 7;
    double real = 7;
    const char *text = "old";
    bool flag = false;
    (void)state;
    assert_int_equal(json_get_u32(&number, object, "over", "config", &error), ERR_INVALID);
    assert_int_equal(json_get_u32(&number, object, "minus", "config", &error), ERR_INVALID);
    assert_int_equal(json_get_u32(&number, object, "x", "config", &error), ERR_INVALID);
    assert_int_equal(json_get_u32(&number, object, "absent", "config", &error), ERR_NOT_FOUND);
    assert_string_equal(error.message, "config: \"absent\" is missing");
    assert_int_equal(number, 7);
    assert_int_equal(json_get_u32(&number, object, "n", "config", &error), ERR_OK);
    assert_true(number == UINT32_MAX);
    assert_int_equal(json_get_double(&real, object, "t", "config", &error), ERR_INVALID);
    assert_int_equal(json_get_double(&real, object, "minus", "config", &error), ERR_OK);
    assert_true(real == -1);
    assert_int_equal(json_get_double(&real, object, "x", "config", &error), ERR_OK);
    assert_true(real == 0.5);
    assert_int_equal(json_get_text(&text, object, "n", "config", &error), ERR_INVALID);
    assert_string_equal(text, "old");
    assert_int_equal(json_get_text(&text, object, "t", "config", &error), ERR_OK);
    assert_string_equal(text, "frog");
    assert_int_equal(json_get_bool(&flag, object, "n", true, "config", &error), ERR_INVALID);
    assert_false(flag);
    assert_int_equal(json_get_bool(&flag, object, "yes", false, "config", &error), ERR_OK);
    assert_true(flag);
    assert_int_equal(json_get_bool(&flag, object, "nil", false, "config", &error), ERR_OK);
    assert_false(flag);
    assert_int_equal(json_get_bool(&flag, object, "absent", true, "config", &error), ERR_OK);
    assert_true(flag);
    json_decref(object);
}

static void files_are_read_within_limits(void **state) {
    json_t *value = NULL;
    struct error error = { 0 };
    (void)state;
    assert_int_equal(json_read_file(&value, SOURCE_DIR "/models/demo/model_index.json", 1 << 20, &error), ERR_OK);
    assert_true(json_is_object(value));
    json_decref(value);
    value = NULL;
    assert_int_equal(json_read_file(&value, SOURCE_DIR "/models/demo/model_index.json", 10, &error), ERR_LIMIT);
    assert_int_equal(json_read_file(&value, SOURCE_DIR "/models/demo/absent.json", 10, &error), ERR_NOT_FOUND);
    assert_null(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_one_whole_value_is_read), cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(canonical_has_one_form),       cmocka_unit_test(canonical_escapes_little),
        cmocka_unit_test(canonical_sorts_by_utf16),     cmocka_unit_test(canonical_refuses_inexact_numbers),
        cmocka_unit_test(members_are_typed),            cmocka_unit_test(files_are_read_within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
