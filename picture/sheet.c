/*
 * sheet.c - contact sheets: a grid of pictures on white, the values of its axes in small grey letters along the edges.
 *
 * All measures follow from the cell: letters a fourteenth of its shorter side (10 to 16 pixels), gaps a fortieth.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "picture/sheet_parts.h"

enum { TITLE_GREY = 0x28, LABEL_GREY = 0x60, MARK_GREY = 0x90, MARK_GROUND = 0xf4 };
enum { COLUMN_LABEL_LINES = 3, TITLE_LINES = 2, ROW_LABEL_LETTERS = 13 /* width, in sizes of a letter: about 24 letters */ };

struct sheet {
    struct picture canvas;
    uint32_t columns, rows, cell_width, cell_height;
    uint32_t gap, margin, left, top; /* left, top: where the first cell begins */
    uint32_t title_height, head_height; /* of the title and of the column labels, with the space below them */
    double letter;
    struct pen *label_pen, *title_pen;
    enum err mark_err; /* of the first mark that could not be drawn: sheet_finish tells */
    struct error mark_error;
};

static uint32_t rounded(double value) {
    return (uint32_t)lrint(value);
}

static void measure_scale(struct sheet *sheet) {
    double shorter = fmin(sheet->cell_width, sheet->cell_height);
    sheet->letter = fmin(16, fmax(10, shorter / 14));
    sheet->gap = rounded(fmax(2, shorter / 40));
    sheet->margin = rounded(fmax(16, sheet->letter * 1.6));
}

/* ---- labels ----------------------------------------------------------------------------------------------------------- */

static struct text_block *blocks_wrap(struct pen *pen, const char *const *labels, uint32_t count, double width,
                                      size_t lines) {
    struct text_block *blocks = memory_get_array(count, sizeof *blocks);
    for (uint32_t i = 0; i < count; i++)
        text_wrap(&blocks[i], pen, labels[i] ? labels[i] : "", width, lines);
    return blocks;
}

static void blocks_destroy(struct text_block *blocks, uint32_t count) {
    for (uint32_t i = 0; blocks && i < count; i++)
        text_release(&blocks[i]);
    free(blocks);
}

static size_t row_label_lines(const struct sheet *sheet) {
    double lines = floor((sheet->cell_height + sheet->gap) / pen_line_height(sheet->label_pen));
    return lines < 1 ? 1 : (size_t)lines;
}

struct labels {
    struct text_block title;
    struct text_block *columns, *rows; /* [columns], [rows], or NULL */
};

static uint64_t cells_across(const struct sheet *sheet) {
    return (uint64_t)sheet->columns * sheet->cell_width + (uint64_t)(sheet->columns - 1) * sheet->gap;
}

static uint64_t cells_down(const struct sheet *sheet) {
    return (uint64_t)sheet->rows * sheet->cell_height + (uint64_t)(sheet->rows - 1) * sheet->gap;
}

static void labels_measure(struct labels *labels, struct sheet *sheet, const struct sheet_options *options) {
    double widest = 0, line = pen_line_height(sheet->label_pen);
    size_t most = 0;
    if (options->row_labels)
        labels->rows = blocks_wrap(sheet->label_pen, options->row_labels, sheet->rows, sheet->letter * ROW_LABEL_LETTERS,
                                   row_label_lines(sheet));
    if (options->column_labels)
        labels->columns = blocks_wrap(sheet->label_pen, options->column_labels, sheet->columns, sheet->cell_width,
                                      COLUMN_LABEL_LINES);
    for (uint32_t i = 0; labels->rows && i < sheet->rows; i++)
        widest = fmax(widest, labels->rows[i].width);
    for (uint32_t i = 0; labels->columns && i < sheet->columns; i++)
        most = labels->columns[i].count > most ? labels->columns[i].count : most;
    sheet->left = sheet->margin + (widest > 0 ? rounded(ceil(widest) + sheet->letter) : 0);
    sheet->head_height = most ? rounded((double)most * line + sheet->letter * 0.5) : 0;
    uint64_t width = sheet->left + cells_across(sheet) - sheet->margin;
    if (options->title)
        text_wrap(&labels->title, sheet->title_pen, options->title, (double)width, TITLE_LINES);
    if (labels->title.count)
        sheet->title_height = rounded((double)labels->title.count * pen_line_height(sheet->title_pen) + sheet->letter);
    sheet->top = sheet->margin + sheet->title_height + sheet->head_height;
}

