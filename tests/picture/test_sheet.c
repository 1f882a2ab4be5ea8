/* test_sheet.c - contact sheets: where cells lie, how labels break, what is refused. */
#include <math.h>

#include "picture/sheet_parts.h"
#include "tests/picture/check.h"

static struct picture flat(uint32_t width, uint32_t height, uint8_t r, uint8_t g, uint8_t b) {
    struct picture picture = { width, height, memory_get_array((size_t)width * height, 3) };
    for (size_t i = 0; i < (size_t)width * height; i++) {
        picture.rgb[3 * i] = r;
        picture.rgb[3 * i + 1] = g;
        picture.rgb[3 * i + 2] = b;
    }
    return picture;
}

struct box {
    uint32_t left, top, right, bottom; /* of the pixels of one colour; right and bottom behind the last */
    size_t count;
};

static struct box find(const struct picture *sheet, uint8_t r, uint8_t g, uint8_t b) {
    struct box box = { UINT32_MAX, UINT32_MAX, 0, 0, 0 };
    for (uint32_t y = 0; y < sheet->height; y++)
        for (uint32_t x = 0; x < sheet->width; x++) {
            const uint8_t *p = sheet->rgb + ((size_t)y * sheet->width + x) * 3;
            if (p[0] != r || p[1] != g || p[2] != b)
                continue;
            box.left = x < box.left ? x : box.left;
            box.top = y < box.top ? y : box.top;
            box.right = x + 1 > box.right ? x + 1 : box.right;
            box.bottom = y + 1 > box.bottom ? y + 1 : box.bottom;
            box.count++;
        }
    return box;
}

/* Pixels that are not white in a part of the sheet. */
static size_t ink(const struct picture *sheet, uint32_t left, uint32_t top, uint32_t right, uint32_t bottom) {
    size_t count = 0;
    for (uint32_t y = top; y < bottom; y++)
        for (uint32_t x = left; x < right; x++)
            count += sheet->rgb[((size_t)y * sheet->width + x) * 3] != 255;
    return count;
}

static struct picture finish(struct sheet *sheet) {
    struct picture out;
    struct error error;
    assert_ok(sheet_finish(&out, sheet, &error));
    sheet_destroy(sheet);
    return out;
}

static void cells_lie_in_a_grid(void **state) {
    static const char *const columns[] = { "seed 0", "seed 1", "seed 2" }, *const rows[] = { "a frog", "an owl" };
    const struct sheet_options options = { 3, 2, 64, 48, "frogs", columns, rows };
    struct picture red = flat(64, 48, 255, 0, 0), blue = flat(64, 48, 0, 0, 255);
    struct sheet *sheet;
    struct error error;
    (void)state;
    assert_ok(sheet_create(&sheet, &options, &error));
    sheet_place(sheet, 0, 0, &red);
    sheet_place(sheet, 2, 1, &blue);
    struct picture out = finish(sheet);
    struct box a = find(&out, 255, 0, 0), b = find(&out, 0, 0, 255);
    assert_int_equal(a.count, 64 * 48);
    assert_int_equal(a.right - a.left, 64);
    assert_int_equal(a.bottom - a.top, 48);
    assert_int_equal(b.count, 64 * 48);
    assert_int_equal(b.left - a.left, 2 * (64 + 2));
    assert_int_equal(b.top - a.top, 48 + 2);
    assert_true(ink(&out, a.left, 0, out.width, a.top) > 50);  /* title and column labels */
    assert_true(ink(&out, 0, a.top, a.left, a.bottom) > 20);   /* row label */
    assert_int_equal(ink(&out, a.right + 2, a.top, out.width, a.bottom), 0);
    assert_int_equal(ink(&out, 0, b.bottom, out.width, out.height), 0);
    picture_release(&red);
    picture_release(&blue);
    picture_release(&out);
}

