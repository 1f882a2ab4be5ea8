/*
 * test_safetensors.c - what is written is read; what is malformed is refused, each with its sentence.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "pipeline/weights/weights.h"

#define ALL SIZE_MAX /* the header's own length */
#define ONE "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define TWO ONE ",\"b\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[8,16]}"
#define TENSOR(dtype, shape, begin, end) \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}}"

/* A file: its header, the length it claims for it (ALL: the true one), and how many bytes follow. */
struct layout {
    const char *header;
    size_t length, tail;
    const char *sentence; /* a piece of the refusal; NULL: it is a good file */
};

static const struct layout LAYOUTS[] = {
    { "{" TWO "}", ALL, 16, NULL },
    { "{" TWO "}    ", ALL, 16, NULL },
    { "{}", ALL, 0, NULL },
    { "{\"__metadata__\":{\"format\":\"pt\"}," ONE "}", ALL, 8, NULL },
    { TENSOR("\"F32\"", "[]", 0, 4), ALL, 4, NULL },
    { TENSOR("\"F32\"", "[0,7]", 0, 0), ALL, 0, NULL },
    { TENSOR("\"F4\"", "[2,3]", 0, 3), ALL, 3, NULL },
    { "{\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", ALL, 2, NULL },
    /* length */
    { "{" ONE "}", 0, 8, "begins with '{', file has an empty one" },
    { "{" ONE "}", 100000001, 8, "at most 100000000 bytes, file has 100000001" },
    { "{" ONE "}", SIZE_MAX - 1, 8, "at most 100000000 bytes" },
    { "{" ONE "}", 5000, 8, "want a header of 5000 bytes" },
    { "{" ONE "}", 10, 8, "JSON" },
    /* the JSON */
    { " {" ONE "}", ALL, 8, "begins with '{', file has another byte" },
    { "[1]", ALL, 0, "begins with '{'" },
    { "\"a\"", ALL, 0, "begins with '{'" },
    { "{" ONE, ALL, 8, "JSON" },
    { "{" ONE "}{}", ALL, 8, "JSON" },
    { "{" ONE "," ONE "}", ALL, 8, "duplicate" },
    { "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", ALL, 1, "duplicate" },
    { "{\"\xff\":1}", ALL, 0, "JSON" },
    { "{\"a\":1}", ALL, 0, "a: want an object" },
    { "{\"a\\n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", ALL, 1, "without control bytes, one has 0x0a at place 1" },
    { "{\"__metadata__\":5}", ALL, 0, "__metadata__: want an object of texts" },
    { "{\"__metadata__\":{\"k\":5}}", ALL, 0, "__metadata__: want a text for \"k\"" },
    /* dtype */
    { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", ALL, 1, "a: want a dtype, file has none" },
    { TENSOR("\"F31\"", "[1]", 0, 4), ALL, 4, "file has \"F31\"" },
    { TENSOR("\"f32\"", "[1]", 0, 4), ALL, 4, "file has \"f32\"" },
    { TENSOR("32", "[1]", 0, 4), ALL, 4, "a: want a dtype" },
    /* shape */
    { "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", ALL, 1, "a: want a shape, file has none" },
    { TENSOR("\"U8\"", "[-1]", 0, 1), ALL, 1, "dimension 0 is not" },
    { TENSOR("\"U8\"", "[1,1.0]", 0, 1), ALL, 1, "dimension 1 is not" },
    { TENSOR("\"U8\"", "[18446744073709551615]", 0, 1), ALL, 1, "JSON" },
    { TENSOR("\"U8\"", "[1,1,1,1,1,1,1,1,1]", 0, 1), ALL, 1, "at most 8 dimensions, file has 9" },
    { TENSOR("\"U8\"", "[4294967296,4294967296]", 0, 0), ALL, 0, "below 2^64 bits, shape [4294967296,4294967296] of U8" },
    { TENSOR("\"F32\"", "[1152921504606846976]", 0, 0), ALL, 0, "below 2^64 bits" },
    { TENSOR("\"F4\"", "[3]", 0, 1), ALL, 1, "want whole bytes, shape [3] of F4 has 12 bits" },
    { TENSOR("\"F32\"", "[2,3]", 0, 20), ALL, 20, "want 24 bytes for shape [2,3] of F32, file has 20" },
    { TENSOR("\"F32\"", "[0]", 0, 4), ALL, 4, "want 0 bytes for shape [0] of F32, file has 4" },
    /* places */
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", ALL, 1, "want data_offsets" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", ALL, 1, "want data_offsets" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", ALL, 1, "want data_offsets" },
    { TENSOR("\"U8\"", "[1]", -1, 0), ALL, 1, "want data_offsets" },
    { TENSOR("\"U8\"", "[1]", 2, 1), ALL, 2, "want an end not before its begin, file has 2..1" },
    { TENSOR("\"U8\"", "[1]", 1, 2), ALL, 2, "begin at 0, where the one before ends, file has 1 (a hole)" },
    { "{" ONE ",\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}", ALL, 8, "b: want it to begin at 8, where the one before ends, file has 4 (an overlap)" },
    { "{" ONE ",\"b\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", ALL, 8, "b: want it to begin at 8" },
    { "{" ONE ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}}", ALL, 10, "b: want it to begin at 8, where the one before ends, file has 9 (a hole)" },
    { "{" TWO "}", ALL, 15, "b: want bytes up to 16, file has 15 behind its header (truncated?)" },
    { "{" TWO "}", ALL, 0, "a: want bytes up to 8, file has 0" },
    { "{" TWO "}", ALL, 17, "want 16 bytes of tensors, file has 17" },
    { "{}", ALL, 1, "want 0 bytes of tensors, file has 1" },
    { TENSOR("\"U8\"", "[1152921504606846975]", 0, 1152921504606846975), ALL, 1, "want bytes up to 1152921504606846975, file has 1" },
};

