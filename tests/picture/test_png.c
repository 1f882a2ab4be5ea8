/* test_png.c - pixels in and out of PNG. The expected pixels of the corpus come from make_pictures.py. */
#include <stdio.h>
#include <zlib.h>

#include "tests/picture/check.h"

enum { FILE_LIMIT = 1 << 20 };

static struct bytes corpus_read(const char *name) {
    struct bytes png = BYTES_INIT;
    struct error error;
    char *path = text_format(SOURCE_DIR "/tests/fuzz/corpus/png/%s.png", name);
    assert_ok(file_read(&png, path, FILE_LIMIT, &error));
    free(path);
    return png;
}

static void pixels_come_back(void **state) {
    static const uint32_t sizes[][2] = { { 1, 1 }, { 64, 64 }, { 7, 300 }, { 300, 7 }, { 512, 512 } };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct picture picture = picture_sample(sizes[i][0], sizes[i][1]), again;
        struct bytes png = BYTES_INIT, twice = BYTES_INIT;
        struct error error;
        uint32_t width, height;
        assert_ok(png_encode(&png, &picture, NULL, 0, &error));
        assert_ok(png_encode(&twice, &picture, NULL, 0, &error));
        assert_int_equal(png.size, twice.size);
        assert_memory_equal(png.data, twice.data, png.size);
        assert_ok(png_size(&width, &height, png.data, png.size, &error));
        assert_int_equal(width, sizes[i][0]);
        assert_int_equal(height, sizes[i][1]);
        assert_ok(png_decode(&again, png.data, png.size, &error));
        struct digest before = picture_pixel_digest(&picture), after = picture_pixel_digest(&again);
        assert_true(digest_equal(&before, &after));
        picture_release(&picture);
        picture_release(&again);
        bytes_release(&png);
        bytes_release(&twice);
    }
}

/* One walk says what the readers say one after another, of every file of the corpus and of every filter. */
static void assert_inspected(const struct bytes *png, const char *name) {
    struct picture picture;
    struct png_facts facts;
    struct error error;
    assert_ok(png_decode(&picture, png->data, png->size, &error));
    struct digest pixels = picture_pixel_digest(&picture);
    if (png_inspect(&facts, png->data, png->size, "seedfarm", &error) != ERR_OK)
        fail_msg("%s: %s", name, error.message);
    if (facts.width != picture.width || facts.height != picture.height || !digest_equal(&pixels, &facts.pixels))
        fail_msg("%s: other pixels than decoded", name);
    assert_null(facts.text);
    picture_release(&picture);
}