static void a_sheet_needs_no_labels(void **state) {
    const struct sheet_options options = { .columns = 1, .rows = 1, .cell_width = 5, .cell_height = 7 };
    struct picture red = flat(5, 7, 255, 0, 0);
    struct sheet *sheet;
    struct error error;
    (void)state;
    assert_ok(sheet_create(&sheet, &options, &error));
    sheet_place(sheet, 0, 0, &red);
    struct picture out = finish(sheet);
    struct box box = find(&out, 255, 0, 0);
    assert_int_equal(box.count, 35);
    assert_int_equal(box.left, box.top);
    assert_int_equal(out.width - box.right, box.left);
    picture_release(&red);
    picture_release(&out);
}

static void pictures_are_fitted_and_centred(void **state) {
    static const struct {
        uint32_t width, height, shown_width, shown_height;
    } cases[] = { { 100, 100, 100, 100 }, { 400, 400, 100, 100 }, { 400, 100, 100, 25 }, { 30, 3000, 1, 100 },
                  { 20, 10, 20, 10 }, { 101, 99, 100, 98 } };
    const struct sheet_options options = { .columns = 1, .rows = 1, .cell_width = 100, .cell_height = 100 };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct picture red = flat(cases[i].width, cases[i].height, 200, 30, 7);
        struct sheet *sheet;
        struct error error;
        assert_ok(sheet_create(&sheet, &options, &error));
        sheet_place(sheet, 0, 0, &red);
        struct picture out = finish(sheet);
        struct box box = find(&out, 200, 30, 7);
        assert_int_equal(box.right - box.left, cases[i].shown_width);
        assert_int_equal(box.bottom - box.top, cases[i].shown_height);
        assert_int_equal(box.count, (size_t)cases[i].shown_width * cases[i].shown_height);
        assert_true(abs((int)(box.left + box.right) - (int)out.width) <= 1);
        picture_release(&red);
        picture_release(&out);
    }
}

static void cells_can_be_marked(void **state) {
    const struct sheet_options options = { .columns = 2, .rows = 1, .cell_width = 80, .cell_height = 40 };
    struct sheet *sheet;
    struct error error;
    (void)state;
    assert_ok(sheet_create(&sheet, &options, &error));
    sheet_mark(sheet, 1, 0, "failed: want a picture, it came out as NaN and this sentence is far too long for a cell");
    struct picture out = finish(sheet);
    struct box ground = find(&out, 0xf4, 0xf4, 0xf4);
    assert_int_equal(ground.right - ground.left, 80);
    assert_int_equal(ground.bottom - ground.top, 40);
    assert_true(ground.count < 80 * 40 - 100);
    assert_int_equal(ink(&out, 0, 0, ground.left, out.height), 0);
    assert_int_equal(ink(&out, ground.right, 0, out.width, out.height), 0);
    picture_release(&out);
}

static void limits_name_both_values(void **state) {
    struct sheet_options options = { .columns = 200, .rows = 40, .cell_width = 512, .cell_height = 512 };
    struct sheet *sheet = NULL;
    struct error error;
    (void)state;
    assert_error(sheet_create(&sheet, &options, &error), ERR_LIMIT, "at most 32767 pixels a side");
    assert_non_null(strstr(error.message, "200x40 cells of 512x512"));
    options = (struct sheet_options){ .columns = 60, .rows = 60, .cell_width = 512, .cell_height = 512 };
    assert_error(sheet_create(&sheet, &options, &error), ERR_LIMIT, "at most 268435456 pixels");
    options = (struct sheet_options){ .columns = UINT32_MAX, .rows = UINT32_MAX, .cell_width = UINT32_MAX,
                                      .cell_height = UINT32_MAX };
    assert_error(sheet_create(&sheet, &options, &error), ERR_LIMIT, "at most 32767");
    options = (struct sheet_options){ .columns = 0, .rows = 1, .cell_width = 1, .cell_height = 1 };
    assert_error(sheet_create(&sheet, &options, &error), ERR_INVALID, "0x1 of 1x1");
    assert_null(sheet);
}