static enum err labels_draw(const struct labels *labels, struct sheet *sheet, struct error *error) {
    double line = pen_line_height(sheet->label_pen);
    enum err err = text_draw(&sheet->canvas, sheet->title_pen, &labels->title, sheet->margin, sheet->margin, TEXT_LEFT,
                             TITLE_GREY, error);
    for (uint32_t i = 0; labels->columns && i < sheet->columns && !err; i++) {
        double x = sheet->left + (double)i * (sheet->cell_width + sheet->gap) + sheet->cell_width / 2.0;
        double y = sheet->top - sheet->letter * 0.5 - (double)labels->columns[i].count * line;
        err = text_draw(&sheet->canvas, sheet->label_pen, &labels->columns[i], x, y, TEXT_CENTRE, LABEL_GREY, error);
    }
    for (uint32_t i = 0; labels->rows && i < sheet->rows && !err; i++) {
        double middle = sheet->top + (double)i * (sheet->cell_height + sheet->gap) + sheet->cell_height / 2.0;
        double y = middle - (double)labels->rows[i].count * line / 2;
        err = text_draw(&sheet->canvas, sheet->label_pen, &labels->rows[i], sheet->left - sheet->letter, y, TEXT_RIGHT,
                        LABEL_GREY, error);
    }
    return err;
}

static void labels_release(struct labels *labels, const struct sheet *sheet) {
    text_release(&labels->title);
    blocks_destroy(labels->columns, sheet->columns);
    blocks_destroy(labels->rows, sheet->rows);
}

/* ---- the sheet -------------------------------------------------------------------------------------------------------- */

static enum err check_options(const struct sheet_options *options, struct error *error) {
    if (options->columns < 1 || options->rows < 1 || options->cell_width < 1 || options->cell_height < 1)
        return error_set(error, ERR_INVALID, "sheet: want at least one cell of 1x1 pixels, it has %ux%u of %ux%u",
                         options->columns, options->rows, options->cell_width, options->cell_height);
    return ERR_OK;
}

static enum err check_limits(const struct sheet_options *options, uint64_t width, uint64_t height, struct error *error) {
    if (width > SHEET_SIDE_LIMIT || height > SHEET_SIDE_LIMIT)
        return error_set(error, ERR_LIMIT, "sheet: at most %d pixels a side, %ux%u cells of %ux%u make %llux%llu",
                         SHEET_SIDE_LIMIT, options->columns, options->rows, options->cell_width, options->cell_height,
                         (unsigned long long)width, (unsigned long long)height);
    if (width * height > SHEET_PIXELS_LIMIT)
        return error_set(error, ERR_LIMIT, "sheet: at most %llu pixels, %llux%llu are %llu",
                         (unsigned long long)SHEET_PIXELS_LIMIT, (unsigned long long)width, (unsigned long long)height,
                         (unsigned long long)(width * height));
    return ERR_OK;
}

static enum err canvas_make(struct sheet *sheet, const struct sheet_options *options, struct error *error) {
    uint64_t width = sheet->left + cells_across(sheet) + sheet->margin;
    uint64_t height = sheet->top + cells_down(sheet) + sheet->margin;
    enum err err = check_limits(options, width, height, error);
    if (err)
        return err;
    uint8_t *rgb = memory_get_array((size_t)(width * height), 3);
    memset(rgb, 0xff, (size_t)(width * height) * 3);
    sheet->canvas = (struct picture){ (uint32_t)width, (uint32_t)height, rgb };
    return ERR_OK;
}

