/*
 * unicode.h - what the tokenizers library does to a text before it is cut into words, and its classes of characters.
 *
 * All texts are well-formed UTF-8: checked by the caller. Pure.
 */
#ifndef PIPELINE_TEXT_UNICODE_H
#define PIPELINE_TEXT_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

enum text_class { TEXT_SPACE, TEXT_LETTER, TEXT_NUMBER, TEXT_OTHER };

/* \s, \p{L}, \p{N} or none of them, as of Unicode 16 whatever version utf8proc knows (the regular expressions' own). */
enum text_class text_class_of(int32_t codepoint);

/* The code point at text[0..size), and how many bytes it takes. size > 0. */
size_t text_next(int32_t *codepoint, const uint8_t *text, size_t size);

/* Append: canonical composition (NFC), then every run of white space one space, then lower case. */
MUST_USE enum err text_normalize(struct bytes *out, const uint8_t *text, size_t size, struct error *error);

#endif
