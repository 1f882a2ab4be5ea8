/*
 * sheet_parts.h - what a contact sheet is drawn with: text and scaled pictures. Private to picture/.
 */
#ifndef PICTURE_SHEET_PARTS_H
#define PICTURE_SHEET_PARTS_H

#include "picture/picture.h"

/* Measures and draws one size and weight of DejaVu Sans. */
struct pen;
MUST_USE enum err pen_create(struct pen **pen, double size, bool bold, struct error *error);
void pen_destroy(struct pen *pen);
double pen_line_height(const struct pen *pen); /* pixels */

/* Lines that fit a width. */
struct text_block {
    char **lines; /* [count], owned, UTF-8 */
    size_t count;
    double width; /* of the widest, pixels */
};
enum text_align { TEXT_LEFT, TEXT_CENTRE, TEXT_RIGHT };

/* Break `text` at spaces (inside a word where it is too long) into at most `limit` lines of at most `width` pixels and of
 * about one length; what does not fit is cut with an ellipsis. Control characters become spaces, bytes that are no UTF-8 question marks. */
void text_wrap(struct text_block *block, struct pen *pen, const char *text, double width, size_t limit);
void text_release(struct text_block *block);
/* `x` is the left edge, the centre or the right edge, `y` the top; parts outside of the canvas are left out. */
MUST_USE enum err text_draw(struct picture *canvas, struct pen *pen, const struct text_block *block, double x, double y,
                            enum text_align align, uint8_t grey, struct error *error);

/* rgb [height,width,3] u8: `from` scaled down by a triangle as wide as the scale (bilinear that does not alias). */
void picture_shrink(struct picture *out, const struct picture *from, uint32_t width, uint32_t height);

#endif