static void add_chunk(struct bytes *png, const char *type, const uint8_t *data, uint32_t size) {
    uint8_t number[4] = { (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size };
    bytes_add(png, number, 4);
    size_t begin = png->size;
    bytes_add_text(png, type);
    bytes_add(png, data, size);
    uint32_t crc = (uint32_t)crc32(0, png->data + begin, size + 4);
    for (int i = 0; i < 4; i++)
        number[i] = (uint8_t)(crc >> (24 - 8 * i));
    bytes_add(png, number, 4);
}

/* 13x9 RGB, every row by `filter`, its bytes whatever they are; the stream cut into pieces of `piece` bytes. */
static struct bytes filtered_png(uint8_t filter, uint32_t piece) {
    enum { WIDTH = 13, HEIGHT = 9, ROW = 3 * WIDTH + 1 };
    static const uint8_t header[13] = { 0, 0, 0, WIDTH, 0, 0, 0, HEIGHT, 8, 2, 0, 0, 0 };
    uint8_t rows[HEIGHT * ROW], packed[2 * sizeof rows];
    uLongf size = sizeof packed;
    struct bytes png = BYTES_INIT;
    for (size_t i = 0; i < sizeof rows; i++)
        rows[i] = i % ROW ? (uint8_t)(i * 97 + i / 7 * filter) : filter;
    assert_int_equal(compress(packed, &size, rows, sizeof rows), Z_OK);
    bytes_add(&png, "\x89PNG\r\n\x1a\n", 8);
    add_chunk(&png, "IHDR", header, sizeof header);
    for (uint32_t at = 0; at < size; at += piece)
        add_chunk(&png, "IDAT", packed + at, size - at < piece ? (uint32_t)size - at : piece);
    add_chunk(&png, "IEND", NULL, 0);
    return png;
}

static void one_walk_says_the_same(void **state) {
    char name[64], want[80];
    FILE *expected = fopen(SOURCE_DIR "/tests/picture/expected.txt", "r");
    (void)state;
    assert_non_null(expected);
    while (fscanf(expected, "%63s %79s", name, want) == 2) {
        struct bytes png = corpus_read(name);
        assert_inspected(&png, name);
        bytes_release(&png);
    }
    fclose(expected);
    for (uint8_t filter = 0; filter < 5; filter++)
        for (uint32_t piece = 1; piece < 1000; piece += 50) { /* 1: more IDATs than the walk keeps */
            struct bytes png = filtered_png(filter, piece);
            assert_inspected(&png, "filtered");
            bytes_release(&png);
        }
}

static void one_walk_finds_the_text(void **state) {
    struct picture picture = picture_sample(8, 8);
    const struct picture_text texts[] = { { (char *)"a", (char *)"b" }, { (char *)"seedfarm", (char *)"{\"\xc3\xa9\xe2\x82\xac\"}" },
                                          { (char *)"seedfarm", (char *)"later" } };
    struct bytes png = BYTES_INIT;
    struct png_facts facts = { .width = 77 };
    struct error error;
    (void)state;
    assert_ok(png_encode(&png, &picture, texts, 3, &error));
    assert_ok(png_inspect(&facts, png.data, png.size, "seedfarm", &error));
    assert_string_equal(facts.text, texts[1].text);
    free(facts.text);
    facts = (struct png_facts){ .width = 77 };
    for (size_t size = 0; size < png.size; size++)
        assert_int_equal(png_inspect(&facts, png.data, size, "seedfarm", &error), ERR_CORRUPT);
    assert_int_equal(facts.width, 77);
    picture_release(&picture);
    bytes_release(&png);
}

/* What tools and digests rely on: nothing in the file but what was asked for. */
static void no_other_chunks(void **state) {
    struct picture picture = picture_sample(8, 8);
    const struct picture_text texts[] = { { (char *)"a", (char *)"b" } };
    struct bytes png = BYTES_INIT, types = BYTES_INIT;
    struct error error;
    (void)state;
    assert_ok(png_encode(&png, &picture, texts, 1, &error));
    for (size_t at = 8; at < png.size;) {
        const uint8_t *p = png.data + at;
        bytes_add(&types, p + 4, 4);
        at += 12 + ((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]);
    }
    assert_string_equal(bytes_text(&types), "IHDRtEXtIDATIEND");
    picture_release(&picture);
    bytes_release(&types);
    bytes_release(&png);
}

/* sha256 of 00000002 00000001 ff0000 0000ff, by sha256sum. */
static void pixel_digests_are_of_size_and_rgb(void **state) {
    uint8_t rgb[] = { 255, 0, 0, 0, 0, 255 };
    const struct picture wide = { 2, 1, rgb }, high = { 1, 2, rgb };
    struct digest a = picture_pixel_digest(&wide), b = picture_pixel_digest(&high);
    char hex[DIGEST_HEX_SIZE];
    (void)state;
    digest_hex(&a, hex);
    assert_string_equal(hex, "47a173e1b0d9091c98de3201ee7d2d79666fe8efe431b9c95a860eb8b4219377");
    assert_false(digest_equal(&a, &b));
}

static void every_kind_of_png_becomes_rgb(void **state) {
    char name[64], want[80];
    FILE *expected = fopen(SOURCE_DIR "/tests/picture/expected.txt", "r");
    int count = 0;
    (void)state;
    assert_non_null(expected);
    for (; fscanf(expected, "%63s %79s", name, want) == 2; count++) {
        struct bytes png = corpus_read(name);
        struct picture picture;
        struct error error;
        char hex[DIGEST_HEX_SIZE];
        assert_ok(png_decode(&picture, png.data, png.size, &error));
        struct digest digest = picture_pixel_digest(&picture);
        digest_hex(&digest, hex);
        if (strcmp(hex, want) != 0)
            fail_msg("%s: want the pixels %s, they are %s", name, want, hex);
        picture_release(&picture);
        bytes_release(&png);
    }
    fclose(expected);
    assert_int_equal(count, 33);
}

static void what_is_no_png_is_refused(void **state) {
    static const struct {
        const char *name;
        enum err err;
        const char *word;
    } cases[] = {
        { "bad-huge", ERR_CORRUPT, "8192x8192 pixels are 201334784 bytes" },
        { "bad-wide", ERR_LIMIT, "16385x1" },
        { "bad-crc", ERR_CORRUPT, "PNG of 13x9" },
        { "bad-cut", ERR_CORRUPT, "PNG of 13x9" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes png = corpus_read(cases[i].name);
        struct picture picture = { 0 };
        struct error error;
        assert_error(png_decode(&picture, png.data, png.size, &error), cases[i].err, cases[i].word);
        assert_null(picture.rgb);
        bytes_release(&png);
    }
}

static void no_prefix_is_a_png(void **state) {
    struct bytes png = corpus_read("texts");
    struct picture picture = { 0 };
    struct error error;
    (void)state;
    for (size_t size = 0; size < png.size; size++) {
        uint8_t *copy = memory_get(size); /* its own, so that a read behind it is seen */
        memcpy(copy, png.data, size);
        assert_int_equal(png_decode(&picture, copy, size, &error), ERR_CORRUPT);
        assert_null(picture.rgb);
        free(copy);
    }
    assert_ok(png_decode(&picture, png.data, png.size, &error));
    picture_release(&picture);
    bytes_release(&png);
}

static void sizes_are_checked(void **state) {
    struct picture picture = { 40000, 1, NULL };
    struct bytes png = corpus_read("colour2-depth8"), out = BYTES_INIT;
    struct error error;
    uint32_t width = 5, height = 6;
    (void)state;
    assert_error(png_encode(&out, &picture, NULL, 0, &error), ERR_LIMIT, "32767 pixels, the picture has 40000x1");
    picture.width = 0;
    assert_error(png_encode(&out, &picture, NULL, 0, &error), ERR_LIMIT, "0x1");
    assert_int_equal(out.size, 0);
    assert_error(png_size(&width, &height, "GIF89a  ", 8, &error), ERR_CORRUPT, "signature");
    png.data[19] = 0; /* width 0, and the CRC no longer right */
    assert_error(png_size(&width, &height, png.data, png.size, &error), ERR_CORRUPT, "CRC");
    assert_int_equal(width, 5);
    assert_int_equal(height, 6);
    bytes_release(&png);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_come_back),
        cmocka_unit_test(no_other_chunks),
        cmocka_unit_test(one_walk_says_the_same),
        cmocka_unit_test(one_walk_finds_the_text),
        cmocka_unit_test(pixel_digests_are_of_size_and_rgb),
        cmocka_unit_test(every_kind_of_png_becomes_rgb),
        cmocka_unit_test(what_is_no_png_is_refused),
        cmocka_unit_test(no_prefix_is_a_png),
        cmocka_unit_test(sizes_are_checked),
    };
    return cmocka_run_group_tests_name("png", tests, NULL, NULL);
}
