/*
 * unicode.c - utf8proc, brought to the very Unicode versions that the tokenizers library was built with.
 *
 * Measured, over all 1,112,064 code points, against tokenizers 0.23: regular expressions follow Unicode 16, lower case
 * follows Unicode 17, both character by character (no final sigma), and composition follows Unicode 9. utf8proc 2.8
 * knows Unicode 15. The tables below hold the differences; for classes and lower case they win over utf8proc, so that
 * a newer one changes no ids.
 */
#include "pipeline/text/unicode.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <utf8proc.h>

struct range {
    int32_t first, last;
    enum text_class class;
};

/* letters and numbers of Unicode 15.1 and 16, sorted */
static const struct range NEWER[] = {
    { 0x1c89, 0x1c8a, TEXT_LETTER },   { 0xa7cb, 0xa7cd, TEXT_LETTER },   { 0xa7da, 0xa7dc, TEXT_LETTER },
    { 0x105c0, 0x105f3, TEXT_LETTER }, { 0x10d40, 0x10d49, TEXT_NUMBER }, { 0x10d4a, 0x10d65, TEXT_LETTER },
    { 0x10d6f, 0x10d85, TEXT_LETTER }, { 0x10ec2, 0x10ec4, TEXT_LETTER }, { 0x11380, 0x11389, TEXT_LETTER },
    { 0x1138b, 0x1138b, TEXT_LETTER }, { 0x1138e, 0x1138e, TEXT_LETTER }, { 0x11390, 0x113b5, TEXT_LETTER },
    { 0x113b7, 0x113b7, TEXT_LETTER }, { 0x113d1, 0x113d1, TEXT_LETTER }, { 0x113d3, 0x113d3, TEXT_LETTER },
    { 0x116d0, 0x116e3, TEXT_NUMBER }, { 0x11bc0, 0x11be0, TEXT_LETTER }, { 0x11bf0, 0x11bf9, TEXT_NUMBER },
    { 0x13460, 0x143fa, TEXT_LETTER }, { 0x16100, 0x1611d, TEXT_LETTER }, { 0x16130, 0x16139, TEXT_NUMBER },
    { 0x16d40, 0x16d6c, TEXT_LETTER }, { 0x16d70, 0x16d79, TEXT_NUMBER }, { 0x18cff, 0x18cff, TEXT_LETTER },
    { 0x1ccf0, 0x1ccf9, TEXT_NUMBER }, { 0x1e5d0, 0x1e5ed, TEXT_LETTER }, { 0x1e5f0, 0x1e5f0, TEXT_LETTER },
    { 0x1e5f1, 0x1e5fa, TEXT_NUMBER }, { 0x2ebf0, 0x2ee5d, TEXT_LETTER },
};

/* lower case of Unicode 16 and 17: every `step`-th code point moves by `distance` */
static const struct {
    int32_t first, last, step, distance;
} LOWER[] = {
    { 0x1c89, 0x1c89, 1, 1 },       { 0xa7cb, 0xa7cb, 1, 0x264 - 0xa7cb }, { 0xa7cc, 0xa7ce, 2, 1 },
    { 0xa7d2, 0xa7d4, 2, 1 },       { 0xa7da, 0xa7da, 1, 1 },              { 0xa7dc, 0xa7dc, 1, 0x19b - 0xa7dc },
    { 0x10d50, 0x10d65, 1, 0x20 },  { 0x16ea0, 0x16eb8, 1, 0x1b },
};

/* marks that Unicode 9 did not know: composition there takes them for letters, which nothing moves across or joins */
static const struct {
    int32_t first, last;
} INERT[] = {
    { 0x7fd, 0x7fd }, { 0x898, 0x89f }, { 0x8ca, 0x8d3 }, { 0x9fe, 0x9fe }, { 0xc3c, 0xc3c }, { 0xd3b, 0xd3c },
    { 0xeba, 0xeba }, { 0x1715, 0x1715 }, { 0x1abf, 0x1ace }, { 0x1df6, 0x1dfa }, { 0xa82c, 0xa82c },
    { 0x10d24, 0x10d27 }, { 0x10eab, 0x10eac }, { 0x10efd, 0x10eff }, { 0x10f46, 0x10f50 }, { 0x10f82, 0x10f85 },
    { 0x11070, 0x11070 }, { 0x1133b, 0x1133b }, { 0x1145e, 0x1145e }, { 0x11839, 0x1183a }, { 0x11930, 0x11930 },
    { 0x1193d, 0x1193e }, { 0x11943, 0x11943 }, { 0x119e0, 0x119e0 }, { 0x11a34, 0x11a34 }, { 0x11a47, 0x11a47 },
    { 0x11a99, 0x11a99 }, { 0x11d42, 0x11d42 }, { 0x11d44, 0x11d45 }, { 0x11d97, 0x11d97 }, { 0x11f41, 0x11f42 },
    { 0x16ff0, 0x16ff1 }, { 0x1e08f, 0x1e08f }, { 0x1e130, 0x1e136 }, { 0x1e2ae, 0x1e2ae }, { 0x1e2ec, 0x1e2ef },
    { 0x1e4ec, 0x1e4ef },
};