static struct bytes build(const struct layout *layout) {
    struct bytes file = BYTES_INIT;
    uint64_t length = layout->length == ALL ? strlen(layout->header) : layout->length;
    for (int i = 0; i < 8; i++)
        bytes_add(&file, &(uint8_t){ (uint8_t)(length >> (8 * i)) }, 1);
    bytes_add_text(&file, layout->header);
    for (size_t i = 0; i < layout->tail; i++)
        bytes_add(&file, &(uint8_t){ (uint8_t)i }, 1);
    return file;
}

static void test_layouts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof *LAYOUTS; i++) {
        struct safetensors *file = NULL;
        struct error error = { 0 };
        struct bytes bytes = build(&LAYOUTS[i]);
        /* exactly as many bytes as the file has, so that a sanitizer sees every read beyond */
        uint8_t *exact = malloc(bytes.size);
        memcpy(exact, bytes.data, bytes.size);
        enum err err = safetensors_open_memory(&file, exact, bytes.size, "model.file", &error);
        if (!LAYOUTS[i].sentence && err != ERR_OK)
            fail_msg("case %zu: want it opened, got \"%s\"", i, error.message);
        if (LAYOUTS[i].sentence && (err == ERR_OK || file))
            fail_msg("case %zu: want \"%s\", it was opened", i, LAYOUTS[i].sentence);
        if (LAYOUTS[i].sentence && (!strstr(error.message, LAYOUTS[i].sentence) || strncmp(error.message, "model.file", 10)))
            fail_msg("case %zu: want \"model.file: ... %s\", got \"%s\"", i, LAYOUTS[i].sentence, error.message);
        safetensors_close(file);
        free(exact);
        bytes_release(&bytes);
    }
}

/* Cut a good file at every place: never opened. */
static void test_truncations(void **state) {
    (void)state;
    struct bytes bytes = build(&LAYOUTS[0]);
    for (size_t size = 0; size < bytes.size; size++) {
        struct safetensors *file = NULL;
        struct error error;
        uint8_t *exact = malloc(size ? size : 1);
        memcpy(exact, bytes.data, size);
        assert_int_not_equal(safetensors_open_memory(&file, exact, size, "cut", &error), ERR_OK);
        free(exact);
    }
    bytes_release(&bytes);
}

