/*
 * sheet_text.c - the words on a contact sheet, by cairo's toy text API.
 *
 * A line is drawn into a mask of its own size and blended into the RGB canvas, so that a sheet needs no second
 * canvas of cairo's. Metrics are not hinted, so the width of a text is the sum of its letters' widths.
 */
#include <assert.h>
#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "picture/sheet_parts.h"

#define ELLIPSIS "\xe2\x80\xa6"

enum { TEXT_CONSIDERED = 1024 /* bytes of a label; more is never seen */ };

struct pen {
    cairo_surface_t *surface;
    cairo_t *cairo;
    double size, ascent, line_height;
    bool bold;
    double ascii[128]; /* advances; negative: not measured yet */
};

static void font_choose(cairo_t *cairo, double size, bool bold) {
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_set_font_options(cairo, options);
    cairo_font_options_destroy(options);
    cairo_select_font_face(cairo, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cairo, size);
}

static enum err cairo_error(cairo_status_t status, struct error *error) {
    return error_set(error, status == CAIRO_STATUS_NO_MEMORY ? ERR_MEMORY : ERR_INTERNAL, "sheet: drawing text: %s",
                     cairo_status_to_string(status));
}

enum err pen_create(struct pen **pen, double size, bool bold, struct error *error) {
    struct pen *made = memory_get(sizeof *made);
    cairo_font_extents_t extents;
    made->surface = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    made->cairo = cairo_create(made->surface);
    made->size = size;
    made->bold = bold;
    font_choose(made->cairo, size, bold);
    cairo_font_extents(made->cairo, &extents);
    made->ascent = extents.ascent;
    made->line_height = ceil(1.05 * (extents.ascent + extents.descent));
    for (size_t i = 0; i < sizeof made->ascii / sizeof *made->ascii; i++)
        made->ascii[i] = -1;
    cairo_status_t status = cairo_status(made->cairo);
    if (status != CAIRO_STATUS_SUCCESS) {
        pen_destroy(made);
        return cairo_error(status, error);
    }
    *pen = made;
    return ERR_OK;
}

void pen_destroy(struct pen *pen) {
    if (!pen)
        return;
    cairo_destroy(pen->cairo);
    cairo_surface_destroy(pen->surface);
    free(pen);
}

double pen_line_height(const struct pen *pen) {
    return pen->line_height;
}

/* ---- measuring -------------------------------------------------------------------------------------------------------- */

static size_t letter_size(const char *text) {
    size_t size = 1;
    while (((uint8_t)text[size] & 0xc0) == 0x80)
        size++;
    return size;
}

static double letter_width(struct pen *pen, const char *letter, size_t size) {
    double *known = size == 1 && !(*letter & 0x80) ? &pen->ascii[(uint8_t)*letter] : NULL;
    cairo_text_extents_t extents;
    char text[8];
    if (known && *known >= 0)
        return *known;
    assert(size < sizeof text);
    memcpy(text, letter, size);
    text[size] = '\0';
    cairo_text_extents(pen->cairo, text, &extents);
    if (known)
        *known = extents.x_advance;
    return extents.x_advance;
}

static double text_width(struct pen *pen, const char *text) {
    double width = 0;
    for (size_t size; *text; text += size) {
        size = letter_size(text);
        width += letter_width(pen, text, size);
    }
    return width;
}

/* Bytes of `text` that fit into `width`, whole letters only. */
static size_t text_fit(struct pen *pen, const char *text, double width) {
    size_t fit = 0;
    while (text[fit]) {
        size_t size = letter_size(text + fit);
        width -= letter_width(pen, text + fit, size);
        if (width < 0)
            break;
        fit += size;
    }
    return fit;
}

/* ---- wrapping --------------------------------------------------------------------------------------------------------- */

