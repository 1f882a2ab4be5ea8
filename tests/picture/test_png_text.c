/* test_png_text.c - the texts of a PNG: Latin-1 or UTF-8, bounded, and as other programs write them. */
#include "tests/picture/check.h"

enum { FILE_LIMIT = 1 << 20 };

static struct bytes encode(const struct picture_text *texts, size_t count, enum err want, const char *word) {
    struct picture picture = picture_sample(3, 3);
    struct bytes png = BYTES_INIT;
    struct error error = { 0 };
    enum err err = png_encode(&png, &picture, texts, count, &error);
    assert_int_equal(err, want);
    if (!strstr(error.message, word))
        fail_msg("want \"%s\" in: %s", word, error.message);
    picture_release(&picture);
    return png;
}

static void assert_texts(const struct bytes *png, const struct picture_text *want, size_t count) {
    struct picture_text *texts;
    struct error error;
    size_t found;
    assert_ok(png_texts(&texts, &found, png->data, png->size, &error));
    assert_int_equal(found, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(texts[i].key, want[i].key);
        assert_string_equal(texts[i].text, want[i].text);
    }
    png_texts_release(texts, found);
}

static void texts_come_back(void **state) {
    const struct picture_text texts[] = {
        { (char *)"plain", (char *)"a frog, a pond" },   { (char *)"empty", (char *)"" },
        { (char *)"lines", (char *)"one\ntwo\ttab" },    { (char *)"latin", (char *)"gr\xc3\xb6\xc3\x9f" "e \xc2\xa0\xc3\xbf" },
        { (char *)"beyond", (char *)"\xc4\x80 \xe2\x82\xac" }, { (char *)"emoji", (char *)"\xf0\x9f\x90\xb8 frog" },
        { (char *)"plain", (char *)"the same key again" },
    };
    (void)state;
    struct bytes png = encode(texts, 7, ERR_OK, "");
    assert_texts(&png, texts, 7);
    bytes_release(&png);
    png = encode(NULL, 0, ERR_OK, "");
    assert_texts(&png, NULL, 0);
    bytes_release(&png);
}

static void latin1_is_text_and_the_rest_international(void **state) {
    const struct picture_text texts[] = { { (char *)"k", (char *)"\xc3\xbf" }, { (char *)"k", (char *)"\xc4\x80" } };
    struct bytes png;
    (void)state;
    png = encode(&texts[0], 1, ERR_OK, "");
    assert_memory_equal(png.data + 33, "\0\0\0\3tEXtk\0\xff", 11);
    bytes_release(&png);
    png = encode(&texts[1], 1, ERR_OK, "");
    assert_memory_equal(png.data + 33, "\0\0\0\x08iTXtk\0\0\0\0\0\xc4\x80", 16);
    bytes_release(&png);
}

static void texts_of_others_are_read(void **state) {
    const struct picture_text want[] = {
        { (char *)"Title", (char *)"gr\xc3\xb6\xc3\x9f" "e\nline" },
        { (char *)"Comment", (char *)"packed \xc3\xa9" },
        { (char *)"Author", (char *)"\xe6\xbc\xa2\xe5\xad\x97" },
        { (char *)"packed", (char *)"gr\xc3\xb6\xc3\x9f" "e, \xe6\xbc\xa2\xe5\xad\x97" },
        { (char *)"empty", (char *)"" },
    };
    struct bytes png = BYTES_INIT;
    struct error error;
    (void)state;
    assert_ok(file_read(&png, SOURCE_DIR "/tests/fuzz/corpus/png/texts.png", FILE_LIMIT, &error));
    assert_texts(&png, want, 5);
    bytes_release(&png);
}

static void bad_texts_are_refused(void **state) {
    static const struct {
        const char *name;
        enum err err;
        const char *word;
    } cases[] = {
        { "bad-bomb", ERR_LIMIT, "zTXt: at most 1048576 bytes" },
        { "bad-utf8", ERR_CORRUPT, "iTXt: want UTF-8, byte 0 is 0xff" },
        { "bad-crc", ERR_CORRUPT, "want the CRC" },
        { "bad-cut", ERR_CORRUPT, "PNG: the chunk at byte" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = text_format(SOURCE_DIR "/tests/fuzz/corpus/png/%s.png", cases[i].name);
        struct bytes png = BYTES_INIT;
        struct picture_text *texts = NULL;
        struct error error;
        size_t count = 77;
        assert_ok(file_read(&png, path, FILE_LIMIT, &error));
        assert_error(png_texts(&texts, &count, png.data, png.size, &error), cases[i].err, cases[i].word);
        assert_null(texts);
        assert_int_equal(count, 77);
        bytes_release(&png);
        free(path);
    }
}

static void what_cannot_be_written_is_refused(void **state) {
    char *long_text = memory_get(PICTURE_TEXT_LIMIT + 2);
    char long_key[82] = "";
    struct picture_text many[PICTURE_TEXTS_LIMIT + 1];
    struct bytes png;
    (void)state;
    memset(long_text, 'x', PICTURE_TEXT_LIMIT + 1);
    memset(long_key, 'k', 80);
    for (size_t i = 0; i <= PICTURE_TEXTS_LIMIT; i++)
        many[i] = (struct picture_text){ (char *)"k", (char *)"v" };
    encode((struct picture_text[]){ { (char *)"", (char *)"v" } }, 1, ERR_INVALID, "has 0");
    encode((struct picture_text[]){ { long_key, (char *)"v" } }, 1, ERR_INVALID, "has 80");
    encode((struct picture_text[]){ { (char *)"a b", (char *)"v" } }, 1, ERR_INVALID, "0x20");
    encode((struct picture_text[]){ { (char *)"k", (char *)"ab\xff" } }, 1, ERR_INVALID, "byte 2 is 0xff");
    encode((struct picture_text[]){ { (char *)"k", long_text } }, 1, ERR_LIMIT, "1048576 bytes are written, it has 1048577");
    encode(many, PICTURE_TEXTS_LIMIT + 1, ERR_LIMIT, "64 texts are written, 65 were given");
    long_text[PICTURE_TEXT_LIMIT] = '\0';
    many[0].text = long_text;
    png = encode(many, PICTURE_TEXTS_LIMIT, ERR_OK, "");
    assert_texts(&png, many, PICTURE_TEXTS_LIMIT);
    bytes_release(&png);
    free(long_text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(latin1_is_text_and_the_rest_international),
        cmocka_unit_test(texts_of_others_are_read),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(what_cannot_be_written_is_refused),
    };
    return cmocka_run_group_tests_name("png texts", tests, NULL, NULL);
}