/* Long, odd and broken labels: the sheet stays of a sensible width and whole. */
static void any_text_is_a_label(void **state) {
    char *endless = memory_get(100001), *words = memory_get(100001);
    memset(endless, 'w', 100000);
    for (size_t i = 0; i < 100000; i++)
        words[i] = i % 6 ? 'a' : ' ';
    const char *const rows[] = { endless, words, "\xff\xfe\x80 broken", "tab\tline\nline", "", "\xf0\x9f\x90\xb8" };
    const struct sheet_options options = { .columns = 2, .rows = 6, .cell_width = 64, .cell_height = 64,
                                           .title = words, .column_labels = rows, .row_labels = rows };
    struct sheet *sheet;
    struct error error;
    (void)state;
    assert_ok(sheet_create(&sheet, &options, &error));
    struct picture out = finish(sheet);
    assert_true(out.width < 2 * 64 + 250);
    assert_true(out.height < 6 * 66 + 150);
    picture_release(&out);
    free(endless);
    free(words);
}

static void lines_break_at_spaces(void **state) {
    struct text_block block;
    struct pen *pen;
    struct error error;
    (void)state;
    assert_ok(pen_create(&pen, 10, false, &error));
    text_wrap(&block, pen, "short", 1000, 3);
    assert_int_equal(block.count, 1);
    assert_string_equal(block.lines[0], "short");
    double word = block.width;
    text_release(&block);
    text_wrap(&block, pen, "  short   short short ", word * 1.2, 3);
    assert_int_equal(block.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(block.lines[i], "short");
    text_release(&block);
    text_wrap(&block, pen, "short short short short", word * 1.5, 3);
    assert_int_equal(block.count, 3);
    assert_non_null(strstr(block.lines[2], "\xe2\x80\xa6"));
    assert_true(block.width <= word * 1.5);
    text_release(&block);
    text_wrap(&block, pen, "a frog in the style of Van Gogh", word * 5, 3); /* no lone "Gogh" */
    assert_int_equal(block.count, 2);
    assert_string_equal(block.lines[1], "of Van Gogh");
    text_release(&block);
    text_wrap(&block, pen, "", 100, 3);
    assert_int_equal(block.count, 0);
    text_release(&block);
    text_wrap(&block, pen, "mmmmmmmm", 1, 2); /* no room for anything: still ends */
    assert_int_equal(block.count, 2);
    text_release(&block);
    pen_destroy(pen);
}

static void shrinking_keeps_the_mean(void **state) {
    struct picture from = picture_sample(257, 131), to;
    double before = 0, after = 0;
    (void)state;
    for (size_t i = 0; i < 257 * 131 * 3; i++)
        before += from.rgb[i];
    picture_shrink(&to, &from, 31, 17);
    for (size_t i = 0; i < 31 * 17 * 3; i++)
        after += to.rgb[i];
    assert_true(fabs(before / (257 * 131 * 3) - after / (31 * 17 * 3)) < 2);
    picture_release(&to);
    picture_shrink(&to, &from, 257, 131); /* its own size: nothing changes */
    assert_memory_equal(to.rgb, from.rgb, 257 * 131 * 3);
    picture_release(&to);
    picture_release(&from);
}

/* Two to one of a stripe pattern is grey: nothing aliases. Weights of a target pixel: 1/8 3/8 3/8 1/8. */
static void shrinking_does_not_alias(void **state) {
    struct picture from = flat(64, 4, 0, 0, 0), to;
    (void)state;
    for (size_t i = 0; i < 64 * 4; i++)
        memset(from.rgb + 3 * i, i % 2 ? 255 : 0, 3);
    picture_shrink(&to, &from, 32, 2);
    for (size_t y = 0; y < 2; y++)
        for (size_t x = 1; x < 31; x++)
            assert_int_equal(to.rgb[(y * 32 + x) * 3], 128);
    picture_release(&to);
    picture_release(&from);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_lie_in_a_grid),
        cmocka_unit_test(a_sheet_needs_no_labels),
        cmocka_unit_test(pictures_are_fitted_and_centred),
        cmocka_unit_test(cells_can_be_marked),
        cmocka_unit_test(limits_name_both_values),
        cmocka_unit_test(any_text_is_a_label),
        cmocka_unit_test(lines_break_at_spaces),
        cmocka_unit_test(shrinking_keeps_the_mean),
        cmocka_unit_test(shrinking_does_not_alias),
    };
    return cmocka_run_group_tests_name("sheet", tests, NULL, NULL);
}