static char *text_clean(const char *text) {
    size_t size = strnlen(text, TEXT_CONSIDERED), place;
    if (text[size])
        while (size && ((uint8_t)text[size] & 0xc0) == 0x80)
            size--; /* not inside a letter */
    char *clean = text_copy_size(text, size);
    while (!utf8_valid(clean, size, &place))
        clean[place] = '?';
    for (char *p = clean; *p; p++)
        if ((uint8_t)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    return clean;
}

static char *line_cut(struct pen *pen, const char *text, double width) {
    size_t fit = text_fit(pen, text, width - text_width(pen, ELLIPSIS));
    while (fit && (text[fit - 1] == ' ' || text[fit - 1] == ','))
        fit--;
    return text_format("%.*s" ELLIPSIS, (int)fit, text);
}

/* Where the line that begins at `text` ends: everything, the last space that fits, or inside a word. */
static size_t line_end(struct pen *pen, const char *text, double width) {
    size_t fit = text_fit(pen, text, width);
    if (text[fit] == '\0' || text[fit] == ' ')
        return fit;
    for (size_t end = fit; end > 0; end--)
        if (text[end - 1] == ' ')
            return end - 1;
    return fit ? fit : letter_size(text);
}

/* Lines of `clean` at this width; more than `limit` are only counted. */
static size_t lines_at(struct pen *pen, const char *clean, double width, size_t limit) {
    size_t count = 0;
    for (const char *rest = clean; *rest && count <= limit; count++) {
        rest += line_end(pen, rest, width);
        rest += strspn(rest, " ");
    }
    return count;
}

static double widest_word(struct pen *pen, const char *clean) {
    double widest = 0, width = 0;
    for (size_t size; *clean; clean += size) {
        size = letter_size(clean);
        width = *clean == ' ' ? 0 : width + letter_width(pen, clean, size);
        widest = fmax(widest, width);
    }
    return widest;
}

/* The narrowest width that needs no more lines and breaks no further word: lines of about one length, no lone last word. */
static double width_balanced(struct pen *pen, const char *clean, double width, size_t limit) {
    size_t count = lines_at(pen, clean, width, limit);
    double low = widest_word(pen, clean), high = width;
    if (count < 2 || count > limit || low > width)
        return width;
    while (high - low > 1) {
        double middle = (low + high) / 2;
        if (lines_at(pen, clean, middle, count) > count)
            low = middle;
        else
            high = middle;
    }
    return high;
}

void text_wrap(struct text_block *block, struct pen *pen, const char *text, double width, size_t limit) {
    char *clean = text_clean(text);
    const char *rest = clean + strspn(clean, " ");
    *block = (struct text_block){ .lines = memory_get_array(limit, sizeof *block->lines) };
    width = width_balanced(pen, rest, width, limit);
    while (*rest && block->count < limit) {
        size_t end = line_end(pen, rest, width);
        const char *next = rest + end + strspn(rest + end, " ");
        char *line = block->count + 1 == limit && *next ? line_cut(pen, rest, width) : text_copy_size(rest, end);
        block->width = fmax(block->width, text_width(pen, line));
        block->lines[block->count++] = line;
        rest = next;
    }
    free(clean);
}

void text_release(struct text_block *block) {
    for (size_t i = 0; i < block->count; i++)
        free(block->lines[i]);
    free(block->lines);
    *block = (struct text_block){ 0 };
}

/* ---- drawing ---------------------------------------------------------------------------------------------------------- */

/* mask [height,stride] u8: how much of `grey` to mix into the canvas at (x, y). */
static void mask_blend(struct picture *canvas, const uint8_t *mask, int stride, int width, int height, int x, int y,
                       uint8_t grey) {
    for (int row = 0; row < height; row++) {
        if (y + row < 0 || y + row >= (int)canvas->height)
            continue;
        for (int column = 0; column < width; column++) {
            unsigned cover = mask[row * stride + column];
            if (!cover || x + column < 0 || x + column >= (int)canvas->width)
                continue;
            uint8_t *pixel = canvas->rgb + ((size_t)(y + row) * canvas->width + (size_t)(x + column)) * 3;
            for (int c = 0; c < 3; c++)
                pixel[c] = (uint8_t)((pixel[c] * (255 - cover) + grey * cover + 127) / 255);
        }
    }
}

static enum err line_draw(struct picture *canvas, struct pen *pen, const char *line, double x, double y, uint8_t grey,
                          struct error *error) {
    int left = (int)floor(x), top = (int)floor(y), pad = (int)ceil(pen->size / 2); /* for letters that reach out */
    int width = (int)ceil(text_width(pen, line)) + 2 * pad, height = (int)pen->line_height + 2 * pad;
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_A8, width, height);
    cairo_t *cairo = cairo_create(surface);
    font_choose(cairo, pen->size, pen->bold);
    cairo_move_to(cairo, x - left + pad, round(pad + pen->ascent));
    cairo_show_text(cairo, line);
    cairo_status_t status = cairo_status(cairo);
    cairo_surface_flush(surface);
    if (status == CAIRO_STATUS_SUCCESS)
        mask_blend(canvas, cairo_image_surface_get_data(surface), cairo_image_surface_get_stride(surface), width, height,
                   left - pad, top - pad, grey);
    cairo_destroy(cairo);
    cairo_surface_destroy(surface);
    return status == CAIRO_STATUS_SUCCESS ? ERR_OK : cairo_error(status, error);
}

enum err text_draw(struct picture *canvas, struct pen *pen, const struct text_block *block, double x, double y,
                   enum text_align align, uint8_t grey, struct error *error) {
    enum err err = ERR_OK;
    for (size_t i = 0; i < block->count && !err; i++) {
        double width = text_width(pen, block->lines[i]);
        double left = align == TEXT_LEFT ? x : align == TEXT_CENTRE ? x - width / 2 : x - width;
        err = line_draw(canvas, pen, block->lines[i], left, y + (double)i * pen->line_height, grey, error);
    }
    return err;
}