enum err sheet_create(struct sheet **sheet, const struct sheet_options *options, struct error *error) {
    struct labels labels = { 0 };
    enum err err = check_options(options, error);
    if (err)
        return err;
    struct sheet *made = memory_get(sizeof *made);
    *made = (struct sheet){ .columns = options->columns, .rows = options->rows, .cell_width = options->cell_width,
                            .cell_height = options->cell_height };
    measure_scale(made);
    /* Before labels are wrapped: their number is bounded by the sides as well. */
    if ((err = check_limits(options, cells_across(made), cells_down(made), error)))
        goto done;
    if ((err = pen_create(&made->label_pen, made->letter, false, error)) ||
        (err = pen_create(&made->title_pen, made->letter * 1.5, true, error)))
        goto done;
    labels_measure(&labels, made, options);
    if (!(err = canvas_make(made, options, error)))
        err = labels_draw(&labels, made, error);
done:
    labels_release(&labels, made);
    if (err)
        sheet_destroy(made);
    else
        *sheet = made;
    return err;
}

static uint32_t cell_x(const struct sheet *sheet, uint32_t column) {
    assert(column < sheet->columns);
    return sheet->left + column * (sheet->cell_width + sheet->gap);
}

static uint32_t cell_y(const struct sheet *sheet, uint32_t row) {
    assert(row < sheet->rows);
    return sheet->top + row * (sheet->cell_height + sheet->gap);
}

static uint8_t *canvas_at(struct sheet *sheet, uint32_t x, uint32_t y) {
    return sheet->canvas.rgb + ((size_t)y * sheet->canvas.width + x) * 3;
}

void sheet_place(struct sheet *sheet, uint32_t column, uint32_t row, const struct picture *picture) {
    double scale = fmin(1, fmin((double)sheet->cell_width / picture->width, (double)sheet->cell_height / picture->height));
    uint32_t width = rounded(fmax(1, picture->width * scale)), height = rounded(fmax(1, picture->height * scale));
    uint32_t x = cell_x(sheet, column) + (sheet->cell_width - width) / 2;
    uint32_t y = cell_y(sheet, row) + (sheet->cell_height - height) / 2;
    struct picture small = { 0 };
    const struct picture *shown = picture;
    if (width != picture->width || height != picture->height) {
        picture_shrink(&small, picture, width, height);
        shown = &small;
    }
    for (uint32_t line = 0; line < height; line++)
        memcpy(canvas_at(sheet, x, y + line), shown->rgb + (size_t)line * width * 3, (size_t)width * 3);
    picture_release(&small);
}

void sheet_mark(struct sheet *sheet, uint32_t column, uint32_t row, const char *text) {
    uint32_t x = cell_x(sheet, column), y = cell_y(sheet, row);
    struct text_block block;
    double line = pen_line_height(sheet->label_pen);
    for (uint32_t i = 0; i < sheet->cell_height; i++)
        memset(canvas_at(sheet, x, y + i), MARK_GROUND, (size_t)sheet->cell_width * 3);
    text_wrap(&block, sheet->label_pen, text, sheet->cell_width - sheet->letter * 0.6, row_label_lines(sheet));
    if (!sheet->mark_err)
        sheet->mark_err = text_draw(&sheet->canvas, sheet->label_pen, &block, x + sheet->cell_width / 2.0,
                                    y + (sheet->cell_height - (double)block.count * line) / 2, TEXT_CENTRE, MARK_GREY,
                                    &sheet->mark_error);
    text_release(&block);
}

enum err sheet_finish(struct picture *out, struct sheet *sheet, struct error *error) {
    if (!sheet->canvas.rgb)
        return error_set(error, ERR_INTERNAL, "sheet: finished twice");
    if (sheet->mark_err)
        return error_set(error, sheet->mark_err, "%s", sheet->mark_error.message);
    *out = sheet->canvas;
    sheet->canvas = (struct picture){ 0 };
    return ERR_OK;
}

void sheet_destroy(struct sheet *sheet) {
    if (!sheet)
        return;
    picture_release(&sheet->canvas);
    pen_destroy(sheet->label_pen);
    pen_destroy(sheet->title_pen);
    free(sheet);
}