static int32_t lower_of(int32_t codepoint) {
    if (codepoint < 0x80)
        return codepoint >= 'A' && codepoint <= 'Z' ? codepoint + 0x20 : codepoint;
    for (size_t i = 0; i < sizeof LOWER / sizeof *LOWER; i++)
        if (codepoint >= LOWER[i].first && codepoint <= LOWER[i].last && (codepoint - LOWER[i].first) % LOWER[i].step == 0)
            return codepoint + LOWER[i].distance;
    return utf8proc_tolower(codepoint);
}

/* Unicode's White_Space property: what \s means; U+001C..001F and U+200B are none. */
static bool is_space(int32_t c) {
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static int compare_range(const void *key, const void *element) {
    int32_t codepoint = *(const int32_t *)key;
    const struct range *range = element;
    return codepoint < range->first ? -1 : codepoint > range->last;
}

enum text_class text_class_of(int32_t codepoint) {
    if (is_space(codepoint))
        return TEXT_SPACE;
    const struct range *newer = bsearch(&codepoint, NEWER, sizeof NEWER / sizeof *NEWER, sizeof *NEWER, compare_range);
    if (newer)
        return newer->class;
    switch (utf8proc_category(codepoint)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return TEXT_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return TEXT_NUMBER;
    default:
        return TEXT_OTHER;
    }
}

size_t text_next(int32_t *codepoint, const uint8_t *text, size_t size) {
    utf8proc_ssize_t used = utf8proc_iterate(text, (utf8proc_ssize_t)size, codepoint);
    assert(used > 0);
    return (size_t)used;
}

static void add_codepoint(struct bytes *out, int32_t codepoint) {
    uint8_t encoded[4];
    bytes_add(out, encoded, (size_t)utf8proc_encode_char(codepoint, encoded));
}

static bool is_inert(int32_t codepoint) {
    size_t low = 0, high = sizeof INERT / sizeof *INERT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (codepoint > INERT[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof INERT / sizeof *INERT && codepoint >= INERT[low].first;
}

static enum err compose_run(struct bytes *out, const uint8_t *text, size_t size, struct error *error) {
    utf8proc_uint8_t *composed = NULL;
    if (size == 0)
        return ERR_OK;
    utf8proc_ssize_t length = utf8proc_map(text, (utf8proc_ssize_t)size, &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (length < 0)
        return error_set(error, ERR_INVALID, "text: want Unicode that can be composed, utf8proc says: %s",
                         utf8proc_errmsg(length));
    bytes_add(out, composed, (size_t)length);
    free(composed);
    return ERR_OK;
}

/* NFC, in runs between inert marks, which stay as they are. */
static enum err compose(struct bytes *out, const uint8_t *text, size_t size, struct error *error) {
    size_t from = 0, step;
    for (size_t at = 0; at < size; at += step) {
        int32_t codepoint;
        step = text_next(&codepoint, text + at, size - at);
        if (!is_inert(codepoint))
            continue;
        enum err err = compose_run(out, text + from, at - from, error);
        if (err != ERR_OK)
            return err;
        bytes_add(out, text + at, step);
        from = at + step;
    }
    return compose_run(out, text + from, size - from, error);
}

enum err text_normalize(struct bytes *out, const uint8_t *text, size_t size, struct error *error) {
    struct bytes composed = BYTES_INIT;
    bool in_space = false;
    enum err err = compose(&composed, text, size, error);
    for (size_t i = 0; err == ERR_OK && i < composed.size;) {
        int32_t codepoint;
        i += text_next(&codepoint, composed.data + i, composed.size - i);
        if (!is_space(codepoint))
            add_codepoint(out, codepoint == 0x130 ? 'i' : lower_of(codepoint));
        else if (!in_space)
            add_codepoint(out, ' ');
        if (codepoint == 0x130) /* the one letter whose lower case is two */
            add_codepoint(out, 0x307);
        in_space = is_space(codepoint);
    }
    bytes_release(&composed);
    return err;
}
