/* names.c - file names from jobs. */
#include "cli/names.h"

#include <string.h>

/* Lower-case ASCII letters, digits and dots; everything else becomes one dash; at most `limit` letters. */
static void add_slug(struct bytes *out, const char *text, size_t limit) {
    size_t letters = 0;
    bool dash = false;
    for (; *text && letters < limit; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 'A' && c <= 'Z')
            c = (unsigned char)(c - 'A' + 'a');
        bool keep = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '.' && letters > 0);
        if (!keep) {
            dash = letters > 0;
            continue;
        }
        if (dash)
            bytes_add_text(out, "-");
        bytes_add(out, &c, 1);
        letters += dash ? 2 : 1;
        dash = false;
    }
    if (letters == 0)
        bytes_add_text(out, "x");
}

static void add_field(struct bytes *out, const struct spec *spec, enum field field) {
    struct bytes text = BYTES_INIT;
    spec_get(&text, spec, field);
    bytes_add_format(out, "_%s-", catalog_field(field)->name);
    add_slug(out, bytes_text(&text), NAME_VALUE_LETTERS);
    bytes_release(&text);
}

void name_picture(struct bytes *out, const struct spec *spec, const struct digest *key, const bool on_axis[FIELD_COUNT]) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(key, hex);
    add_slug(out, spec->prompt, NAME_PROMPT_LETTERS);
    add_field(out, spec, FIELD_SEED);
    for (int field = 0; field < FIELD_COUNT; field++)
        if (on_axis[field] && field != FIELD_PROMPT && field != FIELD_SEED)
            add_field(out, spec, (enum field)field);
    bytes_add_format(out, "_%.*s.png", NAME_KEY_LETTERS, hex);
}