static void test_views(void **state) {
    (void)state;
    static const struct layout ALL_KINDS = {
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[0,6]},\"b\":{\"dtype\":\"BF16\",\"shape\":[1,1,1,1],\"data_offsets\":[6,8]},"
        "\"l\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]},\"f\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]},"
        "\"i\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[20,24]},\"deep\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[24,28]}}",
        ALL, 28, NULL };
    struct safetensors *file;
    struct weight_view view = { .dims = 99 };
    struct error error;
    struct bytes bytes = build(&ALL_KINDS);
    const uint8_t *first = bytes.data + 8 + strlen(ALL_KINDS.header);
    assert_int_equal(safetensors_open_memory(&file, bytes.data, bytes.size, "kinds", &error), ERR_OK);
    assert_int_equal(safetensors_count(file), 6);
    assert_string_equal(safetensors_name(file, 0), "b");
    assert_string_equal(safetensors_name(file, 5), "l");
    assert_null(safetensors_name(file, 6));
    assert_int_equal(safetensors_find(&view, file, "nobody", &error), ERR_NOT_FOUND);
    assert_int_equal(safetensors_find(&view, file, "l", &error), ERR_UNSUPPORTED);
    assert_string_equal(error.message, "kinds: l: want F32, F16 or BF16, file has I64");
    assert_int_equal(safetensors_find(&view, file, "i", &error), ERR_UNSUPPORTED);
    assert_int_equal(safetensors_find(&view, file, "deep", &error), ERR_UNSUPPORTED);
    assert_int_equal(view.dims, 99); /* untouched */
    assert_int_equal(safetensors_find(&view, file, "h", &error), ERR_OK);
    assert_true(view.data == first && view.dtype == DTYPE_F16 && view.dims == 1 && view.shape[0] == 3);
    assert_int_equal(safetensors_find(&view, file, "b", &error), ERR_OK);
    assert_true(view.data == first + 6 && view.dtype == DTYPE_BF16 && view.dims == 4 && view.shape[3] == 1);
    assert_int_equal(safetensors_find(&view, file, "f", &error), ERR_OK);
    assert_true(view.data == first + 16 && view.dtype == DTYPE_F32 && view.dims == 0);
    assert_int_equal(safetensors_view(&view, file, "i", &error), ERR_OK);
    assert_true(view.data == first + 20 && view.dtype == DTYPE_I32);
    safetensors_close(file);
    bytes_release(&bytes);
}

static void test_write(void **state) {
    (void)state;
    const float image[6] = { 0, 0.5f, 1, -1, 2, 3 };
    const int32_t ids[3] = { 7, 8, 9 };
    const uint8_t pixel[3] = { 1, 2, 3 };
    const struct safetensors_entry entries[] = {
        { "z.image", DTYPE_F32, 3, { 1, 2, 3 }, image },
        { "a \"ids\" \xc3\xa9", DTYPE_I32, 1, { 3 }, ids },
        { "pixels", DTYPE_U8, 1, { 3 }, pixel },
        { "nothing", DTYPE_F16, 2, { 0, 4 }, NULL },
    };
    const char *path = BINARY_DIR "/tests/test_safetensors.safetensors";
    struct safetensors *file;
    struct weight_view view;
    struct bytes bytes = BYTES_INIT;
    struct error error;
    if (safetensors_write(path, entries, 4, &error) != ERR_OK)
        fail_msg("%s", error.message);
    if (safetensors_open(&file, path, &error) != ERR_OK)
        fail_msg("%s", error.message);
    assert_int_equal(safetensors_count(file), 4);
    assert_int_equal(safetensors_find(&view, file, "z.image", &error), ERR_OK);
    assert_true(view.dims == 3 && view.shape[0] == 1 && view.shape[1] == 2 && view.shape[2] == 3);
    assert_memory_equal(view.data, image, sizeof image);
    assert_int_equal((uintptr_t)view.data % 8, 0);
    assert_int_equal(safetensors_view(&view, file, "a \"ids\" \xc3\xa9", &error), ERR_OK);
    assert_memory_equal(view.data, ids, sizeof ids);
    assert_int_equal(safetensors_view(&view, file, "pixels", &error), ERR_OK);
    assert_memory_equal(view.data, pixel, sizeof pixel);
    safetensors_close(file);
    /* the file on disk obeys the rules; cut by one byte it does not */
    assert_int_equal(file_read(&bytes, path, 1 << 20, &error), ERR_OK);
    assert_int_equal(truncate(path, (off_t)bytes.size - 1), 0);
    assert_int_equal(safetensors_open(&file, path, &error), ERR_CORRUPT);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(safetensors_open(&file, path, &error), ERR_CORRUPT);
    bytes_release(&bytes);
    unlink(path);
    assert_int_equal(safetensors_open(&file, path, &error), ERR_NOT_FOUND);
    assert_int_equal(safetensors_open(&file, "/", &error), ERR_INVALID);
    assert_int_equal(safetensors_open(&file, "/dev/null", &error), ERR_INVALID);
    const struct safetensors_entry twice[] = { entries[0], entries[0] };
    assert_int_equal(safetensors_write(path, twice, 2, &error), ERR_INVALID);
    assert_false(file_exists(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts), cmocka_unit_test(test_truncations), cmocka_unit_test(test_views),
        cmocka_unit_test(test_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
